"""What can be explored: errors, spans and logs, and the fields that a question about each can name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from console.query.fields import FIELDS, ISSUE_ID_OF, UNKNOWN_HERE, Field, FieldGroups, Fields, Kind, by_name


@dataclass(frozen=True, slots=True)
class Dataset:
    """`where` chooses its rows of `events`. `duration` is the field that functions without one measure; "" if none."""

    name: str
    where: str
    fields: Fields
    duration: str = ""
    # Fields of other datasets that are no tags here.
    refused: frozenset[str] = UNKNOWN_HERE


_LEVEL_OF_LOG: Final = (
    "multiIf(severity_number = 0, lower(severity_text), severity_number < 5, 'trace', severity_number < 9, 'debug', "
    "severity_number < 13, 'info', severity_number < 17, 'warning', severity_number < 21, 'error', 'fatal')"
)
_ID_OF_EVENT: Final = "replaceAll(toString(event_id), '-', '')"
_NANOSECONDS: Final = "toUnixTimestamp64Nano(timestamp)"
# The first span of a service in a trace.
_IS_TRANSACTION: Final = (
    "(item_type = 'transaction' OR attributes_bool['sentry.is_segment'] "
    "OR (item_type = 'otlp_span' AND (parent_span_id = '' OR span_kind IN ('server', 'consumer'))))"
)
_TRANSACTION_OF: Final = (
    f"multiIf({_IS_TRANSACTION}, name, attributes_string['sentry.segment.name'] != '', "
    "attributes_string['sentry.segment.name'], attributes_string['transaction'])"
)
_SHARED: Final[FieldGroups] = {
    ("span.name", "name"): Field(Kind.TEXT, "name"),
    ("span.kind", "sentry.otel.kind"): Field(Kind.TEXT, "span_kind"),
    ("timestamp_precise",): Field(Kind.NUMBER, _NANOSECONDS),
    ("severity_number",): Field(Kind.NUMBER, "severity_number"),
    ("sentry.otel.instrumentation_scope.name",): Field(Kind.TEXT, "scope_name"),
    ("http.request.method",): FIELDS["http.method"],
    ("http.response.status_code", "span.status_code"): FIELDS["http.status_code"],
    ("http.route",): Field(Kind.TEXT, "http_route"),
    ("db.system", "db.system.name"): Field(Kind.TEXT, "db_system"),
    ("db.operation", "db.operation.name"): Field(Kind.TEXT, "db_operation"),
    ("gen_ai.operation.name",): Field(Kind.TEXT, "gen_ai_operation"),
    ("gen_ai.provider.name", "gen_ai.system"): Field(Kind.TEXT, "gen_ai_provider"),
    ("gen_ai.request.model",): Field(Kind.TEXT, "gen_ai_request_model"),
    ("gen_ai.response.model",): Field(Kind.TEXT, "gen_ai_response_model"),
    ("gen_ai.agent.name",): Field(Kind.TEXT, "gen_ai_agent"),
    ("gen_ai.tool.name",): Field(Kind.TEXT, "gen_ai_tool"),
    ("gen_ai.conversation.id",): Field(Kind.TEXT, "gen_ai_conversation_id"),
    ("gen_ai.usage.input_tokens",): Field(Kind.NUMBER, "gen_ai_input_tokens"),
    ("gen_ai.usage.output_tokens",): Field(Kind.NUMBER, "gen_ai_output_tokens"),
}
_SPANS: Final[FieldGroups] = {
    ("id", "span_id", "span", "trace.span_id"): Field(Kind.TEXT, "span_id"),
    ("parent_span", "parent_span_id", "trace.parent_span_id", "trace.parent_span"): Field(Kind.TEXT, "parent_span_id"),
    ("span.op", "op", "transaction.op"): Field(Kind.TEXT, "span_op"),
    ("span.description", "description", "message"): Field(Kind.TEXT, "name"),
    ("span.duration", "transaction.duration"): Field(Kind.DURATION, "(duration_ns / 1000000)"),
    ("span.status", "status", "transaction.status", "trace.status"): Field(Kind.TEXT, "status"),
    ("span.status_message", "status_message"): Field(Kind.TEXT, "status_message"),
    ("transaction", "segment.name", "sentry.segment.name"): Field(Kind.TEXT, _TRANSACTION_OF),
    ("is_transaction", "is_segment"): Field(Kind.FLAG, _IS_TRANSACTION),
    ("precise.start_ts",): Field(Kind.NUMBER, f"({_NANOSECONDS} / 1000000000)"),
    ("precise.finish_ts",): Field(Kind.NUMBER, f"(({_NANOSECONDS} + duration_ns) / 1000000000)"),
}
_TEXT_OF_LOG: Final = "if(body != '', body, name)"
_LOGS: Final[FieldGroups] = {
    ("sentry.item_id", "id", "item_id"): Field(Kind.TEXT, _ID_OF_EVENT),
    ("message", "log.body", "sentry.body"): Field(Kind.TEXT, _TEXT_OF_LOG),
    ("severity", "level", "log.severity_text"): Field(Kind.LEVEL, _LEVEL_OF_LOG),
    ("log.severity_number",): Field(Kind.NUMBER, "severity_number"),
    ("span_id", "trace.parent_span_id", "parent_span"): Field(Kind.TEXT, "span_id"),
    ("sentry.observed_timestamp_nanos", "observed_timestamp"): Field(Kind.NUMBER, "toUnixTimestamp64Nano(observed_at)"),
}
# Of an event, without a look at issues. As text in answers: JavaScript rounds numbers of this size.
_ERRORS: Final[FieldGroups] = {
    ("issue.id",): Field(Kind.ISSUE_NUMBER, ISSUE_ID_OF, answered=f"toString({ISSUE_ID_OF})"),
}
# Spans and logs have no issues.
_OF_ERRORS_ONLY: Final = frozenset({"issue", *(name for name, field in FIELDS.items() if field.of_issue)})
_OF_ALL: Final = {name: field for name, field in FIELDS.items() if name not in _OF_ERRORS_ONLY}

_REFUSED: Final = UNKNOWN_HERE | {"is", "issue", "issue.id", "timesSeen", "firstSeen", "lastSeen"}

# A tag of such a name would be an empty answer without a reason.
_REFUSED_BY_ERRORS: Final = UNKNOWN_HERE | {"span.duration", "transaction.duration"}

ERRORS: Final = Dataset("errors", "is_error", {**FIELDS, **by_name(_SHARED, _ERRORS)}, refused=_REFUSED_BY_ERRORS)
SPANS: Final = Dataset(
    "spans", "event_type = 'app.span'", {**_OF_ALL, **by_name(_SHARED, _SPANS)}, "span.duration", _REFUSED
)
LOGS: Final = Dataset(
    "logs",
    "event_type = 'app.log' AND item_type NOT IN ('attachment', 'csp', 'minidump')",
    {**_OF_ALL, **by_name(_SHARED, _LOGS)},
    refused=_REFUSED,
)
# With the names that tools have for them; Sentry's `discover` is errors here, and its transactions are spans.
DATASETS: Final[Mapping[str, Dataset]] = {
    "errors": ERRORS,
    "discover": ERRORS,
    "spans": SPANS,
    "spansIndexed": SPANS,
    "spansMetrics": SPANS,
    "transactions": Dataset(
        "transactions", f"{SPANS.where} AND {_IS_TRANSACTION}", SPANS.fields, SPANS.duration, _REFUSED
    ),
    "logs": LOGS,
    "ourlogs": LOGS,
}
