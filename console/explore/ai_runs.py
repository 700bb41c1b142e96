"""Runs of agents: traces with calls of models and tools, as a list with sums, and one as the steps of a conversation.

A call inside of another call is counted once, as in the view `model_costs`: an agent's span repeats the tokens of its
calls.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from console.explore.ai_messages import message_of, text_part
from console.explore.trace import NOT_FAILED, OF_TRACE, TraceReader

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row

CALLS: Final = ("chat", "text_completion", "generate_content", "embeddings")
TOOL: Final = "execute_tool"
MAX_STEPS: Final = 300
MAX_DEPTH: Final = 3
MAX_ABOVE: Final = 200
# Of the messages that a call was given: earlier ones were shown with earlier calls.
LAST_MESSAGES: Final = 6
_MAX_SPANS_OF_LIST: Final = 40_000
_DATED: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})\Z")
_OWN: Final = "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}"
# Logs repeat what the span of the same call says.
_OF_AI: Final = "gen_ai_operation != '' AND event_type != 'app.log'"
# And the spans between them, which say what is inside of what.
_WITH_PARENTS: Final = "(event_type = 'app.span' OR (gen_ai_operation != '' AND event_type != 'app.log'))"
_TRACES: Final = f"""
SELECT trace_id, min(timestamp) AS began, max(timestamp) AS ended FROM event_rows
WHERE {_OWN} AND {_OF_AI} AND trace_id != ''
  AND timestamp >= toDateTime64({{begin:String}}, 9, 'UTC') AND timestamp < toDateTime64({{end:String}}, 9, 'UTC')
GROUP BY trace_id ORDER BY began DESC, trace_id LIMIT {{limit:UInt32}} OFFSET {{offset:UInt32}}"""
_SPAN: Final = (
    "trace_id, span_id, parent_span_id, name, service_name, gen_ai_operation AS operation, gen_ai_model AS model, "
    "gen_ai_provider AS provider, gen_ai_agent AS agent, gen_ai_tool AS tool, gen_ai_input_tokens AS tokens_in, "
    "gen_ai_output_tokens AS tokens_out, status, duration_ns, toUnixTimestamp64Nano(timestamp) AS start_ns"
)
_SPANS_OF_LIST: Final = f"""
SELECT {_SPAN} FROM event_rows FINAL
WHERE {_OWN} AND trace_id IN {{traces:Array(String)}} AND span_id != '' AND {_WITH_PARENTS}
  AND timestamp >= toDateTime64({{begin:String}}, 9, 'UTC') - INTERVAL 1 HOUR
  AND timestamp < toDateTime64({{end:String}}, 9, 'UTC') + INTERVAL 1 HOUR
ORDER BY gen_ai_operation = '', timestamp LIMIT 2000 BY trace_id LIMIT {_MAX_SPANS_OF_LIST}"""
_PARENTS: Final = f"""
SELECT span_id, parent_span_id, gen_ai_operation AS operation FROM event_rows FINAL
WHERE {OF_TRACE} AND span_id != '' AND {_WITH_PARENTS} LIMIT 20000"""


def _array(column: str, piece: str) -> str:
    """The messages of a JSON array, or the whole text as one."""
    cut = f"arrayMap(one -> substringUTF8(one, 1, 8000), {piece})"
    return f"if(JSONType({column}) = 'Array', {cut}, [substringUTF8({column}, 1, 8000)])"


_LAST: Final = f"arraySlice(JSONExtractArrayRaw(gen_ai_input_messages), -{LAST_MESSAGES})"
_FIRST: Final = f"arraySlice(JSONExtractArrayRaw(gen_ai_output_messages), 1, {LAST_MESSAGES})"
_STEPS: Final = f"""
SELECT {_SPAN}, channel_id, status_message, gen_ai_cache_read_tokens AS tokens_cached,
       gen_ai_reasoning_tokens AS tokens_reasoning, gen_ai_finish_reasons AS finish,
       {_array("gen_ai_input_messages", _LAST)} AS given, {_array("gen_ai_output_messages", _FIRST)} AS answered,
       substringUTF8(gen_ai_system_instructions, 1, 8000) AS instructions,
       substringUTF8(gen_ai_tool_arguments, 1, 8000) AS arguments, substringUTF8(gen_ai_tool_result, 1, 8000) AS result
FROM events WHERE {OF_TRACE} AND {_OF_AI}
ORDER BY timestamp, duration_ns DESC, event_id LIMIT {MAX_STEPS + 1}"""
_PRICES: Final = "SELECT model, input_price, output_price FROM model_prices FINAL LIMIT 10000"


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for a million tokens, by model."""

    by_model: Mapping[str, tuple[float, float]]

    def dollars(self, model: str, tokens_in: int, tokens_out: int) -> float | None:
        """None for a model without a price. A price of `m` is also one of `m-2025-01-31`."""
        price = self.by_model.get(model) or self.by_model.get(_DATED.sub("", model))
        return None if price is None else (tokens_in * price[0] + tokens_out * price[1]) / 1e6


class AiRunReader:
    """Reads the runs of some projects of one organisation."""

    def __init__(self, clickhouse: ClickHouse, traces: TraceReader) -> None:
        self._clickhouse = clickhouse
        self._traces = traces

    async def page(self, period: Mapping[str, str], limits: Mapping[str, int]) -> list[dict[str, Any]]:
        """Runs that began in the period, the newest first; one more than asked tells that there are more."""
        own = self._traces.own
        traces = await self._clickhouse.query(_TRACES, **own, **period, **limits) if own["channels"] else []
        if not traces:
            return []
        ids = [row["trace_id"] for row in traces]
        bounds = {"begin": min(row["began"] for row in traces), "end": max(row["ended"] for row in traces)}
        spans = defaultdict(list)
        for row in await self._clickhouse.query(_SPANS_OF_LIST, **own, **bounds, traces=ids):
            spans[row["trace_id"]].append(row)
        prices = await self._prices()
        began = {row["trace_id"]: iso_time(row["began"]) for row in traces}
        return [
            {"trace": trace_id, "began": began[trace_id], **summary(spans[trace_id], spans[trace_id], prices)}
            for trace_id in ids
        ]

    async def one(self, trace_id: str) -> dict[str, Any]:
        """One run: its steps in order, and sums by model."""
        rows = await self._traces.rows(_STEPS, trace_id)
        parents = await self._traces.rows(_PARENTS, trace_id)
        errors = await self._traces.errors(trace_id) if rows else []
        shown, prices = rows[:MAX_STEPS], await self._prices() if rows else Prices({})
        steps = Conversation(parents, errors, prices).steps(shown)
        return {**summary(shown, parents, prices), "steps": steps, "isCut": len(rows) > MAX_STEPS}

    async def _prices(self) -> Prices:
        rows = await self._clickhouse.query(_PRICES)
        return Prices({row["model"]: (float(row["input_price"]), float(row["output_price"])) for row in rows})


def outer_calls(spans: Iterable[Row], parents: Iterable[Row]) -> set[str]:
    """Ids of calls that have a call with tokens below them: their tokens are those of the inner ones.

    Each span above is looked at once, so that a long chain of them costs its length and not its square.
    """
    above = {row["span_id"]: (row["parent_span_id"], row["operation"]) for row in parents}
    outer: set[str] = set()
    seen: set[str] = set()
    for span in spans:
        if span["operation"] not in CALLS or not span["tokens_in"] + span["tokens_out"]:
            continue
        at = span["parent_span_id"]
        while at in above and at not in seen and at != span["span_id"]:
            seen.add(at)
            if above[at][1] in CALLS:
                outer.add(at)
            at = above[at][0]
    return outer


def summary(spans: Sequence[Row], parents: Iterable[Row], prices: Prices) -> dict[str, Any]:
    """Sums of a run, and by model. `dollars` of a model without a price is None, and its name is in `unpriced`."""
    outer = outer_calls(spans, parents)
    of_ai = [span for span in spans if span["operation"]]
    calls = [span for span in of_ai if span["operation"] in CALLS and span["span_id"] not in outer]
    models: dict[tuple[str, str], list[int]] = {}
    for span in calls:
        sums = models.setdefault((span["model"], span["provider"]), [0, 0, 0])
        for index, number in enumerate((1, int(span["tokens_in"]), int(span["tokens_out"]))):
            sums[index] += number
    by_model = [
        {"model": model, "provider": provider, "calls": sums[0], "tokensIn": sums[1], "tokensOut": sums[2],
         "dollars": prices.dollars(model, sums[1], sums[2])}
        for (model, provider), sums in sorted(models.items(), key=lambda entry: -entry[1][1] - entry[1][2])
    ]  # fmt: skip
    begin = min((int(span["start_ns"]) for span in of_ai), default=0)
    end = max((int(span["start_ns"]) + int(span["duration_ns"]) for span in of_ai), default=0)
    known = [model_cost["dollars"] for model_cost in by_model if model_cost["dollars"] is not None]
    return {
        "name": _name(of_ai),
        "turns": len(calls),
        "tools": sum(span["operation"] == TOOL for span in of_ai),
        "failed": sum(is_failed(span) for span in of_ai),
        "duration": (end - begin) / 1e6,
        "tokensIn": sum(model_cost["tokensIn"] for model_cost in by_model),
        "tokensOut": sum(model_cost["tokensOut"] for model_cost in by_model),
        "dollars": sum(known) if known else None,
        "unpriced": [model_cost["model"] for model_cost in by_model if model_cost["dollars"] is None],
        "models": by_model,
    }


class Conversation:
    """Steps in order of time. A message of the user is shown once, though every later call was given it again."""

    def __init__(self, parents: Iterable[Row], errors: Iterable[Mapping[str, Any]], prices: Prices) -> None:
        self._parents = list(parents)
        self._above = {row["span_id"]: row for row in self._parents}
        self._prices = prices
        self._shown: set[str] = set()
        self._errors: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for error in errors:
            self._errors[str(error["span_id"])].append(error)

    def steps(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """A call of a model has before it what it was told and nobody has seen yet."""
        outer, steps = outer_calls(rows, self._parents), list[dict[str, Any]]()
        begin = min((int(row["start_ns"]) for row in rows), default=0)
        for row in rows:
            at = (int(row["start_ns"]) - begin) / 1e6
            depth = self._depth(row)
            is_call = row["operation"] in CALLS
            for message in self._heard(row) if is_call and row["span_id"] not in outer else ():
                steps.append({"kind": "message", "at": at, "depth": depth, "message": message})
            steps.append(self._step(row, at, depth, is_outer=row["span_id"] in outer))
        return steps

    def _step(self, row: Row, at: float, depth: int, *, is_outer: bool) -> dict[str, Any]:
        step = {
            "kind": "agent",
            "at": at,
            "depth": depth,
            "id": row["span_id"],
            "name": row["agent"] or row["name"],
            "operation": row["operation"],
            "duration": int(row["duration_ns"]) / 1e6,
            "failed": is_failed(row),
            "said": str(row["status_message"])[:1_000],
            "errors": [
                {"issue": str(error["issue_id"]), "event": error["event_id"], "title": error["title"]}
                for error in self._errors.get(row["span_id"], ())[:3]
            ],
        }
        if row["operation"] == TOOL:
            parts = {"arguments": text_part(row["arguments"]), "result": text_part(row["result"])}
            return step | {"kind": "tool", "name": row["tool"] or row["name"], **parts}
        return step | self._call(row) if row["operation"] in CALLS and not is_outer else step

    def _call(self, row: Row) -> dict[str, Any]:
        tokens_in, tokens_out = int(row["tokens_in"]), int(row["tokens_out"])
        return {
            "kind": "model",
            "name": row["model"] or row["name"],
            "tokensIn": tokens_in,
            "tokensOut": tokens_out,
            "tokensCached": int(row["tokens_cached"]),
            "tokensReasoning": int(row["tokens_reasoning"]),
            "dollars": self._prices.dollars(row["model"], tokens_in, tokens_out),
            "finish": ", ".join(row["finish"])[:200],
            "messages": [message_of(raw, "assistant") for raw in row["answered"] if raw],
        }

    def _heard(self, row: Row) -> list[dict[str, Any]]:
        texts = [(row["instructions"], "system"), *((raw, "user") for raw in row["given"])]
        heard = []
        for raw, role in texts:
            if not raw or raw in self._shown:
                continue
            self._shown.add(raw)
            message = message_of(raw, role)
            # What a model or a tool has said stands in the step of its own.
            if message["role"] not in {"assistant", "tool", "model"}:
                heard.append(message)
        return heard

    def _depth(self, row: Row) -> int:
        """How many agents are around it, the first not counted; of MAX_ABOVE spans at most."""
        depth, at = 0, row["parent_span_id"]
        for _ in range(MAX_ABOVE):
            if at not in self._above or at == row["span_id"] or depth > MAX_DEPTH:
                break
            depth += int(self._above[at]["operation"] == "invoke_agent")
            at = self._above[at]["parent_span_id"]
        if row["operation"] != "invoke_agent":
            depth -= 1
        return max(0, min(depth, MAX_DEPTH))


def is_failed(row: Row) -> bool:
    """As failure_rate() counts."""
    return str(row["status"]).lower() not in NOT_FAILED


def _name(spans: Sequence[Row]) -> str:
    """The first agent's name, else that of the first span."""
    first = sorted(spans, key=lambda span: int(span["start_ns"]))
    return next((span["agent"] for span in first if span["agent"]), first[0]["name"] if first else "")
