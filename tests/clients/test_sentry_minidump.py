"""A crash uploaded as Crashpad does it: a minidump and form fields, sent by curl, read back by SQL."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.clients import minidump_file
from tests.clients.sentry_clients import run
from tests.clients.toolchains import require_curl

pytestmark = pytest.mark.clients

CRASHED_AT_S = 1_795_000_000


def proves(feature: str, result: str) -> pytest.MarkDecorator:
    """A claim for a multipart upload."""
    return pytest.mark.proves("curl, as Crashpad uploads", "any", feature, result)


@pytest.fixture
def upload(ready: Any, tmp_path: Path) -> Any:
    """Sends a dump with form fields; returns what it was answered."""
    dump = tmp_path / "crash.dmp"
    dump.write_bytes(minidump_file.crash(CRASHED_AT_S))
    url = f"{ready['url']}/api/{ready['channel']}/minidump/?sentry_key={ready['api_key']}"

    def send(*fields: str) -> str:
        forms = [word for field in (f"upload_file_minidump=@{dump}", *fields) for word in ("--form", field)]
        return run([require_curl(), "--silent", "--show-error", "--fail-with-body", *forms, url])

    return send


@proves("minidump with `sentry` JSON and Crashpad's fields", "one row, `agent.error`, dump as base64")
def test_a_crash_is_one_row(upload: Any, sql: Any) -> None:
    """The answer is the event's id; the row has the dump, what it says, and what the form says."""
    release = f"shop@1.0.0+{uuid4().hex}"
    said = {"release": release, "environment": "staging", "tags": {"till": "seven"}, "user": {"id": "u-42"}}
    answered = upload(f"sentry={json.dumps(said)}", "prod=Till", "ver=1.0.0", "guid=0-1-2-3", "ptype=browser")
    (row,) = sql.wait(f"SELECT * FROM events WHERE release = '{release}'", 1)
    assert UUID(row["event_id"]) == UUID(answered.strip())
    assert (row["event_type"], row["item_type"], row["environment"]) == ("agent.error", "minidump", "staging")
    assert (row["severity_number"], row["severity_text"]) == (21, "fatal")
    assert base64.b64decode(row["body"]) == minidump_file.crash(CRASHED_AT_S)
    assert row["exception_type"].startswith("SIGSEGV")
    assert "till" in row["exception_message"]
    assert row["timestamp"].startswith("2026-11-18 11:06:40")
    assert (row["user_id"], row["attributes"]["till"]) == ("u-42", "seven")
    assert "Till" in row["payload"]
    assert row["metadata"]["eventId"] == UUID(answered.strip()).hex


@proves("attachment beside the minidump", "one row, `app.log`")
def test_a_log_file_beside_the_crash_is_one_row(upload: Any, sql: Any, tmp_path: Path) -> None:
    """Linked to the crash by its event id, which the form gave."""
    event_id = uuid4().hex
    log = tmp_path / "till.log"
    log.write_text("3 apples")
    answered = upload(f"sentry={json.dumps({'event_id': event_id})}", f"till.log=@{log}")
    assert UUID(answered.strip()).hex == event_id
    sql.wait(f"SELECT 1 FROM events WHERE item_type = 'minidump' AND event_id = '{UUID(event_id)}'", 1)
    about = f"attributes['sentry.event_id'] = '{event_id}'"
    (row,) = sql.wait(f"SELECT * FROM events WHERE item_type = 'attachment' AND {about}", 1)
    assert (row["event_type"], row["name"], base64.b64decode(row["body"])) == ("app.log", "till.log", b"3 apples")
