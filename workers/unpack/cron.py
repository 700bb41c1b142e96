"""Makes one check_in item of a check-in by plain HTTP: path, query, optional body. Its worker checks the fields."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.tolerant_json import dumps_text, loads
from workers.normalise.verdict import Invalid
from workers.unpack.pieces import Split

_WORKER: Final = "check_in"
_FIELDS: Final = frozenset({"status", "check_in_id", "environment", "duration"})
_SECONDS: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)


def read(body: bytes, origin: Origin, _limit_bytes: int) -> Split:
    """The check-in as an envelope of one item. Raises Invalid.

    A body's field wins over the query's, and the slug of the path over the body's (Sentry, HTTP check-ins).
    """
    fields = {**_of_query(origin.query), **_of_body(body, origin.content_type)}
    fields["monitor_slug"] = unquote(origin.resource)
    if fields.get("status") in (None, ""):
        raise Invalid(
            "check-in: expected status=in_progress, ok or error in the query or in a JSON body, found none; "
            "name the job's status"
        )
    payload = dumps_text(fields).encode()
    return Split(items=[(0, _WORKER, envelope.write_single(b"{}", {"type": _WORKER}, payload))])


def _of_query(query: str) -> dict[str, Any]:
    """The fields a check-in has in a query; a duration there is text."""
    fields: dict[str, Any] = {name: value for name, value in parse_qsl(query) if name in _FIELDS}
    duration = fields.get("duration", "").strip()
    if _SECONDS.fullmatch(duration):
        fields["duration"] = float(duration)
    return fields


def _of_body(body: bytes, content_type: str) -> dict[str, Any]:
    """A check-in as JSON, or as a form, which is what `curl -d status=ok` sends. Raises Invalid."""
    text = body.strip()
    if not text:
        return {}
    if text[:1] != b"{" and not content_type.strip().lower().startswith("application/json"):
        return _of_query(text.decode("utf-8", "replace")[:4096])
    try:
        value = loads(text)
    except ValueError as error:
        raise Invalid(f"check-in body: expected a JSON object, found {error}; send valid JSON or no body") from error
    if not isinstance(value, dict):
        raise Invalid(f"check-in body: expected a JSON object, found {type(value).__name__}; send one object")
    return value
