"""All rules as they are now, parsed; one that cannot be evaluated says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.api.errors import ApiError
from console.rules.parsed import Rule, parsed

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse, Row

_RULES: Final = """
SELECT organisation, rule_id, kind, channels, name, body, created_at, changed_at FROM alert_rules
ORDER BY organisation, rule_id LIMIT 10000"""

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


class RuleSource:
    """Reads them; a rule that did not change is not parsed again."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self.rules: Mapping[RuleKey, KnownRule] = {}

    async def read(self) -> Mapping[RuleKey, KnownRule]:
        """The rules by organisation and number. Raises ApiError 503."""
        rows = await self._clickhouse.query(_RULES)
        self.rules = {built.key: built for built in map(self._known, rows)}
        return self.rules

    def _known(self, row: Row) -> KnownRule:
        key = str(row["organisation"]), int(row["rule_id"])
        before = self.rules.get(key)
        if before is not None and before.changed_at == str(row["changed_at"]):
            return before
        rule, error = None, ""
        try:
            rule = parsed(row)
        except ApiError as refused:
            error = f"this rule has a part that is not evaluated: {refused.detail}"
        except (KeyError, TypeError, ValueError) as wrong:
            error = f"this rule cannot be read ({type(wrong).__name__}): save it again"
        return KnownRule(key, str(row["kind"]), str(row["name"]), str(row["changed_at"]), rule, error)
