"""Makes one item of a body with browsers' security reports, unchanged. The worker `csp` reads the reports."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from schemas.envelope import body as envelope
from schemas.headers import Origin
from schemas.tolerant_json import loads
from workers.normalise.envelope_item import QUERY_VALUE_CUT, RecordRefused
from workers.normalise.sentry import security_reports
from workers.normalise.verdict import Invalid
from workers.unpack.pieces import Split

_WORKER = "csp"
_MAX_VALUE_LENGTH = 200
_NAMES = frozenset({"sentry_release", "sentry_environment"})


def read(body: bytes, origin: Origin, _limit_bytes: int) -> Split:
    """The reports as a `raw_security` item, release and environment of the query in its header. Raises Invalid.

    A list may have reports of other types, because browsers send all reports to one address; a single report may not.
    """
    try:
        reports = security_reports.entries(loads(body))
        if len(reports) == 1:
            security_reports.read_report(reports[0], origin.content_type)
    except RecordRefused as refused:
        if refused.reason != security_reports.UNSUPPORTED_TYPE:
            raise Invalid(f"security report: {refused.detail}") from refused
    except ValueError as error:
        raise Invalid(f"security report: expected JSON, found {error}; send the report as JSON") from error
    header = {"type": "raw_security", "content_type": origin.content_type, **_named(origin.query)}
    if any(len(value) > _MAX_VALUE_LENGTH for value in _given(origin.query).values()):
        header["repairs"] = [QUERY_VALUE_CUT]
    return Split(items=[(0, _WORKER, envelope.write_single(b"{}", header, body))])


def _named(query: str) -> dict[str, Any]:
    """Release and environment: browsers do not know them, so the site's report-uri has them."""
    return {name: value[:_MAX_VALUE_LENGTH] for name, value in _given(query).items()}


def _given(query: str) -> dict[str, str]:
    return {name: value for name, value in parse_qsl(query) if value and name in _NAMES}
