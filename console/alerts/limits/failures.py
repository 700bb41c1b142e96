"""Rules that could not be evaluated: why, and when each is tried again. The others go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from console.alerts.bucket import BucketUnavailable, EntryChanged, EntryTooLarge
from console.alerts.lease import LeaseLost
from console.api.errors import ApiError
from ops.runtime.process.backoff import Backoff

if TYPE_CHECKING:
    from console.alerts.rules.source import KnownRule, RuleKey
    from console.storage.clickhouse import ClickHouse

# A rule that fails may cost as much as ClickHouse allows a question: it is asked less and less often.
FIRST_PAUSE_S: Final = 10.0
LONGEST_PAUSE_S: Final = 900.0
REFUSED: Final = "ClickHouse refused the question of this rule; its log says why"

_ANSWERS: Final = "SELECT 1 AS answers FROM error_rows LIMIT 1"

# Of the broker: what was decided cannot be stored, or not by this process.
ENDS_ROUND: Final = (LeaseLost, EntryChanged, BucketUnavailable)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Failure:
    """`number`: how often in a row. `changed_at`: of the rule that failed; another version of it is tried at once."""

    text: str
    number: int
    again_s: float
    changed_at: str


class RuleFailures:
    """Of all rules. `clock` is monotonic."""

    def __init__(self, clickhouse: ClickHouse, clock: Callable[[], float]) -> None:
        self._clickhouse = clickhouse
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, lambda: 1.0)
        self._known: Mapping[RuleKey, KnownRule] = {}
        self._failed: dict[RuleKey, _Failure] = {}
        # What is told of a rule that is evaluated, by kind of trouble.
        self._notes: dict[RuleKey, dict[str, str]] = {}

    def begin_round(self, known: Mapping[RuleKey, KnownRule]) -> None:
        """Forgets what was said of rules that are gone or changed."""
        self._known = known
        self._failed = {
            key: entry
            for key, entry in self._failed.items()
            if key in known and known[key].changed_at == entry.changed_at
        }
        self._notes = {key: notes for key, notes in self._notes.items() if key in known and notes}

    def text(self, key: RuleKey) -> str:
        """Why a rule is not evaluated as it should be; "" if it is."""
        known, failure = self._known.get(key), self._failed.get(key)
        if known is not None and known.error:
            return known.error
        if failure is not None:
            return failure.text
        return next(iter(self._notes.get(key, {}).values()), "")

    def texts(self) -> dict[RuleKey, str]:
        """Those of all rules that have one."""
        return {key: text for key in self._known if (text := self.text(key))}

    def note(self, key: RuleKey, trouble: str, text: str) -> None:
        """Something to tell of a rule that goes on; "" when it is over."""
        if text:
            self._notes.setdefault(key, {})[trouble] = text
        elif key in self._notes:
            self._notes[key].pop(trouble, None)

    def has_failed(self, key: RuleKey) -> bool:
        """Whether the last try failed: then there is one try, at the newest end, apart from other rules."""
        return key in self._failed

    def is_waiting(self, key: RuleKey) -> bool:
        """Whether the rule failed and its pause is not over."""
        return key in self._failed and self._clock() < self._failed[key].again_s

    def failed(self, keys: Sequence[RuleKey], text: str) -> None:
        """These rules wait, each time longer."""
        for key in keys:
            number = self._failed[key].number + 1 if key in self._failed else 1
            changed_at = self._known[key].changed_at if key in self._known else ""
            self._failed[key] = _Failure(text, number, self._clock() + self._backoff.pause_s(number), changed_at)

    def worked(self, key: RuleKey) -> None:
        """It was evaluated."""
        self._failed.pop(key, None)

    @asynccontextmanager
    async def of(self, keys: Sequence[RuleKey]) -> AsyncIterator[None]:
        """What is asked here for these rules fails for them only. Without ClickHouse or the broker the round ends."""
        try:
            yield
        except EntryTooLarge as error:
            self.failed(keys, str(error))
        except ENDS_ROUND:
            raise
        except ApiError as error:
            if error.status == 503 and await is_away(self._clickhouse):
                raise
            self.failed(keys, REFUSED if error.status == 503 else error.detail)
        except Exception:
            log.exception("rules_failed", rules=[f"{organisation}.{number}" for organisation, number in keys])
            self.failed(keys, "it failed; the log of `axonpush alerts` says why")


async def is_away(clickhouse: ClickHouse) -> bool:
    """Whether ClickHouse, or a shard of it, answers nothing; else it was one question that it did not take."""
    try:
        await clickhouse.query(_ANSWERS)
    except ApiError:
        return True
    return False
