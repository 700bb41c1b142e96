"""GROUP BY group_hash finds issues: what differs between two events of one bug does not split it, another bug does."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.workers.normalise.sentry.test_event import row
from workers.normalise.sentry.payload.masking import MAX_LENGTH, masked, without_generated

CASES = Path(__file__).parents[5] / "examples" / "cases"


def error(*frames: str | tuple[str, str, int], value: str = "v", kind: str = "ValueError", **fields: Any) -> str:
    """The hash of an error; a frame is 'module|function', at any line, and in the application unless it has a '-'."""
    made = []
    for number, frame in enumerate(frames):
        text, file, line = (frame, "", number) if isinstance(frame, str) else frame
        module, _, function = text.removeprefix("-").partition("|")
        place = {"module": module} if module else {}
        name = {"filename": file} if file else {}
        made.append({**place, **name, "function": function, "lineno": line, "in_app": not text.startswith("-")})
    entry = {"type": kind, "value": value, "stacktrace": {"frames": made} if made else None, **fields}
    return str(row({"exception": {"values": [entry]}})["group_hash"])


def message(text: str, **fields: Any) -> str:
    return str(row({"logentry": {"message": text, **fields}})["group_hash"])


def chain(*entries: dict[str, Any]) -> str:
    return str(row({"exception": {"values": list(entries)}})["group_hash"])


# --- errors with frames


def test_values_lines_and_libraries_do_not_split() -> None:
    """The same way through the application is the same bug, whatever the value says and the libraries do between."""
    first = error(("app|a", "/srv/app.py", 10), "-lib|x", ("app|b", "/srv/app.py", 20), value="no user 17")
    again = error(("app|a", "/other/app.py", 99), "-lib|y", "-lib|z", ("app|b", "/x/app.py", 7), value="no user bob")
    assert first == again


def test_another_type_function_module_or_way_is_another_bug() -> None:
    """Each of them alone is enough."""
    base = error("app|a", "app|b")
    others = [
        error("app|a", "app|b", kind="KeyError"),
        error("app|a", "app|c"),
        error("app|a", "core|b"),
        error("app|b", "app|a"),
        error("app|b"),
    ]
    assert len({base, *others}) == 6


def test_a_recursion_of_any_depth_is_one_bug() -> None:
    """How deep it got is chance."""
    assert error("app|a", *["app|again"] * 7) == error("app|a", *["app|again"] * 900) != error("app|a")
    assert error("app|a", *["app|f", "app|g"] * 7) == error("app|a", *["app|f", "app|g"] * 90)
    assert error("app|f", "app|g") != error("app|f", "app|g", "app|f")


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("a.Foo$$Lambda$14/0x0000000800c03000|run", "a.Foo$$Lambda$921/0x00000008010a1c48|run"),
        ("com.sun.proxy.$Proxy12|get", "com.sun.proxy.$Proxy145|get"),
        ("a.Bean$$SpringCGLIB$$0|call", "a.Bean$$SpringCGLIB$$1|call"),
        ("a.Bean$$EnhancerBySpringCGLIB$$1a2b3c|call", "a.Bean$$EnhancerBySpringCGLIB$$ffee01|call"),
        (
            "jdk.internal.reflect.GeneratedMethodAccessor81|invoke",
            "jdk.internal.reflect.GeneratedMethodAccessor9|invoke",
        ),
        ("a.Job|lambda$run$0", "a.Job|lambda$run$3"),
        ("app|app::work::h0123456789abcdef", "app|app::work::hfedcba9876543210"),
    ],
)
def test_names_that_a_runtime_makes_up_do_not_split(first: str, again: str) -> None:
    """They are others after each start or build."""
    assert error(first) == error(again) != error("a.Other|run")


def test_a_release_directory_and_a_bundles_hash_do_not_split() -> None:
    """Languages without modules name files, and files move with each release."""
    first = error(("|pay", "https://x/assets/main.5f3a9c01.js?v=1", 1), ("|go", "/srv/releases/20261121/a.php", 1))
    again = error(("|pay", "https://x/assets/main.77aa0b1c.js?v=2", 9), ("|go", "/srv/releases/20270101/a.php", 3))
    assert first == again


def test_a_cause_is_part_of_the_bug() -> None:
    """The same wrapper round another error is another bug; the cause's own value is masked."""
    wrapper = {"type": "Wrapped", "value": "x", "stacktrace": {"frames": [{"module": "a", "function": "f"}]}}
    timeout = {"type": "Timeout", "value": "after 30 s"}
    assert chain(timeout, wrapper) == chain({**timeout, "value": "after 5 s"}, wrapper)
    assert len({chain(wrapper), chain(timeout, wrapper), chain({"type": "KeyError", "value": "k"}, wrapper)}) == 3


def test_a_group_of_exceptions_is_one_bug_however_many_failed() -> None:
    """Ten tasks of a TaskGroup that die of the same are the same as two, in whatever order they died."""

    def group(*kinds: str) -> str:
        frames = {"frames": [{"module": "a", "function": "task"}]}
        members = [
            {"type": kind, "value": str(n), "stacktrace": frames, "mechanism": {"exception_id": n + 1, "parent_id": 0}}
            for n, kind in enumerate(kinds)
        ]
        root = {"type": "ExceptionGroup", "mechanism": {"exception_id": 0, "is_exception_group": True}}
        return chain(*members, root)

    assert group("A", "A") == group("A", "A", "A")
    assert group("A", "B") == group("B", "A", "B") != group("A", "A")


# --- errors without frames, and messages


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("user 17 not found", "user 4711 not found"),
        ("user_17 not found", "user_4 not found"),
        ("no row 9ec79c33-ec99-42ab-8353-589fcb2e04dc", "no row 26E31E9C-C7B7-4AD0-B11D-3A8A265B9E38"),
        ("trace 9b9a0fdc03ea4bc1aa343f0b325b74e4 lost", "trace 26e31e9cc7b74ad0b11d3a8a265b9e38 lost"),
        ("commit 9b9a0fd failed", "commit 26e31e9 failed"),
        ("order A1B2C3D4 failed", "order ZZ99K1L0 failed"),
        ("session sess_8Fk29xQ gone", "session sess_aK27bL9x gone"),
        ("at 0x7ffee4 in x", "at 0x0 in x"),
        ("bob@example.com is taken", "alice+1@mail.example.org is taken"),
        ("cannot reach 10.0.0.1:5432", "cannot reach 192.168.17.4:80"),
        ("cannot reach fe80:0:0:0:1:2:3:4", "cannot reach 2001:db8:1:2:3:4:5:6"),
        ("took 12.5 s", "took -3 s"),
        ("took 1,250 ms", "took 7 ms"),
        ("since 2026-11-21T14:46:05.25Z", "since 2025-01-02T03:04:05Z"),
        ("since Sat, 21 Nov 2026 14:46:05", "since Mon, 2 Feb 2026 04:06:05"),
        ("GET https://x/users/17?token=abc failed", "GET https://x/users/4?token=defg&page=x failed"),
        ("slow\nquery 1\nrow 1\nrow 2", "slow\nquery 2\nrow 9"),
        ("values [1, 2] refused", "values [7, 8] refused"),
    ],
)
def test_what_differs_each_time_is_masked(first: str, again: str) -> None:
    """In messages, in values of errors without frames, and whether or not there is a `|` in the text."""
    assert message(first) == message(again)
    assert error(value=first) == error(value=again)
    assert message(f"a|b {first}") == message(f"a|b {again}")
    assert error(value=f"a|b {first}") == error(value=f"a|b {again}")


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("cannot read property 'name' of undefined", "cannot read property 'size' of undefined"),
        ("GET https://x/users/17 failed", "GET https://x/orders/17 failed"),
        ("no module named billing", "no module named shipping"),
        ("parse_config failed", "parse_schema failed"),
        ("Foo::Bar missing", "Foo::Baz missing"),
        ("user 17 not found", "user 17 not allowed"),
        ("deadbeef", "coffee"),
    ],
)
def test_words_are_kept(first: str, other: str) -> None:
    """Two bugs that differ in a word are two."""
    assert message(first) != message(other)
    assert error(value=first) != error(value=other)


def test_a_template_groups_whatever_its_parameters_were() -> None:
    """It is better than any mask."""
    assert message("hi %s", params=["ann"]) == message("hi %s", params=["bob"], formatted="hi bob")
    assert message("hi %s", params=["ann"]) != message("hello %s", params=["ann"])


def test_an_error_is_no_message_of_the_same_words() -> None:
    """Nor is a fingerprint."""
    fingerprint = str(row({"message": "x", "fingerprint": ["v"]})["group_hash"])
    assert len({error(value="v", kind=""), message("v"), fingerprint}) == 3


def test_environment_release_and_user_say_nothing_about_the_bug() -> None:
    """The same bug in the next release is the same issue."""
    event = {"exception": {"type": "E", "value": "v"}}
    scope = {"release": "2", "environment": "dev", "user": {"id": 1}, "tags": {"a": "b"}, "level": "warning"}
    assert row(event)["group_hash"] == row({**event, **scope}, environment_from_event=True)["group_hash"]


def case(name: str) -> str:
    """The group hash of an event among the examples."""
    body = json.loads((CASES / f"{name}.json").read_text())["body"]
    return str(row(body[-1])["group_hash"])


def test_the_same_error_bare_and_in_a_group_is_one_issue() -> None:
    """However deep it is wrapped, and however often it is there."""
    frames = [{"filename": "b.py", "lineno": 7, "in_app": True, "module": "shop.orders", "function": "load"}]
    bare = {"type": "KeyError", "value": "'customer'", "stacktrace": {"frames": frames}}
    alone = str(row({"exception": {"values": [bare]}})["group_hash"])
    assert {case("group-of-one-exception"), case("group-of-one-kind-in-groups")} == {alone}
    assert case("group-of-two-kinds") != alone


def test_a_signal_is_one_issue_however_a_platform_calls_it() -> None:
    """The type of a synthetic exception takes no part; the place it crashed at does."""
    assert case("synthetic-exception-cocoa") == case("synthetic-exception-native")
    one = {"type": "SIGSEGV", "mechanism": {"synthetic": True}, "stacktrace": {"frames": [{"function": "f"}]}}
    other = {**one, "stacktrace": {"frames": [{"function": "g"}]}}
    hashes = {str(row({"exception": {"values": [crash]}})["group_hash"]) for crash in (one, other)}
    assert len(hashes) == 2


def test_fingerprint_variables_tell_events_apart() -> None:
    """Two transactions and two types are two issues, the same ones are one."""
    assert case("fingerprint-variables-a") != case("fingerprint-variables-b")
    assert case("fingerprint-variables-a") == case("fingerprint-variables-a")


@given(st.text(max_size=500))
def test_masking_is_stable(text: str) -> None:
    """Any text is masked, in one go, to something without digits beyond ASCII's own."""
    once = masked(text)
    assert not any(char in "0123456789" for char in once)
    assert "\n".join(once.splitlines()[2:]) == ""
    without_generated(text)


@given(st.text(alphabet="ab09.?=-:/ _ZJan", min_size=1, max_size=80).filter(str.strip))
def test_looking_for_addresses_changes_nothing_in_a_line_without_one(line: str) -> None:
    """The short way that most texts take is only a shorter way."""
    assert masked(f"{line}\n@") == f"{masked(line)}\n@"


@pytest.mark.parametrize(
    "text",
    ["a" * 6_000_000, "1a" * 3_000_000, "?a=" * 2_000_000, "a:" * 3_000_000, "-" * 6_000_000, "\n" * 6_000_000],
    ids=lambda text: text[:3],
)
def test_masking_of_a_huge_text_costs_nothing(text: str) -> None:
    """Only its beginning is copied or seen. tests/unit/security/test_patterns.py: no pattern backtracks over it."""
    without_an_end = masked(text[: MAX_LENGTH * 2])
    tracemalloc.start()
    try:
        assert masked(text) == without_an_end
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < len(text) // 20
