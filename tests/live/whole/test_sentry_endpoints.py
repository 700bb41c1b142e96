"""Security reports, crash uploads, late attachments and store requests: through receiver, unpack and workers to rows.

And bodies of every size that is promised, through a real broker: an unpacked item is a little larger than its body.
"""

from __future__ import annotations

import base64
import gzip
import random
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from tests.system import System
from tests.unit import forms, minidump_writer

pytestmark = pytest.mark.live

MAX_BODY = 6_000_000
MIB = 1_048_576


class Sender:
    """Sends to the system's channel as an SDK, a browser or a crash handler would."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.base = f"{system.ready['url']}/api/{system.ready['channel']}"
        self.key = str(system.ready["api_key"])

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.base + path, timeout=60)

    def post(self, path: str, body: bytes, content_type: str = "application/json", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        auth = {"X-Sentry-Auth": f"Sentry sentry_key={self.key}", "Content-Type": content_type}
        return httpx.post(self.base + path, content=body, headers=auth | named, timeout=60)

    def form(self, path: str, fields: list[forms.Field], boundary: str = forms.BOUNDARY) -> httpx.Response:
        return self.post(path, forms.write(fields, boundary), f"multipart/form-data; boundary={boundary}")


@pytest.fixture
def sender(system: System) -> Sender:
    return Sender(system)


def test_csp_reports_of_both_forms_are_rows(system: System, sender: Sender) -> None:
    """By report-uri and by report-to; release and environment come in the URL, the key stays there."""
    page = f"https://{uuid4().hex}.example/cart"
    path = f"/security/?sentry_key={sender.key}&sentry_release=shop%401.2&sentry_environment=development"
    legacy = {"csp-report": {"document-uri": page, "violated-directive": "script-src", "blocked-uri": "inline"}}
    body = {"documentURL": page, "effectiveDirective": "img-src", "blockedURL": "https://evil.example/x.png"}
    modern = [
        {"type": "csp-violation", "age": 60_000, "url": page, "user_agent": "Mozilla/5.0 X", "body": body},
        {"type": "deprecation", "age": 1, "url": page, "user_agent": "Mozilla/5.0 X", "body": {}},
    ]
    for content, media_type in ((legacy, "application/csp-report"), (modern, "application/reports+json")):
        answer = sender.post(path, orjson.dumps(content), media_type)
        assert (answer.status_code, answer.content) == (200, b"")
    rows = system.rows("SELECT * FROM events WHERE url = {page:String} ORDER BY name", 2, page=page)
    assert [row["name"] for row in rows] == ["Blocked 'image' from 'evil.example'", "Blocked unsafe inline 'script'"]
    for row in rows:
        assert (row["event_type"], row["item_type"], row["release"]) == ("app.log", "csp", "shop@1.2")
        assert row["metadata"] == {"securityReport": "csp", "sentryItemType": "csp"}
        assert sender.key not in str(row)
    reason = "SELECT sum(quantity) AS n FROM outcomes WHERE reason = 'security_report_type'"
    assert system.rows(f"{reason} HAVING n > 0")


def test_equal_reports_of_two_visitors_are_two_rows(system: System, sender: Sender) -> None:
    """They carry neither id nor time."""
    page = f"https://{uuid4().hex}.example/"
    body = orjson.dumps({"csp-report": {"document-uri": page, "violated-directive": "img-src", "blocked-uri": "data"}})
    assert [sender.post("/csp-report/", body, "application/csp-report").status_code for _ in range(2)] == [200, 200]
    rows = system.rows("SELECT event_id, group_hash FROM events WHERE url = {page:String}", 2, page=page)
    assert (len({row["event_id"] for row in rows}), len({row["group_hash"] for row in rows})) == (2, 1)


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"expect-ct-report": {"hostname": "HOST", "port": 443}}, "expectct"),
        ({"expect-staple-report": {"hostname": "HOST", "response-status": "MISSING"}}, "expectstaple"),
        ({"hostname": "HOST", "known-pins": [], "include-subdomains": True}, "hpkp"),
    ],
)
def test_certificate_reports_are_rows(system: System, sender: Sender, document: Any, kind: str) -> None:
    """Expect-CT, Expect-Staple, HPKP."""
    host = f"{uuid4().hex}.example"
    assert sender.post("/security/", orjson.dumps(document).replace(b"HOST", host.encode())).status_code == 200
    sql = "SELECT item_type, metadata FROM events WHERE attributes['hostname'] = {host:String}"
    [row] = system.rows(sql, host=host)
    assert (row["item_type"], row["metadata"]["securityReport"]) == ("csp", kind)


def test_a_body_that_is_no_report_is_400(sender: Sender) -> None:
    """The reason is in the answer and in the header that SDKs log."""
    answer = sender.post("/security/", b'{"csp-report":{}}')
    assert (answer.status_code, "violated-directive" in answer.json()["detail"]) == (400, True)
    assert "violated-directive" in answer.headers["x-sentry-error"]


def crash(**changes: Any) -> bytes:
    """A dump of its own: its module has a name that was never used."""
    module = (f"/opt/{uuid4().hex}", minidump_writer.BASE, 0x10000, b"")
    return minidump_writer.write(minidump_writer.Crashed(modules=[module], **changes))


def test_a_crash_is_one_error_and_its_files(system: System, sender: Sender) -> None:
    """Answered with the event's id as text, under which SQL finds the dump and the log."""
    dump, event_id = crash(), uuid4().hex
    said = orjson.dumps({"event_id": event_id, "release": "shop@1.2", "tags": {"till": "seven"}})
    fields: list[forms.Field] = [("upload_file_minidump", dump, "a.dmp"), ("sentry__1", said[:20]), ("guid", b"7")]
    fields += [("sentry__2", said[20:]), ("log", b"3 apples", "till.log")]
    answer = sender.form("/minidump/", fields)
    assert (answer.status_code, answer.content.decode()) == (200, str(UUID(event_id)))
    sql = "SELECT * FROM events WHERE toString(event_id) = {id:String} OR attributes['sentry.event_id'] = {hex:String}"
    rows = system.rows(f"{sql} ORDER BY item_type", 2, id=str(UUID(event_id)), hex=event_id)
    log, error = rows
    assert (error["event_type"], error["item_type"], error["severity_text"]) == ("agent.error", "minidump", "fatal")
    assert error["exception_type"] == "SIGSEGV / SEGV_MAPERR"
    assert error["exception_message"].startswith("Fatal Error at 0x10 in ")
    assert (error["platform"], error["release"], error["attributes"]["till"]) == ("native", "shop@1.2", "seven")
    assert base64.b64decode(error["body"]) == dump
    assert error["timestamp"].startswith("2026-11-21 14:45:00")
    assert (log["event_type"], log["name"], base64.b64decode(log["body"])) == ("app.log", "till.log", b"3 apples")
    assert log["metadata"]["eventId"] == event_id


def test_a_retried_crash_is_one_row(system: System, sender: Sender) -> None:
    """Under a new boundary the bytes differ; the dump does not, and neither does the id that is made of it."""
    dump = crash()
    first = sender.form("/minidump/", [("upload_file_minidump", gzip.compress(dump, mtime=0), "a.dmp.gz")])
    again = sender.form("/minidump/", [("upload_file_minidump", gzip.compress(dump, mtime=0), "a.dmp.gz")], "other")
    assert (first.status_code, first.content) == (200, again.content)
    raw = sender.post("/minidump/", dump, "application/octet-stream")
    assert raw.content != first.content
    sql = "SELECT body FROM events WHERE toString(event_id) = {id:String}"
    for answer in (raw, first):
        [row] = system.rows(sql, id=answer.content.decode())
        assert base64.b64decode(row["body"]) == dump


def test_a_form_without_a_dump_is_400(sender: Sender) -> None:
    """With the name of the field that is missing."""
    answer = sender.form("/minidump/", [("sentry", b"{}")])
    assert (answer.status_code, "upload_file_minidump" in answer.json()["detail"]) == (400, True)


def test_late_attachments_belong_to_their_event(system: System, sender: Sender) -> None:
    """Several in one form, in the columns of attachments that came with the event."""
    event_id = uuid4().hex
    path = f"/events/{event_id}/attachments/"
    answer = sender.form(path, [("a", b"one", "one.txt"), ("b", b"\x00\xff", "two.bin")])
    assert (answer.status_code, answer.json()) == (200, {"id": event_id})
    header = b'{"event_id":"%s"}\n' % event_id.encode()
    item = b'{"type":"attachment","filename":"with.txt","length":3}\nyes\n'
    assert sender.post("/envelope/", header + item).status_code == 200
    rows = system.rows(
        "SELECT name, body, event_type, item_type FROM events WHERE metadata.eventId = {id:String} ORDER BY name",
        3,
        id=event_id,
    )
    found = [(row["name"], base64.b64decode(row["body"])) for row in rows]
    assert found == [("one.txt", b"one"), ("two.bin", b"\x00\xff"), ("with.txt", b"yes")]
    assert {(row["event_type"], row["item_type"]) for row in rows} == {("app.log", "attachment")}


def test_the_oldest_store_requests_are_rows(system: System, sender: Sender) -> None:
    """An image whose address holds the event, and a form."""
    tag = uuid4().hex
    events = [orjson.dumps({"event_id": uuid4().hex, "message": f"{tag} {way}"}) for way in ("get", "form")]
    packed = quote(base64.b64encode(events[0]))
    pixel = sender.get(f"/store/?sentry_version=7&sentry_key={sender.key}&sentry_data={packed}")
    assert (pixel.status_code, pixel.headers["content-type"], pixel.content[:6]) == (200, "image/gif", b"GIF89a")
    form = sender.post("/store/", b"sentry_data=" + quote(events[1]).encode(), "application/x-www-form-urlencoded")
    assert (form.status_code, form.json()) == (200, {"id": orjson.loads(events[1])["event_id"]})
    rows = system.rows("SELECT body FROM events WHERE body LIKE {tag:String} ORDER BY body", 2, tag=f"{tag}%")
    assert [row["body"] for row in rows] == [f"{tag} form", f"{tag} get"]


# --- sizes


def noise(size_bytes: int) -> bytes:
    """Letters that no coding makes much smaller."""
    return base64.b64encode(random.Random(size_bytes).randbytes(size_bytes))[:size_bytes]


def envelope_of(size_bytes: int, name: str) -> bytes:
    """An envelope of that size with one file in it."""
    head = b'{"event_id":"%s"}\n' % uuid4().hex.encode()
    item = b'{"type":"attachment","filename":"%s","length":%%d}\n' % name.encode()
    content = noise(size_bytes - len(head) - len(item % 9_999_999))
    body = head + item % len(content) + content
    return body + b"\n" * (size_bytes - len(body))


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("size_bytes", [1_000_000, MAX_BODY])
def test_bodies_up_to_the_limit_become_rows(system: System, sender: Sender, size_bytes: int, coding: str) -> None:
    """Through a broker whose messages may have 8 MB; the row has a mebibyte of it and says how much there was."""
    name = f"{uuid4().hex}.bin"
    body = envelope_of(size_bytes, name)
    assert len(body) == size_bytes
    wire, headers = (gzip.compress(body, 1), {"Content_Encoding": coding}) if coding else (body, {})
    answer = sender.post("/envelope/", wire, "application/x-sentry-envelope", **headers)
    assert answer.status_code == 200
    [row] = system.rows(
        "SELECT length(body) AS n, attributes, repairs FROM events WHERE name = {name:String}", name=name
    )
    size = int(row["attributes"]["attachment.size_bytes"])
    assert size_bytes - 300 < size < size_bytes
    assert row["n"] == 4 * ((min(size, MIB) + 2) // 3)
    assert row["repairs"] == (["payload_cut"] if size > MIB else [])


def test_an_event_of_the_whole_limit_is_a_row(system: System, sender: Sender) -> None:
    """Its payload is text of 6 MB, in RAW, in ITEMS and in the table; compressed it is small on the wire."""
    tag = uuid4().hex
    head, tail = b'{"message":"%s","extra":{"big":"' % tag.encode(), b'"}}'
    event = head + b"x" * (MAX_BODY - len(head) - len(tail)) + tail
    assert sender.post("/store/", gzip.compress(event), Content_Encoding="gzip").status_code == 200
    [row] = system.rows("SELECT length(payload) AS n FROM events WHERE body = {tag:String}", tag=tag)
    assert row["n"] == MAX_BODY


@pytest.mark.parametrize(
    "path", ["/envelope/", "/store/", "/security/", "/minidump/", f"/events/{'a' * 32}/attachments/"]
)
def test_one_byte_more_is_413_everywhere(sender: Sender, path: str) -> None:
    """On the wire and inflated, and final: the answer says what the limit is."""
    content_type = forms.CONTENT_TYPE if "m" in path.rpartition("/")[0][-11:] else "application/json"
    body = b"{}\n".ljust(MAX_BODY + 1)
    for wire, headers in ((body, {}), (gzip.compress(body), {"Content_Encoding": "gzip"})):
        answer = sender.post(path, wire, content_type, **headers)
        assert (answer.status_code, "6000000" in answer.json()["detail"]) == (413, True)


def test_a_crash_of_the_whole_limit_is_a_row(system: System, sender: Sender) -> None:
    """The dump goes on as one item behind its event."""
    dump = crash()
    fields: list[forms.Field] = [("upload_file_minidump", dump, "a.dmp"), ("sentry", b'{"tags":{"a":"b"}}')]
    spare = MAX_BODY - len(forms.write(fields))
    fields[0] = ("upload_file_minidump", dump + noise(spare), "a.dmp")
    assert len(forms.write(fields)) == MAX_BODY
    answer = sender.form("/minidump/", fields)
    assert answer.status_code == 200
    sql = "SELECT attributes, repairs, exception_type FROM events WHERE toString(event_id) = {id:String}"
    [row] = system.rows(sql, id=answer.content.decode())
    assert row["attributes"]["attachment.size_bytes"] == str(len(dump) + spare)
    assert (row["repairs"], row["exception_type"]) == (["payload_cut"], "SIGSEGV / SEGV_MAPERR")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{}\n" + b'{"type":"attachment","length":0}\n\n' * 501, "500 items"),
        (b'{}\n{"type":"event","length":18446744073709551615}\n{}', "18446744073709551615"),
        (b'{}\n{"type":"event","length":-1}\n{}', "length"),
        (b'{"a":' * 200 + b"1" + b"}" * 200 + b"\n", "deep"),
        (b"{}\n" + b'{"type":"event","a":' + b"[" * 200 + b"]" * 200 + b"}\n{}", "deep"),
    ],
)
def test_absurd_envelopes_are_400_with_a_place(sender: Sender, body: bytes, word: str) -> None:
    """Too many items, lengths nobody can have, JSON nested without end."""
    answer = sender.post("/envelope/", body, "application/x-sentry-envelope")
    assert answer.status_code == 400
    assert word in answer.json()["detail"]
    assert "byte " in answer.json()["detail"]


def test_deep_payloads_cost_themselves_only(system: System, sender: Sender) -> None:
    """The event beside is a row; the deep one is refused by name or kept, never a crash."""
    tag = uuid4().hex
    deep = b'{"message":"%s deep","extra":{"a":%s1%s}}' % (tag.encode(), b"[" * 100_000, b"]" * 100_000)
    fine = b'{"message":"%s fine"}' % tag.encode()
    items = b"".join(b'{"type":"event","length":%d}\n%s\n' % (len(payload), payload) for payload in (deep, fine))
    answer = sender.post("/envelope/", b"{}\n" + items, "application/x-sentry-envelope")
    assert answer.status_code == 200
    assert system.rows("SELECT body FROM events WHERE body = {body:String}", body=f"{tag} fine")
