"""A command that is advised works as it is typed, and what is mistyped is not taken for success."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from ops.cli import servers, terminal
from ops.cli.registry.channels import _check_organisation
from ops.cli.registry.keys import _hosts
from ops.cli.sql import shorten_error
from ops.dead_letters.actions import REASONS, DeadLetter, Filter, unknown_words
from ops.local.broker_users import url_with
from ops.provisioning.desired_state import FIELDS
from ops.registry.names import nearest
from ops.runtime.failures import Failed
from workers.consume import pipeline
from workers.unpack import handler

ADVICE = (
    "run `axonpush migrate`, then `axonpush keys list --all`; `axonpush up` does not need it, a worker does: "
    "`axonpush worker event`"
)


def test_advised_commands_have_the_folder_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that take one; none where none was named."""
    assert terminal.with_folder(ADVICE) == ADVICE
    monkeypatch.setattr(terminal, "_named_folder", [Path("my data")])
    assert terminal.with_folder(ADVICE) == (
        "run `axonpush migrate --data-dir 'my data'`, then `axonpush keys list --all --data-dir 'my data'`; "
        "`axonpush up` does not need it, a worker does: `axonpush worker event --data-dir 'my data'`"
    )


def test_advice_to_lower_shows_the_cost_first() -> None:
    """A command with --allow-lowering, ready to be copied, would take away before anybody has read what."""
    replicas, ttl = FIELDS["nats_replicas"], FIELDS["clickhouse_ttl_days"]
    cost = "says what that takes away, and how to do it"
    assert replicas.advice(1, 3) == f"`axonpush cluster set --replicas 1` {cost}"
    assert replicas.advice(3, 1) == "`axonpush cluster set --replicas 3` changes the system"
    assert ttl.advice(30, 0) == f"`axonpush cluster set --clickhouse-ttl-days 30` {cost}"
    assert ttl.advice(0, 30) == "`axonpush cluster set --clickhouse-ttl-days 0` changes the system"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("defualt", "default"), ("acmee", "acme"), ("acme", ""), ("globex", ""), ("team-2", ""), ("a1b2c3", "")],
)
def test_a_slip_is_told_from_a_new_name(name: str, meant: str) -> None:
    known = {"default", "acme", "team-1"}
    assert nearest(name, known) == meant
    if name in known:
        _check_organisation(name, known)
        return
    with pytest.raises(Failed, match=f"did you mean {meant}.*--new-organisation" if meant else "--new-organisation"):
        _check_organisation(name, known)


def letter(reason: str, stage: str = "event") -> DeadLetter:
    return DeadLetter((1,), (1, stage, 1, 0), "o", stage, reason, "", "", dt.datetime.now(dt.UTC), 1, 1)


def test_a_reason_that_does_not_exist_is_no_empty_success() -> None:
    """Those that exist are listed; a real one without dead letters now is fine."""
    text = unknown_words(Filter(reasons=("nonsense",)), [letter("odd_reason")])
    for word in ("'nonsense'", "odd_reason", "normaliser_error"):
        assert word in text
    assert "'evnt'" in unknown_words(Filter(stages=("evnt",)), [])
    assert "'evnt'" in unknown_words(Filter(types=("evnt",)), [])
    fine = Filter(reasons=("poison", "row_refused_53", "odd_reason"), stages=("event",), types=("log",))
    assert unknown_words(fine, [letter("odd_reason")]) == ""


def test_the_reasons_are_those_of_the_workers() -> None:
    assert {pipeline.TOO_COSTLY, handler.UNKNOWN_ROUTE} <= set(REASONS)


def test_a_syntax_error_is_no_page() -> None:
    tokens = ", ".join(f"TOKEN{number}" for number in range(120))
    text = f"Code: 62. DB::Exception: Syntax error: failed at position 8. Expected one of: {tokens}. (SYNTAX_ERROR)"
    short = shorten_error(text)
    assert short.endswith("TOKEN7 and 112 more. (SYNTAX_ERROR)")
    assert short.startswith("Code: 62. DB::Exception: Syntax error: failed at position 8.")
    assert shorten_error("Code: 60. DB::Exception: x") == "Code: 60. DB::Exception: x"


def test_a_password_without_its_user_is_said_to_be_unused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Address and user come from ready.json, so the variable has no effect."""
    for name in ("NATS_USER", "NATS_PASSWORD", "CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"):
        monkeypatch.delenv(f"AXONPUSH_{name}", raising=False)
    both = {"nats_url": "nats://a:1", "clickhouse_url": "http://a:1"}
    assert servers.unused_variables(both) == []
    monkeypatch.setenv("AXONPUSH_CLICKHOUSE_PASSWORD", "hush")
    monkeypatch.setenv("AXONPUSH_NATS_PASSWORD", "hush")
    assert servers.unused_variables(both) == ["AXONPUSH_NATS_PASSWORD", "AXONPUSH_CLICKHOUSE_PASSWORD"]
    servers._tell_unused(both)
    told = capsys.readouterr().err
    assert "AXONPUSH_CLICKHOUSE_PASSWORD is set and not used" in told
    assert "hush" not in told
    monkeypatch.setenv("AXONPUSH_CLICKHOUSE_USER", "me")
    assert servers.unused_variables({"clickhouse_url": "http://a:1"}) == []
    assert servers.unused_variables({}) == []


def test_ready_json_has_the_user_of_every_named_broker() -> None:
    """A command with --data-dir logs in as `up` does; a token stands alone."""
    assert url_with("nats://a:1, tls://b:2", "me", "p@ss") == "nats://me:p%40ss@a:1,tls://me:p%40ss@b:2"
    assert url_with("nats://a:1", "to/ken", "") == "nats://to%2Fken@a:1"
    assert _hosts("nats://me:p@a:1, tls://b:2") == _hosts("tls://b:2,nats://a:1")


def test_the_reason_row_refused_means_every_code() -> None:
    """The command offered this word, and chose nothing with it."""
    refused = [letter(reason) for reason in ("row_refused_6", "row_refused_469", "row_refused", "poison")]
    assert [one.reason for one in refused if Filter(reasons=["row_refused"]).wants(one)] == [
        "row_refused_6", "row_refused_469", "row_refused",
    ]  # fmt: skip
    assert [one.reason for one in refused if Filter(reasons=["row_refused_6"]).wants(one)] == ["row_refused_6"]
    assert not any(Filter(reasons=["row"]).wants(one) for one in refused)


def test_a_type_is_also_the_name_of_the_worker() -> None:
    """As `replay --type native` has it; the command took this word, and chose nothing with it."""
    died = dt.datetime.now(dt.UTC)
    native, log = (
        DeadLetter((1,), (1, stage, 1, 0), "o", item_type, "poison", "", "", died, 1, 1)
        for stage, item_type in (("native", "event"), ("otlp_log", "otlp_logs"))
    )
    assert Filter(types=("native",)).wants(native)
    assert not Filter(types=("native",)).wants(log)
    assert Filter(types=("otlp_log",)).wants(log)
    assert Filter(types=("otlp_logs",)).wants(log)
