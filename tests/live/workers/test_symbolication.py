"""Uploads of artifacts against a running system: resolved, refused without traces, deleted, and late."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any

import pytest

from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender, otlp_attributes, settled
from tests.unit.artifact_files import DEBUG_ID, THROWN, app_bundle, browser_event, bundle_bytes, entry

pytestmark = pytest.mark.live


class Uploader:
    """Uploads as Sentry's tools do, with the token that `up` made."""

    def __init__(self, system: System) -> None:
        self._url = f"{system.ready['console_url']}/api/0/organizations/default/"
        self._token = system.ready["auth_token"]

    def chunk(self, data: bytes, name: str = "") -> int:
        """The status of one chunk, compressed; `name` in place of its SHA-1."""
        name = name or hashlib.sha1(data).hexdigest()
        head = f'--b\r\nContent-Disposition: form-data; name="file_gzip"; filename="{name}"\r\n\r\n'
        body = head.encode() + gzip.compress(data) + b"\r\n--b--\r\n"
        return self.ask("chunk-upload/", body, "multipart/form-data; boundary=b")[0]

    def assemble(self, data: bytes, channel: int, **more: Any) -> tuple[int, Any]:
        """Status and answer of the request to put a bundle together."""
        # The console hears of a new channel within a second.
        eventually(lambda: self.ask(f"../../projects/default/{channel}/")[0] == 200, "the console knows the channel")
        sha1 = hashlib.sha1(data).hexdigest()
        asked = {"checksum": sha1, "chunks": [sha1], "projects": [str(channel)], **more}
        return self.ask("artifactbundle/assemble/", json.dumps(asked).encode(), "application/json")

    def upload(self, data: bytes, channel: int, **more: Any) -> None:
        """Uploads the chunk and assembles the bundle."""
        assert self.chunk(data) == 200
        assert self.assemble(data, channel, **more) == (200, {"state": "ok", "missingChunks": []})

    def ask(self, path: str, body: bytes | None = None, content_type: str = "", method: str = "") -> tuple[int, Any]:
        """Status and JSON."""
        headers = {"Authorization": f"Bearer {self._token}", **({"Content-Type": content_type} if content_type else {})}
        request = urllib.request.Request(urllib.parse.urljoin(self._url, path), body, headers, method=method or None)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def uploader(operated: System) -> Uploader:
    """With the token that `up` made."""
    return Uploader(operated)


def own_bundle(**manifest: Any) -> tuple[str, bytes]:
    """A bundle that no other test has, and its debug id."""
    named = str(uuid.uuid4())
    return named, app_bundle(debug_id=named, **manifest)


def send(sender: Sender, **fields: Any) -> str:
    """Sends the browser's error; returns its id."""
    event_id = uuid.uuid4().hex
    assert sender.event("", **{**browser_event(**fields), "event_id": event_id, "timestamp": time.time()}) == 200
    return event_id


def row_of(system: System, event_id: str, condition: str = "1") -> dict[str, Any]:
    """The row of an event as soon as the condition holds."""
    columns = "exception_stacktrace, repairs, group_hash, payload"
    sql = f"SELECT {columns} FROM events WHERE event_id = {{id:UUID}} AND {condition}"
    return system.rows(sql, id=str(uuid.UUID(event_id)))[0]


@pytest.mark.long
def test_a_late_map_changes_the_rows_that_lacked_it_and_new_ones_are_resolved_at_once(
    operated: System, uploader: Uploader, sender: Sender
) -> None:
    """Rows converge: the same number of them, one group, and everything accounted for."""
    named, data = own_bundle()
    early = send(sender, debug_id=named)
    assert "app.min.js:1" in row_of(operated, early)["exception_stacktrace"]
    uploader.upload(data, sender.channel)
    resolved = "position(exception_stacktrace, 'shop.js:3:5 in addToBasket') > 0"
    late = row_of(operated, early, resolved)
    new = row_of(operated, send(sender, debug_id=named), resolved)
    assert late["group_hash"] == new["group_hash"]
    assert "raw_stacktrace" in late["payload"]
    settled(operated)
    assert len(operated.query(f"SELECT 1 FROM events WHERE channel_id = {sender.channel}")) == 2
    (artifact,) = operated.query(f"SELECT artifact FROM artifacts WHERE has(channels, {sender.channel})")
    path = f"artifacts/{artifact['artifact']}/late-maps/"
    done = eventually(lambda: (found := uploader.ask(path)[1])["state"] == "done" and found, "the job is done")
    assert (done["found"], done["published"], done["gone"]) == (1, 1, 0)


@pytest.mark.long
def test_stack_traces_of_opentelemetry_become_readable_too(
    operated: System, uploader: Uploader, sender: Sender
) -> None:
    """A span's exception, before the upload and after it, by the service's name and version."""
    version = uuid.uuid4().hex
    at = f"https://shop.example/static/app.min.js:{THROWN[0]}:{THROWN[1]}"
    error = {"exception.type": "TypeError", "exception.stacktrace": f"TypeError: no item\n    at e ({at})"}

    def send_span(name: str) -> None:
        event = {"name": "exception", "timeUnixNano": "0", "attributes": otlp_attributes(error)}
        span = {"spanId": uuid.uuid4().hex[:16], "name": name, "events": [event]}
        resource = {"service.name": "shop", "service.version": version}
        assert sender.spans(span, trace_id=uuid.uuid4().hex, resource=resource) == 200

    def trace_of(name: str, condition: str) -> dict[str, Any]:
        columns = "exception_stacktrace, group_hash, attributes['symbolicated'] AS symbolicated"
        of_span = "channel_id = {channel:UInt64} AND name = {name:String}"
        sql = f"SELECT {columns} FROM events WHERE {of_span} AND {condition}"
        return operated.rows(sql, channel=str(sender.channel), name=name)[0]

    send_span("early")
    assert "app.min.js" in trace_of("early", "1")["exception_stacktrace"]
    _, data = own_bundle(release=f"shop@{version}")
    uploader.upload(data, sender.channel)
    resolved = "position(exception_stacktrace, 'at addToBasket (../src/shop.js:3:5)') > 0"
    late = trace_of("early", resolved)
    send_span("new")
    assert late == trace_of("new", resolved)
    assert late["symbolicated"] == "all"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"SYSB\x02\0\0\0 no zip", "no end of its directory"),
        (bundle_bytes({"../../etc/cron.d/x": (entry("source", "~/x"), b"1")}), "inside of the archive"),
        (bundle_bytes({"a.js": (entry("source", "~/a.js"), bytes(400_000_000))}), "once unpacked"),
    ],
    ids=["no zip", "a path that climbs", "a bomb"],
)
def test_a_hostile_bundle_is_refused_and_leaves_nothing(
    operated: System, uploader: Uploader, sender: Sender, data: bytes, said: str
) -> None:
    """400 with the reason; its chunk is gone, and no row names it."""
    assert uploader.chunk(data) == 200
    status, answer = uploader.assemble(data, sender.channel)
    assert status == 400
    assert said in answer["detail"]
    sha1 = hashlib.sha1(data).hexdigest()
    assert uploader.assemble(data, sender.channel) == (200, {"state": "not_found", "missingChunks": [sha1]})
    assert operated.query(f"SELECT 1 FROM artifact_rows WHERE sha1 = '{sha1}'") == []


def test_wrong_checksums_and_missing_chunks_are_told(uploader: Uploader, sender: Sender) -> None:
    """The truth about what is missing, before anything is uploaded."""
    _, data = own_bundle()
    sha1 = hashlib.sha1(data).hexdigest()
    assert uploader.assemble(data, sender.channel) == (200, {"state": "not_found", "missingChunks": [sha1]})
    assert uploader.chunk(data, name="0" * 40) == 400
    assert uploader.chunk(data) == 200
    status, answer = uploader.assemble(data, sender.channel, checksum="0" * 40)
    assert status == 400
    assert "checksum" in answer["detail"]


def test_a_deleted_artifact_resolves_nothing_any_more(operated: System, uploader: Uploader, sender: Sender) -> None:
    """By the command; rows that it made readable stay so."""
    named, data = own_bundle()
    uploader.upload(data, sender.channel)

    def stack_trace(event_id: str) -> str:
        return str(row_of(operated, event_id)["exception_stacktrace"])

    def readable() -> str:
        """The id of an event: the first may come before the worker knows of the upload, and wait for its late map."""
        return event_id if "shop.js" in stack_trace(event_id := send(sender, debug_id=named)) else ""

    early = eventually(readable, "events are readable")
    (artifact,) = operated.query(f"SELECT artifact FROM artifacts WHERE has(channels, {sender.channel})")
    listed = json.loads(operated.cli("artifacts", "list", "--json").stdout)
    assert artifact["artifact"] in {one["artifact"] for one in listed}
    operated.cli("artifacts", "delete", artifact["artifact"])
    assert operated.query(f"SELECT artifact FROM artifacts WHERE has(channels, {sender.channel})") == []
    eventually(lambda: "app.min.js" in stack_trace(send(sender, debug_id=named)), "events are stored as they came")
    assert "shop.js" in stack_trace(early)


def test_events_of_other_projects_and_without_maps_are_untouched(
    operated: System, uploader: Uploader, sender: Sender
) -> None:
    """The same release name in another channel is another application."""
    release = f"shop@{uuid.uuid4().hex}"
    _, data = own_bundle(release=release)
    uploader.upload(data, sender.channel)
    other = Sender(operated, 1)
    row = row_of(operated, send(other, release=release))
    assert "app.min.js" in row["exception_stacktrace"]
    assert DEBUG_ID not in row["payload"]
