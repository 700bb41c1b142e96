"""What is wrong with brokers, ClickHouse, disks and receivers, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ops.cli.unreachable import NO_ANSWER, REFUSED_USER
from ops.janitor.storage import SAYS_NOTHING
from ops.provisioning.streams import MIB
from ops.status.servers import BROKER, NEARLY_FULL, REPLICA, BrokerServer, Disk, short_disks
from schemas.subjects import SOURCES

if TYPE_CHECKING:
    from ops.status.findings import Status
    from ops.status.local_up import LocalUp


# Messages that wait longer are not waiting for a batch to fill.
WAITS_S: Final = 15.0


# Counts have the minute in which a body came.
FRESH_S: Final = 180.0


# What a worker did so long ago says something about now.
WORKED_S: Final = 120.0


def absent_brokers(status: Status) -> list[BrokerServer]:
    """Brokers that do not answer, each once: as the other brokers see them, else by the addresses of this shell."""
    answering = {broker.name for broker in status.brokers if broker.answers and broker.source != REPLICA}
    # Who answers this command is there, whatever a leader without a majority has heard.
    away = [broker for broker in status.brokers if not broker.answers and broker.name not in answering]
    peers = [broker for broker in away if broker.source == REPLICA]
    names = {broker.name for broker in peers}
    addresses = [broker for broker in away if broker.source != REPLICA and broker.name not in names]
    if len(peers) == len(addresses) == 1:  # two signs of one broker; who cannot connect knows how it fails
        return [replace(addresses[0], name=f"{peers[0].name} ({addresses[0].source})", source=REPLICA)]
    return peers if len(peers) >= len(addresses) else [*peers, *addresses]


def _some_answer(status: Status) -> bool:
    """Whether some of several brokers answer and some do not."""
    return len({broker.answers for broker in status.brokers}) > 1


def _addressed(status: Status) -> int:
    return len({broker.name for broker in status.brokers if broker.source != REPLICA})


def _has_no_majority(status: Status) -> bool:
    number = _addressed(status)
    return number > 1 and 2 * len(absent_brokers(status)) > number


def of_absent_brokers(status: Status) -> Iterator[str]:
    """Before what follows from it, such as streams without a leader."""
    if "NATS" in status.unknown and not _some_answer(status):
        return
    away = absent_brokers(status)
    peers = [broker for broker in status.brokers if broker.source == REPLICA]
    are_all_there = bool(peers) and all(broker.answers and not broker.error for broker in peers)
    number = _addressed(status)
    if not are_all_there and _has_no_majority(status):
        names = ", ".join(f"{broker.name} {broker.error or 'does not answer'}" for broker in away)
        stopped = any(broker.error == SAYS_NOTHING for broker in away)
        hint = "; `kill -CONT` continues a stopped one" if stopped else ""
        yield (
            f"{len(away)} of {number} brokers do not answer, so no majority runs, and senders get 503 now: {names}. "
            f"Start them again{hint}. Nothing that was stored is lost, and senders send again later"
        )
        return
    for broker in away:
        # Every replica of RAW is there, so an address that does not answer is one of this shell alone.
        is_elsewhere = are_all_there and broker.source != REPLICA
        known = "" if broker.source in {broker.name, REPLICA} else f" ({broker.source})"
        yield f"broker {broker.name}{known}: {broker.error or 'does not answer'}. " + (
            _OTHER_ADDRESS if is_elsewhere else _remedy_of_broker(broker)
        )


def of_brokers(status: Status) -> Iterator[str]:
    if "NATS" in status.unknown and _some_answer(status):
        if not _has_no_majority(status):
            answering = ", ".join(broker.name for broker in status.brokers if broker.answers)
            yield (
                f"nothing more is known of the brokers, although {answering} answers: this command tried another one "
                "first, which did not. Run it again, or name only those that answer in AXONPUSH_NATS_URL"
            )
        return
    if "NATS" in status.unknown:
        yield _no_broker(status, status.unknown["NATS"].rstrip("."))
        return
    behind = dict.fromkeys(broker.name for broker in status.brokers if broker.answers and broker.error)
    # A leader that was just elected takes a replica that it has never heard of for one that is behind.
    absent = absent_brokers(status)
    for name in behind if len(behind) > len(absent) else ():
        yield f"broker {name} is behind: it copies what it missed. Do not stop another one before it is done"
    for limits in status.broker_limits:
        if limits.storage_limit_bytes and limits.storage_bytes > NEARLY_FULL * limits.storage_limit_bytes:
            used_mib, limit_mib = limits.storage_bytes // MIB, limits.storage_limit_bytes // MIB
            yield (
                f"broker {limits.server} uses {used_mib} of the {limit_mib} MiB that it may store (max_file_store): "
                "raise that, or make streams smaller; a full one refuses new data"
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
        f" ClickHouse has bodies of {newest:%H:%M} UTC, so receivers and workers reached a broker then. "
        f"{_compare(('AXONPUSH_NATS_URL',))}."
        if may_be_elsewhere
        else ""
    )
    if REFUSED_USER in why:
        reached = reached.replace(_FIRST, "If user and password are right, compare")
        return (
            f"a broker runs, and refuses this command: {why}. Receivers and workers have passwords of their own, so "
            f"this may be all that is wrong; `status` cannot look further.{reached}"
        )
    silent = status.up.cause("nats") if status.up else ""
    up = "".join(f" {text[0].upper()}{text[1:]}." for text in (silent, status.up.text) if text) if status.up else ""
    return (
        f"this command reaches no broker: {why}.{reached} If it is down, senders get 503 and send again later; nothing "
        f"that was stored is lost.{up}"
    ).removesuffix(".")


_OTHER_ADDRESS: Final = (
    "A moment ago all replicas of RAW were there, so it has just stopped (then the next `axonpush status` says so), or "
    "the address is wrong, or out of reach, in this shell only: then correct AXONPUSH_NATS_URL"
)


def _remedy_of_broker(broker: BrokerServer) -> str:
    start = (
        "Look at its process: `kill -CONT` continues a stopped one; otherwise restart it"
        if broker.error == SAYS_NOTHING
        else "Start it again"
    )
    return f"{start}. Nothing is lost while a majority runs; if one more stops, senders get 503"


def of_clickhouse(status: Status) -> Iterator[str]:
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
            f"ClickHouse runs, and refuses this command: {why}. Workers have a password of their own, so this may be "
            f"all that is wrong; `status` cannot look further.{works}"
        )
    waits_s = max((worker.oldest_s or 0.0 for worker in status.workers if worker.worker in SOURCES), default=0.0)
    up = status.up if status.up and status.up.has_clickhouse else None
    if works and waits_s < WAITS_S and "no answer" not in why and not up:
        return (
            f"this command reaches no ClickHouse: {why}.{works} {_compare(('AXONPUSH_CLICKHOUSE_URL',))}; if it is "
            "down, rows wait in the broker and queries fail"
        )
    waiting = f" Workers wait for it too: their oldest message waits {waits_s:.0f} s." if waits_s >= WAITS_S else ""
    check = _clickhouse_of_up(up) if up else "Check that it runs, and read its log"
    return f"ClickHouse does not answer: {why}.{waiting} Rows wait in the broker, queries fail. {check}"


def _clickhouse_of_up(up: LocalUp) -> str:
    """A process that ended is started again by `up`; one that hangs or was stopped is not."""
    cause = up.cause("clickhouse")
    return f"{cause[0].upper()}{cause[1:]}" if cause else f"Check that it runs: {up.text}"


_FIRST: Final = "First compare"


def _compare(variables: tuple[str, ...]) -> str:
    """What to do about an address that may be wrong. What this shell does not have is not to be corrected."""
    if given := [name for name in variables if os.environ.get(name)]:
        return f"{_FIRST} {' and '.join(given)} of this shell with theirs"
    are = "is" if len(variables) == 1 else "are"
    return f"{' and '.join(variables)} {are} not set in this shell: set what they use"


def _working(status: Status) -> str:
    """Workers acknowledge a message after its rows are stored."""
    ages = [
        worker.acknowledged_s
        for worker in status.workers
        if worker.worker in SOURCES and worker.acknowledged_s is not None
    ]
    if not ages or min(ages) > WORKED_S:
        return ""
    return f" Workers stored rows {min(ages):.0f} s ago, so they reached one then."


def of_disks(status: Status) -> Iterator[str]:
    disks = [*(status.clickhouse.disks if status.clickhouse else []), *status.local_disks]
    for disk in short_disks(disks):
        yield f"{_disk(disk)} has {disk.free_bytes // MIB} MiB free: make room. " + (
            "Until then senders get 503; nothing that was stored is lost"
            if disk.of == BROKER
            else "Rows wait in the broker and are inserted by themselves then"
        )
    for disk in disks:
        if disk.is_read_only:
            yield f"{_disk(disk)} is read-only: make it writable. Rows wait in the broker"


def of_stopped(status: Status) -> Iterator[str]:
    """Processes of `up` that someone stopped, and whose silence nothing else shows."""
    up = status.up
    for kind, effect in _EFFECTS_OF_STOPPED.items():
        if up and up.stopped.get(kind):
            text = up.silent(kind)
            yield f"{text[0].upper()}{text[1:]}. Until then {effect}"


_EFFECTS_OF_STOPPED: Final = {
    "worker": "what it would process waits in the broker",
    "console": "the page and the Web API do not answer",
    "janitor": "old bodies stay in RAW, which may fill",
}


def _disk(disk: Disk) -> str:
    return f"{disk.of}'s disk {disk.name}"


def of_receivers(status: Status) -> Iterator[str]:
    if "NATS" in status.unknown or "quotas" in status.unknown:
        return
    if not status.receivers:
        silent = status.up.cause("receiver") if status.up else ""
        yield (
            f"no receiver answers, so senders get no answer: {silent}"
            if silent
            else "no receiver answers: senders cannot connect, or the receivers cannot reach the broker. Start one, or "
            "read its log"
        )
    for receiver in status.receivers:
        if not receiver.is_ready:
            failing = ", ".join(part for part, works in receiver.parts.items() if not works)
            yield f"receiver {receiver.address} is not ready ({failing}): its senders get 503"
