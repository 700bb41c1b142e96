"""A small body must not become a large work: rows that repeat what is large, records beyond number, bombs in bombs."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sys
from collections.abc import Callable
from typing import Any

import multipart
import orjson
import pytest

from schemas import form
from schemas.crash.upload_form import crash_id
from schemas.rows import Row
from tests.unit import minidump_writer
from tests.unit.worker_fakes import RECEIVED_AT_NS, origin
from workers.normalise.minidump import error as minidump
from workers.normalise.minidump.codec import MIN_LIMIT_BYTES, inflate_dump
from workers.normalise.sentry import event, log, session, span, trace_metric, transaction
from workers.normalise.sentry.container import MAX_RECORDS
from workers.normalise.sentry.payload.exceptions import MAX_EXCEPTIONS
from workers.normalise.verdict import Verdict

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1_048_576
LARGE = "x" * 3_000_000
NOW_S = RECEIVED_AT_NS / 1e9
# Of all rows that one body of 6 MB may make.
MAX_ROWS_BYTES = 100 * MIB


def item(kind: str, payload: bytes | dict[str, Any]) -> bytes:
    content = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return b'{}\n{"type":"%s","length":%d}\n%s\n' % (kind.encode(), len(content), content)


def weight(value: object) -> int:
    """Bytes of a value as they go to ClickHouse, what is shared counted each time."""
    if isinstance(value, dict):
        return sum(weight(key) + weight(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return sum(map(weight, value))
    return len(value) if isinstance(value, str | bytes) else 8


def rows_weight(rows: list[Row]) -> int:
    """The first one's weight, and that of all others as if they were like the second."""
    return weight(rows[0]) + weight(rows[1]) * (len(rows) - 1)


@pytest.mark.parametrize(
    "shared",
    [
        {"user": {"id": LARGE}},
        {"user": {"email": LARGE}},
        {"tags": {"service": LARGE}},
        {"server_name": LARGE},
        {"contexts": {"app": {"app_name": LARGE}}},
        {"contexts": {"otel": {"resource": {"a": LARGE, "service.name": "b"}}}},
        {"contexts": {"otel": {"resource": {f"k{n}": "v" * 20 for n in range(80_000)}}}},
        {"release": LARGE},
        {"environment": LARGE},
        {"platform": LARGE},
        {"transaction": LARGE},
        {"sdk": {"name": LARGE, "version": LARGE[:100_000]}},
    ],
    ids=lambda shared: json.dumps(shared)[:40],
)
def test_what_spans_share_is_bounded_over_all_of_them(shared: dict[str, Any]) -> None:
    """A transaction's user, resource and names stand in the row of each of its spans."""
    trace = {"trace_id": "a" * 32, "span_id": "b" * 16}
    times = {"start_timestamp": NOW_S - 2, "timestamp": NOW_S}
    spans = [{"trace_id": "a" * 32, "span_id": f"{n:016x}", **times} for n in range(1, 5_001)]
    contexts = {"trace": trace, **shared.get("contexts", {})}
    payload = {**shared, "type": "transaction", **times, "contexts": contexts, "spans": spans}
    found = transaction.normalise(origin(), item("transaction", payload))
    assert len(found.rows) == 5_001
    assert rows_weight(found.rows) < MAX_ROWS_BYTES


@pytest.mark.parametrize("name", ["release", "environment", "user_agent", "ip_address"])
def test_what_aggregates_share_is_bounded(name: str) -> None:
    """So do the attributes of a list of sessions."""
    aggregates = [{"started": NOW_S, "exited": 1}] * 5_000
    found = session.normalise(origin(), item("sessions", {"attrs": {name: LARGE}, "aggregates": aggregates}))
    assert len(found.rows) == 5_000
    assert rows_weight(found.rows) < MAX_ROWS_BYTES


@pytest.mark.parametrize(
    ("normalise", "kind", "payload"),
    [
        (log.normalise, "log", b'{"items":[%b]}'),
        (span.normalise, "span", b'{"version":2,"items":[%b]}'),
        (trace_metric.normalise, "trace_metric", b'{"items":[%b]}'),
        (session.normalise, "sessions", b'{"attrs":{},"aggregates":[%b]}'),
        (
            transaction.normalise,
            "transaction",
            b'{"start_timestamp":1,"timestamp":2,"contexts":{"trace":{"trace_id":"%b","span_id":"%b"}},"spans":[%%b]}'
            % (b"a" * 32, b"b" * 16),
        ),
    ],
    ids=["log", "span", "trace_metric", "sessions", "transaction"],
)
def test_records_beyond_number_are_one_refusal(normalise: Callable[..., Verdict], kind: str, payload: bytes) -> None:
    """Three million zeros, 6 kB on the wire, would take a worker half a minute to refuse one by one."""
    found = normalise(origin(), item(kind, payload % b",".join([b"0"] * (MAX_RECORDS + 1))))
    assert found.rows == []
    assert [one.reason for one in found.rejections] == ["too_many_records"]


def test_a_chain_of_exceptions_has_an_end() -> None:
    """Those nearest to what was thrown are kept, and the row says that others are gone."""
    values = [{"type": f"E{n}", "value": "v"} for n in range(MAX_EXCEPTIONS + 5)]
    (row,) = event.normalise(origin(), item("event", {"exception": {"values": values}})).rows
    found = dict(zip(event.COLUMNS, row, strict=True))
    assert found["exception_type"] == f"E{MAX_EXCEPTIONS + 4}"
    assert "exception_dropped" in found["repairs"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_five_hundred_bombs_are_no_more_than_a_body(pack: Callable[[bytes], bytes]) -> None:
    """As many dumps as an envelope may have, all zeros behind their first bytes: their rows together stay bounded."""
    bomb = pack(b"MDMP" + bytes(33 * MIB))
    assert len(inflate_dump(bomb).content) <= max(MIN_LIMIT_BYTES, 100 * len(bomb))
    found = minidump.normalise(origin(), item("minidump", bomb))
    assert min(500, 6_000_000 // len(bomb)) * weight(found.rows) < 1_000 * MIB


def nested(depth: int, content: bytes) -> bytes:
    """A form in the place of the dump, `depth` times over."""
    for level in range(depth):
        head = b'Content-Disposition: form-data; name="upload_file_minidump"; filename="a"'
        content = b"--b%d\r\n%b\r\n\r\n%b\r\n--b%d--\r\n" % (level, head, content, level)
    return content


def test_forms_in_forms_are_unwrapped_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However deep they go, each byte is looked at three times."""
    parsed: list[int] = []

    class Counting(multipart.PushMultipartParser):  # type: ignore[misc]
        def parse(self, chunk: bytes) -> Any:
            parsed.append(len(chunk))
            return super().parse(chunk)

    monkeypatch.setattr(form, "PushMultipartParser", Counting)
    deep = nested(2_000, minidump_writer.write())
    assert len(crash_id(deep, "multipart/form-data; boundary=b1999", 42)) == 32
    assert len(parsed) == 3
    assert sum(parsed) <= 3 * len(deep)


def test_a_form_has_so_many_parts() -> None:
    """One more is no form."""
    with pytest.raises(form.FormError):
        form.read(
            b"".join(b"--b\r\n\r\n\r\n" for _ in range(form.MAX_PARTS + 1)) + b"--b--",
            "multipart/form-data; boundary=b",
        )
