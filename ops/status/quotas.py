"""Quota use of the last minute, as receivers and workers report it, beside the limits.

Requests are refused by these same numbers. They are stored nowhere, so this listens for the reports and asks for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nats.js.errors import BucketNotFoundError, KeyNotFoundError

from ops.status.servers import ReceiverHealth, RefusedWorker, receiver_health, refused_worker
from schemas import subjects, usage
from schemas.registry import Key, Organisation, decode
from schemas.usage import WINDOW_S, Unit, split_name

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js.kv import KeyValue

# Maximum keys and organisations shown.
MAX_SHOWN: Final = 20
MAX_LOOKED_UP: Final = 200
_KV_PREFIX: Final = f"$KV.{subjects.REGISTRY_BUCKET}."
_KEY_ID_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """One key or organisation with a quota. `used` and `allowed` are by unit, without unlimited units."""

    of: str
    name: str
    organisation: str
    used: Mapping[Unit, int]
    allowed: Mapping[Unit, int]

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units in display order."""
        return tuple(Unit)

    @property
    def share(self) -> float:
        """The used fraction of the most used quota; 1 means all of it."""
        shares = (
            self.used[unit] / limit if limit else float(self.used[unit] > 0) for unit, limit in self.allowed.items()
        )
        return max(shares, default=0.0)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        units = {
            str(unit): {"used": self.used[unit], "allowed": self.allowed[unit]} if unit in self.allowed else None
            for unit in Unit
        }
        return {"of": self.of, "name": self.name, "organisation": self.organisation, "share": self.share, **units}


@dataclass(slots=True)
class QuotaTotals:
    """The latest report of every process, by owner of the quota. Reports expire after a minute."""

    clock: Callable[[], float] = time.monotonic
    _said: dict[tuple[str, Unit], dict[str, tuple[int, float]]] = field(default_factory=dict)

    def hear(self, reporter: str, used: Mapping[tuple[str, Unit], int]) -> None:
        """Stores a report. Numbers are absolute, so the latest one counts."""
        now_s = self.clock()
        for name, total in used.items():
            self._said.setdefault(name, {})[reporter] = (total, now_s)

    def by_owner(self) -> dict[str, dict[Unit, int]]:
        """Use by owner and unit; owners without use are left out."""
        oldest_s = self.clock() - WINDOW_S
        totals: dict[str, dict[Unit, int]] = {}
        for (owner, unit), by_reporter in self._said.items():
            total = sum(total for total, at_s in by_reporter.values() if at_s > oldest_s)
            if total:
                totals.setdefault(owner, {})[unit] = total
        return totals


class QuotaListener:
    """Receives the reports of all receivers and workers on one connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._totals = QuotaTotals()
        # Receivers that have answered, by name.
        self.receivers: dict[str, ReceiverHealth] = {}
        # Worker processes that ClickHouse refuses, by name.
        self.refused_workers: dict[str, RefusedWorker] = {}

    async def open(self) -> None:
        """Starts to listen."""
        await self._client.subscribe(subjects.QUOTA_USE, cb=self._on_use)
        await self._client.subscribe(subjects.QUOTA_ROWS, cb=self._on_rows)

    async def ask(self) -> None:
        """Asks all processes for a full report, which arrives within about half a second."""
        await self._client.publish(subjects.QUOTA_ASK, b"")

    async def uses(self) -> list[QuotaUse]:
        """Quota use, highest share first. Raises NatsError; empty without a registry."""
        heard = self._totals.by_owner()
        if not heard:
            return []
        try:
            bucket = await self._client.jetstream().key_value(subjects.REGISTRY_BUCKET)
        except BucketNotFoundError:
            return []
        busiest = sorted(heard, key=lambda owner: -max(heard[owner].values()))[:MAX_LOOKED_UP]
        names = await self._entry_names(busiest)
        entries = [await self._use(bucket, names.get(owner, ""), heard[owner]) for owner in busiest]
        return sorted(filter(None, entries), key=lambda use: -use.share)[:MAX_SHOWN]

    async def owners(self, names: Iterable[str]) -> dict[str, Key | Organisation]:
        """Keys and organisations as they are now, by their names in reports, at most MAX_LOOKED_UP. Raises
        NatsError.
        """
        wanted = list(dict.fromkeys(names))[:MAX_LOOKED_UP]
        if not wanted:
            return {}
        try:
            bucket = await self._client.jetstream().key_value(subjects.REGISTRY_BUCKET)
        except BucketNotFoundError:
            return {}
        entry_names = await self._entry_names(wanted)
        entries = {owner: await self._entry(bucket, entry_names.get(owner, "")) for owner in wanted}
        return {owner: entry for owner, entry in entries.items() if entry}

    async def _on_use(self, message: Msg) -> None:
        if (report := usage.health_in(message.data)) and (health := receiver_health(report[1], report[0])):
            self.receivers[health.name] = health
        self._take(message.data, split_name)

    async def _on_rows(self, message: Msg) -> None:
        if (report := usage.health_in(message.data)) and (refused := refused_worker(report[1])):
            self.refused_workers[report[0]] = refused
        self._take(message.data, lambda owner: (owner, Unit.ROWS))

    def _take(self, data: bytes, read: Callable[[str], tuple[str, Unit] | None]) -> None:
        try:
            reporter, used = usage.decode(data)
        except ValueError:
            return
        named = {counter: total for name, total in used.items() if (counter := read(name)) is not None}
        self._totals.hear(reporter, named)

    async def _entry_names(self, owners: list[str]) -> dict[str, str]:
        """Names of registry entries: reports name a key by its id, the registry by its whole hash."""
        entry_names = {owner: owner for owner in owners if owner.startswith("organisation.")}
        if len(entry_names) < len(owners):
            stream = f"KV_{subjects.REGISTRY_BUCKET}"
            info = await self._client.jetstream().stream_info(stream, subjects_filter=f"{_KV_PREFIX}key.>")
            names = (subject.removeprefix(_KV_PREFIX) for subject in info.state.subjects or {})
            entry_names |= {name[: len("key.") + _KEY_ID_LENGTH]: name for name in names}
        return entry_names

    async def _use(self, bucket: KeyValue, name: str, used: Mapping[Unit, int]) -> QuotaUse | None:
        entry = await self._entry(bucket, name)
        return quota_use(entry, used) if entry else None

    async def _entry(self, bucket: KeyValue, name: str) -> Key | Organisation | None:
        try:
            entry = decode(name, (await bucket.get(name)).value or b"") if name else None
        except (KeyNotFoundError, ValueError):
            return None
        return entry if isinstance(entry, Key | Organisation) else None


def quota_use(entry: Key | Organisation, used: Mapping[Unit, int]) -> QuotaUse | None:
    """The use of an entry; None if it has no quota any more."""
    allowed = {unit: limit for unit in Unit if (limit := entry.quota.of(unit)) is not None}
    if not allowed:
        return None
    of, name, owner = (
        ("key", entry.id, entry.organisation) if isinstance(entry, Key) else ("organisation", entry.slug, entry.slug)
    )
    return QuotaUse(of, name, owner, {unit: used.get(unit, 0) for unit in allowed}, allowed)
