"""What tests of item normalisers share: an origin, the real SDK with a transport that keeps, and any JSON there is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sentry_sdk
from hypothesis import strategies as st
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from schemas.envelope.body import read, write_single
from schemas.headers import Origin
from schemas.rows import NANOS_PER_DAY, NANOS_PER_SECOND
from workers.normalise.verdict import Verdict

NOW_NS = 1_795_272_366 * NANOS_PER_SECOND  # 2026-11-21T14:46:06Z
TRACE = "9b9a0fdc03ea4bc1aa343f0b325b74e4"
SPAN = "a7cb0ac040c271b8"
ID = "26e31e9cc7b74ad0b11d3a8a265b9e38"


def origin(**changes: Any) -> Origin:
    """Where a message came from: the third item of a body, with a key that lets the payload name its environment."""
    fields: dict[str, Any] = {
        "organisation": "acme",
        "channel_id": 42,
        "key_id": "k1",
        "environment": "production",
        "environment_from_event": True,
        "received_at_ns": NOW_NS,
        "sender_ip": "203.0.113.9",
        "origin_id": "raw-1",
        "item_index": 3,
    }
    return Origin(**{**fields, **changes})


class Captured(Transport):
    """Keeps what the SDK would have sent."""

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        super().__init__(options)
        self.bodies: list[bytes] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """As the bytes of a request."""
        self.bodies.append(envelope.serialize())


@contextmanager
def sdk(**options: Any) -> Iterator[Captured]:
    """The real SDK with a client of its own; it is flushed at the end."""
    captured = Captured()
    client = sentry_sdk.Client(
        dsn="https://key@example.com/42",
        transport=captured,
        default_integrations=False,
        environment="staging",
        release="shop@1.2",
        **options,
    )
    with sentry_sdk.isolation_scope() as isolation, sentry_sdk.new_scope() as scope:
        isolation.clear()
        scope.set_client(client)
        yield captured
        client.close()


def items_of(captured: Captured, item_type: str) -> list[bytes]:
    """Every item of a type, each as an envelope of its own, as the unpack worker writes them."""
    singles = []
    for body in captured.bodies:
        header, items = read(body)
        singles += [write_single(header.raw, one.header, one.payload) for one in items if one.type == item_type]
    return singles


def rows(found: Verdict, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The verdict's rows by column name."""
    return [dict(zip(columns, values, strict=True)) for values in found.rows]


scalars = st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | st.text(max_size=8)
scalars |= st.sampled_from((TRACE, SPAN, "0" * 32, "ok", "\ud800", "2026-11-21T14:46:05Z", 1_795_272_360, "{{auto}}"))
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def check_storable(found: Verdict, columns: Sequence[str]) -> None:
    """Text is UTF-8, numbers are finite and fit their columns, times fit the partitions."""
    for cells in rows(found, columns):
        assert 0 <= cells.pop("event_id") < 2**128
        assert NOW_NS - 30 * NANOS_PER_DAY <= cells["timestamp"] <= NOW_NS + NANOS_PER_DAY
        assert 0 <= cells["original_timestamp_ns"] < 2**64
        assert 0 <= cells.get("duration_ns", 0) < 2**64
        assert isinstance(json.loads(cells["metadata"]), dict)
        assert all(-(2**63) <= number < 2**63 for number in cells["attributes_int"].values())
        json.dumps(cells, ensure_ascii=False, allow_nan=False).encode()
    for rejection in found.rejections:
        assert rejection.reason.isidentifier()
        assert len(rejection.detail) < 500
