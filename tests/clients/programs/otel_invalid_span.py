"""Exports three valid spans and one whose span id is zero, and prints what the receiver answered."""

from __future__ import annotations

import base64
import json
from typing import Any

import requests
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags
from otel_start import RESOURCE, span_exporter

TRACE_ID = 0x5BF92F3577B34DA6A3CE929D0E0E4736
START_NS = 1_700_000_000_000_000_000
answers: list[dict[str, Any]] = []


def keep(response: requests.Response, *_args: object, **_options: object) -> None:
    """A requests hook: remembers every answer."""
    answers.append(
        {
            "status": response.status_code,
            "content_type": response.headers["content-type"],
            "body": base64.b64encode(response.content).decode(),
        }
    )


def span(span_id: int) -> ReadableSpan:
    """A span as the SDK hands it to an exporter."""
    context = SpanContext(TRACE_ID, span_id, False, TraceFlags(1))
    return ReadableSpan(f"span {span_id}", context, resource=RESOURCE, start_time=START_NS, end_time=START_NS + 5)


session = requests.Session()
session.hooks["response"].append(keep)
result = span_exporter(session=session).export([span(1), span(2), span(0), span(3)])
print(json.dumps({"trace_id": f"{TRACE_ID:032x}", "result": result.name, "answers": answers}))
