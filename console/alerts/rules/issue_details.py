"""What is asked about the few issues for which a rule may fire: the issue, its last error, and whether filters hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from console.issues.find import NUMBERS_AT_ONCE, IssueFinder
from console.issues.shapes import issue_shape
from console.query.conditions import Language
from console.query.datasets import ERRORS
from console.query.fields import ISSUE_ID_OF
from console.query.functions import Columns
from console.rules.issue_filters import EventFilter, IssueFilter
from console.storage.times import time_text

if TYPE_CHECKING:
    from console.access.registry import KnownEntries
    from console.alerts.rules.issue_activity import ActiveIssue, IssueKey
    from console.rules.parsed import IssueRule
    from console.storage.clickhouse import ClickHouse, Row
    from schemas.registry import Channel

_MATCHING: Final = f"""
SELECT channel_id, {ISSUE_ID_OF} AS issue_id, countIf(%s) AS matching, count() AS number FROM events
WHERE organisation = {{organisation:String}} AND channel_id IN {{channels:Array(UInt64)}} AND is_error
  AND timestamp >= toDateTime64({{first:String}}, 9, 'UTC') AND timestamp <= toDateTime64({{last:String}}, 9, 'UTC')
  AND received_at > toDateTime64({{begin:String}}, 9, 'UTC') AND received_at <= toDateTime64({{end:String}}, 9, 'UTC')
  AND ({{environment:String}} IN ('', environment)) AND issue_id IN {{issues:Array(UInt64)}}
GROUP BY channel_id, issue_id"""


class IssueDetails:
    """Asks, and remembers for one round."""

    def __init__(self, clickhouse: ClickHouse, entries: KnownEntries, organisation: str, now: dt.datetime) -> None:
        self._clickhouse = clickhouse
        self._entries = entries
        self._organisation = organisation
        self._now = now
        self._projects = {project.id: project for project in entries.projects(organisation)}
        self._issues: dict[IssueKey, Row] = {}
        self._asked: set[IssueKey] = set()

    async def issues(self, keys: Sequence[IssueKey]) -> Mapping[IssueKey, Row]:
        """The issues as the view has them; one that has no errors any more is missing. Raises ApiError."""
        wanted = [key for key in keys if key not in self._asked and key[0] in self._projects]
        if wanted:
            finder = IssueFinder(self._clickhouse, self._entries, self._now)
            projects = [self._projects[channel] for channel in sorted({channel for channel, _ in wanted})]
            for row in await finder.by_numbers(self._organisation, projects, [issue for _, issue in wanted]):
                self._issues[int(row["channel_id"]), int(row["issue_id"])] = row
            self._asked.update(wanted)
        return self._issues

    async def shapes(self, keys: Sequence[IssueKey], url: str) -> dict[IssueKey, dict[str, Any]]:
        """The issues as tools read them, with title and level of their last error. Raises ApiError."""
        issues = await self.issues(keys)
        rows = [issues[key] for key in keys if key in issues]
        finder = IssueFinder(self._clickhouse, self._entries, self._now)
        events = await finder.last_events(self._organisation, rows)
        shapes = {}
        for row in rows:
            key = int(row["channel_id"]), int(row["issue_id"])
            last = events.get(str(row["last_event_id"]), {})
            shapes[key] = issue_shape(row, self._projects[key[0]], last, url)
        return shapes

    def project(self, channel: int) -> Channel | None:
        """A project of this organisation."""
        return self._projects.get(channel)

    async def passing(
        self, rule: IssueRule, candidates: Sequence[ActiveIssue], begin_ns: int, end_ns: int
    ) -> set[IssueKey]:
        """The issues for which the filters of a rule hold. Raises ApiError."""
        if not rule.filters or not candidates:
            return {issue.key for issue in candidates}
        of_events = [entry for entry in rule.filters if isinstance(entry, EventFilter)]
        matching: set[IssueKey] = set()
        if of_events:
            matching = await self._matching(rule, of_events, candidates, begin_ns, end_ns)
        issues = await self.issues([issue.key for issue in candidates])
        return {
            issue.key
            for issue in candidates
            if issue.key in issues and self._holds(rule, issues[issue.key], issue.key in matching, bool(of_events))
        }

    def _holds(self, rule: IssueRule, row: Row, has_event: bool, asks_events: bool) -> bool:
        """`has_event`: one error matches the filters of errors, all, any or none of them as the rule says."""
        now_s = self._now.timestamp()
        results = [entry.holds(row, now_s) for entry in rule.filters if isinstance(entry, IssueFilter)]
        if rule.filter_match == "none":
            return not any(results) and (has_event or not asks_events)
        results += [has_event] if asks_events else []
        return all(results) if rule.filter_match == "all" else any(results)

    async def _matching(
        self,
        rule: IssueRule,
        filters: Sequence[EventFilter],
        candidates: Sequence[ActiveIssue],
        begin_ns: int,
        end_ns: int,
    ) -> set[IssueKey]:
        language = Language(self._number_of, lambda: self._now, ERRORS.fields, ERRORS.refused)
        columns = Columns(ERRORS, language, 60.0)
        joined = (" AND " if rule.filter_match == "all" else " OR ").join(
            f"({entry.sql(columns)})" for entry in filters
        )
        condition = f"NOT ({joined})" if rule.filter_match == "none" else joined
        matching: set[IssueKey] = set()
        for first in range(0, len(candidates), NUMBERS_AT_ONCE):
            chunk = candidates[first : first + NUMBERS_AT_ONCE]
            rows = await self._clickhouse.query(
                _MATCHING.replace("%s", condition),
                **columns.parameters.values,
                organisation=self._organisation,
                channels=sorted({issue.key[0] for issue in chunk}),
                issues=[issue.key[1] for issue in chunk],
                environment=rule.head.environment,
                first=time_text(min(issue.first_at_ns for issue in chunk)),
                last=time_text(max(issue.last_at_ns for issue in chunk)),
                begin=time_text(begin_ns),
                end=time_text(end_ns),
            )
            matching |= {(int(row["channel_id"]), int(row["issue_id"])) for row in rows if int(row["matching"])}
        return matching

    def _number_of(self, text: str) -> int | None:
        project = self._entries.project(self._organisation, text)
        return project.id if project else None
