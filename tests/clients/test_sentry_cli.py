"""sentry-cli: events and envelopes by hand, and cron jobs that it wraps, read back by SQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.clients.sentry_clients import npm_pin, run
from tests.clients.toolchains import npm_project

pytestmark = pytest.mark.clients

VERSION = npm_pin("sentry-cli", "@sentry/cli")


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for sentry-cli."""
    return pytest.mark.proves("sentry-cli", VERSION, feature, result)


@pytest.fixture
def cli(ready: Any) -> Any:
    """Runs sentry-cli with the DSN of the secret key; returns what it prints."""
    dsn = ready["dsn"].replace(ready["public_token"], ready["api_key"])
    program = npm_project("sentry-cli") / "node_modules" / ".bin" / "sentry-cli"
    return lambda *arguments, exit_code=0: run([program, *arguments], exit_code=exit_code, SENTRY_DSN=dsn)


@proves("send-event", "one row, `app.log`")
def test_an_event_sent_by_hand_is_one_row(cli: Any, sql: Any) -> None:
    """Message with its parameters, level, release, environment, tag, extra, user and fingerprint."""
    assert VERSION in cli("--version")
    release = f"shop@1.0.0+{uuid4().hex}"
    said = cli(
        *("send-event", "--message", "stock is low: %s", "--message-arg", "2", "--level", "warning"),
        *("--release", release, "--env", "staging", "--tag", "till:seven", "--extra", "left:2"),
        *("--user", "id:u-42", "--user", "email:ada@example.com", "--fingerprint", "stock", "--no-environ"),
    )
    event_id = UUID(said.rpartition("Event id:")[2].strip())
    (row,) = sql.wait(f"SELECT * FROM events WHERE release = '{release}'", 1)
    assert UUID(row["event_id"]) == event_id
    assert (row["event_type"], row["item_type"], row["environment"]) == ("app.log", "event", "staging")
    assert (row["body"], row["severity_number"]) == ("stock is low: 2", 13)
    assert (row["user_id"], row["user_email"], row["fingerprint"]) == ("u-42", "ada@example.com", ["stock"])
    assert {"till": "seven", "extra.left": "2"}.items() <= row["attributes"].items()
    assert (row["sdk_name"], row["sdk_version"]) == ("sentry-cli", VERSION)


@proves("send-envelope, parsed and raw", "a row for each item")
@pytest.mark.parametrize("arguments", [(), ("--raw",)], ids=["parsed", "raw"])
def test_an_envelope_sent_by_hand_is_a_row_for_each_item(
    cli: Any, sql: Any, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """An error and its attachment, both under the envelope's id."""
    event_id = uuid4().hex
    raised = {"type": "PaymentRefused", "value": "no payment of 3"}
    event = {"event_id": event_id, "exception": {"values": [raised]}, "timestamp": "2026-01-02T03:04:05Z"}
    lines = [{"event_id": event_id}, {"type": "event"}, event]
    lines += [{"type": "attachment", "length": 8, "filename": "cart.txt"}]
    path = tmp_path / "stored.envelope"
    path.write_text("\n".join([*map(json.dumps, lines), "3 apples", ""]))
    cli("send-envelope", *arguments, str(path))
    (row,) = sql.wait(f"SELECT * FROM events WHERE event_id = '{UUID(event_id)}'", 1)
    assert (row["event_type"], row["exception_type"]) == ("agent.error", "PaymentRefused")
    about = f"attributes['sentry.event_id'] = '{event_id}'"
    (attached,) = sql.wait(f"SELECT * FROM events WHERE item_type = 'attachment' AND {about}", 1)
    assert attached["name"] == "cart.txt"


@proves("monitors run", "cron check-ins: one row each, `custom`")
@pytest.mark.parametrize(("job", "status"), [("true", "ok"), ("false", "error")])
def test_a_wrapped_job_checks_in_twice(cli: Any, sql: Any, job: str, status: str) -> None:
    """Start and end under one id, with the monitor's configuration and how long it took."""
    slug = f"nightly-{uuid4().hex}"
    options = (
        "--environment",
        "staging",
        "--schedule",
        "5 * * * *",
        "--max-runtime",
        "20",
        "--timezone",
        "Europe/Rome",
    )
    cli("monitors", "run", *options, slug, "--", job, exit_code=int(status == "error"))
    rows = sql.wait(f"SELECT * FROM events WHERE item_type = 'check_in' AND name = '{slug}' ORDER BY source_seq", 2)
    assert [row["status"] for row in rows] == ["in_progress", status]
    assert {(row["event_type"], row["environment"]) for row in rows} == {("custom", "staging")}
    assert len({row["metadata"]["checkInId"] for row in rows}) == 1
    assert rows[0]["attributes"]["monitor.schedule.value"] == "5 * * * *"
    assert rows[0]["attributes"]["monitor.max_runtime"] == "20"
    assert rows[1]["duration_ns"] > 0
