"""What a native event's payload says that has a column or a conventional name: OpenTelemetry shapes, agents, errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.native_event import AGENT_LOG, TOOL_CALLS, NativeEvent
from schemas.otlp.json_enums import KINDS, STATUSES
from schemas.rows import AGENT_ERROR, APP_LOG, APP_SPAN
from schemas.tolerant_json import dumps_text
from workers.normalise.attributes import RESOURCE_TRUNCATED, Attributes, shared_rank
from workers.normalise.levels import Severity, event_severity
from workers.normalise.scalars import as_dict, as_text, whole
from workers.normalise.timestamps import bound_uint64

MAX_BODY_LENGTH: Final = 16_000
MAX_RESOURCE_KEYS: Final = 200
_MAX_SEVERITY: Final = 24
_MAX_DIGITS: Final = 19

_BODY_KEYS: Final = ("body", "message", "text", "content", "error", "token")
# OpenTelemetry: SpanKind and Status.code of the protobuf definition, as our other rows name them.
_KINDS: Final = {0: "unspecified", 1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_STATUSES: Final = {0: "unset", 1: "ok", 2: "error"}
_LOGS: Final = frozenset({APP_LOG, AGENT_LOG})


@dataclass(frozen=True, slots=True)
class NativeSpan:
    """What a span says beyond its ids; all empty for other events."""

    kind: str = ""
    status: str = ""
    status_message: str = ""
    duration_ns: int = 0


def body_text(payload: dict[str, Any]) -> str:
    """The message in a payload, whatever it is called; without one the payload's JSON, so that a search finds it."""
    for key in _BODY_KEYS:
        value = payload.get(key)
        if value is not None and value != "":
            return as_text(as_dict(value).get("message") or value)
    return dumps_text(payload)[:MAX_BODY_LENGTH] if payload else ""


def sent_ns(event: NativeEvent) -> int | None:
    """Time of a log or span payload (OTLP/JSON names), ns since 1970; None without one, 0 for what is none."""
    if event.event_type == APP_SPAN:
        value = event.payload.get("startTimeUnixNano")
    else:
        value = event.payload.get("timeUnixNano") if event.event_type in _LOGS else None
    return None if value is None else _nanoseconds(value)


def read_span(event_type: str, payload: dict[str, Any]) -> NativeSpan:
    """Kind, status and duration of a span payload (OTLP/JSON names)."""
    if event_type != APP_SPAN:
        return NativeSpan()
    status = as_dict(payload.get("status"))
    start_ns, end_ns = _nanoseconds(payload.get("startTimeUnixNano")), _nanoseconds(payload.get("endTimeUnixNano"))
    kind, code = _enum(payload.get("kind"), KINDS), _enum(status.get("code"), STATUSES)
    return NativeSpan(
        kind=_KINDS.get(kind, "unspecified"),
        status=_STATUSES.get(code, "unset"),
        status_message=as_text(status.get("message")),
        duration_ns=bound_uint64(end_ns - start_ns) if start_ns and end_ns else 0,
    )


def severity_of(event: NativeEvent, repairs: list[str]) -> Severity:
    """(number, text): the payload's own (OTLP/JSON names, or a level), else error for errors and info for logs."""
    payload = event.payload
    number = whole(payload.get("severityNumber"))
    if number is not None and 0 < number <= _MAX_SEVERITY:
        return number, as_text(payload.get("severityText"))[:32]
    default = "error" if event.event_type == AGENT_ERROR else "info"
    level = _first(payload, ("level", "severityText", "severity"))
    if level is not None:
        return event_severity(level, default, repairs)
    return event_severity(None, default, repairs) if event.event_type in {AGENT_ERROR, *_LOGS} else (0, "")


def resource_of(payload: dict[str, Any], environment: str, repairs: list[str]) -> dict[str, str]:
    """The resource of a payload as text, under OpenTelemetry's names; of too many keys those that columns read stay."""
    sent = as_dict(payload.get("resource"))
    sent = as_dict(sent.get("attributes")) or sent
    keys = list(sent)
    if len(keys) > MAX_RESOURCE_KEYS:
        keys = sorted(keys, key=shared_rank)[:MAX_RESOURCE_KEYS]
        repairs.append(RESOURCE_TRUNCATED)
    resource = {key: as_text(sent[key]) for key in keys}
    resource.setdefault("deployment.environment.name", environment)
    return resource


def read_agent(event: NativeEvent, attributes: Attributes) -> None:
    """Agent, tool, model, conversation and tokens by their names in the semantic conventions for generative AI."""
    payload = event.payload
    attributes.put("gen_ai.agent.id", event.agent_id or None)
    attributes.put("gen_ai.agent.name", _word(payload, "agent_name") or event.agent_id or None)
    attributes.put("gen_ai.tool.name", _word(payload, "tool_name"))
    attributes.put("gen_ai.tool.call.id", _word(payload, "tool_call_id", "tool_use_id"))
    attributes.put("gen_ai.request.model", _word(payload, "model", "model_name"))
    attributes.put("gen_ai.provider.name", _word(payload, "provider"))
    conversation = _word(payload, "conversation_id", "thread_id") or _word(
        event.metadata, "conversation_id", "thread_id"
    )
    attributes.put("gen_ai.conversation.id", conversation)
    if event.event_type in TOOL_CALLS:
        attributes.put("gen_ai.operation.name", "execute_tool")
    usage = as_dict(payload.get("usage")) or as_dict(payload.get("token_usage")) or payload
    attributes.put("gen_ai.usage.input_tokens", _tokens(usage, "input_tokens", "prompt_tokens"))
    attributes.put("gen_ai.usage.output_tokens", _tokens(usage, "output_tokens", "completion_tokens"))


def read_error(event: NativeEvent, attributes: Attributes) -> None:
    """The exception of an `agent.error`: `error` as text beside `error_type`, or as an object."""
    if event.event_type != AGENT_ERROR:
        return
    payload = event.payload
    error = payload.get("error")
    inside = as_dict(error)
    kind = _word(payload, "error_type", "exception_type") or _word(inside, "type", "name")
    message = (
        error if error.__class__ is str else _word(inside, "message") or _word(payload, "message", "error_message")
    )
    stack = _word(inside, "stack", "stacktrace", "traceback") or _word(payload, "stack", "stacktrace", "traceback")
    attributes.put("exception.type", kind)
    attributes.put("exception.message", message)
    attributes.put("exception.stacktrace", stack)


def _enum(value: Any, names: Mapping[str, int]) -> int:
    """A number, in text too, or one of OTLP's names for it; 0 for anything else."""
    number = whole(value)
    return names.get(value.strip().upper(), 0) if number is None and value.__class__ is str else number or 0


def _nanoseconds(value: Any) -> int:
    """An integer or its digits, 0 for anything else and for what is beyond 64 bits."""
    if value.__class__ is str and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return value if value.__class__ is int and 0 < value < 10**_MAX_DIGITS else 0


def _first(members: dict[str, Any], names: Iterable[str]) -> Any:
    return next((members[name] for name in names if members.get(name) is not None), None)


def _word(members: dict[str, Any], *names: str) -> str | None:
    """The first of these that is text and not empty."""
    return next((value for name in names if (value := members.get(name)).__class__ is str and value), None)


def _tokens(usage: dict[str, Any], *names: str) -> int | None:
    return next((number for name in names if (number := whole(usage.get(name))) is not None and number >= 0), None)
