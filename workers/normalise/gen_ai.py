"""What the conventions for calls of models say, under the names that columns read (OpenTelemetry, `gen_ai.*`).

OpenLLMetry (`llm.*`, `traceloop.*`), OpenInference (`llm.*`, `openinference.*`), the AI SDK (`ai.*`), LangSmith and
Sentry's SDKs have names of their own, and numbers come as text or doubles too. What was sent stays; what it means is
put beside it where the current name is not set. docs/decisions/0025-names-of-model-calls.md says why here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.tolerant_json import dumps_text, loads

Strings = dict[str, str]
Integers = dict[str, int]
Doubles = dict[str, float]

OPERATION: Final = "gen_ai.operation.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
CONVERSATION: Final = "gen_ai.conversation.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"

# The name that the column reads first, then the others in the order of preference.
_COUNTS: Final = {
    "gen_ai.usage.input_tokens": (
        *("gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens", "llm.token_count.prompt", "ai.usage.inputTokens"),
        *("ai.usage.promptTokens", "ai.usage.tokens", "ai.prompt_tokens.used", "ai_prompt_tokens_used"),
        *("measurement.ai_prompt_tokens_used", "llm.usage.input_tokens"),
    ),
    "gen_ai.usage.output_tokens": (
        *("gen_ai.usage.completion_tokens", "llm.usage.completion_tokens", "llm.token_count.completion"),
        *("ai.usage.outputTokens", "ai.usage.completionTokens", "ai.completion_tokens.used"),
        *("ai_completion_tokens_used", "measurement.ai_completion_tokens_used", "llm.usage.output_tokens"),
    ),
    "gen_ai.usage.cache_read.input_tokens": (
        *("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.input_tokens.cached", "gen_ai.usage.cached_tokens"),
        *("llm.token_count.prompt_details.cache_read", "llm.usage.cache_read_input_tokens"),
        *("ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens"),
        *("gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cached_tokens"),
    ),
    "gen_ai.usage.cache_creation.input_tokens": (
        *("gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.input_tokens.cache_write"),
        *("llm.token_count.prompt_details.cache_write", "llm.usage.cache_creation_input_tokens"),
        *("ai.usage.inputTokenDetails.cacheWriteTokens", "gen_ai.usage.details.cache_write_tokens"),
    ),
    "gen_ai.usage.reasoning.output_tokens": (
        *("gen_ai.usage.reasoning_tokens", "gen_ai.usage.output_tokens.reasoning", "llm.usage.reasoning_tokens"),
        *("llm.token_count.completion_details.reasoning", "ai.usage.reasoningTokens"),
        *("ai.usage.outputTokenDetails.reasoningTokens", "gen_ai.usage.details.reasoning_tokens"),
    ),
}
# Seconds, and what the others are divided by.
_FIRST_CHUNK_NAMES: Final = (
    (FIRST_CHUNK, 1),
    ("gen_ai.response.time_to_first_token", 1),
    ("gen_ai.server.time_to_first_token", 1),
    ("ai.response.msToFirstChunk", 1000),
    ("ai.stream.msToFirstChunk", 1000),
)
_OF_COUNT: Final = {name: frozenset({name, *others}) for name, others in _COUNTS.items()}
_OF_FIRST_CHUNK: Final = frozenset(name for name, _ in _FIRST_CHUNK_NAMES)
_NUMBERS: Final = _OF_FIRST_CHUNK.union(*_OF_COUNT.values())
_MODELS: Final = (
    *(
        "llm.request.model",
        "llm.model_name",
        "embedding.model_name",
        "reranker.model_name",
        "ai.model.id",
        "ai.model_id",
    ),
    "ai_model_id",
)
_CONVERSATIONS: Final = (
    *("traceloop.association.properties.session_id", "traceloop.association.properties.thread_id"),
    *("traceloop.association.properties.conversation_id", "ai.telemetry.metadata.sessionId"),
    *("ai.telemetry.metadata.conversationId", "ai.telemetry.metadata.threadId", "langsmith.trace.session_id"),
)
_REASONS: Final = (
    *("gen_ai.response.finish_reason", "llm.finish_reason", "llm.response.finish_reason", "llm.response.stop_reason"),
    *("ai.response.finishReason", "ai.finishReason"),
)
_INDEXED_REASON: Final = re.compile(
    r"gen_ai\.completion\.\d+\.finish_reason|llm\.output_messages\.\d+\.message\.finish_reason"
)

_OPENINFERENCE: Final = {
    **{"LLM": "chat", "EMBEDDING": "embeddings", "AGENT": "invoke_agent", "TOOL": "execute_tool"},
    **{"RETRIEVER": "retrieval", "RERANKER": "rerank", "CHAIN": "invoke_workflow"},
}
_REQUEST_TYPES: Final = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings", "rerank": "rerank"}
_TRACELOOP: Final = {"agent": "invoke_agent", "tool": "execute_tool", "workflow": "invoke_workflow"}
_LANGSMITH: Final = {"llm": "chat", "tool": "execute_tool", "embedding": "embeddings", "retriever": "retrieval"}
# Sentry's span ops. `gen_ai.<operation>` is read without a list.
_SENTRY_OPS: Final = (
    ("ai.chat_completions", "chat"),
    ("ai.messages", "chat"),
    ("ai.embeddings", "embeddings"),
    ("ai.run", "invoke_agent"),
    ("ai.pipeline", "invoke_agent"),
)
_SENTRY_PREFIX: Final = "gen_ai."
_AI_SDK_INNER: Final = {"doGenerate": "chat", "doStream": "chat", "doEmbed": "embeddings", "doRerank": "rerank"}
_AI_SDK_OUTER: Final = re.compile(r"ai\.(?:generate|stream)(?:Text|Object)|ai\.agent\b")

MARKS: Final[frozenset[str]] = frozenset(
    {
        *_COUNTS,
        *(name for names in _COUNTS.values() for name in names),
        *(name for name, _ in _FIRST_CHUNK_NAMES),
        *_REASONS,
        *(OPERATION, REQUEST_MODEL, FINISH_REASONS, "gen_ai.system", "gen_ai.provider.name", "embedding.model_name"),
        *(
            "ai.operationId",
            "vercel.ai.operationId",
            "openinference.span.kind",
            "llm.request.type",
            "traceloop.span.kind",
            "langsmith.span.kind",
        ),
        *("llm.model_name", "llm.request.model", "ai.model.id", "ai.model_id", "gen_ai.response.model"),
    }
)
_MAX_DIGITS: Final = 40
_MAX_COUNT: Final = 2**53
_MAX_REASONS: Final = 16


def is_model_call(keys: Iterable[str]) -> bool:
    """Whether attributes under these keys are about a call of a model, a tool or an agent."""
    return not MARKS.isdisjoint(keys)


def complete(strings: Strings, integers: Integers, doubles: Doubles, op: str = "") -> None:
    """Puts what is known under other names under the names that columns read. `op` is a Sentry span's."""
    sources = (integers, doubles, strings)
    present = _present(sources)
    for name, others in _COUNTS.items():
        if integers.get(name, 0) > 0 or _OF_COUNT[name].isdisjoint(present):
            continue
        if (count := _count(sources, (name, *others))) is not None:
            _put_number(sources, integers, name, count)
    if not _OF_FIRST_CHUNK.isdisjoint(present):
        _put_first_chunk(sources, doubles)
    _put_text(strings, REQUEST_MODEL, _first(strings, _MODELS))
    if strings.get(OPERATION, "").startswith("ai."):
        strings[OPERATION] = _of_ai_sdk(strings[OPERATION].partition(" ")[0]) or strings[OPERATION]
    _put_text(strings, OPERATION, _operation(strings, op))
    in_session = strings.get("session.id", "") if "openinference.span.kind" in strings else ""
    _put_text(strings, CONVERSATION, _first(strings, _CONVERSATIONS) or in_session)
    _put_finish_reasons(strings)


def _present(sources: tuple[dict[str, Any], ...]) -> frozenset[str]:
    """Which of the names of numbers there are: looking for each in each map takes ten times as long."""
    return _NUMBERS.intersection(sources[0]) | _NUMBERS.intersection(sources[1]) | _NUMBERS.intersection(sources[2])


def _put_text(strings: Strings, name: str, value: str) -> None:
    if value and not strings.get(name):
        strings[name] = value


def _put_number(sources: tuple[dict[str, Any], ...], target: dict[str, Any], name: str, number: float) -> None:
    """The number under `name` in its own map, and in no other."""
    for source in sources:
        source.pop(name, None)
    target[name] = number


def _first(strings: Mapping[str, str], names: Iterable[str]) -> str:
    return next((value for name in names if (value := strings.get(name))), "")


def _count(sources: tuple[dict[str, Any], ...], names: Iterable[str]) -> int | None:
    """The first of these that is a count above 0; 0 if there is only that, None without any."""
    least = None
    for name in names:
        number = _number(sources, name)
        if number is not None and 0 <= number < _MAX_COUNT:
            if number >= 1:
                return int(number)
            least = 0
    return least


def _number(sources: tuple[dict[str, Any], ...], name: str) -> float | None:
    """A number in whatever form it was sent."""
    for source in sources:
        value = source.get(name)
        if value is None:
            continue
        if value.__class__ is not str:
            return value  # type: ignore[no-any-return]  # an integer or a double
        return read_number(value)
    return None


def read_number(text: str) -> float | None:
    """The number in a text, None if it is none."""
    try:
        return float(text) if len(text) <= _MAX_DIGITS else None
    except ValueError:
        return None


def _put_first_chunk(sources: tuple[dict[str, Any], ...], doubles: Doubles) -> None:
    for name, divisor in _FIRST_CHUNK_NAMES:
        number = _number(sources, name)
        if number is not None and 0 < number < _MAX_COUNT:
            _put_number(sources, doubles, FIRST_CHUNK, number / divisor)
            return


def _operation(strings: Mapping[str, str], op: str) -> str:
    """The operation by another convention's word for it, '' if none says it.

    What only wraps calls (an agent, a workflow, the AI SDK's outer span) repeats their tokens, and is none of the
    operations that are counted as calls.
    """
    get = strings.get
    if own := get("ai.operationId") or get("vercel.ai.operationId"):
        return _of_ai_sdk(own)
    if kind := get("openinference.span.kind"):
        return _OPENINFERENCE.get(kind.upper(), "")
    if request := get("llm.request.type"):
        return _REQUEST_TYPES.get(request.lower(), "")
    if kind := get("traceloop.span.kind"):
        return _TRACELOOP.get(kind.lower(), "")
    if kind := get("langsmith.span.kind"):
        return _LANGSMITH.get(kind.lower(), "")
    return _of_sentry(op)


def _of_ai_sdk(operation: str) -> str:
    inner = _AI_SDK_INNER.get(operation.rpartition(".")[2])
    if inner or operation == "ai.toolCall":
        return inner or "execute_tool"
    return "invoke_agent" if _AI_SDK_OUTER.match(operation) else ""


def _of_sentry(op: str) -> str:
    if op.startswith(_SENTRY_PREFIX):
        return op.removeprefix(_SENTRY_PREFIX)
    return next((operation for prefix, operation in _SENTRY_OPS if op.startswith(prefix)), "")


def _put_finish_reasons(strings: Strings) -> None:
    """A list as JSON text, which is how OpenTelemetry's own list is stored."""
    own = strings.get(FINISH_REASONS, "")
    if own.startswith("[") and own.endswith("]"):
        return
    reasons = [own] if own else [reason for name in _REASONS if (reason := strings.get(name))][:1]
    if not reasons:
        reasons = [value for key, value in strings.items() if value and _INDEXED_REASON.fullmatch(key)][:_MAX_REASONS]
    if reasons:
        strings[FINISH_REASONS] = (
            reasons[0] if reasons[0].startswith("[") and _is_list(reasons[0]) else dumps_text(reasons)
        )


def _is_list(text: str) -> bool:
    try:
        return loads(text).__class__ is list
    except ValueError:
        return False
