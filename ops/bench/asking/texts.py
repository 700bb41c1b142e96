"""The questions that are measured: those with a limit, and every query of README, cookbook and dashboards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ops.bench.machine import ROOT

# What a question that names one thing may take, and one over many events of one channel.
ONE_MS: Final = 60.0
MANY_MS: Final = 300.0

_SQL_BLOCK: Final = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COOKBOOK: Final = re.compile(r"^### (?P<title>.+?)\n.*?^```sql\n(?P<sql>.*?)^```$", re.MULTILINE | re.DOTALL)
_PARAMETER: Final = re.compile(r"\{(\w+):\w+\}")
_VIEW: Final = re.compile(r"\b(FROM|JOIN) events\b")
# Only the view has these columns.
_OF_THE_VIEW: Final = re.compile(r"\battributes\b(?!\[)|\bCAST\(metadata|\bgen_ai_(?:input|output)_messages\b")
_MACROS: Final = (
    (r"\$__timeFilter\((\w+)\)", r"\1 >= now() - INTERVAL 1 DAY AND \1 <= now()"),
    (r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)"),
    (r"\$\{channel:csv\}", "1"),
    (r"\$\{service:singlequote\}", "'service-1'"),
    (r"\$\{trace:singlequote\}", "{trace:String}"),
)


@dataclass(frozen=True, slots=True)
class MeasuredQuestion:
    """A query with `{name:Type}` where a reader puts a value. `limit_ms` 0: only as good as without the view."""

    name: str
    sql: str
    limit_ms: float = 0.0

    def of_view(self, values: Mapping[str, str]) -> str:
        """As it is asked."""
        return _PARAMETER.sub(lambda match: values[match[1]], self.sql)

    def of_table(self, values: Mapping[str, str]) -> str:
        """The same of the bare table, doubles among its rows; empty if the table cannot answer it."""
        if not _VIEW.search(self.sql) or _OF_THE_VIEW.search(self.sql):
            return ""
        bare = _VIEW.sub(r"\1 event_rows", self.sql).replace("events.title", "event_rows.title")
        return _PARAMETER.sub(lambda match: values[match[1]], re.sub(r"\battributes\[", "attributes_string[", bare))


_OF_CHANNEL: Final = "FROM events WHERE channel_id = {channel:UInt64}"
_NEWEST: Final = "ORDER BY timestamp DESC LIMIT"
_LAST: Final = f"SELECT timestamp, item_type, name, body {_OF_CHANNEL}"
_ISSUES: Final = "SELECT * FROM issues WHERE channel_id = {channel:UInt64} AND last_seen >= now() - INTERVAL 14 DAY"
_BY_ATTRIBUTE: Final = "SELECT timestamp, body FROM events WHERE"
LIMITED: Final = tuple(
    MeasuredQuestion(name, sql, limit_ms)
    for limit_ms, named in (
        (
            ONE_MS,
            {
                "one trace": "SELECT timestamp, name FROM events WHERE trace_id = {trace:String} ORDER BY timestamp",
                "one event": "SELECT timestamp, name, payload FROM events WHERE event_id = {event:UUID}",
                "one attribute": f"{_BY_ATTRIBUTE} attributes_string['order.id'] = {{order:String}}",
                "one attribute, as `attributes`": f"{_BY_ATTRIBUTE} attributes['order.id'] = {{order:String}}",
                "one user": f"SELECT timestamp, name {_OF_CHANNEL} AND user_id = {{user:String}} {_NEWEST} 100",
                "one group of errors": (
                    f"SELECT timestamp, title {_OF_CHANNEL} AND group_hash = {{issue:String}} {_NEWEST} 10"
                ),
            },
        ),
        (
            MANY_MS,
            {
                "last ten of a channel, any time": f"{_LAST} {_NEWEST} 10",
                "last ten of a channel, of an hour": f"{_LAST} AND timestamp >= now() - INTERVAL 1 HOUR {_NEWEST} 10",
                "list of issues": f"{_ISSUES} ORDER BY times DESC LIMIT 50",
            },
        ),
    )
    for name, sql in named.items()
)
_LIMITS: Final = {"Which issues happen most": MANY_MS, "What is the error rate of each release": MANY_MS}


def all_questions() -> list[MeasuredQuestion]:
    """Those with a limit first."""
    return [*LIMITED, *_readme(), *_cookbook(), *_dashboards()]


def _readme() -> Iterator[MeasuredQuestion]:
    for block in _SQL_BLOCK.findall((ROOT / "README.md").read_text()):
        for statement in block.split(";\n"):
            said, _, sql = statement.strip().partition("\n")
            if _VIEW.search(sql):
                sql = sql.replace("'4bf92f3577b34da6a3ce929d0e0e4736'", "{trace:String}")
                yield MeasuredQuestion(
                    f"README: {said.removeprefix('-- ')}", sql.rstrip(";").replace("'42'", "{order:String}")
                )


def _cookbook() -> Iterator[MeasuredQuestion]:
    for match in _COOKBOOK.finditer((ROOT / "docs" / "cookbook.md").read_text()):
        limit_ms = next((limit for begin, limit in _LIMITS.items() if match["title"].startswith(begin)), 0.0)
        yield MeasuredQuestion(f"cookbook: {match['title']}", match["sql"], limit_ms)


def _dashboards() -> Iterator[MeasuredQuestion]:
    for name in ("traces", "outcomes"):
        board = json.loads((ROOT / "ops/deploy/grafana/dashboards" / f"{name}.json").read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                if "rawSql" in target:
                    yield MeasuredQuestion(f"dashboard {name}: {panel['title']}", _written_out(target["rawSql"]))


def _written_out(text: str) -> str:
    for macro, written in _MACROS:
        text = re.sub(macro, written, text)
    return text
