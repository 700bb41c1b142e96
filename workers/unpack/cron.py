"""Makes one check_in item of a check-in by plain HTTP: path, query, optional body. Its worker checks the fields."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.tolerant_json import dumps_text, loads
from workers.normalise.envelope_item import BODY_IGNORED, FIELDS_IGNORED, SLUG_DIFFERS
from workers.normalise.sentry.check_in import slugified
from workers.normalise.verdict import Invalid
from workers.unpack.pieces import Split

_WORKER: Final = "check_in"
_FIELDS: Final = frozenset({"status", "check_in_id", "environment", "duration"})
_SECONDS: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
# Of a form; a check-in has five short fields.
_MAX_FORM_BYTES: Final = 4096


def read(body: bytes, origin: Origin, _limit_bytes: int) -> Split:
    """The check-in as an envelope of one item. Raises Invalid.

    A body's field wins over the query's, and the slug of the path over the body's (Sentry, HTTP check-ins).
    """
    repairs: list[str] = []
    fields = {**_of_query(origin.query, repairs), **_of_body(body, origin.content_type, repairs)}
    slug = unquote(origin.resource)
    given = fields.get("monitor_slug")
    if given is not None and slugified(str(given)) != slugified(slug):
        repairs.append(SLUG_DIFFERS)
    fields["monitor_slug"] = slug
    if fields.get("status") in (None, ""):
        raise Invalid(
            "check-in: expected status=in_progress, ok or error in the query or in a JSON body, found none; "
            "name the job's status"
        )
    payload = dumps_text(fields).encode()
    header = {"type": _WORKER, **({"repairs": repairs} if repairs else {})}
    return Split(items=[(0, _WORKER, envelope.write_single(b"{}", header, payload))])


def _of_query(query: str, repairs: list[str]) -> dict[str, Any]:
    """The fields a check-in has in a query; a duration there is text. Others are not kept, and named."""
    given = parse_qsl(query)
    fields: dict[str, Any] = {name: value for name, value in given if name in _FIELDS}
    if any(name not in _FIELDS and not name.startswith("sentry_") for name, _ in given):
        repairs.append(FIELDS_IGNORED)
    duration = fields.get("duration", "").strip()
    if _SECONDS.fullmatch(duration):
        fields["duration"] = float(duration)
    return fields


def _of_body(body: bytes, content_type: str, repairs: list[str]) -> dict[str, Any]:
    """A check-in as JSON, or as a form, which is what `curl -d status=ok` sends. Raises Invalid.

    A body that is neither, such as the job's output, is not kept, and named.
    """
    text = body.strip()
    if not text:
        return {}
    if text[:1] != b"{" and not content_type.strip().lower().startswith("application/json"):
        fields = _of_query(text.decode("utf-8", "replace"), repairs) if len(text) <= _MAX_FORM_BYTES else {}
        if not fields:
            repairs.append(BODY_IGNORED)
        return fields
    try:
        value = loads(text)
    except ValueError as error:
        raise Invalid(f"check-in body: expected a JSON object, found {error}; send valid JSON or no body") from error
    if not isinstance(value, dict):
        raise Invalid(f"check-in body: expected a JSON object, found {type(value).__name__}; send one object")
    return value
