"""Sentry `raw_security` and `security` items: one log row per browser report. Forms of reports: security_reports.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from schemas.headers import Origin
from schemas.rows import APP_LOG, Row, item_row_id
from schemas.tolerant_json import dumps_text, loads
from workers.normalise.attributes import ATTRIBUTE_COLUMNS, Attributes
from workers.normalise.envelope_item import (
    INVALID_JSON,
    ORIGIN_COLUMNS,
    EnvelopeItem,
    RecordRefused,
    distinct,
    open_file,
    origin_values,
)
from workers.normalise.scalars import as_text, first_line, named_number, whole
from workers.normalise.sentry.payload.grouping import group_hash
from workers.normalise.sentry.payload.message import NO_MESSAGE
from workers.normalise.sentry.payload.request import put_url
from workers.normalise.sentry.payload.resource import build_resource, release_of, sdk_of
from workers.normalise.sentry.payload.scope import choose_environment
from workers.normalise.sentry.security_reports import (
    CSP,
    EXPECT_CT,
    EXPECT_STAPLE,
    Report,
    directive,
    entries,
    read_report,
)
from workers.normalise.timestamps import Placed, SenderClock
from workers.normalise.verdict import Verdict

COLUMNS: Final[tuple[str, ...]] = (
    *ORIGIN_COLUMNS,
    "environment",
    "event_id",
    "event_type",
    "item_type",
    "timestamp",
    "original_timestamp_ns",
    "source_ordinal",
    "severity_number",
    "severity_text",
    "name",
    "body",
    *ATTRIBUTE_COLUMNS,
    "resource",
    "scope_name",
    "user_id",
    "fingerprint",
    "group_hash",
    "dropped_attributes_count",
    "metadata",
    "payload",
    "repairs",
)

AGE_INVALID: Final = "age_invalid"
TEXT_CUT: Final = "text_cut"
NUMBER_INVALID: Final = "number_invalid"

_NIL_ID: Final = "0" * 32
_MAX_TITLE: Final = 256
_MAX_TEXT: Final = 1_000
_MAX_AGE_MS: Final = 10**12
# What may stand in place of a blocked address, when the code was in the page itself.
_INLINE: Final = frozenset({"", "self", "inline"})
_EVAL: Final = frozenset({"eval", "wasm-eval"})
# Browsers shorten addresses of these schemes to the scheme.
_SCHEMES: Final = frozenset({"about", "blob", "data", "filesystem"})
_WEB: Final = frozenset({"http", "https", "ws", "wss"})
_MAX_SCHEME: Final = 64
_TITLES: Final = {
    EXPECT_CT: "Expect-CT failed for",
    EXPECT_STAPLE: "Expect-Staple failed for",
}


@dataclass(frozen=True, slots=True)
class _Said:
    """What a report comes down to: a title, what it is about, what groups it."""

    title: str
    culprit: str
    url: str
    group: tuple[str, ...]


def normalise(origin: Origin, body: bytes, *, retention_days: int = 30) -> Verdict:
    """A row for each report in the one-item envelope `body` (Sentry security policy reporting).

    A report that is none, or not about security, is a rejection of its own.
    """
    verdict = Verdict()
    try:
        item, payload = open_file(body)
        reports = entries(_document(payload))
        clock = item.clock(origin, retention_days)
    except RecordRefused as refused:
        return refused.verdict()
    is_alone = len(reports) == 1
    for index, entry in enumerate(reports):
        try:
            report = read_report(entry, as_text(item.header.get("content_type")))
            verdict.rows.append(_row(origin, item, _ReportEntry(entry, report, index, is_alone), clock))
        except RecordRefused as refused:
            verdict.refuse(index, refused.reason, refused.detail)
    verdict.accepted = len(verdict.rows)
    return verdict


@dataclass(frozen=True, slots=True)
class _ReportEntry:
    """One report of a body, as sent and as read, and its place."""

    sent: dict[str, Any]
    report: Report
    index: int
    is_alone: bool


def _document(payload: memoryview | bytes) -> Any:
    try:
        return loads(payload)
    except ValueError as error:
        raise RecordRefused(INVALID_JSON, f"expected a security report as JSON: {error}") from error


def _row(origin: Origin, item: EnvelopeItem, entry: _ReportEntry, clock: SenderClock) -> Row:
    repairs, attributes, report = list(item.repairs), Attributes(), entry.report
    timestamp, original_ns, moved = _place(report, clock, repairs)
    repairs += moved
    is_csp = report.kind == CSP
    said = _of_csp(report.fields, attributes, repairs) if is_csp else _of_certificate(report, attributes, repairs)
    _put_sender(origin, report, said, attributes, repairs)
    named = item.header.get("sentry_environment") or entry.sent.get("environment")
    environment = choose_environment(origin, named, attributes, repairs)
    release = release_of(item.header.get("sentry_release") or entry.sent.get("release"), repairs)
    attributes.close(repairs)
    return (
        *origin_values(origin),
        environment,
        _event_id(origin, item, entry),
        APP_LOG,
        "csp",
        timestamp,
        original_ns,
        entry.index,
        17,
        "error",
        said.title,
        said.title,
        *attributes.maps(),
        build_resource(
            release=release, environment=environment, sdk=sdk_of(None, item.envelope.sdk, origin.sentry_client)
        ),
        report.kind,
        origin.sender_ip,
        list(said.group),
        group_hash(list(said.group), [], NO_MESSAGE),
        attributes.dropped,
        dumps_text({"sentryItemType": "csp", "securityReport": report.kind}),
        dumps_text(entry.sent),
        distinct(repairs),
    )


def _event_id(origin: Origin, item: EnvelopeItem, entry: _ReportEntry) -> int:
    given = item.envelope.event_id or _NIL_ID
    if entry.is_alone and given != _NIL_ID:
        return int(given, 16)
    return item_row_id(origin, entry.index)


def _place(report: Report, clock: SenderClock, repairs: list[str]) -> Placed:
    """The Reporting API says how many milliseconds ago it was; certificates' reports say when; the others do not."""
    if report.fields.get("date-time") is not None:
        return clock.place(report.fields["date-time"])
    age_ms = named_number(report.around.get("age"), "age", repairs)
    if age_ms.__class__ in (int, float) and 0 <= age_ms <= _MAX_AGE_MS:
        return clock.clamp(clock.received_at_ns - int(age_ms * 1_000_000)), 0, ()
    if age_ms is not None:
        repairs.append(AGE_INVALID)
    return clock.received_at_ns, 0, ()


def _cut(value: Any, name: str, repairs: list[str]) -> str | None:
    """A text as an attribute bears it; the payload has all of it."""
    text = as_text(value)
    if len(text) > _MAX_TEXT:
        repairs.append(f"{TEXT_CUT}:{name}")
    return text[:_MAX_TEXT] or None


def _put_sender(origin: Origin, report: Report, said: _Said, attributes: Attributes, repairs: list[str]) -> None:
    put = attributes.put
    put("logger", report.kind)
    put("culprit", said.culprit)
    if said.url:
        put_url(said.url, attributes)
    put(
        "user_agent.original", _cut(report.around.get("user_agent"), "user_agent", repairs) or origin.user_agent or None
    )
    put("client.address", origin.sender_ip or None)


def _of_csp(fields: dict[str, Any], attributes: Attributes, repairs: list[str]) -> _Said:
    violated, put = directive(fields), attributes.put
    blocked = as_text(fields.get("blocked-uri")).strip()
    host = _host(blocked)
    put("effective-directive", violated)
    put("blocked-uri", _cut(blocked, "blocked-uri", repairs))
    put("blocked-host", host or None)
    put("csp.disposition", _cut(fields.get("disposition"), "disposition", repairs))
    put("csp.sample", _cut(fields.get("script-sample"), "script-sample", repairs))
    put("http.request.header.referer", _cut(fields.get("referrer"), "referrer", repairs))
    put("http.response.status_code", _number(fields, "status-code", repairs) or None)
    put("code.file.path", _cut(fields.get("source-file"), "source-file", repairs))
    put("code.line.number", _number(fields, "line-number", repairs))
    put("code.column.number", _number(fields, "column-number", repairs))
    source = _source(blocked, host)
    culprit = as_text(fields.get("violated-directive")).strip() or violated
    return _Said(
        title=first_line(_csp_title(violated, source), _MAX_TITLE),
        culprit=culprit[:_MAX_TEXT],
        url=as_text(fields.get("document-uri")).strip(),
        group=(CSP, violated, source),
    )


def _csp_title(violated: str, source: str) -> str:
    """As Sentry's issues are called: Blocked 'script' from 'evil.example'."""
    what = violated.removesuffix("-elem").removesuffix("-attr").removesuffix("-src").replace("img", "image")
    if source in _EVAL:
        return f"Blocked unsafe eval() '{what}'"
    if source in _INLINE:
        return f"Blocked unsafe inline '{what}'" if what == "script" else f"Blocked inline '{what}'"
    return f"Blocked 'form' action to '{source}'" if what == "form-action" else f"Blocked '{what}' from '{source}'"


def _source(blocked: str, host: str) -> str:
    """Where it came from, fit to group by: a host, a scheme such as `data:`, or a word such as `inline`."""
    word = blocked.strip("'").lower()[:_MAX_TITLE]
    if word in _EVAL or word in _INLINE:
        return word or "inline"
    if word in _SCHEMES:
        return f"{word}:"
    scheme, is_address, rest = word.partition(":")
    if host:
        return host if scheme in _WEB or not is_address else f"{scheme}://{host}"
    return f"{scheme}:" if is_address and rest else word


def _host(address: str) -> str:
    """The host of an address, with its port if there is one; '' for what has none."""
    if "//" not in address[:_MAX_SCHEME]:
        return ""
    try:
        return urlsplit(address).netloc.rpartition("@")[2].lower()[:_MAX_TITLE]
    except ValueError:
        return ""


def _of_certificate(report: Report, attributes: Attributes, repairs: list[str]) -> _Said:
    """Expect-CT, Expect-Staple, HPKP: a host whose certificate was not as it had promised."""
    fields, put = report.fields, attributes.put
    host = as_text(fields.get("hostname"))[:_MAX_TITLE]
    port = _number(fields, "port", repairs)
    put("hostname", host)
    put("port", port)
    for name in ("failure-mode", "response-status", "cert-status", "noted-hostname"):
        put(name, _cut(fields.get(name), name, repairs))
    for name in ("include-subdomains", "test-report"):
        put(name, fields.get(name) if fields.get(name).__class__ is bool else None)
    words = _TITLES.get(report.kind, "Public key pinning validation failed for")
    return _Said(
        title=first_line(f"{words} '{host}'", _MAX_TITLE),
        culprit=host,
        url=f"https://{host}" if port in (None, 443) else f"https://{host}:{port}",
        group=(report.kind, host),
    )


def _number(fields: dict[str, Any], name: str, repairs: list[str]) -> int | None:
    """A whole number from 0, which some browsers write as text. What is none is named."""
    value = fields.get(name)
    number = whole(value)
    if number is not None and 0 <= number < 2**31:
        return number
    if value is not None and value != "":
        repairs.append(f"{NUMBER_INVALID}:{name}")
    return None
