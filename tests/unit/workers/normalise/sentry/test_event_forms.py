"""Every form that SDKs, old and odd ones too, give to a field of an event: one row each, what was mended named."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND
from tests.unit.workers.normalise.sentry.test_event import NOW_NS, crash, row

NOW_S = NOW_NS // NANOS_PER_SECOND
FRAMES = [
    {"module": "app.web", "filename": "web.py", "function": "handle", "lineno": 10, "in_app": True},
    {"module": "app.cart", "filename": "cart.py", "function": "pay", "lineno": 88, "in_app": True},
    {"module": "lib.http", "filename": "http.py", "function": "send", "lineno": 7, "in_app": False},
]


def sent(**fields: Any) -> dict[str, Any]:
    """A row of an event whose time needs no repair."""
    return row({"timestamp": NOW_S, **fields})


# --- exceptions


@pytest.mark.parametrize(
    "form",
    [
        ["E", "v"],
        ["E", "v", "builtins"],
        [["E", "v"]],
        {"values": [["E", "v"]]},
        "E: v",
        ["E: v"],
        {"values": ["E: v"]},
        {"values": "E: v"},
    ],
)
def test_exceptions_that_are_no_objects_are_read_all_the_same(form: Any) -> None:
    """Pairs of the first clients, bare texts: an error whose form is named, never a lost one."""
    found = sent(exception=form)
    assert (found["event_type"], found["exception_type"], found["exception_message"]) == ("agent.error", "E", "v")
    assert found["repairs"] == ["exception_invalid"]


@pytest.mark.parametrize("form", [7, True, [7], [[]], {"values": 7}])
def test_what_is_no_exception_is_named_and_costs_nothing_else(form: Any) -> None:
    """The message is still a row."""
    found = sent(exception=form, message="hello")
    assert (found["event_type"], found["name"]) == ("app.log", "hello")
    assert "exception_invalid" in found["repairs"]


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (1.5, "1.5"), (True, "True"), ({"a": [1]}, '{"a":[1]}'), (["x"], '["x"]'), (None, "")]
)
def test_an_exceptions_value_may_be_any_json(value: Any, text: str) -> None:
    """As text, because people read it."""
    found = sent(exception={"type": "E", "value": value})
    assert (found["exception_message"], found["name"]) == (text, f"E: {text}" if text else "E")


def test_a_type_inside_the_value_is_split_off_and_nothing_else_is() -> None:
    """`Foo: bar` without a type; a sentence with a colon keeps its words, and a given type keeps its value."""
    assert sent(exception={"value": "a.b.Error: x: y"})["exception_type"] == "a.b.Error"
    spoken = sent(exception={"value": "could not open: disk full"})
    assert (spoken["exception_type"], spoken["exception_message"]) == ("", "could not open: disk full")
    kept = sent(exception={"type": "E", "value": "Foo: bar"})
    assert (kept["exception_type"], kept["exception_message"]) == ("E", "Foo: bar")


def test_mechanism_and_module_are_attributes() -> None:
    """Whether somebody caught it is what people filter by."""
    found = row(crash(module="app.errors", mechanism={"type": "wsgi", "handled": False, "synthetic": True}))
    strings = found["attributes_string"]
    assert (strings["exception.module"], strings["exception.mechanism.type"]) == ("app.errors", "wsgi")
    assert found["attributes_bool"]["exception.mechanism.handled"] is False
    assert row(crash(mechanism="generic"))["repairs"] == ["timestamp_missing"]


def test_chained_exceptions_end_with_the_one_that_was_thrown() -> None:
    """The last of the list, as Sentry shows it, whatever ids the mechanisms have."""
    root = {"exception_id": 0, "type": "chained"}
    cause = {"exception_id": 1, "parent_id": 0, "type": "chained", "source": "__cause__"}
    values = [{"type": "Cause", "value": "c", "mechanism": cause}, {"type": "E", "value": "v", "mechanism": root}]
    found = sent(exception={"values": values})
    assert (found["name"], found["attributes_string"]["exception.chain"]) == ("E: v", '["Cause","E"]')


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("first\nsecond", "E: first"),
        ("\n\n  first  \nsecond", "E"),
        ("x" * 1_000, "E: " + "x" * 250 + "..."),
        ("", "E"),
        ("   ", "E:"),
    ],
)
def test_the_name_is_type_and_first_line(value: str, name: str) -> None:
    """One line, cut where a list of issues would cut it."""
    found = sent(exception={"type": "E", "value": value})
    assert found["name"].startswith(name)
    assert len(found["name"]) <= 256
    assert "\n" not in found["name"]


# --- messages


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"message": {"message": "m", "formatted": "f"}}, "f"),
        ({"message": {"formatted": "f"}}, "f"),
        ({"logentry": ["a"]}, '["a"]'),
        ({"logentry": {}, "message": "m"}, "m"),
        ({"logentry": {"message": "%s is %s", "params": "x"}}, "%s is %s"),
        ({"logentry": {"message": "100% of %s", "params": ["it"]}}, "100% of it"),
        ({"logentry": {"message": "{} {}", "params": ["a", {"b": 1}]}}, 'a {"b":1}'),
        ({"logentry": {"message": "%s", "params": [None]}}, "%s"),
        ({"message": "", "logentry": None}, ""),
    ],
)
def test_odd_messages_are_read(form: dict[str, Any], text: str) -> None:
    """Objects, lists, params that do not fit."""
    assert sent(**form)["body"] == text


def test_a_message_without_text_has_sentrys_name() -> None:
    """And blank lines are no text."""
    assert sent(message=" \n ")["name"] == "<unlabeled event>"
    assert sent(message="\n two\nthree")["name"] == "two"


# --- tags, user, request


@pytest.mark.parametrize(
    "form",
    [
        {"a": "1", "b": "True"},
        [["a", "1"], ["b", "True"]],
        [["a", 1], ["b", True]],
        [{"key": "a", "value": 1}, {"key": "b", "value": True}],
        [["a", 1], None, ["b", True], ["odd"], 7, ["a", 2]],
    ],
)
def test_tags_of_every_form_are_the_same_tags(form: Any) -> None:
    """Objects, pairs, lists of key and value."""
    found = sent(tags=form)
    assert (found["attributes_string"], found["repairs"]) == ({"a": "1", "b": "True"}, [])


@pytest.mark.parametrize(
    ("user", "user_id"),
    [
        ({"id": 7}, "7"),
        ({"id": 2**63}, str(2**63)),
        ({"id": "", "email": "a@b.c"}, "a@b.c"),
        ({"id": None, "username": 8}, "8"),
        ({"ip_address": "2001:db8::1"}, "2001:db8::1"),
        ({"ip_address": "{{auto}}"}, "203.0.113.9"),
        ({"name": "Ann"}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_user_is_the_first_thing_that_identifies_one(user: Any, user_id: str) -> None:
    """Id, user name, e-mail, address."""
    found = sent(user=user)
    assert (found["user_id"], found["repairs"]) == (user_id, [])


@pytest.mark.parametrize(("user", "user_id"), [("ann", "ann"), (7, "7"), ([], ""), (True, ""), ("", "")])
def test_a_user_that_is_no_object_is_an_id_or_nothing(user: Any, user_id: str) -> None:
    """And named."""
    found = sent(user=user)
    assert (found["user_id"], found["repairs"]) == (user_id, ["user_invalid"])


@pytest.mark.parametrize(
    "query",
    ["a=1&b=x+y", "?a=1&b=x+y", {"a": 1, "b": "x y"}, [["a", "1"], ["b", "x y"]], {"a": ["1"], "b": ["x y"]}],
)
def test_query_strings_of_every_form_are_text(query: Any) -> None:
    """As they would stand in a URL."""
    assert sent(request={"query_string": query})["attributes_string"]["url.query"] == "a=1&b=x+y"


def test_a_parameter_may_come_several_times() -> None:
    """A list is one parameter each."""
    assert sent(request={"query_string": {"a": ["1", 2]}})["attributes_string"]["url.query"] == "a=1&a=2"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-One": "1", "Accept": ["a", "b"]},
        [["X-One", 1], ["ACCEPT", "a, b"]],
        "X-One: 1\r\nAccept: a, b\r\nbroken",
    ],
)
def test_headers_of_every_form_are_attributes(headers: Any) -> None:
    """Lower-case names, several values joined; credentials and cookies never."""
    secret = {"request": {"headers": headers, "cookies": {"session": "s3cret"}}}
    strings = sent(**secret)["attributes_string"]
    assert strings == {"http.request.header.x-one": "1", "http.request.header.accept": "a, b"}


@pytest.mark.parametrize("cookies", ["a=b; c=d", {"a": "b"}, [["a", "b"]], 7])
def test_cookies_are_in_the_payload_alone(cookies: Any) -> None:
    """Of any form: they are other people's passwords."""
    found = sent(request={"url": "/x", "cookies": cookies, "headers": {"Cookie": "a=b", "Set-Cookie": "c"}})
    assert found["attributes_string"] == {"url.full": "/x", "url.path": "/x"}
    assert "cookies" in found["payload"]


@pytest.mark.parametrize(
    ("form", "count"), [([{}, {}], 2), ({"values": [{}, None]}, 2), ({"values": {}}, None), ("x", None), ([], None)]
)
def test_breadcrumbs_of_every_form_are_counted(form: Any, count: int | None) -> None:
    """They stay in the payload; how many there are can be asked."""
    assert sent(breadcrumbs=form)["attributes_int"].get("breadcrumbs.count") == (count or None)


# --- times


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("2026-11-21T14:46:05z", 0),
        ("2026-11-21t14:46:05Z", 0),
        ("2026-11-21 14:46:05 UTC", 0),
        ("2026-11-21 14:46:05.5 GMT", 500_000_000),
        ("2026-11-21T20:16:05+05:30", 0),
        ("2026-11-21T14:46:05,25", 250_000_000),
        (" 1795272365 ", 0),
    ],
)
def test_times_are_read_as_people_write_them(text: str, nanos: int) -> None:
    """Small letters, blanks, zones by name."""
    found = row({"timestamp": text})
    assert (found["timestamp"], found["repairs"]) == ((NOW_S - 1) * NANOS_PER_SECOND + nanos, [])


def test_an_old_event_keeps_its_own_time_beside() -> None:
    """It is stored as old as can be, named, and what it said is not lost."""
    found = row({"timestamp": NOW_S - 100 * 86_400})
    assert found["timestamp"] == NOW_NS - 30 * NANOS_PER_DAY
    assert found["original_timestamp_ns"] == NOW_NS - 100 * NANOS_PER_DAY
    assert found["repairs"] == ["timestamp_too_old"]


def test_drift_and_a_wrong_clock_are_told_apart() -> None:
    """A clock that is a day ahead is corrected by sent_at; without sent_at the time is only moved."""
    day_ahead = NOW_S + 86_400
    header = b'{"sent_at":"2026-11-22T14:46:06Z"}'
    drifted = row({"timestamp": day_ahead - 5}, header=header)
    assert (drifted["timestamp"], drifted["repairs"]) == ((NOW_S - 5) * NANOS_PER_SECOND, ["clock_drift"])
    moved = row({"timestamp": day_ahead - 5})
    assert (moved["timestamp"], moved["repairs"]) == (NOW_NS, ["timestamp_future"])


# --- culprit and fingerprint


def test_the_culprit_is_where_sentry_looks_for_it() -> None:
    """Said, else the transaction, else the innermost frame of the application, else the innermost at all."""
    error = crash(stacktrace={"frames": FRAMES})
    assert row({**error, "culprit": "said", "transaction": "/pay"})["attributes_string"]["culprit"] == "said"
    assert row({**error, "culprit": "", "transaction": "/pay"})["attributes_string"]["culprit"] == "/pay"
    assert row(error)["attributes_string"]["culprit"] == "app.cart in pay"
    library = crash(stacktrace={"frames": FRAMES[2:]})
    assert row(library)["attributes_string"]["culprit"] == "lib.http in send"
    assert "culprit" not in row(crash())["attributes_string"]


def test_the_default_in_a_fingerprint_is_expanded() -> None:
    """What stands in the column can be compared with group_hash; what the SDK wrote itself stays."""
    plain = row(crash())
    extended = row({**crash(), "fingerprint": ["{{ default }}", "eu", 1.5, True, None]})
    assert extended["fingerprint"] == [plain["group_hash"], "eu", "1.5", "True"]
    assert extended["group_hash"] != plain["group_hash"]
    assert row({**crash(), "fingerprint": ["x-{{default}}"]})["fingerprint"] == [f"x-{plain['group_hash']}"]
    assert plain["fingerprint"] == []
