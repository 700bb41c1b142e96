"""Security reports, crash uploads, late attachments and the oldest store requests: from the request to the items."""

from __future__ import annotations

import base64
import gzip
import zlib
from urllib.parse import quote, quote_plus
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.endpoints import security as receiver_security
from schemas import headers
from schemas.envelope import body as envelope
from schemas.envelope.store_body import StoreBodyError, event_text
from schemas.headers import Origin
from tests.unit import forms, minidump_writer
from tests.unit.receiver.test_app import ONE_CHANNEL, PUBLIC, SECRET, Answered, Client, auth
from workers.normalise.minidump import codec
from workers.normalise.sentry import security_reports
from workers.normalise.verdict import Invalid
from workers.unpack import attachments
from workers.unpack.pieces import Split
from workers.unpack.readers import READERS

ID = "26e31e9cc7b74ad0b11d3a8a265b9e38"
KEY = {"x_sentry_auth": auth()}
CSP = b'{"csp-report":{"violated-directive":"img-src","blocked-uri":"https://evil.example/x.png"}}'
DUMP = minidump_writer.write()
CRASH: list[forms.Field] = [("upload_file_minidump", DUMP, "crash.dmp")]
LIMIT = 6_000_000


@pytest.fixture
def client() -> Client:
    return Client()


def upload(client: Client, fields: list[forms.Field], path: str = "/api/42/minidump/", **more: str) -> Answered:
    return client.post(path, forms.write(fields), content_type=forms.CONTENT_TYPE, **KEY, **more)


def split(client: Client, place: int = -1) -> Split:
    """What unpack makes of a published message."""
    subject, body, fields = client.publisher.published[place]
    origin = headers.read(fields, 1)
    if origin.content_encoding == "gzip":
        body = gzip.decompress(body)
    return READERS[subject.removeprefix("raw.").rpartition(".")[0]](body, origin, LIMIT)


def items(found: Split) -> list[tuple[str, str | None, dict[str, object], bytes]]:
    """(worker, event id, item header without its length, payload) of each item."""
    made = []
    for index, worker, wire in found.items:
        header, [item] = envelope.read(wire)
        assert index == len(made)
        fields = {name: value for name, value in item.header.items() if name != "length"}
        made.append((worker, header.event_id, fields, bytes(item.payload)))
    return made


# --- security reports


@pytest.mark.parametrize("path", ["security", "csp-report", "security/", "/csp-report//"])
@pytest.mark.parametrize("media_type", [*sorted(receiver_security.MEDIA_TYPES), "application/json; charset=utf-8", ""])
def test_reports_are_answered_with_nothing(client: Client, path: str, media_type: str) -> None:
    """200 and no body, which is all a browser looks at; the report becomes one item as it came."""
    where = f"/api/42/{path}?sentry_key={PUBLIC}&sentry_release=shop%401.2&sentry_environment=staging"
    answer = client.post(where, CSP, content_type=media_type)
    assert (answer.status, answer.body) == (200, b"")
    [(worker, event_id, header, payload)] = items(split(client))
    assert (worker, event_id, payload) == ("csp", None, CSP)
    assert header == {
        "type": "raw_security",
        "content_type": media_type,
        "sentry_release": "shop@1.2",
        "sentry_environment": "staging",
    }


def test_media_types_of_both_rooms_agree() -> None:
    """What the receiver lets in is what the worker reads."""
    assert receiver_security.MEDIA_TYPES == security_reports.MEDIA_TYPES


def test_the_key_of_a_report_goes_no_further(client: Client) -> None:
    """It stands in the query, where the release stands too."""
    client.post(f"/api/42/security/?sentry_key={PUBLIC}&sentry_release=r", CSP, content_type="application/json")
    [(_, _, fields)] = client.publisher.published
    assert fields["Query"] == "sentry_release=r"
    assert PUBLIC not in str(fields)


def test_two_visitors_are_two_reports(client: Client) -> None:
    """A report says neither who nor when, so equal bytes are two messages."""
    for _ in range(2):
        assert client.post("/api/42/security/", CSP, content_type="application/csp-report", **KEY).status == 200
    assert len({fields["Nats-Msg-Id"] for _, _, fields in client.publisher.published}) == 2


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [(CSP, "text/html", 415), (CSP, "application/x-www-form-urlencoded", 415), (b"", "application/json", 400)],
)
def test_what_is_no_report_is_refused_at_the_receiver(
    client: Client, body: bytes, media_type: str, status: int
) -> None:
    """With a reason; nothing is stored."""
    answer = client.post("/api/42/security/", body, content_type=media_type, **KEY)
    assert (answer.status, "expected" in answer.json["detail"]) == (status, True)
    assert client.publisher.published == []


@pytest.mark.parametrize("body", [b"{", b"7", b'"x"', b"{}", b'{"csp-report":{}}', b"[" + b"{}," * 600 + b"{}]"])
def test_what_is_no_report_is_refused_by_unpack(client: Client, body: bytes) -> None:
    """The waiting receiver answers 400 with these words."""
    client.post("/api/42/security/", body, content_type="application/json", **KEY)
    with pytest.raises(Invalid, match="security report: expected"):
        split(client)


@pytest.mark.parametrize("body", [b'[{"type":"deprecation","body":{}}]', b"[" + b"{}," * 30 + b"{}]", b"[]"])
def test_reports_about_other_things_are_taken(client: Client, body: bytes) -> None:
    """Browsers send all of theirs to one address; the worker names each."""
    client.post("/api/42/security/", body, content_type="application/reports+json", **KEY)
    assert [worker for worker, *_ in items(split(client))] == ["csp"]


# --- crash uploads


def test_a_crash_is_answered_with_its_id_as_text(client: Client) -> None:
    """The sender's own, hyphenated; the dump is an item behind its event, the log file one beside it."""
    said = {"event_id": ID, "release": "shop@1.2"}
    fields = [*CRASH, ("sentry", orjson.dumps(said)), ("log", b"3 apples", "till.log"), ("guid", b"7")]
    answer = upload(client, fields)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain")
    assert answer.body.decode() == str(UUID(ID))
    dump, log = items(split(client))
    assert (dump[:2], log[:2]) == (("minidump", ID), ("attachment", ID))
    length = int(str(dump[2]["meta_length"]))
    assert orjson.loads(dump[3][:length]) == said | {"extra": {"guid": "7"}}
    assert (dump[3][length:], dump[2]["filename"]) == (DUMP, "crash.dmp")
    assert (log[2]["filename"], log[3]) == ("till.log", b"3 apples")


@pytest.mark.parametrize("media_type", ["application/octet-stream", "application/x-dmp", ""])
def test_a_dump_alone_is_a_crash(client: Client, media_type: str) -> None:
    """Its id is made of its bytes: a retry, even a compressed one, is the same event."""
    first = client.post("/api/42/minidump", DUMP, content_type=media_type, **KEY)
    again = client.post(
        "/api/42/minidump", gzip.compress(DUMP), content_type=media_type, content_encoding="gzip", **KEY
    )
    assert first.body == again.body
    for place in (0, 1):
        [(worker, event_id, _, _)] = items(split(client, place))
        assert (worker, UUID(event_id)) == ("minidump", UUID(first.body.decode()))


def test_a_retry_under_a_new_boundary_is_the_same_event(client: Client) -> None:
    """As crash handlers retry."""
    first = upload(client, CRASH)
    kind = "multipart/form-data; boundary=another"
    again = client.post("/api/42/minidump/", forms.write(CRASH, "another"), content_type=kind, **KEY)
    assert (first.body, again.status) == (again.body, 200)
    assert items(split(client, 0)) == items(split(client, 1))


def test_the_ending_of_a_compressed_dump_is_cut(client: Client) -> None:
    """The row holds what was inside."""
    upload(client, [("upload_file_minidump", gzip.compress(DUMP), "crash.dmp.gz")])
    assert items(split(client))[0][2]["filename"] == "crash.dmp"


@pytest.mark.parametrize("name", ["view-hierarchy.json", "gpu.nv-gpudmp", "shader.NVDBG"])
def test_files_that_sentry_knows_keep_their_type(client: Client, name: str) -> None:
    """By name, as they have no other."""
    upload(client, [*CRASH, (name, b"{}", name)])
    kind = items(split(client))[1][2]["attachment_type"]
    assert kind in {"event.view_hierarchy", "event.nv_gpudmp", "event.nv_shader_debug"}


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("sentry", b"{}")],
        [("upload_file_minidump", b"no dump", "a")],
        [("upload_file_minidump", b"\x1f\x8b", "a")],
    ],
)
def test_an_upload_without_a_dump_is_refused_by_unpack(client: Client, fields: list[forms.Field]) -> None:
    """The waiting receiver answers 400 with these words; without workers the bytes are safe, and the answer an id."""
    assert upload(client, fields).status == 200
    with pytest.raises(Invalid, match="expected"):
        split(client)


# --- late attachments


def test_late_attachments_are_items_of_their_event(client: Client) -> None:
    """Several files under the id in the path; plain fields are dropped by name."""
    fields: list[forms.Field] = [("a", b"1", "one.txt"), ("note", b"x"), ("b", b"\x00", "")]
    answer = upload(client, fields, f"/prefix/api/42/events/{UUID(ID)}/attachments/")
    assert (answer.status, answer.json) == (200, {"id": ID})
    found = split(client)
    assert [(worker, event_id, payload) for worker, event_id, _, payload in items(found)] == [
        ("attachment", ID, b"1"),
        ("attachment", ID, b"\x00"),
    ]
    assert [header["filename"] for _, _, header, _ in items(found)] == ["one.txt", "b"]
    assert found.dropped == {"form_field": 1}


def test_one_file_of_two_events_is_two_messages(client: Client) -> None:
    """And of one event one: a retry."""
    for event_id in (ID, ID, "f" * 32):
        upload(client, [("a", b"1", "a")], f"/api/42/events/{event_id}/attachments")
    assert len({fields["Nats-Msg-Id"] for _, _, fields in client.publisher.published}) == 2


@pytest.mark.parametrize(
    ("event_id", "content_type", "status"),
    [("x", forms.CONTENT_TYPE, 400), (ID, "application/json", 415), (ID, "", 415), (ID, forms.CONTENT_TYPE, 200)],
)
def test_what_is_no_attachment_is_refused(client: Client, event_id: str, content_type: str, status: int) -> None:
    """A malformed id, or no form."""
    path = f"/api/42/events/{event_id}/attachments/"
    answer = client.post(path, forms.write([("a", b"1", "a")]), content_type=content_type, **KEY)
    assert answer.status == status


@pytest.mark.parametrize("body", [b"x", forms.write([]), forms.write([("a", b"1")])])
def test_a_form_without_a_file_is_refused_by_unpack(body: bytes) -> None:
    """With words for the sender."""
    origin = Origin("default", 42, "k", "production", False, 1, content_type=forms.CONTENT_TYPE, resource=ID)
    with pytest.raises(Invalid, match="expected"):
        attachments.read(body, origin, LIMIT)


# --- the oldest ways to store an event

EVENT = b'{"event_id":"%s","message":"1 + 1 \xc3\xa9 >>>???"}' % ID.encode()
BASE64 = base64.b64encode(EVENT).decode()
ZLIB = base64.b64encode(zlib.compress(EVENT)).decode()


@pytest.mark.parametrize("path", ["/api/42/store/", "/api/store/"])
@pytest.mark.parametrize("data", [quote(EVENT), quote_plus(EVENT), quote(BASE64, safe=""), BASE64, ZLIB, quote(ZLIB)])
def test_an_image_can_carry_an_event(client: Client, path: str, data: str) -> None:
    """GET with sentry_data, however encoded, is answered by one pixel once it is stored."""
    answer = client.send("GET", f"{path}?sentry_version=7&sentry_key={ONE_CHANNEL}&sentry_data={data}")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.headers["cache-control"] == "no-store"  # the same event again is another request
    assert (answer.body[:6], answer.body[6:10], answer.body[-1:]) == (b"GIF89a", b"\x01\x00\x01\x00", b";")
    [(worker, event_id, _, payload)] = items(split(client))
    assert (worker, event_id, orjson.loads(payload)) == ("event", ID, orjson.loads(EVENT))
    assert ONE_CHANNEL not in str(client.publisher.published)


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("&sentry_data=", 400), ("&sentry_data=" + "x" * 6_000_001, 413)]
)
def test_an_image_without_an_event_is_refused(client: Client, query: str, status: int) -> None:
    """Nothing is stored."""
    assert client.send("GET", f"/api/42/store/?sentry_key={SECRET}{query}").status == status
    assert client.publisher.published == []


@pytest.mark.parametrize("data", [quote_plus(EVENT), quote_plus(BASE64), BASE64, quote_plus(ZLIB), ZLIB])
@pytest.mark.parametrize("form", ["sentry_data=%s", "sentry_version=7&sentry_data=%s&x=1"])
def test_a_form_can_carry_an_event(client: Client, form: str, data: str) -> None:
    """POST with the field sentry_data: the answer has its id."""
    body = (form % data).encode()
    answer = client.post("/api/42/store/", body, content_type="application/x-www-form-urlencoded", **KEY)
    assert (answer.status, answer.json) == (200, {"id": ID})
    [(worker, event_id, _, payload)] = items(split(client))
    assert (worker, event_id, orjson.loads(payload)) == ("event", ID, orjson.loads(EVENT))


@given(st.binary(max_size=120))
def test_any_store_body_is_an_event_or_refused(body: bytes) -> None:
    """Receiver and workers read it by one function."""
    for raw in (body, b"sentry_data=" + body, base64.b64encode(body), base64.b64encode(zlib.compress(body))):
        try:
            assert len(event_text(raw, 1_000)) <= max(1_000, len(raw))
        except StoreBodyError as error:
            assert "expected" in str(error)  # noqa: PT017 - an answer's text


# --- any bytes


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=150) | st.just(CSP) | st.just(forms.write(CRASH)),
    st.sampled_from((forms.CONTENT_TYPE, "application/json", "multipart/form-data", "\x00", "")),
    st.sampled_from(sorted(READERS)),
    st.text(st.characters(codec="ascii"), max_size=40),
)
def test_every_splitter_answers_any_bytes(body: bytes, content_type: str, route: str, query: str) -> None:
    """Items that read back, or Invalid with words; never another exception."""
    origin = Origin(
        "default", 42, "k", "production", False, 1, content_type=content_type, resource=ID, query=query, origin_id="r"
    )
    try:
        found = READERS[route](body, origin, LIMIT)
    except Invalid as error:
        assert 0 < len(str(error)) < 1_000  # noqa: PT017 - an answer's text
        return
    for _, _, wire in found.items:
        envelope.read(wire)


@pytest.mark.parametrize("name", ["ü" * 2_000, "\x01" * 1_500])
def test_no_header_of_a_part_makes_an_unreadable_item(client: Client, name: str) -> None:
    """Names are cut to what an item's header holds; one character more than its worker keeps, which names the cut."""
    head = (
        f'--b\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\nContent-Type: {name}\r\n\r\nx\r\n--b--'
    )
    kind = "multipart/form-data; boundary=b"
    client.post(f"/api/42/events/{ID}/attachments/", head.encode(), content_type=kind, **KEY)
    [(_, _, header, _)] = items(split(client))
    assert len(str(header["filename"])) == attachments.MAX_NAME_LENGTH + 1


def test_peeking_at_a_bomb_costs_nothing() -> None:
    """Four bytes are enough to know a dump."""
    bomb = gzip.compress(b"MDMP" + bytes(50_000_000))
    assert codec.inflate_dump(bomb, 4).content == b"MDMP"
