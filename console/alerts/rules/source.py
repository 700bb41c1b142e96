"""All rules as they are now, parsed; one that cannot be evaluated says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from console.api.errors import ApiError
from console.rules.actions import actions_of
from console.rules.parsed import Rule, parsed
from console.storage.clickhouse import MAX_ROWS

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row

# Numbers and versions of all rules, page by page; the whole rules are asked for once.
_VERSIONS: Final = f"""
SELECT organisation, rule_id, changed_at FROM alert_rules
WHERE organisation > {{after_organisation:String}}
  OR (organisation = {{after_organisation:String}} AND rule_id > {{after_rule:UInt64}})
ORDER BY organisation, rule_id LIMIT {MAX_ROWS}"""
_RULES: Final = """
SELECT organisation, rule_id, kind, channels, name, body, created_at, changed_at FROM alert_rules
WHERE organisation = {organisation:String} AND rule_id IN {rules:Array(UInt64)}"""
_NOW: Final = "SELECT toUnixTimestamp64Milli(now64(3)) AS now_ms"
# A body has up to 64 kB, and is longer as JSON in JSON.
BODIES_AT_ONCE: Final = 100

RuleKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A stored rule; `rule` is None where it has parts that are not evaluated, and `error` says which."""

    key: RuleKey
    kind: str
    name: str
    changed_at: str
    rule: Rule | None
    error: str = ""
    # Of its actions; `is_unread`: which they are is not known.
    uuids: frozenset[str] = frozenset()
    is_unread: bool = False


class RuleSource:
    """Reads them; a rule that did not change is not read and parsed again."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self.rules: Mapping[RuleKey, KnownRule] = {}

    async def now_s(self) -> float | None:
        """The time of ClickHouse. Raises ApiError 503."""
        rows = await self._clickhouse.query(_NOW)
        return int(rows[0]["now_ms"]) / 1_000 if rows else None

    async def one(self, organisation: str, number: int) -> KnownRule | None:
        """A rule as it is now, also one that was stored a moment ago. Raises ApiError 503."""
        return next(iter(await self._chunk(organisation, [number])), None)

    async def read(self) -> Mapping[RuleKey, KnownRule]:
        """The rules by organisation and number. Raises ApiError 503."""
        versions = await self._versions()
        rules = {key: self.rules[key] for key, changed_at in versions.items() if self._is_known(key, changed_at)}
        changed: dict[str, list[int]] = {}
        for organisation, number in versions:
            if (organisation, number) not in rules:
                changed.setdefault(organisation, []).append(number)
        for organisation, numbers in changed.items():
            for begin in range(0, len(numbers), BODIES_AT_ONCE):
                chunk = await self._chunk(organisation, numbers[begin : begin + BODIES_AT_ONCE])
                rules |= {entry.key: entry for entry in chunk}
        self.rules = {key: rules[key] for key in versions if key in rules}
        return self.rules

    def _is_known(self, key: RuleKey, changed_at: str) -> bool:
        before = self.rules.get(key)
        return before is not None and before.changed_at == changed_at

    async def _versions(self) -> dict[RuleKey, str]:
        versions: dict[RuleKey, str] = {}
        organisation, number = "", 0
        while True:
            rows = await self._clickhouse.query(_VERSIONS, after_organisation=organisation, after_rule=number)
            for row in rows:
                organisation, number = str(row["organisation"]), int(row["rule_id"])
                versions[organisation, number] = str(row["changed_at"])
            if len(rows) < MAX_ROWS:
                return versions

    async def _chunk(self, organisation: str, numbers: Sequence[int]) -> list[KnownRule]:
        """Rules of one organisation. What is too large for an answer is halved, down to one that has an error."""
        try:
            rows = await self._clickhouse.query(_RULES, organisation=organisation, rules=list(numbers))
        except ApiError as error:
            if error.status == 503:
                raise
            if len(numbers) == 1:
                return [KnownRule((organisation, numbers[0]), "", "", "", None, error.detail, is_unread=True)]
            middle = len(numbers) // 2
            return [
                *await self._chunk(organisation, numbers[:middle]),
                *await self._chunk(organisation, numbers[middle:]),
            ]
        return [_known(row) for row in rows]


def _known(row: Row) -> KnownRule:
    rule, error = None, ""
    try:
        rule = parsed(row)
    except ApiError as refused:
        error = f"this rule has a part that is not evaluated: {refused.detail}"
    except (KeyError, TypeError, ValueError) as wrong:
        error = f"this rule cannot be read ({type(wrong).__name__}): save it again"
    key = str(row["organisation"]), int(row["rule_id"])
    uuids = _uuids(row)
    shown = str(row["kind"]), str(row["name"]), str(row["changed_at"])
    return KnownRule(key, *shown, rule, error, uuids or frozenset(), is_unread=uuids is None)


def _uuids(row: Row) -> frozenset[str] | None:
    """Of all actions, also of a rule that is not evaluated: its secrets stay. None where it cannot be read."""
    try:
        return frozenset(str(part.get("uuid") or "") for part in actions_of(orjson.loads(row["body"]))) - {""}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
