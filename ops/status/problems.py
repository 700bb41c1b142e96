"""What is wrong, in words, from what `axonpush status` has found. The worst comes first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ops.cli.terminal import counted
from ops.cli.unreachable import NO_ANSWER, REFUSED_USER, UNKNOWN_TABLE
from ops.janitor.storage import SAYS_NOTHING
from ops.provisioning.lost_tables import lost_names, told_meanwhile
from ops.provisioning.streams import MIB
from ops.refusals.read import REVOKED
from ops.registry.table_channels import named
from ops.status.servers import ARCHIVED, NEARLY_FULL, REFUSED_MINUTES, REPLICA, BrokerServer, Disk, short_disks
from schemas.subjects import REFUSED, SOURCES

if TYPE_CHECKING:
    from ops.status.local_up import LocalUp
    from ops.status.reconciliation import Reconciliation
    from ops.status.report import Status
    from ops.status.servers import RefusedSender

# As the alert MessagesWaitTooLong.
SHOWN_WORKERS: Final = 5
LATE_S: Final = 120.0
# Messages that wait longer are not waiting for a batch to fill.
WAITS_S: Final = 15.0
# Counts have the minute in which a body came.
FRESH_S: Final = 180.0
# What a worker did so long ago says something about now.
WORKED_S: Final = 120.0
MANY_REFUSALS_PER_MINUTE: Final = 60


def problems(status: Status) -> list[str]:
    """One text for each problem: what was found, and what to do."""
    steps = (
        _wrong_system, _lost_tables, _lost, _storage, _brokers, _clickhouse, _disks, _receivers, _streams, _desired,
        _workers, _late, _refused, _unknown,
    )  # fmt: skip
    return [text for step in steps for text in step(status)]


def notes(status: Status) -> list[str]:
    """What an operator should know although nothing is broken."""
    return [
        *_unknown_channels(status),
        *_revoked(status),
        *map(_refused_sender, status.refused_senders),
        *_used_up(status),
    ]


def _unknown_channels(status: Status) -> list[str]:
    """As after a lost broker: its keys and channels are lost, the rows are there."""
    found, known = status.reconciliation, status.registry_channels
    if found is None or known is None:
        return []
    numbers = [one.channel for one in found.channels if one.channel and one.rows and one.channel not in known]
    if not numbers:
        return []
    return [
        f"tables have rows of {named(numbers)}, which the registry does not know: their keys are lost, and senders get "
        "401. `axonpush registry import FILE` brings them back; do it before you create channels"
    ]


def _revoked(status: Status) -> Iterator[str]:
    revoked = sum(rate.per_minute for rate in status.refusals if rate.reason == REVOKED) * REFUSED_MINUTES
    if revoked:
        yield (
            f"a revoked key is still used: {revoked:.0f} requests were refused over the last {REFUSED_MINUTES} "
            "minutes. `axonpush refusals` shows which key"
        )


def _refused_sender(one: RefusedSender) -> str:
    """A sender that gets 429 or 403 loses what it does not send again."""
    refused = f"{counted(one.requests, 'request')} refused over the last {REFUSED_MINUTES} minutes"
    if one.reason == ARCHIVED:
        return (
            f"channel {one.channel} is archived and still used: {refused} (403). `axonpush refusals --channel "
            f"{one.channel}` shows by whom, `axonpush channels unarchive {one.channel}` opens it"
        )
    is_of_key = one.reason.startswith("quota:key") and one.key_id
    who, command = (
        (f"key {one.key_id}", f"keys limit {one.key_id}")
        if is_of_key
        else (f"organisation {one.organisation}", f"organisations limit {one.organisation}")
    )
    unit = one.reason.rpartition(":")[2]
    option = f"--quota-{unit}" if unit in {"bytes", "rows"} else "--quota"
    return f"{who} has used its quota ({option}): {refused} (429). `axonpush {command} {option} N/min` raises it"


def _used_up(status: Status) -> Iterator[str]:
    """A quota whose next request is refused, before counts of refusals are stored."""
    said = {one.key_id or one.organisation for one in status.refused_senders}
    for use in status.quotas:
        if use.share >= 1 and use.name not in said:
            yield f"{use.of} {use.name} has used its quota of this minute: further requests are refused (429)"


def _wrong_system(status: Status) -> Iterator[str]:
    if status.wrong_system:
        yield status.wrong_system


def _lost_tables(status: Status) -> Iterator[str]:
    """Tables and views that someone dropped."""
    found = status.clickhouse
    if found and (names := found.missing_tables):
        verb, them = ("does", "it") if len(names) == 1 else ("do", "them")
        meanwhile = told_meanwhile(names)
        yield (
            f"{lost_names(names)} {verb} not exist: someone dropped what `axonpush migrate` had made. "
            f"{meanwhile + '. ' if meanwhile else ''}`axonpush migrate` makes {them} again, empty or from other "
            "tables, and says how older rows come back"
        )
    if found and (names := found.missing_views):
        verb, them = ("is", "it") if len(names) == 1 else ("are", "them")
        yield f"{lost_names(names)} {verb} missing: `axonpush migrate` makes {them} again; no rows are lost by it"


def _lost(status: Status) -> Iterator[str]:
    """Rows that are gone, and bodies without a result."""
    found = status.reconciliation
    if found is None:
        return
    total = found.total
    if total.missing:
        numbers = [str(account.channel) for account in found.channels if account.missing]
        channels = f"{'channel' if len(numbers) == 1 else 'channels'} {', '.join(numbers)}"
        first, last = found.vanished.first_at, found.vanished.last_at
        came = f", whose bodies came between {first:%Y-%m-%d %H:%M} and {last:%H:%M} UTC" if first and last else ""
        yield (
            f"{total.missing} rows are MISSING: ClickHouse had stored them{came}, and no newer row replaced them "
            f"({channels}). Someone deleted them, or a disk lost them. `{_replay(found)}` makes them again "
            "while RAW has the bodies"
        )
    if found.unexplained > 0 and (made_at := _made_after_bodies(status, found)):
        yield _of_new_tables(found, made_at)
    elif found.unexplained > 0:
        yield (
            f"{found.unexplained} received records are unaccounted for: they are neither rows nor in `outcomes`, and "
            f"nothing is under way. {_remedy_of_unaccounted(found)}"
        )
    elif found.unexplained < 0:
        yield _too_many(status, -found.unexplained)


def _made_after_bodies(status: Status, found: Reconciliation) -> dt.datetime | None:
    """When the tables were made, if that was after the oldest body in RAW came."""
    made_at = status.clickhouse.made_at if status.clickhouse else None
    return made_at if made_at and found.held_since and found.held_since < made_at else None


def _of_new_tables(found: Reconciliation, made_at: dt.datetime) -> str:
    """As after a lost ClickHouse: the broker remembers bodies of which new tables know nothing."""
    return (
        f"the tables are new since {made_at:%Y-%m-%d %H:%M} UTC, and {counted(found.unexplained, 'received record')} "
        f"{'is' if found.unexplained == 1 else 'are'} not in them, most likely those that came before. "
        f"`{_command(found.held_since, _lacking(found))}` makes rows of the bodies that RAW still holds; older ones "
        "come only from a backup"
    )


def _lacking(found: Reconciliation) -> list[int | None]:
    return [account.channel for account in found.channels if account.difference > account.missing]


def _too_many(status: Status, number: int) -> str:
    """More came out than went in. Nothing is lost by it, and a replay could lose something."""
    text = (
        f"{counted(number, 'record')} more {'is' if number == 1 else 'are'} stored or counted than "
        f"{'was' if number == 1 else 'were'} received, and nothing is under way. Nothing is lost by it; do not replay, "
        "because a replay removes rows that it takes for outdated. "
    )
    if status.desired and status.desired.state and status.desired.state.system_id:
        return text + (
            "Broker and tables belong together, so these rows came before RAW was made anew (a restore or an adoption "
            "beside a new broker), or another system had these tables for a time: they stay until they expire, and the "
            "number with them"
        )
    return text + (
        "Another system may have written into these tables: check that AXONPUSH_NATS_URL and AXONPUSH_CLICKHOUSE_URL "
        "belong together; `axonpush migrate --dry-run` compares them"
    )


def _remedy_of_unaccounted(found: Reconciliation) -> str:
    if found.held_since is None:
        return "RAW does not hold their bodies any more, so no replay makes them again. Please report it"
    command = _command(found.held_since, _lacking(found))
    return f"`{command}` processes the bodies in RAW again; if the number stays, this is a bug, please report it"


def _replay(found: Reconciliation) -> str:
    """The command that makes missing rows again."""
    return _command(found.vanished.first_at, [account.channel for account in found.channels if account.missing])


def _command(since: dt.datetime | None, channels: list[int | None]) -> str:
    """A replay to copy. Its minute is the one in which the first of these bodies came."""
    time = f"{since:%Y-%m-%d %H:%M}" if since else "TIME"
    # What came without a channel counts as channel 0, which no option chooses: then all are replayed.
    chosen = channels if all(channels) else []
    return f"axonpush replay --since '{time}'" + "".join(f" --channel {channel}" for channel in chosen)


def _storage(status: Status) -> Iterator[str]:
    for refusal in status.storage:
        yield f"{refusal}. What to do: {refusal.remedy}"


def _brokers(status: Status) -> Iterator[str]:
    if "NATS" in status.unknown:
        yield _no_broker(status, status.unknown["NATS"].rstrip("."))
        return
    # Every replica of RAW is there, so an address that does not answer is one of this shell alone.
    peers = [broker for broker in status.brokers if broker.source == REPLICA]
    are_all_there = bool(peers) and all(broker.answers for broker in peers)
    seen: set[str] = set()
    for broker in status.brokers:
        if broker.name in seen or (broker.answers and not broker.error):
            continue
        seen.add(broker.name)
        if broker.answers:
            yield f"broker {broker.name} is behind: it copies what it missed. Do not stop another one before it is done"
        else:
            known = "" if broker.source == broker.name else f" ({broker.source})"
            yield f"broker {broker.name}{known}: {broker.error or 'does not answer'}. " + (
                _OTHER_ADDRESS if are_all_there and broker.source != REPLICA else _remedy_of_broker(broker)
            )
    for one in status.broker_limits:
        if one.storage_limit_bytes and one.storage_bytes > NEARLY_FULL * one.storage_limit_bytes:
            yield (
                f"broker {one.server} uses {one.storage_bytes // MIB} of the {one.storage_limit_bytes // MIB} MiB that "
                "it may store (max_file_store): raise that, or make streams smaller; a full one refuses new data"
            )
    use = status.jetstream
    if use and use.storage_limit_bytes and use.storage_bytes > NEARLY_FULL * use.storage_limit_bytes:
        yield (
            f"JetStream uses {use.storage_bytes // MIB} of {use.storage_limit_bytes // MIB} MiB of disk: make streams "
            "smaller, or raise the account's limit"
        )
    if use and use.memory_limit_bytes and use.memory_bytes > NEARLY_FULL * use.memory_limit_bytes:
        used = f"{use.memory_bytes // MIB} of {use.memory_limit_bytes // MIB} MiB"
        yield f"JetStream uses {used} of memory: raise the limit"


def _no_broker(status: Status, why: str) -> str:
    """This shell's password or address may be wrong, and nothing else: what other servers show is said too."""
    clickhouse = status.clickhouse
    newest = clickhouse.newest_at if clickhouse and clickhouse.newest_age_s < FRESH_S else None
    # What accepts a connection and says nothing is there; and the address of an `up` is its own.
    may_be_elsewhere = newest and NO_ANSWER not in why and not status.up
    reached = (
        f" ClickHouse has bodies of {newest:%H:%M} UTC, so receivers and workers reached a broker then: first compare "
        "the AXONPUSH_NATS_… variables of this shell with theirs."
        if may_be_elsewhere
        else ""
    )
    if REFUSED_USER in why:
        return (
            f"a broker runs, and refuses this command: {why}. Receivers and workers have passwords of their own, so "
            f"this may be all that is wrong; `status` cannot look further.{reached}"
        )
    up = f" {status.up.text}" if status.up else ""
    return (
        f"this command reaches no broker: {why}.{reached} If it is down, senders get 503 and send again later; nothing "
        f"that was stored is lost.{up}"
    )


_OTHER_ADDRESS: Final = (
    "All replicas of RAW are there, so the brokers run: the address may be wrong, or out of reach, in this shell only. "
    "Correct AXONPUSH_NATS_URL"
)


def _remedy_of_broker(broker: BrokerServer) -> str:
    start = (
        "Look at its process: `kill -CONT` continues a stopped one; otherwise restart it"
        if broker.error == SAYS_NOTHING
        else "Start it again"
    )
    return f"{start}. Nothing is lost while a majority runs; if one more stops, senders get 503"


def _clickhouse(status: Status) -> Iterator[str]:
    why = status.unknown.get("ClickHouse")
    if why is not None:
        yield _no_clickhouse(status, why)
        return
    if status.clickhouse and status.clickhouse.read_only:
        tables = ", ".join(status.clickhouse.read_only)
        yield f"ClickHouse tables are read-only: {tables}. Rows wait in the broker. Check its Keeper, and its log"


def _no_clickhouse(status: Status, why: str) -> str:
    """This shell's password or address may be wrong, and nothing else: what workers do is said too."""
    works, why = _working(status), why.rstrip(".")
    if REFUSED_USER in why:
        return (
            "ClickHouse runs, and refuses user or password of this command: correct AXONPUSH_CLICKHOUSE_USER and "
            "AXONPUSH_CLICKHOUSE_PASSWORD, or unset them. Workers have their own, so this may be all that is wrong; "
            f"`status` cannot look further.{works}"
        )
    waits_s = max((one.oldest_s or 0.0 for one in status.workers if one.worker in SOURCES), default=0.0)
    if works and waits_s < WAITS_S and "no answer" not in why:
        return (
            f"this command reaches no ClickHouse: {why}.{works} First compare AXONPUSH_CLICKHOUSE_URL of this shell "
            "with theirs; if it is down, rows wait in the broker and queries fail"
        )
    waiting = f" Workers wait for it too: their oldest message waits {waits_s:.0f} s." if waits_s >= WAITS_S else ""
    check = _clickhouse_of_up(status.up, why) if status.up else "Check that it runs, and read its log"
    return f"ClickHouse does not answer: {why}.{waiting} Rows wait in the broker, queries fail. {check}"


def _clickhouse_of_up(up: LocalUp, why: str) -> str:
    """A process that ended is started again by `up`; one that hangs or was stopped is not."""
    if up.clickhouse_pid and ("no answer" in why or "timed out" in why):
        return (
            f"{up.text}. ClickHouse's process runs but does not answer (pid {up.clickhouse_pid}): it is busy, stopped "
            f"or hangs. `kill -CONT {up.clickhouse_pid}` continues a stopped one; if it stays, `kill -9 "
            f"{up.clickhouse_pid}`, and up starts a new one"
        )
    return f"{up.text}. It restarts ClickHouse by itself within seconds; if this stays, clickhouse.log says why"


def _working(status: Status) -> str:
    """Workers acknowledge a message after its rows are stored."""
    ages = [one.acknowledged_s for one in status.workers if one.worker in SOURCES and one.acknowledged_s is not None]
    if not ages or min(ages) > WORKED_S:
        return ""
    return f" Workers stored rows {min(ages):.0f} s ago, so they reached one then."


def _disks(status: Status) -> Iterator[str]:
    disks = [*(status.clickhouse.disks if status.clickhouse else []), *status.local_disks]
    for disk in short_disks(disks):
        yield (
            f"{_disk(disk)} has {disk.free_bytes // MIB} MiB free: make room. Rows wait in the broker and are inserted "
            "by themselves then"
        )
    for disk in disks:
        if disk.is_read_only:
            yield f"{_disk(disk)} is read-only: make it writable. Rows wait in the broker"


def _disk(disk: Disk) -> str:
    return f"{disk.of}'s disk {disk.name}"


def _receivers(status: Status) -> Iterator[str]:
    if "NATS" in status.unknown or "quotas" in status.unknown:
        return
    if not status.receivers:
        yield (
            "no receiver answers: senders cannot connect, or the receivers cannot reach the broker. Start one, or read "
            "its log"
        )
    for receiver in status.receivers:
        if not receiver.is_ready:
            failing = ", ".join(part for part, works in receiver.parts.items() if not works)
            yield f"receiver {receiver.address} is not ready ({failing}): its senders get 503"


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
    if silent := [worker.worker for worker in status.workers if worker.unknown]:
        yield (
            f"the broker does not answer for the durables of {', '.join(silent)}: they have no leader now. It passes "
            "within seconds if a majority of the brokers runs; do not run `migrate`"
        )
    for refused in status.refused_workers:
        what = "which has not accepted it since its start" if "start" in refused.tables else ", ".join(refused.tables)
        yield (
            f"worker process {refused.process} ({_some(refused.workers)}) waits for ClickHouse ({what}) and fetches no "
            "messages: its log says why and what to do (`waiting_for_clickhouse` or `insert_held`)"
        )
    for worker in status.workers:
        if worker.worker in SOURCES and worker.pending and not worker.listeners and not worker.missing:
            yield f"no process fetches messages of {worker.worker}, and {worker.pending} wait: start that worker"


def _some(workers: tuple[str, ...]) -> str:
    return ", ".join(workers) if len(workers) <= SHOWN_WORKERS else f"{len(workers)} workers"


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
    if status.clickhouse and (status.clickhouse.missing_tables or status.clickhouse.missing_views):
        said |= {part for part, why in status.unknown.items() if why.startswith(UNKNOWN_TABLE)}
    if "ClickHouse" in status.unknown:  # one cause is said once
        said |= {"refusals"}
    consequences = {f"needs {part}" for part in ("NATS", "ClickHouse") if part in status.unknown}
    shown = {part: why for part, why in status.unknown.items() if part not in said and why not in consequences}
    if shown:
        yield "not known: " + "; ".join(f"{part} ({why})" for part, why in shown.items())
