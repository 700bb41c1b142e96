"""Rules of one organisation in ClickHouse: list, one, create, change, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from console.api.answers import iso_time
from console.api.errors import ApiError
from console.rules.actions import actions_of
from console.rules.parsed import ISSUE, METRIC, MONITOR
from console.storage.times import time_text

if TYPE_CHECKING:
    from console.access.bearer import Caller
    from console.services import Services
    from console.storage.clickhouse import Row
    from schemas.registry import Channel

TABLE: Final = "alert_rule_rows"
MAX_RULES: Final = 1_000
# Of all rules of an organisation: all organisations share the bucket of their secrets.
MAX_ACTIONS: Final = 1_500
# Scripts read numbers of JSON as doubles: larger ones would change.
_ID_BITS: Final = 53
_LIST: Final = f"""
SELECT organisation, rule_id, kind, channels, name, body, created_at, changed_at, created_by FROM alert_rules
WHERE organisation = {{organisation:String}} AND kind IN {{kinds:Array(String)}}
  AND hasAny(channels, {{channels:Array(UInt64)}})
ORDER BY created_at DESC, rule_id LIMIT {MAX_RULES}"""
_ONE: Final = """
SELECT organisation, rule_id, kind, channels, name, body, created_at, changed_at, created_by FROM alert_rules
WHERE organisation = {organisation:String} AND kind IN {kinds:Array(String)} AND rule_id = {rule:UInt64}
  AND hasAny(channels, {channels:Array(UInt64)})"""

# Every stored action has a uuid; a text that looks like one counts against its own organisation only.
_SIZES: Final = """
SELECT count() AS rules, sum(countSubstrings(body, '"uuid":')) AS actions FROM alert_rules
WHERE organisation = {organisation:String} AND rule_id != {rule:UInt64}"""

_LAST_FIRED: Final = """
SELECT rule_id, last_fired_at FROM alert_states
WHERE organisation = {organisation:String} AND rule_id IN {rules:Array(UInt64)}"""

# As tools name the kinds; the last one is ours.
_TYPES: Final = {ISSUE: "rule", METRIC: "alert_rule", MONITOR: "monitor_rule"}


class Rules:
    """Of the organisation of one caller."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._services = services
        self._caller = caller

    async def all(self, kinds: Sequence[str], projects: Sequence[Channel]) -> list[Row]:
        """Rules of these projects, the newest first."""
        if not projects:
            return []
        return await self._services.clickhouse.query(
            _LIST,
            organisation=self._caller.organisation,
            kinds=list(kinds),
            channels=[project.id for project in projects],
        )

    async def one(self, kinds: Sequence[str], projects: Sequence[Channel], text: str) -> Row:
        """One rule by its number. Raises ApiError 404."""
        rows: list[Row] = []
        if text.isascii() and text.isdigit() and len(text) <= 19 and projects:
            rows = await self._services.clickhouse.query(
                _ONE,
                organisation=self._caller.organisation,
                kinds=list(kinds),
                rule=int(text),
                channels=[project.id for project in projects],
            )
        if not rows:
            expected = f"expected the number of a rule that exists ({' or '.join(kinds)})"
            raise ApiError(404, f"rule: {expected}, found {text[:40]!r}: `axonpush alerts list` has the numbers")
        return rows[0]

    async def shapes(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Stored rules as tools read them."""
        last_fired = await self.last_fired(rows)
        projects = self._services.registry_entries.projects(self._caller.organisation)
        return [rule_shape(row, projects, last_fired.get(int(row["rule_id"]))) for row in rows]

    async def last_fired(self, rows: Sequence[Row]) -> dict[int, str | None]:
        """When rules last told something, by their numbers."""
        if not rows:
            return {}
        states = await self._services.clickhouse.query(
            _LAST_FIRED,
            organisation=self._caller.organisation,
            rules=[int(row["rule_id"]) for row in rows],
        )
        return {int(state["rule_id"]): iso_time(state["last_fired_at"]) for state in states}

    async def create(self, kind: str, projects: Sequence[Channel], rule: dict[str, Any]) -> Row:
        """Stores a new rule."""
        now = time_text(self._services.now_ns())
        number = self._services.new_id().int & (2**_ID_BITS - 1)
        row = {"rule_id": number, "kind": kind, "created_at": now, "created_by": self._caller.token.id}
        return await self._write(row, projects, rule)

    async def check_room(self, rule: Mapping[str, Any], rule_id: int = 0) -> None:
        """For a new rule, or another version of `rule_id`. Raises ApiError 400 if there are too many."""
        (sizes,) = await self._services.clickhouse.query(_SIZES, organisation=self._caller.organisation, rule=rule_id)
        if int(sizes["rules"]) >= MAX_RULES:
            raise ApiError(400, f"rule: expected at most {MAX_RULES} rules in an organisation, found as many already")
        number = len(actions_of(rule))
        if number and int(sizes["actions"]) + number > MAX_ACTIONS:
            expected = f"actions: expected at most {MAX_ACTIONS} in all rules of an organisation"
            raise ApiError(400, f"{expected}, found {sizes['actions']} and {number} more")

    async def change(self, row: Row, projects: Sequence[Channel], rule: dict[str, Any]) -> Row:
        """Replaces a rule; its number and creation stay."""
        return await self._write(row, projects, rule)

    async def delete(self, row: Row) -> None:
        """Its row says that it is gone."""
        await self._services.clickhouse.insert(TABLE, [self._versioned(row) | {"is_deleted": True}])

    async def _write(self, row: Row, projects: Sequence[Channel], rule: dict[str, Any]) -> Row:
        said = {
            "channels": [project.id for project in projects],
            "name": rule["name"],
            "body": orjson.dumps(rule).decode(),
        }
        stored = self._versioned(row | said)
        await self._services.clickhouse.insert(TABLE, [stored])
        return stored

    def _versioned(self, row: Row) -> Row:
        now_ns = self._services.now_ns()
        return row | {
            "organisation": self._caller.organisation,
            "row_version": now_ns,
            "changed_at": time_text(now_ns),
            "changed_by": self._caller.token.id,
        }


def rule_shape(row: Row, projects: Sequence[Channel], last_fired: str | None = None) -> dict[str, Any]:
    """A rule as tools read it: what was said, and what we know of it."""
    channels = {int(channel) for channel in row["channels"]}
    of_rule = [project for project in projects if project.id in channels]
    return {
        **orjson.loads(row["body"]),
        "id": str(row["rule_id"]),
        "type": _TYPES[row["kind"]],
        "organizationId": row["organisation"],
        "projects": [project.project_slug for project in of_rule],
        "dateCreated": iso_time(row["created_at"]),
        "dateModified": iso_time(row["changed_at"]),
        "createdBy": {"id": row["created_by"], "name": row["created_by"], "email": ""},
        "status": 0 if row["kind"] == METRIC else "active",
        "snooze": False,
        "lastTriggered": last_fired,
    }


def workflow_shape(row: Row, last_fired: str | None = None) -> dict[str, Any]:
    """An issue alert as newer tools read it."""
    rule = orjson.loads(row["body"])
    parts = [{"type": part["id"], "comparison": True, "conditionResult": True} for part in rule["conditions"]]
    filters = [{"type": part["id"], "comparison": True, "conditionResult": True} for part in rule["filters"]]
    actions = [{**action, "type": action["id"]} for action in rule["actions"]]
    return {
        "id": str(row["rule_id"]),
        "name": row["name"],
        "enabled": True,
        "environment": rule["environment"],
        "owner": rule["owner"],
        "config": {"frequency": rule["frequency"]},
        "detectorIds": [str(channel) for channel in row["channels"]],
        "triggers": {"logicType": rule["actionMatch"], "conditions": parts, "actions": []},
        "actionFilters": [{"logicType": rule["filterMatch"], "conditions": filters, "actions": actions}],
        "dateCreated": iso_time(row["created_at"]),
        "dateUpdated": iso_time(row["changed_at"]),
        "lastTriggered": last_fired,
    }
