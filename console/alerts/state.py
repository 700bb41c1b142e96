"""What is remembered of a rule between two evaluations: how far it came, what it found, whom to tell. One entry each.

A firing and its deliveries are in the same entry as the progress of the rule, so one write decides all of it: after a
kill either the time is evaluated again and nothing was sent, or the firing is stored and its deliveries are pending.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import orjson
import structlog

from console.alerts.bucket import Entries, EntryTooLarge

STATE_PREFIX: Final = "state."
# Firings whose messages are not all sent; the oldest are given up beyond it.
MAX_PENDING: Final = 500
MAX_REGRESSIONS: Final = 2_000
# Issues of one rule that are silent for a time; beyond it those that it spoke of first may be told again early.
MAX_QUIET: Final = 3_000
PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
FIRING, RESOLVED = "firing", "resolved"

log = structlog.get_logger()


@dataclass(slots=True)
class Firing:
    """Something that a rule found, once. `about` is the issue, the monitor or the number that it is about."""

    id: str
    at_ns: int
    status: str
    severity: str
    about: str
    channel: int
    title: str
    message: str
    path: str
    value: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    # Whether its row is in ClickHouse.
    is_recorded: bool = False


@dataclass(slots=True)
class AlertDelivery:
    """A message to one receiver about one firing. `recorded` is the number of the last change that has a row."""

    id: str
    firing: str
    action: str
    kind: str
    target: str
    created_ns: int
    next_ns: int
    status: str = PENDING
    attempts: int = 0
    last_ns: int = 0
    answer: str = ""
    change: int = 1
    recorded: int = 0
    # Of an e-mail that some receivers have: the others.
    left: list[str] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: sent or given up, and recorded."""
        return self.status != PENDING and self.recorded == self.change


@dataclass(frozen=True, slots=True)
class QuietTime:
    """When a rule last fired for an issue, and the last error that it knew then."""

    at_ns: int
    last_received_ns: int


@dataclass(frozen=True, slots=True)
class MonitorState:
    """What a rule last said about a monitor in an environment."""

    status: str = "ok"
    since_ns: int = 0
    transitions: int = 0
    expected_ns: int = 0


@dataclass(slots=True)
class RuleState:
    """The entry of one rule. Times are nanoseconds; 0 means never.

    `evaluated_ns`: the end of the last time that was evaluated. `complete_ns`: no more rows will come from before it.
    """

    evaluated_ns: int = 0
    complete_ns: int = 0
    status: str = "ok"
    since_ns: int = 0
    transitions: int = 0
    value: float | None = None
    last_fired_ns: int = 0
    quiet: dict[str, QuietTime] = field(default_factory=dict)
    # Issue: when it was resolved before it came back.
    regressions: dict[str, str] = field(default_factory=dict)
    monitors: dict[str, MonitorState] = field(default_factory=dict)
    firings: list[Firing] = field(default_factory=list)
    deliveries: list[AlertDelivery] = field(default_factory=list)

    def copied(self) -> RuleState:
        """A state of its own. Details of firings are never changed, so both have the same."""
        return replace(
            self,
            quiet=dict(self.quiet),
            regressions=dict(self.regressions),
            monitors=dict(self.monitors),
            firings=[copy.copy(entry) for entry in self.firings],
            deliveries=[copy.copy(entry) for entry in self.deliveries],
        )

    def take_evaluation(self, built: RuleState) -> None:
        """What an evaluation decided. Firings and deliveries, which may have changed meanwhile, stay."""
        for name in EVALUATED:
            setattr(self, name, getattr(built, name))

    def tidy(self) -> None:
        """Forgets what is sent and recorded, and keeps every list within its bound."""
        self.deliveries = [delivery for delivery in self.deliveries if not delivery.is_settled]
        needed = {delivery.firing for delivery in self.deliveries}
        self.firings = [firing for firing in self.firings if not firing.is_recorded or firing.id in needed]
        self.bound()

    def bound(self) -> None:
        """Keeps what is remembered of issues within its bounds."""
        while len(self.regressions) > MAX_REGRESSIONS:
            del self.regressions[next(iter(self.regressions))]
        if len(self.quiet) > MAX_QUIET:
            # Of issues of one round the first ones got a message, so the others go.
            newest = sorted(self.quiet, key=lambda about: self.quiet[about].at_ns, reverse=True)[:MAX_QUIET]
            self.quiet = {about: self.quiet[about] for about in newest}

    def firing(self, firing_id: str) -> Firing | None:
        """The firing of this id."""
        return next((firing for firing in self.firings if firing.id == firing_id), None)


# The fields that an evaluation changes.
EVALUATED: Final = (
    *("evaluated_ns", "complete_ns", "status", "since_ns", "transitions", "value", "last_fired_ns"),
    *("quiet", "regressions", "monitors"),
)


def identity(*parts: object) -> str:
    """32 hexadecimal digits that depend on these parts only."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


def written(state: RuleState) -> bytes:
    """The entry."""
    return orjson.dumps({"version": 1, **{entry.name: getattr(state, entry.name) for entry in fields(state)}})


def read(value: bytes) -> RuleState:
    """The state of an entry; one that was not written here is as a new one."""
    if not value:
        return RuleState()
    try:
        document = orjson.loads(value)
        document.pop("version")
        return RuleState(
            **document
            | {
                "quiet": {name: QuietTime(**entry) for name, entry in document["quiet"].items()},
                "monitors": {name: MonitorState(**entry) for name, entry in document["monitors"].items()},
                "firings": [Firing(**entry) for entry in document["firings"]],
                "deliveries": [AlertDelivery(**entry) for entry in document["deliveries"]],
            }
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        log.error("rule_state_unreadable", error=type(error).__name__)
        return RuleState()


@dataclass(slots=True)
class StoredState:
    """A state with the revision of its entry. Only the process that has the lease changes it, one change at a time."""

    name: str
    state: RuleState
    revision: int
    saved_at_s: float = 0.0
    # Of the entry.
    size: int = 0
    # A write had no answer: the entry is read again before the next one.
    is_uncertain: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def update(
        self,
        entries: Entries,
        now_s: float,
        change: Callable[[RuleState], None],
        value_of: Callable[[RuleState], bytes] = written,
    ) -> None:
        """Changes the state and its entry, or neither. `value_of` makes the entry, and may leave out a part of it.

        Raises EntryChanged when another process wrote the entry, EntryTooLarge, BucketUnavailable.
        """
        async with self.lock:
            await self._settle(entries)
            built = self.state.copied()
            change(built)
            value = value_of(built)
            self.is_uncertain = True
            try:
                self.revision = await entries.put(self.name, value, self.revision)
            except EntryTooLarge:  # refused, so what is stored is known
                self.is_uncertain = False
                raise
            self.state, self.saved_at_s, self.size, self.is_uncertain = built, now_s, len(value), False

    async def settle(self, entries: Entries) -> None:
        """Reads the entry again after a write without an answer: what is decided next begins with what is stored."""
        async with self.lock:
            await self._settle(entries)

    async def _settle(self, entries: Entries) -> None:
        if self.is_uncertain:
            value, self.revision = await entries.get(self.name)
            self.state, self.size, self.is_uncertain = read(value), len(value), False

    async def keep(self, change: Callable[[RuleState], None]) -> None:
        """Changes the state in memory: progress, which would only be made again after a kill."""
        async with self.lock:
            if not self.is_uncertain:
                change(self.state)


async def load(entries: Entries, name: str) -> StoredState:
    """The state of a rule by the name of its entry. Raises BucketUnavailable."""
    value, revision = await entries.get(name)
    return StoredState(name, read(value), revision, size=len(value))


def entry_name(organisation: str, rule_id: int) -> str:
    """The name of the entry of a rule."""
    return f"{STATE_PREFIX}{organisation}.{rule_id}"
