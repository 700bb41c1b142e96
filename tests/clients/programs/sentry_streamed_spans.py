"""Sends spans as they end instead of one transaction: a segment with one child."""

from __future__ import annotations

import sentry_sdk
from sentry_start import finish, start

start(traces_sample_rate=1.0, trace_lifecycle="stream")
with sentry_sdk.traces.start_span(name="checkout", attributes={"cart.items": 3}) as segment:  # noqa: SIM117
    with sentry_sdk.traces.start_span(name="charge card", attributes={"card.brand": "visa"}) as child:
        pass
finish(trace_id=segment.trace_id, segment=segment.span_id, child=child.span_id)
