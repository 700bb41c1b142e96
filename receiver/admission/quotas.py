"""Quotas: counts of the last minute, in memory, and whether another request is allowed. quota_exchange.py shares the
counts between receivers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from receiver.http.answers import Refused
from schemas.registry import Key, Organisation
from schemas.usage import WINDOW_S, Unit, Windows, counter_name, key_name, organisation_name

RETRY_AFTER_S: Final = WINDOW_S
# If our own reports do not come back for this long, those of other receivers do not come either.
STALE_S: Final = 5.0
# Other receivers get a report at once when this share of a quota was used since the last one; else twice a second.
HURRY_SHARE: Final = 0.02
# Keys whose limits are remembered; beyond, they are looked up again.
MAX_PLANS: Final = 10_000

REASON_KEY: Final = "quota:key"
REASON_ORGANISATION: Final = "quota:organisation"

_UNIT_TEXTS: Final = {
    Unit.REQUESTS: ("requests", "--quota"),
    Unit.BYTES: ("bytes of inflated bodies", "--quota-bytes"),
    Unit.ROWS: ("rows", "--quota-rows"),
}


class QuotaExceeded(Refused):
    """429. `reason` names the quota as `outcomes` does: `quota:key`, `quota:key:rows`."""

    def __init__(self, limit: Limit) -> None:
        unit, option = _UNIT_TEXTS[limit.unit]
        what, command = ("key", "keys limit") if limit.reason == REASON_KEY else ("organisation", "organisations limit")
        super().__init__(
            429,
            f"quota: the {what} may send {limit.amount} {unit} a minute and has; come back after {RETRY_AFTER_S} s, "
            f"or raise it with `axonpush {command} {limit.cli_name} {option} N/min`",
            retry_after_s=RETRY_AFTER_S,
        )
        self.reason = limit.reason if limit.unit is Unit.REQUESTS else f"{limit.reason}:{limit.unit}"


class Limit(NamedTuple):
    """One limit of a key or an organisation. `name` is the name of its counter; commands call its owner `cli_name`."""

    name: str
    amount: int
    unit: Unit
    reason: str
    cli_name: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """The limits of one key, valid as long as its entry and its organisation's entry are these objects."""

    key: Key
    organisation: Organisation | None
    limits: tuple[Limit, ...]

    # Counters of requests and of bytes: (name of the counter, amount that is reported at once).
    requests: tuple[tuple[str, float], ...] = ()
    size_bytes: tuple[tuple[str, float], ...] = ()
    counts_rows: bool = False


@dataclass(frozen=True, slots=True)
class _Report:
    """The count of another process, and when it was reported."""

    total: int
    at_s: float


class Charge:
    """The use of one request: it is counted when it is admitted, its bytes when they have arrived."""

    __slots__ = ("_bytes", "_came", "_plan", "_quotas", "_second", "is_stored")

    def __init__(self, quotas: Quotas, plan: _Plan, second: int) -> None:
        self._quotas = quotas
        self._plan = plan
        self._second = second
        self._bytes = 0
        self._came: tuple[tuple[int, int], ...] = ()
        self.is_stored = False

    @property
    def counts_rows(self) -> bool:
        """Whether there is a quota of rows: then workers count the rows of the body."""
        return self._plan.counts_rows

    def count_bytes(self, size_bytes: int) -> None:
        """Counts the inflated bytes so far, also those of a body that is refused later, because it costs the same."""
        more = size_bytes - self._bytes
        if more > 0:
            self._bytes = size_bytes
            second = int(self._quotas.clock())
            self._came = (*self._came, (second, more))
            self._quotas.count(self._plan.size_bytes, more, second)

    def end(self, *, is_our_fault: bool) -> None:
        """Ends the request. One that was not stored does not count; if that was our fault, nor do its bytes."""
        if self.is_stored:
            return
        self._quotas.take_back(self._plan.requests, 1, self._second)
        for second, size_bytes in self._came if is_our_fault else ():
            self._quotas.take_back(self._plan.size_bytes, size_bytes, second)


class Quotas:
    """Admits or refuses requests, by the counts of this receiver and the reports of other processes.

    `organisation` returns an organisation's entry or None. `clock` is seconds, monotonic. Without a limit nothing is
    counted.
    """

    def __init__(
        self,
        organisation: Callable[[str], Organisation | None] = lambda _slug: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._organisation = organisation
        self.clock = clock
        self._plans: dict[str, _Plan] = {}
        self._own = Windows()
        self._reports: dict[str, dict[str, _Report]] = {}
        # The sum of other processes' reports, by name, so that a request need not add them up.
        self._others: dict[str, int] = {}
        self._unanswered_s: float | None = None
        self.hurry: Callable[[], None] = lambda: None
        self.admitted_while_stale: Callable[[], None] = lambda: None

    def take(self, key: Key) -> Charge | None:
        """Counts one request; None if it has no limits. Raises QuotaExceeded before anything is counted."""
        organisation = self._organisation(key.organisation)
        plan = self._plans.get(key.sha256)
        if plan is None or plan.key is not key or plan.organisation is not organisation:
            plan = self._make_plan(key, organisation)
        if not plan.limits:
            return None
        second = int(self.clock())
        for limit in plan.limits:
            if self._use_of(limit[0], second) >= limit[1]:
                raise QuotaExceeded(limit)
        self.count(plan.requests, 1, second)
        return Charge(self, plan, second)

    def count(self, counts: tuple[tuple[str, float], ...], amount: int, second: int) -> None:
        """Adds an amount to these counters; a large part of a quota is reported to others at once."""
        own = self._own
        for name, hurry_amount in counts:
            window = own.by_name.get(name) or own.of(name)
            window.add(second, amount)
            if window.total - own.reported.get(name, 0) >= hurry_amount:
                self.hurry()

    def take_back(self, counts: tuple[tuple[str, float], ...], amount: int, second: int) -> None:
        """Undoes `count`."""
        for name, _ in counts:
            if (window := self._own.by_name.get(name)) is not None:
                window.take_back(second, amount)

    def report(self, *, everything: bool) -> dict[str, int]:
        """The report for other receivers: own counts of the last minute by name, only changed ones or `everything`."""
        return self._own.report(int(self.clock()), everything=everything)

    def hear(self, reporter: str, used: dict[str, int]) -> None:
        """Stores another process's report. Its numbers are absolute, so a lost or repeated report does no harm."""
        now_s = self.clock()
        for name, total in used.items():
            by_reporter = self._reports.setdefault(name, {})
            if total > 0:
                by_reporter[reporter] = _Report(total, now_s)
            else:
                by_reporter.pop(reporter, None)
            self._add_up(name, by_reporter)

    def forget_ended_reporters(self) -> None:
        """Drops reports that are a whole window old: their processes have ended."""
        oldest_s = self.clock() - WINDOW_S
        for name, by_reporter in list(self._reports.items()):
            for reporter in [reporter for reporter, report in by_reporter.items() if report.at_s <= oldest_s]:
                del by_reporter[reporter]
            self._add_up(name, by_reporter)

    def report_sent(self) -> None:
        """A report was sent. The broker sends it back to us too."""
        if self._unanswered_s is None:
            self._unanswered_s = self.clock()

    def report_returned(self) -> None:
        """A report of our own came back: the exchange works."""
        self._unanswered_s = None

    @property
    def stale(self) -> bool:
        """Whether reports do not arrive. Then each receiver applies the quota to its own requests only."""
        return self._unanswered_s is not None and self.clock() - self._unanswered_s > STALE_S

    def _make_plan(self, key: Key, organisation: Organisation | None) -> _Plan:
        """The limits of a key in the order they are checked: its organisation's first."""
        limits: list[Limit] = []
        if organisation is not None:
            slug = organisation.slug
            limits += _limits(organisation, organisation_name(slug), REASON_ORGANISATION, slug)
        limits += _limits(key, key_name(key.id), REASON_KEY, key.id)
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        plan = self._plans[key.sha256] = _Plan(
            key,
            organisation,
            tuple(limits),
            requests=_hurry_amounts(limits, Unit.REQUESTS),
            size_bytes=_hurry_amounts(limits, Unit.BYTES),
            counts_rows=any(limit.unit is Unit.ROWS for limit in limits),
        )
        return plan

    def _add_up(self, name: str, by_reporter: dict[str, _Report]) -> None:
        if by_reporter:
            self._others[name] = sum(report.total for report in by_reporter.values())
        else:
            del self._reports[name]
            self._others.pop(name, None)

    def _use_of(self, name: str, second: int) -> int:
        window = self._own.by_name.get(name)
        own = 0
        if window is not None:
            if window.second != second:
                window.expire(second)
            own = window.total
        if name not in self._others:
            return own
        if self.stale:
            self.admitted_while_stale()
            return own
        return own + self._others[name]


def _hurry_amounts(limits: list[Limit], unit: Unit) -> tuple[tuple[str, float], ...]:
    return tuple((limit.name, limit.amount * HURRY_SHARE) for limit in limits if limit.unit is unit)


def _limits(entry: Key | Organisation, owner: str, reason: str, cli_name: str) -> list[Limit]:
    """Requests, bytes and rows, as far as the entry limits them."""
    quota = entry.quota
    return [
        Limit(counter_name(owner, unit), amount, unit, reason, cli_name)
        for unit in Unit
        if (amount := quota.of(unit)) is not None
    ]
