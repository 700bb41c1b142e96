"""What is wrong, in words, from what `axonpush status` has found. The worst comes first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ops.cli.unreachable import NO_DATABASE, UNKNOWN_TABLE
from ops.provisioning.lost_tables import TABLE_WITH_ID, WITHOUT_ID, lost_names, meanwhile_text
from ops.status.lost_records import of_records
from ops.status.server_problems import (
    absent_brokers,
    of_absent_brokers,
    of_brokers,
    of_clickhouse,
    of_disks,
    of_receivers,
    of_stopped,
)
from ops.status.servers import NEARLY_FULL, REFUSED_MINUTES
from schemas.subjects import REFUSED, SOURCES

if TYPE_CHECKING:
    from ops.status.findings import Status

# As the alert MessagesWaitTooLong.
SHOWN_WORKERS: Final = 5
LATE_S: Final = 120.0
# How nats-server says that a stream has no leader.
NO_MAJORITY: Final = "JetStream system temporarily unavailable"
MANY_REFUSALS_PER_MINUTE: Final = 60


def problems(status: Status) -> list[str]:
    """One text for each problem: what was found, and what to do."""
    steps = (
        _wrong_system, _lost_tables, of_records, of_absent_brokers, _storage, of_brokers, of_clickhouse, of_disks,
        of_receivers, _streams, _desired, _shorter_ttl, _workers, of_stopped, _late, _refused, _unknown,
    )  # fmt: skip
    return [text for step in steps for text in step(status)]


def _wrong_system(status: Status) -> Iterator[str]:
    if status.wrong_system and not _has_no_id(status):
        yield status.wrong_system


def _has_no_id(status: Status) -> bool:
    """Whether the table with the id was dropped, which says nothing about another system."""
    return bool(status.clickhouse and TABLE_WITH_ID in status.clickhouse.missing_tables)


def _lost_tables(status: Status) -> Iterator[str]:
    """Tables and views that someone dropped."""
    clickhouse = status.clickhouse
    if clickhouse and (names := clickhouse.missing_tables):
        verb, them = ("does", "it") if len(names) == 1 else ("do", "them")
        meanwhile = meanwhile_text(names)
        remedy = (
            WITHOUT_ID
            if TABLE_WITH_ID in names
            else f"`axonpush migrate` makes {them} again, empty or from other tables, and says how older rows come back"
        )
        yield (
            f"{lost_names(names)} {verb} not exist: someone dropped what `axonpush migrate` had made. "
            f"{meanwhile + '. ' if meanwhile else ''}{remedy}"
        )
    if clickhouse and (names := clickhouse.missing_views):
        verb, them = ("is", "it") if len(names) == 1 else ("are", "them")
        yield f"{lost_names(names)} {verb} missing: `axonpush migrate` makes {them} again; no rows are lost by it"


def _storage(status: Status) -> Iterator[str]:
    away = absent_brokers(status)
    waiting = [storage for storage in status.storage if not storage.answered or storage.is_starting]
    silent = [refusal.stream for refusal in waiting if refusal.stream]
    if away and silent:  # one cause is said once
        yield (
            f"streams without a leader now: {', '.join(silent)}. It passes within seconds if a majority of the brokers "
            "runs; until then senders may get 503"
        )
    for refusal in status.storage:
        if not (away and refusal.stream in silent):
            yield f"{refusal}. What to do: {refusal.remedy}"


def _streams(status: Status) -> Iterator[str]:
    for name in status.missing_streams:
        yield f"stream {name} is missing: run `axonpush migrate`"
    for stream in status.streams:
        if stream.stream != REFUSED and stream.fill > NEARLY_FULL:
            yield (
                f"stream {stream.stream} is {stream.fill:.1%} full, and a full stream refuses new data: see `A disk is "
                "full` in docs/operations.md"
            )


def _desired(status: Status) -> Iterator[str]:
    """What differs from the desired state, such as fewer replicas than wanted."""
    missing = set(status.missing_streams)
    for text in status.desired.problems if status.desired else ():
        if text.split(" ", 1)[0] not in missing:
            yield text


def _workers(status: Status) -> Iterator[str]:
    if absent := [worker.worker for worker in status.workers if worker.missing]:
        yield (
            f"durables are missing, so these workers get no messages: {', '.join(absent)}. The janitor makes them "
            "again within seconds; where none runs, run `axonpush migrate`"
        )
    silent = [worker.worker for worker in status.workers if worker.unknown]
    if silent:
        yield (
            f"the broker does not answer for the durables of {', '.join(silent)}: they have no leader now. It passes "
            "within seconds if a majority of the brokers runs; do not run `migrate`"
        )
    for refused in status.refused_workers:
        if silent and "start" in refused.tables:
            continue  # it compares the ids of both servers first, and the broker does not answer
        what = "which has not accepted it since its start" if "start" in refused.tables else ", ".join(refused.tables)
        yield (
            f"worker process {refused.process} ({_some(refused.workers)}) waits for ClickHouse ({what}) and fetches no "
            "messages: its log says why and what to do (`waiting_for_clickhouse` or `insert_held`)"
        )
    yield from _unfetched(status)


def _unfetched(status: Status) -> Iterator[str]:
    """Messages that no process asks for. One that waits for ClickHouse is said as such, and one that was stopped."""
    refused_names = {name for refused in status.refused_workers for name in refused.workers}
    idle = [worker for worker in status.workers if worker.worker in SOURCES and worker.pending and not worker.listeners]
    idle = [worker for worker in idle if not worker.missing and worker.worker not in refused_names]
    if not idle or (status.up and status.up.stopped.get("worker")):
        return
    silent = status.up.cause("worker") if status.up else ""
    if silent and "ClickHouse" in status.unknown:
        return  # it waits for ClickHouse
    names, number = ", ".join(worker.worker for worker in idle), sum(worker.pending for worker in idle)
    remedy = silent or f"start {'that worker' if len(idle) == 1 else 'these workers'}"
    if "ClickHouse" in status.unknown:
        remedy += ", if it does not run: while ClickHouse does not answer, a running one fetches nothing either"
    yield f"no process fetches messages of {names}, and {number} {'waits' if number == 1 else 'wait'}: {remedy}"


def _some(workers: tuple[str, ...]) -> str:
    return ", ".join(workers) if len(workers) <= SHOWN_WORKERS else f"{len(workers)} workers"


def _shorter_ttl(status: Status) -> Iterator[str]:
    """Someone has changed the TTL of the rows with another program, and ClickHouse deletes them earlier."""
    state = status.desired.state if status.desired else None
    ttl_days = status.clickhouse.ttl_days if status.clickhouse else 0
    wanted = state.clickhouse_ttl_days if state else None
    if not status.wrong_system and ttl_days and wanted is not None and (wanted == 0 or ttl_days < wanted):
        kept = f"{wanted} days" if wanted else "for ever"
        yield (
            f"ClickHouse deletes rows of event_rows after {ttl_days} days, the system should keep them {kept}: someone "
            "changed the table. `axonpush migrate` corrects it; what is deleted until then comes only from a replay or "
            "a backup"
        )


def _late(status: Status) -> Iterator[str]:
    for worker in status.workers:
        if worker.worker in SOURCES and worker.oldest_s is not None and worker.oldest_s > LATE_S:
            yield f"{worker.worker} is late: its oldest message waits for {worker.oldest_s:.0f} s"


def _refused(status: Status) -> Iterator[str]:
    total = sum(rate.per_minute for rate in status.refusals)
    if total >= MANY_REFUSALS_PER_MINUTE:
        worst = status.refusals[0]
        yield (
            f"{total:.0f} requests a minute were refused over the last {REFUSED_MINUTES} minutes, most of them "
            f"{worst.reason}: `axonpush refusals` shows by whom"
        )


def _unknown(status: Status) -> Iterator[str]:
    said = {"NATS", "ClickHouse"}
    if status.wrong_system:
        said |= {"reconciliation"}
        said |= {part for part, why in status.unknown.items() if why.startswith(NO_DATABASE)}
    if status.clickhouse and (status.clickhouse.missing_tables or status.clickhouse.missing_views):
        said |= {part for part, why in status.unknown.items() if why.startswith(UNKNOWN_TABLE)}
    if absent_brokers(status):
        said |= {"list of streams"}
        said |= {part for part, why in status.unknown.items() if NO_MAJORITY in why}
    if "ClickHouse" in status.unknown:  # one cause is said once
        said |= {"refusals"}
    consequences = {f"needs {part}" for part in ("NATS", "ClickHouse") if part in status.unknown}
    shown = {part: why for part, why in status.unknown.items() if part not in said and why not in consequences}
    if shown:
        yield "not known: " + "; ".join(f"{part} ({why})" for part, why in shown.items())
