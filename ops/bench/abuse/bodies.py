"""Lists every known kind of hostile body, and makes variants of them for a search."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from ops.bench.abuse import events as abuse_events
from ops.bench.abuse import otlp, records, sentry
from ops.bench.abuse.sentry import ENVELOPE, ENVELOPE_TYPE, build_envelope, build_item
from ops.bench.abuse.shape import MAX_BODY_BYTES, AbuseKind, Shape, nest, repeat, repeat_numbered

__all__ = ["KINDS", "MAX_BODY_BYTES", "AbuseKind", "Shape", "mutate"]

JSON: Final = "application/json"
NATIVE: Final = "event"
NATIVE_BATCH: Final = "event.batch"
SECURITY: Final = "sentry.security"
MINIDUMP: Final = "sentry.minidump"
ATTACHMENT: Final = "sentry.attachment"
CRON: Final = "sentry.cron"
FORM: Final = "multipart/form-data; boundary=b"
_ALL: Final = 5_900_000
_LARGE: Final = Shape(size_bytes=_ALL)
_SMALLEST_BYTES: Final = 1_000
_MOST: Final = {"text": 2_000_000, "width": 2_000, "depth": 900}


def _native(payload: bytes) -> bytes:
    return b'{"identifier":"a","channel_id":1,"payload":%b}' % payload


def _native_lists(shape: Shape) -> bytes:
    return _native(b'{"a":[%b,NaN]}' % repeat(b"[]", shape.size_bytes, b","))


def _native_deep(shape: Shape) -> bytes:
    lists = repeat(nest(b"[", b"", b"]", shape.depth), shape.size_bytes, b",")
    return _native(b'{"a":[%b,NaN]}' % lists)


def _native_names(shape: Shape) -> bytes:
    return _native(b"{%b}" % repeat_numbered(lambda n: b'"k%07d":1' % n, shape.size_bytes, b","))


def _native_batch(shape: Shape) -> bytes:
    events = repeat(b'{"identifier":"a","payload":{}}', min(shape.size_bytes, 310_000), b",")
    return b'{"channel_id":1,"events":[%b]}' % events


def _native_invalid(shape: Shape) -> bytes:
    return b'{"channel_id":1,"events":[%b]}' % repeat(b"0", min(shape.size_bytes, 20_000), b",")


def _reports(report: bytes, most: int = 500) -> bytes:
    return b"[%b]" % b",".join([report] * most)


_CSP: Final = (
    b'{"type":"csp-violation","url":"http://a/","body":{"effectiveDirective":"img-src","blockedURL":"http://b/"}}'
)


def _csp_names(shape: Shape) -> bytes:
    return b'{"csp-report":{"effective-directive":"img-src",%b}}' % repeat_numbered(
        lambda n: b'"k%07dAb":1' % n, shape.size_bytes, b","
    )


def _csp_text(shape: Shape) -> bytes:
    text = repeat(b"img-src http://a 'self' ; ", shape.size_bytes)
    return b'{"csp-report":{"effective-directive":"img-src","original-policy":"%b","blocked-uri":"%b"}}' % (text, text)


def _csp_humps(shape: Shape) -> bytes:
    return b'{"type":"csp-violation","body":{"effectiveDirective":"img-src","%b":1}}' % repeat(b"aA", shape.size_bytes)


def _part(name: bytes, content: bytes, more: bytes = b"") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, more, content)


_DUMP: Final = b"MDMP\x93\xa7\x00\x00"
_FILE: Final = b'; filename="f"'


def _dump_form(*parts: bytes) -> bytes:
    return b"".join((_part(b"upload_file_minidump", _DUMP + bytes(100), _FILE), *parts, b"--b--\r\n"))


def _form_fields(shape: Shape) -> bytes:
    parts = (_part(b"sentry[extra][k%d]" % n, b"v" * shape.text) for n in range(490))
    return _dump_form(*parts)


def _form_deep_names(shape: Shape) -> bytes:
    name = b"sentry" + b"[a]" * shape.depth
    return _dump_form(*(_part(name + b"[k%d]" % n, b"v") for n in range(490)))


def _form_json(shape: Shape) -> bytes:
    return _dump_form(_part(b"sentry", b'{"extra":{"a":[%b,NaN]}}' % repeat(b"[]", shape.size_bytes, b",")))


def _form_files(_shape: Shape) -> bytes:
    return _dump_form(*(_part(b"f%d" % n, b"", _FILE) for n in range(490)))


def _form_dashes(shape: Shape) -> bytes:
    """Bytes that look like the start of a boundary."""
    return _dump_form(_part(b"f", repeat(b"\r\n--", shape.size_bytes), _FILE))


def _files(_shape: Shape) -> bytes:
    return b"".join((*(_part(b"f%d" % n, b"", _FILE) for n in range(499)), b"--b--\r\n"))


def _dump_streams(shape: Shape) -> bytes:
    """A dump whose directory names more streams than it has, all at the same position."""
    count = max(1, shape.size_bytes // 12)
    entry = (4).to_bytes(4, "little") + (32).to_bytes(4, "little") + (32).to_bytes(4, "little")
    head = b"MDMP" + (0xA793).to_bytes(4, "little") + count.to_bytes(4, "little") + (32).to_bytes(4, "little")
    return head + bytes(16) + entry * count


def _dump_in_envelope(shape: Shape) -> bytes:
    header = b'{"type":"attachment","attachment_type":"event.minidump","length":%d}\n'
    dump = _dump_streams(shape)
    return build_envelope(header % len(dump) + dump + b"\n", build_item("event", b"{}"))


OTHERS: Final = (
    AbuseKind("native: empty lists and NaN", NATIVE, JSON, _native_lists, _LARGE),
    AbuseKind("native: deep lists and NaN", NATIVE, JSON, _native_deep, Shape(size_bytes=_ALL, depth=300)),
    AbuseKind("native: names", NATIVE, JSON, _native_names, _LARGE),
    AbuseKind("native batch: the least", NATIVE_BATCH, JSON, _native_batch, _LARGE),
    AbuseKind("native batch: events that are none", NATIVE_BATCH, JSON, _native_invalid, _LARGE),
    AbuseKind("security: reports, the least", SECURITY, "application/reports+json", lambda _: _reports(_CSP)),
    AbuseKind("security: not a report each", SECURITY, "application/reports+json", lambda _: _reports(b"{}")),
    AbuseKind("security: zeros", SECURITY, JSON, lambda s: b"[%b]" % repeat(b"0", s.size_bytes, b","), _LARGE),
    AbuseKind("security: names", SECURITY, "application/csp-report", _csp_names, _LARGE),
    AbuseKind("security: long policy", SECURITY, "application/csp-report", _csp_text, Shape(size_bytes=_ALL // 2)),
    AbuseKind("security: a name of humps", SECURITY, "application/reports+json", _csp_humps, _LARGE),
    AbuseKind("minidump: fields of a form", MINIDUMP, FORM, _form_fields, Shape(text=800)),
    AbuseKind("minidump: deep names of fields", MINIDUMP, FORM, _form_deep_names, Shape(depth=500)),
    AbuseKind("minidump: JSON in a field, NaN", MINIDUMP, FORM, _form_json, _LARGE),
    AbuseKind("minidump: files of a form", MINIDUMP, FORM, _form_files),
    AbuseKind("minidump: beginnings of boundaries", MINIDUMP, FORM, _form_dashes, _LARGE),
    AbuseKind("minidump: streams of a dump", MINIDUMP, "application/octet-stream", _dump_streams, _LARGE),
    AbuseKind("minidump: in an envelope", ENVELOPE, ENVELOPE_TYPE, _dump_in_envelope, _LARGE),
    AbuseKind("attachments: files of a form", ATTACHMENT, FORM, _files),
    AbuseKind(
        "cron: a large body",
        CRON,
        JSON,
        lambda s: b'{"status":"ok",%b}' % repeat_numbered(lambda n: b'"k%07d":1' % n, s.size_bytes, b","),
        _LARGE,
    ),
    AbuseKind(
        "cron: NaN", CRON, JSON, lambda s: b'{"status":"ok","a":[%b,NaN]}' % repeat(b"[]", s.size_bytes, b","), _LARGE
    ),
)
KINDS: Final = (*otlp.KINDS, *abuse_events.EVENTS, *records.RECORDS, *sentry.KINDS, *OTHERS)


def mutate(kind: AbuseKind, chance: random.Random) -> AbuseKind:
    """The same kind in another shape: one or two of its sizes multiplied or divided, within the limits of a body."""
    sizes = {name: getattr(kind.shape, name) for name in ("size_bytes", "text", "width", "depth")}
    for name in chance.sample(sorted(sizes), chance.choice((1, 1, 2))):
        factor = chance.choice((0.1, 0.25, 0.5, 2.0, 4.0, 10.0))
        most = _ALL if name == "size_bytes" else _MOST[name]
        least = _SMALLEST_BYTES if name == "size_bytes" else 1
        sizes[name] = max(least, min(most, int(sizes[name] * factor)))
    return replace(kind, shape=Shape(**sizes))
