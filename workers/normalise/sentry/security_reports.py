"""Browsers' security reports in all their forms, as one form. Rows are made in security.py.

CSP Level 2 and 3 (report-uri and the Reporting API), Expect-CT (RFC 9163), Expect-Staple, HPKP (RFC 7469).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from workers.normalise.envelope_item import RecordRefused
from workers.normalise.scalars import as_dict, as_text, value_text

CSP: Final = "csp"
EXPECT_CT: Final = "expectct"
EXPECT_STAPLE: Final = "expectstaple"
HPKP: Final = "hpkp"

INVALID_REPORT: Final = "invalid_security_report"
UNSUPPORTED_TYPE: Final = "security_report_type"
TOO_MANY: Final = "too_many_reports"

# As many as an envelope may have items.
MAX_REPORTS: Final = 500

# The name of the object a report stands in, in browsers' words and in those of Sentry's classified events.
_WRAPPERS: Final = {
    "csp-report": CSP,
    "csp": CSP,
    "expect-ct-report": EXPECT_CT,
    "expectct": EXPECT_CT,
    "expect-staple-report": EXPECT_STAPLE,
    "expectstaple": EXPECT_STAPLE,
    "hpkp": HPKP,
}
_CONTENT_TYPES: Final = {
    "application/csp-report": CSP,
    "application/expect-ct-report": EXPECT_CT,
    "application/expect-ct-report+json": EXPECT_CT,
    "application/expect-staple-report": EXPECT_STAPLE,
    "application/expect-staple-report+json": EXPECT_STAPLE,
}
MEDIA_TYPES: Final = frozenset({*_CONTENT_TYPES, "application/json", "application/reports+json"})
# Names that only one kind of report has, for documents that nothing wraps.
_MARKS: Final = (
    (CSP, frozenset({"effective-directive", "violated-directive", "blocked-uri"})),
    (HPKP, frozenset({"known-pins", "noted-hostname"})),
    (EXPECT_STAPLE, frozenset({"ocsp-response", "cert-status"})),
    (EXPECT_CT, frozenset({"scts", "failure-mode"})),
)
_RENAMED: Final = {"document-url": "document-uri", "blocked-url": "blocked-uri", "sample": "script-sample"}
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MAX_NAME_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Report:
    """One report: `fields` under the hyphened names of report-uri, `around` what the Reporting API says beside it."""

    kind: str
    fields: dict[str, Any]
    around: dict[str, Any]


def entries(document: Any) -> list[Any]:
    """The reports of a document, each still as sent. Raises RecordRefused for what can hold none."""
    if document.__class__ is dict:
        return [document]
    if document.__class__ is not list:
        raise RecordRefused(
            INVALID_REPORT, f"expected a report or a list of reports, found {value_text(document)}; send JSON"
        )
    if len(document) > MAX_REPORTS:
        raise RecordRefused(
            TOO_MANY, f"expected at most {MAX_REPORTS} reports, found {len(document)}; send fewer at once"
        )
    return list(document)


def read_report(entry: Any, content_type: str = "") -> Report:
    """One report. Raises RecordRefused: not an object, a kind that is not about security, or without what makes it
    one.
    """
    if entry.__class__ is not dict:
        raise RecordRefused(
            INVALID_REPORT, f"expected a report as a JSON object, found {value_text(entry)}; send one object each"
        )
    report = _classified(entry, content_type.partition(";")[0].strip().lower())
    if report.kind == CSP and not directive(report.fields):
        raise RecordRefused(
            INVALID_REPORT, "expected violated-directive or effective-directive, found neither; send one"
        )
    if report.kind != CSP and not as_text(report.fields.get("hostname")):
        raise RecordRefused(INVALID_REPORT, f"expected a hostname in a report of {report.kind}, found none; send it")
    return report


def directive(fields: dict[str, Any]) -> str:
    """The directive that was violated, without its sources; '' if the report does not say."""
    text = as_text(fields.get("effective-directive")) or as_text(fields.get("violated-directive"))
    words = text[:1_000].split()
    return words[0][:_MAX_NAME_LENGTH].lower() if words else ""


def _classified(entry: dict[str, Any], content_type: str) -> Report:
    """By its wrapper, by its own type, by what it holds, and only then by what the sender calls it."""
    for name, kind in _WRAPPERS.items():
        inner = entry.get(name)
        if inner.__class__ is dict:
            return Report(kind, _hyphened(inner), {})
    if "body" in entry and "type" in entry:
        return _of_reporting_api(entry)
    fields = _hyphened(entry)
    for kind, marks in _MARKS:
        if not marks.isdisjoint(fields):
            return Report(kind, fields, {})
    if content_type in _CONTENT_TYPES:
        return Report(_CONTENT_TYPES[content_type], fields, {})
    raise RecordRefused(INVALID_REPORT, "expected a CSP, Expect-CT, Expect-Staple or HPKP report, found another object")


def _of_reporting_api(entry: dict[str, Any]) -> Report:
    kind = as_text(entry.get("type"))
    if kind != "csp-violation":
        raise RecordRefused(
            UNSUPPORTED_TYPE, f"expected reports of type csp-violation, found {value_text(kind)}; send those only"
        )
    fields = _hyphened(as_dict(entry.get("body")))
    fields.setdefault("document-uri", entry.get("url"))
    return Report(CSP, fields, entry)


def _hyphened(fields: dict[str, Any]) -> dict[str, Any]:
    """documentURL, document_uri and document-uri are one name; the first of them counts."""
    named: dict[str, Any] = {}
    for name, value in fields.items():
        if len(name) <= _MAX_NAME_LENGTH:
            plain = _HUMP.sub("-", name).replace("_", "-").lower()
            named.setdefault(_RENAMED.get(plain, plain), value)
    return named
