"""Sends one transaction with three child spans, one of them nested and one failed."""

from __future__ import annotations

import sentry_sdk
from sentry_start import finish, start

start(traces_sample_rate=1.0, environment="staging")
with sentry_sdk.start_transaction(op="http.server", name="GET /cart") as transaction:
    with sentry_sdk.start_span(op="db.query", name="SELECT cart") as query:
        query.set_data("db.system", "sqlite")
        with sentry_sdk.start_span(op="cache.get", name="cart:42") as nested:
            pass
    with sentry_sdk.start_span(op="http.client", name="GET /stock") as failed:
        failed.set_status("internal_error")
finish(
    trace_id=transaction.trace_id,
    root=transaction.span_id,
    query=query.span_id,
    nested=nested.span_id,
    failed=failed.span_id,
)
