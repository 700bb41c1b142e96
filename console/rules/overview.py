"""Rules with how they are, their firings and their messages: what `axonpush alerts` wrote, for one caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.api.answers import iso_time
from console.api.errors import ApiError
from console.rules.actions import actions_of, stored_action
from console.rules.parsed import ISSUE, parsed

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row
    from schemas.registry import Channel

_STATES: Final = """
SELECT rule_id, status, since, evaluated_at, last_fired_at, error, value FROM alert_states
WHERE organisation = {organisation:String} AND rule_id IN {rules:Array(UInt64)}"""
# Messages that wait for another try, or were given up in the last day.
_FAILING: Final = """
SELECT rule_id, count() AS number FROM alert_deliveries
WHERE organisation = {organisation:String} AND rule_id IN {rules:Array(UInt64)} AND NOT is_test
  AND ((status = 'pending' AND attempts > 0) OR (status = 'failed' AND last_at > now() - INTERVAL 1 DAY))
GROUP BY rule_id"""
_FIRINGS: Final = """
SELECT firing_id, rule_id, rule_name, kind, channel_id, status, severity, about, title, message, path, value, fired_at
FROM alert_firings WHERE organisation = {organisation:String} AND channel_id IN {channels:Array(UInt64)}
  AND ({rule:UInt64} IN (0, rule_id)) AND ({status:String} IN ('', status))
ORDER BY fired_at DESC, firing_id LIMIT {limit:UInt32} OFFSET {offset:UInt32}"""
_DELIVERIES: Final = """
SELECT delivery_id, firing_id, rule_id, rule_name, rule_kind, title, type, target, status, attempts, answer, created_at,
       last_at, next_at, is_test
FROM alert_deliveries WHERE organisation = {organisation:String}
  AND ({rule:UInt64} IN (0, rule_id)) AND ({firing:String} IN ('', firing_id)) AND ({status:String} IN ('', status))
ORDER BY created_at DESC, delivery_id LIMIT {limit:UInt32} OFFSET {offset:UInt32}"""
NEW: Final = "new"


class Overview:
    """Of one organisation."""

    def __init__(self, clickhouse: ClickHouse, organisation: str, projects: Sequence[Channel], url: str) -> None:
        self._clickhouse = clickhouse
        self._organisation = organisation
        self._projects = {project.id: project.project_slug for project in projects}
        self._url = url

    async def rules(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Each stored rule with its state."""
        if not rows:
            return []
        numbers = [int(row["rule_id"]) for row in rows]
        ask, organisation = self._clickhouse.query, self._organisation
        states = {
            int(state["rule_id"]): state for state in await ask(_STATES, organisation=organisation, rules=numbers)
        }
        counted = await ask(_FAILING, organisation=organisation, rules=numbers)
        failing = {int(count["rule_id"]): int(count["number"]) for count in counted}
        return [self._rule(row, states.get(int(row["rule_id"])), failing.get(int(row["rule_id"]), 0)) for row in rows]

    async def firings(self, *, rule: int, status: str, page: Mapping[str, int]) -> list[dict[str, Any]]:
        """The newest first, of the caller's projects."""
        rows = await self._clickhouse.query(
            _FIRINGS,
            organisation=self._organisation,
            channels=sorted(self._projects),
            rule=rule,
            status=status,
            **page,
        )
        return [self._firing(row) for row in rows]

    async def deliveries(self, *, rule: int, firing: str, status: str, page: Mapping[str, int]) -> list[dict[str, Any]]:
        """The newest first."""
        rows = await self._clickhouse.query(
            _DELIVERIES, organisation=self._organisation, rule=rule, firing=firing, status=status, **page
        )
        return [_delivery(row) for row in rows]

    def _rule(self, row: Row, state: Row | None, failing: int) -> dict[str, Any]:
        body = orjson.loads(row["body"])
        words, error = _words(row)
        shown = _state(state, failing)
        if error:
            shown |= {"status": "error", "error": error}
        return {
            "id": str(row["rule_id"]),
            "kind": row["kind"],
            "name": row["name"],
            "projects": [self._projects[int(channel)] for channel in row["channels"] if int(channel) in self._projects],
            "environment": body.get("environment"),
            "when": words,
            "frequency": body.get("frequency") if row["kind"] == ISSUE else None,
            "actions": _actions(body),
            "state": shown,
            "dateCreated": iso_time(row["created_at"]),
            "dateModified": iso_time(row["changed_at"]),
        }

    def _firing(self, row: Row) -> dict[str, Any]:
        return {
            "id": row["firing_id"],
            "rule": {"id": str(row["rule_id"]), "name": row["rule_name"], "kind": row["kind"]},
            "project": self._projects.get(int(row["channel_id"]), ""),
            "status": row["status"],
            "severity": row["severity"],
            "about": row["about"],
            "title": row["title"],
            "message": row["message"],
            "url": f"{self._url}{row['path']}",
            "value": row["value"],
            "at": iso_time(row["fired_at"]),
        }


def _words(row: Row) -> tuple[str, str]:
    """What a rule waits for, and why it cannot be evaluated."""
    try:
        return parsed(row).words, ""
    except ApiError as error:
        return "", f"this rule has a part that is not evaluated: {error.detail}"
    except (KeyError, TypeError, ValueError):
        return "", "this rule cannot be read: save it again"


def _actions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    actions = []
    for part in actions_of(body):
        try:
            action = stored_action(part)
        except ApiError:
            actions.append({"uuid": "", "type": "unknown", "target": str(part.get("id"))[:100]})
        else:
            actions.append({"uuid": action.uuid, "type": action.kind, "target": action.target})
    return actions


def _state(row: Row | None, failing: int) -> dict[str, Any]:
    if row is None:
        empty = {"status": NEW, "since": None, "evaluated": None, "error": "", "lastFired": None, "value": None}
        return {**empty, "failing": failing}
    return {
        "status": row["status"],
        "since": iso_time(row["since"]),
        "evaluated": iso_time(row["evaluated_at"]),
        "error": row["error"],
        "lastFired": iso_time(row["last_fired_at"]),
        "value": row["value"],
        "failing": failing,
    }


def _delivery(row: Row) -> dict[str, Any]:
    return {
        "id": row["delivery_id"],
        "firing": row["firing_id"],
        "rule": {"id": str(row["rule_id"]), "name": row["rule_name"], "kind": row["rule_kind"]},
        "type": row["type"],
        "target": row["target"],
        "status": row["status"],
        "attempts": int(row["attempts"]),
        "answer": row["answer"],
        "at": iso_time(row["created_at"]),
        "lastTry": iso_time(row["last_at"]),
        "nextTry": iso_time(row["next_at"]),
        "test": bool(row["is_test"]),
        "title": row["title"],
    }
