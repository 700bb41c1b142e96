"""Measures what questions cost over millions of rows, view beside bare table in turns; then beside full ingest."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ops.bench.asking import readers
from ops.bench.asking.fill import Filling
from ops.bench.asking.texts import MeasuredQuestion, all_questions
from ops.bench.figures import Figure, FigureTarget
from ops.bench.session import BenchSession
from ops.bench.stack import Stack, running
from ops.local.clickhouse_http.access import users

# What a view may add to the bare table.
FACTOR: Final = 1.5
ADDED_MS: Final = 10.0
# An error that the first days hold, not one of the first: their values are those of the questions.
_VALUES: Final = """
SELECT toString(channel_id) AS channel, quoted(trace_id) AS trace, quoted(toString(event_id)) AS event,
       quoted(attributes_string['order.id']) AS `order`, quoted(user_id) AS user, quoted(group_hash) AS issue
FROM event_rows WHERE event_type = 'agent.error' AND channel_id = 1 ORDER BY timestamp LIMIT 1 OFFSET {offset}"""
_FIXED: Final = {
    "word": "'refused'",
    "service": "'service-1'",
    "conversation": "'none'",
    "interval_s": "60",
}


@dataclass(frozen=True, slots=True)
class MeasuredAnswer:
    """One answer of the engine to a reader. `refused` is what it said if it gave none."""

    ms: float
    rows_read: int = 0
    bytes_read: int = 0
    refused: str = ""


def questions(session: BenchSession) -> None:
    """Measures questions through the views, beside the bare table, by the number of rows; and readers beside ingest."""
    for rows in session.rows:
        with running(clickhouse=True) as stack:
            _fill(session, stack, Filling(rows, int(time.time())))
            values = _values(stack, rows)
            for question in all_questions():
                _measure(session, stack, question, values, rows)
    readers.beside_ingest(session)


def _fill(session: BenchSession, stack: Stack, filling: Filling) -> None:
    """Rows, days that are over in one part as they are two hours after their last row, and a late replay."""
    began_s = time.monotonic()
    for statement in filling.statements():
        stack.execute(statement)
    for (day,) in stack.query(
        "SELECT DISTINCT toString(toDate(timestamp)) FROM event_rows WHERE timestamp < today() ORDER BY 1"
    ):
        stack.execute(f"OPTIMIZE TABLE event_rows PARTITION '{day}' FINAL")
        stack.execute(f"OPTIMIZE TABLE error_rows PARTITION '{day}' FINAL")
    stack.execute(filling.replay())
    session.tell(f"{filling.rows:,} rows in {time.monotonic() - began_s:.0f} s: {_parts(stack)}")


def _parts(stack: Stack) -> str:
    (figures,) = stack.query(
        "SELECT count(), formatReadableSize(sum(bytes_on_disk)), uniqExact(partition), sum(rows) FROM system.parts "
        "WHERE active AND table = 'event_rows'"
    )
    return "{} parts, {}, {} days, {} rows with doubles".format(*figures)


def _values(stack: Stack, rows: int) -> Mapping[str, str]:
    sql = _VALUES.format(offset=rows // 400)
    for name in ("trace_id", "toString(event_id)", "attributes_string['order.id']", "user_id", "group_hash"):
        sql = sql.replace(f"quoted({name})", f"concat('''', {name}, '''')")
    (values,) = stack.query(sql)
    return _FIXED | dict(zip(("channel", "trace", "event", "order", "user", "issue"), values, strict=True))


def _measure(
    session: BenchSession, stack: Stack, question: MeasuredQuestion, values: Mapping[str, str], rows: int
) -> None:
    """In turns, after one of each that reads from disk."""
    sides = [sql for sql in (question.of_table(values), question.of_view(values)) if sql]
    answers: list[list[MeasuredAnswer]] = [[] for _ in sides]
    for turn in range(session.turns + 1):
        for side, sql in enumerate(sides):
            asked = ask(stack, sql)
            if turn:
                answers[side].append(asked)
    view = answers[-1]
    bare = answers[0] if len(sides) == 2 else []
    note = f"{view[-1].rows_read:,} rows, {view[-1].bytes_read / 1e6:.1f} MB read"
    note += f"; the bare table {bare[-1].rows_read:,} rows, {bare[-1].bytes_read / 1e6:.1f} MB" if bare else ""
    note = f"refused: {view[-1].refused}" if view[-1].refused else note
    times, beside = (tuple(answer.ms for answer in side) for side in (view, bare))
    target = None
    if bare:
        limit = FACTOR + ADDED_MS / min(beside)
        target = FigureTarget(limit, FACTOR, "less")
    session.add(Figure(f"{question.name}, {rows:,} rows", "ms", times, beside, "bare table", target, note))
    if question.limit_ms:
        limit_ms = FigureTarget(question.limit_ms, question.limit_ms, "less")
        session.add(Figure(f"{question.name}, {rows:,} rows, limit", "ms", times, target=limit_ms))


def ask(stack: Stack, sql: str) -> MeasuredAnswer:
    """As the reader of `ready.json` asks."""
    options = urllib.parse.urlencode({"database": "axonpush", "default_format": "JSONCompact"})
    reader = {"X-ClickHouse-User": users.READER, "X-ClickHouse-Key": stack.passwords[users.READER]}
    asked = urllib.request.Request(f"{stack.settings.clickhouse_url}/?{options}", sql.encode(), reader)
    began_s = time.monotonic()
    try:
        with urllib.request.urlopen(asked, timeout=320) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return MeasuredAnswer(
                (time.monotonic() - began_s) * 1000, refused=error.read().decode(errors="replace")[:200]
            )
    taken_ms = (time.monotonic() - began_s) * 1000
    said = json.loads(body)["statistics"]
    return MeasuredAnswer(taken_ms, int(said["rows_read"]), int(said["bytes_read"]))
