"""Sentry bodies through unpack's splitters and every normaliser, and as whole requests through the receiver."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

import orjson

from schemas import headers, subjects
from schemas.headers import Origin
from tests.fuzz.target import Sample, Shape, Target
from tests.fuzz.targets import receiver
from tests.unit import forms, minidump_writer
from workers.consume.message import Message, Receipt
from workers.normalise.registry import Normaliser, normalisers
from workers.normalise.verdict import Invalid
from workers.unpack.readers import READERS

_EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "sentry"
_ID: Final = b"26e31e9cc7b74ad0b11d3a8a265b9e38"
_RECEIVED_AT_NS: Final = 1_795_272_366_000_000_000
_LIMIT_BYTES: Final = 6_000_000
_U64_END: Final = 1 << 64
_CSP: Final = {"violated-directive": "img-src", "blocked-uri": "https://evil.example/x.png", "line-number": "7"}
_FORM: Final = forms.CONTENT_TYPE.encode()
_NO_RECEIPT: Final = cast(Receipt, None)


def run(route: str, content_type: str, body: bytes) -> bool:
    """Every row that comes out can be stored; True if there is one. Only Invalid refuses a body, and only in words."""
    origin = _origin(content_type)
    try:
        split = READERS[route](body, origin, _LIMIT_BYTES)
    except Invalid as error:
        if not str(error):
            raise
        return False
    assert len(split.items) <= 500
    return sum(_rows(worker, wire, origin) for _, worker, wire in split.items) > 0


def _rows(worker: str, wire: bytes, origin: Origin) -> int:
    message = Message(subjects.item(worker, 7), {}, wire, subjects.ITEMS, 5, 1, _RECEIVED_AT_NS, _NO_RECEIPT)
    normaliser = _normalisers()[worker]
    verdict = normaliser.normalise(origin, message)
    assert verdict.rows or verdict.rejections or not verdict.accepted
    for row in verdict.rows:
        check_row(dict(zip(normaliser.columns, row, strict=True)))
    for rejection in verdict.rejections:
        assert rejection.reason
        rejection.detail.encode()
    return len(verdict.rows)


def check_row(row: dict[str, Any]) -> None:
    """Every value fits its column, whichever columns a normaliser has."""
    assert 0 <= row.pop("event_id") < 1 << 128
    assert 0 <= row["timestamp"] < 1 << 63
    for column in ("duration_ns", "original_timestamp_ns", "version"):
        assert 0 <= row.get(column, 0) < _U64_END, column
    assert all(-(1 << 63) <= value < 1 << 63 for value in row["attributes_int"].values())
    for column in ("attributes_string", "resource"):
        assert all(value.__class__ is str for pair in row[column].items() for value in pair), column
    for column in ("payload", "metadata"):
        assert orjson.loads(row.get(column, "{}")).__class__ is dict, column
    orjson.dumps(row, default=float)


@cache
def _normalisers() -> dict[str, Normaliser]:
    return normalisers(30, _LIMIT_BYTES)


@cache
def _origin(content_type: str) -> Origin:
    return Origin(
        organisation="default",
        channel_id=7,
        key_id="k",
        environment="production",
        environment_from_event=True,
        received_at_ns=_RECEIVED_AT_NS,
        content_type=headers.clean(content_type),
        sender_ip="203.0.113.9",
        origin_id="fuzz",
        origin_seq=5,
        resource=_ID.decode(),
        query="sentry_release=shop%401.2",
    )


@cache
def _event() -> bytes:
    return orjson.dumps(orjson.loads((_EXAMPLES / "mobile-crash-event.json").read_bytes()))


@cache
def envelopes() -> Sequence[Sample]:
    """Every item type that has a worker, some in one envelope."""
    logs = (_EXAMPLES / "logs.envelope").read_bytes()
    transaction = orjson.dumps(orjson.loads((_EXAMPLES / "transaction.json").read_bytes()))
    spans = orjson.dumps(orjson.loads((_EXAMPLES / "javascript-span-container.json").read_bytes()))
    span_type = b"application/vnd.sentry.items.span.v2+json"
    session = {"sid": _ID.decode(), "started": "2026-11-21T14:46:00Z", "status": "ok", "attrs": {"release": "r"}}
    check_in = {"check_in_id": _ID.decode(), "monitor_slug": "nightly", "status": "ok", "duration": 1.5}
    feedback = {"contexts": {"feedback": {"message": "nice", "contact_email": "a@b.example"}}}
    report = {"timestamp": 1795272360, "discarded_events": [{"reason": "x", "category": "error", "quantity": 2}]}
    small = [
        (b'"session"', orjson.dumps(session)),
        (b'"check_in"', orjson.dumps(check_in)),
        (b'"feedback"', orjson.dumps(feedback)),
        (b'"client_report"', orjson.dumps(report)),
        (b'"attachment","filename":"a.txt"', b"3 apples"),
        (b'"raw_security"', orjson.dumps({"csp-report": _CSP})),
        (b'"attachment","attachment_type":"event.minidump"', minidump_writer.write()),
    ]
    head = b'{"event_id":"%s","sent_at":"2026-11-21T14:46:05Z"}\n' % _ID
    bodies = [
        logs,
        head + _item(b'"event"', _event()),
        head + _item(b'"transaction"', transaction),
        head + _item(b'"span","item_count":2,"content_type":"%s"' % span_type, spans),
        head + b"".join(_item(*one) for one in small),
    ]
    return [Sample(body, "lines") for body in bodies]


def _item(kind: bytes, payload: bytes) -> bytes:
    return b'{"type":%s,"length":%d}\n%s\n' % (kind, len(payload), payload)


@cache
def store_bodies() -> Sequence[Sample]:
    """One event in each form of thirty years of SDKs."""
    packed = base64.b64encode(zlib.compress(_event()))
    legacy = (_EXAMPLES / "legacy-raven-event.json").read_bytes()
    data = b"sentry_version=7&sentry_data=" + quote(_event()).encode()
    texts: list[tuple[bytes, Shape]] = [(_event(), "json"), (legacy, "json"), (packed, "bytes"), (data, "bytes")]
    return [Sample(body, shape) for body, shape in texts]


@cache
def reports() -> Sequence[Sample]:
    """Each kind, alone and in a list."""
    modern = {
        "type": "csp-violation",
        "age": 10,
        "url": "https://a.example/",
        "body": {"effectiveDirective": "img-src"},
    }
    certificate = {"hostname": "a.example", "port": 443, "date-time": "2026-11-21T14:46:00Z"}
    documents = [
        {"csp-report": _CSP},
        [modern, modern],
        {"expect-ct-report": certificate},
        {**certificate, "known-pins": []},
    ]
    return [Sample(orjson.dumps(document), "json") for document in documents]


@cache
def uploads() -> Sequence[Sample]:
    """A crash in a form, with everything uploaders add; packed dumps; a form inside a form."""
    told = {"first": "1", "second": "2", "third": "3"}
    dump = minidump_writer.write(minidump_writer.Crashed(annotations=told, assertion="x > 0"))
    event = b'{"event_id":"%s","tags":{"a":"b"}}' % _ID
    crash: list[forms.Field] = [("upload_file_minidump", dump, "a.dmp")]
    said: list[forms.Field] = [("sentry", event), ("sentry__1", event[:9]), ("sentry__2", event[9:]), ("guid", b"1")]
    files: list[forms.Field] = [
        ("__sentry-event", b"\x82\xa7release\xa1r\xa1t\x91\x01", "__sentry-event"),
        ("__sentry-breadcrumb1", b"\x81\xa9timestamp\xa3now" * 2, "__sentry-breadcrumb1"),
        ("log", b"3 apples", "log"),
    ]
    packed: list[forms.Field] = [("upload_file_minidump", gzip.compress(dump), "a.dmp.gz"), ("sentry[user][id]", b"1")]
    nested: list[forms.Field] = [("upload_file_minidump", forms.write([*crash, *said], "inner"), "a.dmp")]
    bodies = [forms.write(fields) for fields in ([*crash, *said], [*crash, *files], packed, nested)]
    shapes: tuple[Shape, ...] = ("lines", "bytes")
    return [Sample(body, shape) for body in bodies for shape in shapes]


@cache
def late_files() -> Sequence[Sample]:
    """One file and several."""
    one: list[forms.Field] = [("a", b"1", "one.txt")]
    several: list[forms.Field] = [*one, ("note", b"x"), ("b", bytes(300), "ü.bin")]
    return [Sample(forms.write(fields), "lines") for fields in (one, several)]


def _requests(
    path: str, content_type: bytes, samples: Callable[[], Sequence[Sample]]
) -> Callable[[], Sequence[Sample]]:
    """Each sample as a request, half of them with the key in the query."""

    def made() -> Sequence[Sample]:
        found = []
        for sample in samples():
            common = [(b"content-type", content_type), (b"content-length", b"%d" % len(sample.body))]
            auth = (b"x-sentry-auth", f"Sentry sentry_key={receiver.SECRET}, sentry_version=7".encode())
            found.append(receiver.request(path, [auth, *common], sample.body))
            found.append(receiver.request(f"{path}?sentry_key={receiver.SECRET}&sentry_release=r", common, sample.body))
        return found

    return cache(made)


def _pixels() -> Sequence[Sample]:
    """GET with the event in the query, beside what POST takes."""
    data = quote(base64.b64encode(_event()[:900].rpartition(b",")[0] + b"}"))
    pixel = f"GET /api/42/store/?sentry_key={receiver.SECRET}&sentry_data={data} HTTP/1.1\r\n\r\n".encode()
    return [*_requests("/api/42/store/", b"application/json", store_bodies)(), Sample(pixel, "http")]


_BODIES: Final = (
    ("envelope", subjects.SENTRY_ENVELOPE, "", envelopes),
    ("store", subjects.SENTRY_STORE, "", store_bodies),
    ("security", subjects.SENTRY_SECURITY, "application/json", reports),
    ("minidump", subjects.SENTRY_MINIDUMP, forms.CONTENT_TYPE, uploads),
    ("attachments", subjects.SENTRY_ATTACHMENT, forms.CONTENT_TYPE, late_files),
)
_REQUESTS: Final = (
    ("envelope", _requests("/api/42/envelope/", b"text/plain", envelopes)),
    ("store", cache(_pixels)),
    ("security", _requests("/api/42/security/", b"application/json", reports)),
    ("minidump", _requests("/api/42/minidump/", _FORM, uploads)),
    ("attachments", _requests(f"/api/42/events/{_ID.decode()}/attachments/", _FORM, late_files)),
)
TARGETS: Final = (
    *(Target(f"sentry-{name}", samples, partial(run, route, kind)) for name, route, kind, samples in _BODIES),
    *(Target(f"receiver-{name}", samples, receiver.run) for name, samples in _REQUESTS),
)
