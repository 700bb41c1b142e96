"""What the load sends: small bodies of every kind, each record marked with a name that SQL finds again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request: its path, body and media type; `marks` are the records that become rows if it is accepted."""

    path: str
    body: bytes
    media_type: str
    marks: tuple[str, ...]


Kind = Callable[[int, str], Parcel]


def envelope(channel: int, item: str, payload: dict[str, Any], marks: tuple[str, ...], **header: Any) -> Parcel:
    """A Sentry envelope of one item."""
    head = {"event_id": uuid.uuid4().hex, "sent_at": _iso()}
    lines = [orjson.dumps(head), orjson.dumps({"type": item, **header}), orjson.dumps(payload)]
    return Parcel(f"/api/{channel}/envelope/", b"\n".join(lines) + b"\n", "application/x-sentry-envelope", marks)


def error(channel: int, mark: str) -> Parcel:
    """An event, named by its message."""
    return envelope(channel, "event", {"message": mark, "level": "error", "timestamp": time.time()}, (mark,))


def transaction(channel: int, mark: str) -> Parcel:
    """A transaction with two child spans."""
    now, trace = time.time(), uuid.uuid4().hex
    spans = [
        {
            "span_id": uuid.uuid4().hex[:16],
            "trace_id": trace,
            "start_timestamp": now,
            "timestamp": now,
            "description": f"{mark}/{n}",
        }
        for n in range(2)
    ]
    payload = {
        "type": "transaction",
        "transaction": mark,
        "start_timestamp": now,
        "timestamp": now,
        "contexts": {"trace": {"trace_id": trace, "span_id": uuid.uuid4().hex[:16]}},
        "spans": spans,
    }
    return envelope(channel, "transaction", payload, (mark, f"{mark}/0", f"{mark}/1"))


def logs(channel: int, mark: str) -> Parcel:
    """A container of three logs."""
    marks = tuple(f"{mark}/{n}" for n in range(3))
    items = [
        {"timestamp": time.time(), "trace_id": uuid.uuid4().hex, "level": "info", "body": one, "attributes": {}}
        for one in marks
    ]
    header = {"item_count": len(items), "content_type": "application/vnd.sentry.items.log+json"}
    return envelope(channel, "log", {"items": items}, marks, **header)


def check_in(channel: int, mark: str) -> Parcel:
    """A check-in, named by its monitor."""
    payload = {"check_in_id": uuid.uuid4().hex, "monitor_slug": mark, "status": "ok"}
    return envelope(channel, "check_in", payload, (mark,))


def otlp_spans(channel: int, mark: str, count: int = 4) -> Parcel:
    """OTLP spans of one trace."""
    marks, now, trace = tuple(f"{mark}/{n}" for n in range(count)), str(time.time_ns()), uuid.uuid4().hex
    spans = [
        {
            "traceId": trace,
            "spanId": uuid.uuid4().hex[:16],
            "name": one,
            "startTimeUnixNano": now,
            "endTimeUnixNano": now,
        }
        for one in marks
    ]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    return Parcel("/v1/traces", orjson.dumps(body), "application/json", marks)


def otlp_logs(channel: int, mark: str) -> Parcel:
    """Three OTLP log records, with nothing but a body to tell them apart."""
    marks = tuple(f"{mark}/{n}" for n in range(3))
    records = [{"timeUnixNano": str(time.time_ns()), "body": {"stringValue": one}} for one in marks]
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    return Parcel("/v1/logs", orjson.dumps(body), "application/json", marks)


def large(channel: int, mark: str) -> Parcel:
    """An event of a tenth of a megabyte, named by its message."""
    payload = {"message": mark, "timestamp": time.time(), "extra": {"padding": "x" * 100_000}}
    return envelope(channel, "event", payload, (mark,))


KINDS: tuple[Kind, ...] = (error, transaction, logs, check_in, otlp_spans, otlp_logs)
# With as many records in a request as exporters batch: a million of them in twenty minutes.
WIDE_KINDS: tuple[Kind, ...] = (*KINDS, partial(otlp_spans, count=150))


def poisons(channel: int, mark: str) -> list[Parcel]:
    """One body of each kind that must not become a row: refused (4xx), rejected or kept as a dead letter."""
    sentry = ("event", "transaction", "log", "span", "check_in", "session", "feedback", "trace_metric")
    broken = b'{"message":"%s",' % mark.encode()
    line = orjson.dumps({"event_id": uuid.uuid4().hex})
    items = [
        Parcel(
            f"/api/{channel}/envelope/",
            line + b'\n{"type":"%s","length":%d}\n' % (kind.encode(), len(broken)) + broken,
            "application/x-sentry-envelope",
            (),
        )
        for kind in sentry
    ]
    unreadable = Parcel(f"/api/{channel}/envelope/", b"\xff " + mark.encode(), "application/x-sentry-envelope", ())
    span = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"%s","traceId":"00"}]}]}]}' % mark.encode()
    return [
        *items,
        unreadable,
        Parcel(f"/api/{channel}/security/", b'{"csp-report":{' + broken, "application/csp-report", ()),
        Parcel(f"/api/{channel}/cron/{mark}/?status=ok", b'{"status":', "application/json", ()),
        Parcel("/v1/traces", span, "application/json", ()),
        Parcel("/v1/logs", b'{"resourceLogs":[{' + mark.encode(), "application/json", ()),
    ]


def _iso() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
