"""A trace: spans of Sentry and OpenTelemetry as one tree, with the errors and logs that happened in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from console.api.answers import iso_time
from console.api.errors import ApiError
from console.issues.shapes import level_of
from console.query.datasets import LOGS, SPANS
from console.query.fields import ISSUE_ID_OF

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row
    from schemas.registry import Channel

MAX_SPANS: Final = 10_000
MAX_ERRORS: Final = 1_000
MAX_BAR_NAME: Final = 300
# JSON of more levels is refused by readers; deeper spans hang below the last level, with their own parent's id.
MAX_DEPTH: Final = 100
_HEXADECIMAL: Final = frozenset("0123456789abcdef")
OF_TRACE: Final = (
    "organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)} AND trace_id = {trace:String} "
    "AND timestamp >= (SELECT min(first_at) FROM trace_bounds "
    "WHERE organisation = {organisation:String} AND trace_id = {trace:String}) "
    "AND timestamp <= (SELECT max(last_at) FROM trace_bounds "
    "WHERE organisation = {organisation:String} AND trace_id = {trace:String})"
)
_IS_TRANSACTION: Final = SPANS.fields["is_transaction"].column
_SPANS: Final = f"""
SELECT event_id, channel_id, span_id, parent_span_id, name, span_op, status, duration_ns, sdk_name, item_type,
       {SPANS.fields["transaction"].column} AS transaction, {_IS_TRANSACTION} AS is_transaction,
       toUnixTimestamp64Nano(timestamp) AS start_ns, service_name
FROM events WHERE {OF_TRACE} AND {SPANS.where}
ORDER BY timestamp, event_id LIMIT {MAX_SPANS}"""
# What kind of work a span is, the first that fits: a model, a database, a message, a request served, a call, own code.
_WORK: Final = (
    "multiIf(gen_ai_operation != '' OR startsWith(span_op, 'gen_ai'), 'ai', "
    "db_system != '' OR startsWith(span_op, 'db'), 'db', "
    "attributes_string['messaging.system'] != '' OR span_kind IN ('producer', 'consumer') "
    "OR startsWith(span_op, 'queue'), 'msg', "
    "span_kind = 'server' OR span_op IN ('http.server', 'websocket.server'), 'in', "
    "span_kind = 'client' OR startsWith(span_op, 'http.client'), 'out', 'fn')"
)
_BARS: Final = f"""
SELECT span_id, parent_span_id, channel_id, name, service_name, {_WORK} AS work, status, duration_ns,
       toUnixTimestamp64Nano(timestamp) AS start_ns
FROM events WHERE {OF_TRACE} AND {SPANS.where}
ORDER BY timestamp, event_id LIMIT {MAX_SPANS + 1}"""
# As failure_rate() counts them.
NOT_FAILED: Final = frozenset({"", "ok", "unset", "cancelled", "unknown"})
_ERRORS: Final = f"""
SELECT event_id, channel_id, span_id, title, body, severity_number, attributes_string['culprit'] AS culprit, timestamp,
       attributes_string['transaction'] AS transaction, toUnixTimestamp64Nano(timestamp) AS start_ns,
       {ISSUE_ID_OF} AS issue_id
FROM events WHERE {OF_TRACE} AND is_error
ORDER BY timestamp, event_id LIMIT {MAX_ERRORS}"""
_COUNTS: Final = f"""
SELECT countIf({SPANS.where}) AS spans, countIf(is_error) AS errors, countIf({LOGS.where}) AS logs
FROM events WHERE {OF_TRACE}"""
_OPERATIONS: Final = f"""
SELECT if(span_op != '', toString(span_op), 'default') AS op, count() AS times
FROM events WHERE {OF_TRACE} AND {SPANS.where} GROUP BY op ORDER BY times DESC, op LIMIT 100"""
_TRANSACTIONS: Final = f"""
SELECT event_id, span_id FROM events WHERE {OF_TRACE} AND {SPANS.where} AND {_IS_TRANSACTION}
ORDER BY timestamp, event_id LIMIT 1000"""
_CHILDREN: Final = f"""
SELECT attributes_string['sentry.segment.id'] AS segment, count() AS times
FROM events WHERE {OF_TRACE} AND {SPANS.where} GROUP BY segment LIMIT 1000"""

Node = dict[str, Any]


class TraceReader:
    """Reads traces of projects of one organisation."""

    def __init__(self, clickhouse: ClickHouse, organisation: str, projects: Sequence[Channel]) -> None:
        self._clickhouse = clickhouse
        self._organisation = organisation
        self._projects = {project.id: project for project in projects}

    async def tree(self, trace_id: str) -> list[Node]:
        """Roots with their children; errors stand at their spans, or beside the roots if they have none."""
        spans = [self._span(row, trace_id) for row in await self.rows(_SPANS, trace_id)]
        errors = [(row["span_id"], self._error(row)) for row in await self.rows(_ERRORS, trace_id)]
        return [*nested(spans), *_without_span(spans, errors)]

    async def bars(self, trace_id: str) -> dict[str, Any]:
        """Spans as a flat list with what a waterfall shows of each, and the errors. `isCut`: there are more spans."""
        rows = await self.rows(_BARS, trace_id)
        # Numbers of issues have 63 bits, and JavaScript reads 53: as text they stay what they are.
        errors = [error | {"issue_id": str(error["issue_id"])} for error in await self.errors(trace_id)]
        return {"spans": [self._bar(row) for row in rows[:MAX_SPANS]], "errors": errors, "isCut": len(rows) > MAX_SPANS}

    async def errors(self, trace_id: str) -> list[Node]:
        """The errors of a trace, the oldest first."""
        return [self._error(row) for row in await self.rows(_ERRORS, trace_id)]

    @property
    def own(self) -> dict[str, Any]:
        """Parameters that every question has."""
        return {"organisation": self._organisation, "channels": sorted(self._projects)}

    def _bar(self, row: Row) -> dict[str, Any]:
        return {
            "id": row["span_id"],
            "parent": row["parent_span_id"],
            "project": self._projects[int(row["channel_id"])].project_slug,
            "name": row["name"][:MAX_BAR_NAME],
            "service": row["service_name"],
            "work": row["work"],
            "failed": row["status"].lower() not in NOT_FAILED,
            "start": int(row["start_ns"]) / 1e6,
            "duration": int(row["duration_ns"]) / 1e6,
        }

    async def meta(self, trace_id: str) -> dict[str, Any]:
        """What a trace has, in numbers."""
        (counts,) = await self.rows(_COUNTS, trace_id) or [{"spans": 0, "errors": 0, "logs": 0}]
        operations = {row["op"]: row["times"] for row in await self.rows(_OPERATIONS, trace_id)}
        children = {row["segment"]: row["times"] for row in await self.rows(_CHILDREN, trace_id)}
        transactions = await self.rows(_TRANSACTIONS, trace_id)
        below = [
            {"transaction.event_id": _hex(row["event_id"]), "count()": children.get(row["span_id"], 0)}
            for row in transactions
        ]
        return {
            "logs": counts["logs"],
            "errors": counts["errors"],
            "performance_issues": 0,
            "span_count": counts["spans"],
            "span_count_map": operations,
            "transaction_child_count_map": below,
        }

    async def rows(self, sql: str, trace_id: str) -> list[Row]:
        """Of a question with OF_TRACE."""
        if not self._projects:
            return []
        return await self._clickhouse.query(sql, **self.own, trace=trace_id)

    def _span(self, row: Row, trace_id: str) -> Node:
        project = self._projects[int(row["channel_id"])]
        start_s, duration_s = int(row["start_ns"]) / 1e9, int(row["duration_ns"]) / 1e9
        return {
            "event_id": row["span_id"],
            "span_id": row["span_id"],
            "transaction_id": _hex(row["event_id"]),
            "project_id": project.id,
            "project_slug": project.project_slug,
            "parent_span_id": row["parent_span_id"] or None,
            "start_timestamp": start_s,
            "end_timestamp": start_s + duration_s,
            "timestamp": start_s + duration_s,
            "duration": duration_s * 1000,
            "trace": trace_id,
            "transaction": row["transaction"] or row["name"],
            "is_transaction": bool(row["is_transaction"]),
            "description": row["name"],
            "name": row["name"],
            "op": row["span_op"] or "default",
            "status": row["status"] or None,
            "sdk_name": row["sdk_name"] or None,
            "service_name": row["service_name"] or None,
            "event_type": "span",
            "measurements": {},
            "additional_attributes": {},
            "profile_id": None,
            "profiler_id": None,
            "children": [],
            "errors": [],
            "occurrences": [],
        }

    def _error(self, row: Row) -> Node:
        project = self._projects[int(row["channel_id"])]
        return {
            "event_id": _hex(row["event_id"]),
            "id": _hex(row["event_id"]),
            "issue_id": int(row["issue_id"]),
            "project_id": project.id,
            "project_slug": project.project_slug,
            "title": row["title"],
            "message": row["body"],
            "culprit": row["culprit"] or row["transaction"],
            "transaction": row["transaction"],
            "level": level_of(int(row["severity_number"])),
            "span_id": row["span_id"] or None,
            "timestamp": iso_time(row["timestamp"]),
            "start_timestamp": int(row["start_ns"]) / 1e9,
            "event_type": "error",
        }


def nested(spans: Sequence[Node]) -> list[Node]:
    """Every span once: below its parent, else as a root. Parents that are each other's children have one root."""
    of_parent: dict[str, list[Node]] = defaultdict(list)
    known = {span["span_id"] for span in spans}
    for span in spans:
        if span["parent_span_id"] in known and span["parent_span_id"] != span["span_id"]:
            of_parent[span["parent_span_id"]].append(span)
    roots = [span for span in spans if span["parent_span_id"] not in known]
    placed: set[int] = set()
    for root in (*roots, *spans):
        if id(root) not in placed:
            _place(root, of_parent, placed)
            if root["parent_span_id"] in known:
                roots.append(root)
    return roots


def _place(root: Node, of_parent: dict[str, list[Node]], placed: set[int]) -> None:
    placed.add(id(root))
    waiting = [(root, root, 1)]
    while waiting:
        span, holder, depth = waiting.pop()
        for child in of_parent.pop(span["span_id"], []):
            if id(child) in placed:
                continue
            placed.add(id(child))
            holder["children"].append(child)
            waiting.append((child, child if depth + 1 < MAX_DEPTH else holder, min(depth + 1, MAX_DEPTH)))


def _without_span(spans: Sequence[Node], errors: Iterable[tuple[str, Node]]) -> list[Node]:
    """Puts errors at their spans; returns the others."""
    by_id = {span["span_id"]: span for span in reversed(spans)}
    others: list[Node] = []
    for span_id, error in errors:
        span = by_id.get(span_id)
        (others if span is None else span["errors"]).append(error)
    return others


def read_trace_id(text: str) -> str:
    """32 hexadecimal digits, with or without dashes. Raises ApiError 404."""
    digits = text.replace("-", "").lower()
    if len(digits) != 32 or not _HEXADECIMAL.issuperset(digits):
        raise ApiError(404, f"trace: expected an id of 32 hexadecimal digits, found {text[:60]!r}")
    return digits


def _hex(event_id: str) -> str:
    return str(event_id).replace("-", "")
