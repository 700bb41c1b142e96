"""Command `axonpush status`: options and tables. ops/status/report.py asks the servers."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.terminal import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    JsonOption,
    console,
    counted,
    print_json,
    print_table,
    with_folder,
)
from ops.registry.quotas import short_size
from ops.runtime.process.signals import stop_event
from ops.runtime.tasks import end

if TYPE_CHECKING:
    from ops.artifacts.reprocessing import ReprocessingEntry
    from ops.janitor.broker_limits import BrokerLimits
    from ops.runtime.settings import Settings
    from ops.status.findings import Status, StreamStatus, WorkerStatus
    from ops.status.quotas import QuotaUse
    from ops.status.reconciliation import Account
    from ops.status.report import Observer
    from ops.status.servers import ClickHouseState, JetStreamUse, ReceiverHealth
    from schemas.usage import Unit

WATCH_EVERY_S = 2.0
MIB = 1024**2
MAX_PIPED_CELL = 100
# Columns of the reconciliation that are shown even if all is zero.
ALWAYS = ("channel", "received", "= rows", "difference")

LimitOption = Annotated[
    float, typer.Option("--time-limit", metavar="S", min=1, help="Longest time for all answers; the rest is not known.")
]
WatchOption = Annotated[bool, typer.Option("--watch", help="Repeat every two seconds, until Ctrl-C.")]


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(status)


def status(
    watch: WatchOption = False,
    limit_s: LimitOption = 8.0,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show what is wrong, delay, disk use, servers, quotas, refusals and the reconciliation.

    Exits with 0 if all is well, with 1 if there is a problem or something could not be read, with 2 for wrong options.
    """
    from ops.cli.servers import find_settings  # noqa: PLC0415

    if not asyncio.run(_run(find_settings(data_dir), data_dir, limit_s, watch=watch, as_json=as_json)):
        raise typer.Exit(1)


async def _run(settings: Settings, data_dir: Path, limit_s: float, *, watch: bool, as_json: bool) -> bool:
    """Returns whether there is no problem."""
    from ops.status.report import Observer  # noqa: PLC0415

    observer = Observer(settings, data_dir, limit_s)
    if watch:
        await _watch(observer, as_json=as_json)
        return True
    current = await observer.status()
    _show(current, as_json=as_json, clear=False)
    return not current.problems


def _reprocessing_row(entry: ReprocessingEntry) -> tuple[str, ...]:
    return entry.artifact[:12], entry.release, str(entry.found), str(entry.published), str(entry.bodies_deleted)


async def _watch(observer: Observer, *, as_json: bool) -> None:
    """Shows it again and again, until Ctrl-C or SIGTERM."""

    async def show_again() -> None:
        while True:
            _show(await observer.status(), as_json=as_json, clear=True)
            await asyncio.sleep(WATCH_EVERY_S)

    showing, stopping = asyncio.create_task(show_again()), asyncio.create_task(stop_event().wait())
    try:
        await asyncio.wait({showing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            showing.result()
    finally:
        await end(showing, stopping)


def _show(status: Status, *, as_json: bool, clear: bool) -> None:
    if as_json:
        print_json(status.as_json())
        return
    if clear and sys.stdout.isatty():
        console().clear()
    _print_headlines(status)
    _print_servers(status)
    if status.workers:
        workers = ("worker", "waiting", "in flight", "oldest", "redelivered", "done/s", "listeners")
        print_table("Workers", workers, [_worker_row(worker) for worker in _interesting(status)])
    if status.streams:
        streams = ("stream", "messages", "MiB", "of MiB", "full", "stored/s", "oldest")
        print_table("Streams", streams, [_stream_row(stream) for stream in status.streams])
    if status.desired and (differing := [row for row in status.desired.rows if row.actual and row.desired]):
        print_table("Desired state", ("value", "desired", "actual"), [row.cells for row in differing])
    if status.quotas:
        quotas = ("quota of", "organisation", "requests", "decompressed", "rows", "used")
        print_table("Quotas, last minute", quotas, [_quota_row(quota) for quota in status.quotas])
    if status.reprocessing:
        maps = ("upload", "release", "events", "processed again", "without a body")
        print_table("Late uploads", maps, [_reprocessing_row(entry) for entry in status.reprocessing])
    if status.refusals:
        rates = [(refusal.reason, refusal.per_minute) for refusal in status.refusals]
        print_table("Refused requests, last ten minutes", ("status and reason", "a minute"), rates)
    _print_reconciliation(status)


def _print_headlines(status: Status) -> None:
    """The problems, the worst first, in red on a terminal; without any, one line that all is well."""
    texts = [f"PROBLEM: {problem}" for problem in status.problems] or [status.headline]
    for text in texts:
        console().print(
            with_folder(text), style="bold red" if status.problems else "green", markup=False, highlight=False
        )
    for note in status.notes:
        console().print(with_folder(f"NOTE: {note}"), markup=False, highlight=False)


def _print_servers(status: Status) -> None:
    rows: list[tuple[str, str, str]] = [
        ("broker", broker.name, " ".join(filter(None, (broker.source, broker.error or "answers"))))
        for broker in status.brokers
    ]
    if status.jetstream:
        use = status.jetstream
        rows.append(("JetStream", f"disk {_of(use.storage_bytes, use.storage_limit_bytes)}", _jetstream_text(use)))
    rows += [("limits of broker", limits.server, _limits_text(limits)) for limits in status.broker_limits]
    if status.brokers and not status.broker_limits:
        port = "" if status.up else " on monitoring port 8222"
        what = f"not known: no broker answers{port}, so JetStream's line is this account's use"
        rows.append(("limits of brokers", "", what))
    if "receivers" not in status.unknown:
        ready = sum(receiver.is_ready for receiver in status.receivers)
        rows.append(("receivers", f"{len(status.receivers)} answer", f"{ready} ready"))
    rows += [("receiver", receiver.address, _receiver_text(receiver)) for receiver in status.receivers]
    if status.alerts:
        state = "evaluates no rules" if status.alerts.is_stale else f"evaluates rules, {_age(status.alerts.age_s)} ago"
        rows.append(("alerts", status.alerts.owner or "none", state))
    if status.clickhouse:
        rows.append(("ClickHouse", f"version {status.clickhouse.version}", _clickhouse_text(status.clickhouse)))
    disks = [*(status.clickhouse.disks if status.clickhouse else []), *status.local_disks]
    rows += [(f"{disk.of} disk", disk.name, f"{disk.free_bytes // MIB:,} MiB free") for disk in disks]
    rows += [("not known", part, why) for part, why in status.unknown.items()]
    print_table("Servers", ("what", "which", "state"), [tuple(map(_cut, row)) for row in rows])


def _cut(text: str) -> str:
    """A terminal wraps long cells; in a pipe one would make every row as wide. The problems say it whole."""
    is_long = len(text) > MAX_PIPED_CELL and not sys.stdout.isatty()
    return f"{text[: MAX_PIPED_CELL - 1]}…" if is_long else text


def _of(used_bytes: int, limit_bytes: int | None) -> str:
    limit = f"of {_mib(limit_bytes)}" if limit_bytes else "(no limit)"
    return f"{_mib(used_bytes)} MiB {limit}"


def _limits_text(limits: BrokerLimits) -> str:
    disk = _of(limits.storage_bytes, limits.storage_limit_bytes or None)
    return f"disk {disk} MiB; memory {_of(limits.memory_bytes, limits.memory_limit_bytes or None)} MiB"


def _jetstream_text(use: JetStreamUse) -> str:
    reserved = f"{_mib(use.reserved_bytes)} MiB reserved by streams"
    return f"{reserved}; memory {_of(use.memory_bytes, use.memory_limit_bytes)}"


def _receiver_text(receiver: ReceiverHealth) -> str:
    failing = ", ".join(part for part, works in receiver.parts.items() if not works)
    return f"not ready: {failing}" if failing else "ready"


def _clickhouse_text(state: ClickHouseState) -> str:
    if state.read_only:
        return f"read-only tables: {', '.join(state.read_only)}"
    return "answers" + (f"; rows expire after {counted(state.ttl_days, 'day')}" if state.ttl_days else "")


def _print_reconciliation(status: Status) -> None:
    if status.reconciliation is None:
        print(f"the reconciliation cannot be read: {status.trouble}")
        return
    totals = status.reconciliation
    columns = (
        "channel", "received", "= rows", "+ merged", "+ expired", "+ rejected", "+ dropped", "+ dead", "+ queued",
        "difference", "of it missing",
    )  # fmt: skip
    accounts = [_account_row(account) for account in totals.channels if any(_account_row(account)[1:])]
    accounts.append(_account_row(totals.total))
    print_table("Received, and what became of it", *_without_zeros(columns, accounts))
    if totals.total.unexamined:
        print(
            f"{totals.total.unexamined} of the merged rows were not examined in time, so some may be missing: "
            + with_folder("`axonpush status --time-limit 300` looks at all")
        )


def _without_zeros(
    columns: tuple[str, ...], rows: list[tuple[object, ...]]
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """The table without columns of zeros only, so that it fits a terminal; `difference` is always there."""
    shown = [place for place, name in enumerate(columns) if name in ALWAYS or any(row[place] for row in rows)]
    return tuple(columns[place] for place in shown), [tuple(row[place] for place in shown) for row in rows]


def _interesting(status: Status) -> list[WorkerStatus]:
    """All workers; of replay workers only those with work or with a missing durable."""
    return [
        worker
        for worker in status.workers
        if not worker.worker.endswith("-replay")
        or (worker.pending or worker.in_flight or worker.missing or worker.unknown)
    ]


def _worker_row(status: WorkerStatus) -> tuple[object, ...]:
    if status.missing:
        return (status.worker, "durable is missing", "", "", "", "", "")
    if status.unknown:
        return (status.worker, "no answer", "", "", "", "", "")
    return (
        status.worker,
        status.pending,
        status.in_flight,
        _age(status.oldest_s),
        status.redelivered,
        status.rate,
        status.listeners,
    )


def _stream_row(status: StreamStatus) -> tuple[object, ...]:
    return (
        status.stream,
        status.messages,
        _mib(status.size_bytes),
        _mib(status.max_bytes),
        f"{status.fill:.1%}",
        status.rate,
        _age(status.oldest_s),
    )


def _quota_row(use: QuotaUse) -> tuple[object, ...]:
    named = use.name if use.of == "organisation" else f"key {use.name}"
    return (named, use.organisation, *(_use_text(use, unit) for unit in use.units), f"{use.share:.1%}")


def _use_text(use: QuotaUse, unit: Unit) -> str:
    if unit not in use.allowed:
        return ""
    text = short_size if unit == "bytes" else "{:,}".format
    return f"{text(use.used[unit])} of {text(use.allowed[unit])}"


def _account_row(account: Account) -> tuple[object, ...]:
    name = "all" if account.channel is None else account.channel
    return (
        name, account.received, account.rows, account.merged, account.expired, account.rejected, account.dropped,
        account.dead, account.queued, account.difference, account.missing,
    )  # fmt: skip


def _age(age_s: float | None) -> str:
    if age_s is None:
        return ""
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if age_s >= unit:
            return f"{age_s / unit:.1f} {name}"
    return f"{age_s:.1f} s"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:,.1f}"
