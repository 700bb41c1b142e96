"""The last runs of monitors, from their check-ins. A look reads the newest ones; a full look, now and then, all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from console.storage.times import time_text

if TYPE_CHECKING:
    from console.storage.clickhouse import ClickHouse

NS: Final = 1_000_000_000
# A monitor without a check-in for so long is no longer one.
FULL_LOOK_S: Final = 35 * 86_400
# The newest check-ins, late ones among them; those that come later still are found by the next full look.
SHORT_LOOK_S: Final = 1_800
FULL_LOOK_EVERY_S: Final = 600
# Of one monitor, for a rule that waits for 100 failures in a row; most wait for one.
MAX_CHECK_INS: Final = 120
_FEWEST_CHECK_INS: Final = 10
# Of one organisation.
MAX_MONITORS: Final = 5_000
IN_PROGRESS: Final = "in_progress"
# What check-ins tell of a monitor.
_PREFIX: Final = "monitor."
_CONFIG: Final = ("schedule.type", "schedule.value", "schedule.unit", "timezone", "checkin_margin", "max_runtime")
# Of it, and of ids: a longer text is none that we know.
_MAX_TEXT: Final = 200
# `%d` is the number of check-ins.
_CHECK_INS: Final = f"""
SELECT channel_id, name AS monitor, environment,
       groupArraySorted(%d)((-toUnixTimestamp64Nano(timestamp), toString(event_id),
           ifNull(toString(metadata.checkInId), ''), status, duration_ns)) AS check_ins,
       argMaxIf(CAST(mapFilter((k, v) -> startsWith(k, 'monitor.'), attributes), 'Map(String, String)'), timestamp,
           arrayExists(k -> startsWith(k, 'monitor.'), mapKeys(attributes))) AS config
FROM events
WHERE organisation = {{organisation:String}} AND channel_id IN {{channels:Array(UInt64)}} AND item_type = 'check_in'
  AND timestamp > toDateTime64({{begin:String}}, 9, 'UTC')
GROUP BY channel_id, monitor, environment ORDER BY channel_id, monitor, environment LIMIT {MAX_MONITORS}"""

# Channel, monitor, environment.
MonitorKey = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class CheckIn:
    """One check-in; `check_in_id` is empty for jobs that tell none."""

    at_ns: int
    event_id: str
    check_in_id: str
    status: str
    duration_ns: int


@dataclass(frozen=True, slots=True)
class MonitorRun:
    """One run of a job. `status` is in_progress while it is open."""

    opened_ns: int
    status: str


@dataclass(slots=True)
class Monitor:
    """What is known of a monitor in an environment. `config`: as check-ins told it, `schedule.type` and the like."""

    check_ins: dict[str, CheckIn] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)

    def add(self, check_ins: Sequence[CheckIn], config: Mapping[str, str], most: int = MAX_CHECK_INS) -> None:
        """More check-ins, in any order and also the same again; the newest `most` stay."""
        self.check_ins |= {entry.event_id: entry for entry in check_ins}
        if len(self.check_ins) > most:
            newest = sorted(self.check_ins.values(), key=lambda entry: entry.at_ns)[-most:]
            self.check_ins = {entry.event_id: entry for entry in newest}
        self.config = dict(config) or self.config

    def runs(self, until_ns: int) -> list[MonitorRun]:
        """The runs of check-ins until a time, the oldest first."""
        fields = sorted(
            self.check_ins.values(), key=lambda entry: (entry.at_ns, entry.status != IN_PROGRESS, entry.event_id)
        )
        return runs_of([entry for entry in fields if entry.at_ns <= until_ns])


def runs_of(check_ins: Sequence[CheckIn]) -> list[MonitorRun]:
    """Check-ins with one id are one run. Without an id, one that closes belongs to the last open run, else is a run."""
    runs: dict[str, MonitorRun] = {}
    open_names: list[str] = []
    for entry in check_ins:
        name = entry.check_in_id
        if not name and entry.status == IN_PROGRESS:
            name = entry.event_id
            open_names.append(name)
        elif not name:
            name = open_names.pop() if open_names else entry.event_id
        before = runs.get(name)
        if before is None:
            began_ns = entry.at_ns if entry.status == IN_PROGRESS else entry.at_ns - entry.duration_ns
            runs[name] = MonitorRun(began_ns, entry.status)
        elif before.status == IN_PROGRESS:
            runs[name] = MonitorRun(before.opened_ns, entry.status)
    return sorted(runs.values(), key=lambda run: run.opened_ns)


@dataclass(slots=True)
class _Known:
    """Of one organisation: its monitors, and what the last full look was for."""

    full_look_s: float
    channels: frozenset[int]
    check_ins: int
    monitors: dict[MonitorKey, Monitor] = field(default_factory=dict)


class MonitorRuns:
    """The monitors of the channels that rules watch."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self._known: dict[str, _Known] = {}

    def keep(self, organisations: Collection[str]) -> None:
        """Forgets the monitors of all others."""
        self._known = {name: known for name, known in self._known.items() if name in organisations}

    async def read(
        self, organisation: str, channels: Sequence[int], now_s: float, failures: int = 1
    ) -> dict[MonitorKey, Monitor]:
        """The monitors of these channels, with as many runs as `failures` in a row need. Raises ApiError."""
        # A run is two check-ins, if it says when it begins.
        most = min(MAX_CHECK_INS, 2 * failures + _FEWEST_CHECK_INS)
        known = self._known.get(organisation)
        is_full = known is None or _is_old(known, channels, now_s, most)
        rows = await self._clickhouse.query(
            _CHECK_INS.replace("%d", str(most)),
            organisation=organisation,
            channels=list(channels),
            begin=time_text(int((now_s - (FULL_LOOK_S if is_full else SHORT_LOOK_S)) * NS)),
        )
        if known is None or is_full:
            known = self._known[organisation] = _Known(now_s, frozenset(channels), most)
        for row in rows:
            key = int(row["channel_id"]), str(row["monitor"]), str(row["environment"])
            if key in known.monitors or len(known.monitors) < MAX_MONITORS:
                check_ins = [_check_in(entry) for entry in row["check_ins"]]
                known.monitors.setdefault(key, Monitor()).add(
                    check_ins, _without_prefix(row["config"]), known.check_ins
                )
        return dict(known.monitors)


def _is_old(known: _Known, channels: Sequence[int], now_s: float, check_ins: int) -> bool:
    is_narrow = not known.channels.issuperset(channels) or known.check_ins < check_ins
    return is_narrow or now_s - known.full_look_s >= FULL_LOOK_EVERY_S


def _check_in(fields: Sequence[Any]) -> CheckIn:
    at, event_id, check_in_id, status, duration_ns = fields
    return CheckIn(-int(at), str(event_id), str(check_in_id)[:_MAX_TEXT], str(status)[:_MAX_TEXT], int(duration_ns))


def _without_prefix(config: Mapping[str, str]) -> dict[str, str]:
    said = {name.removeprefix(_PREFIX): value[:_MAX_TEXT] for name, value in config.items()}
    return {name: said[name] for name in _CONFIG if name in said}
