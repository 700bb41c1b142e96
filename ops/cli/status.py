"""Command `axonpush status`: options and tables. ops/status/report.py asks the servers."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, console, print_json, print_table
from ops.registry.quotas import size_text

if TYPE_CHECKING:
    from ops.runtime.settings import Settings
    from ops.status.quotas import QuotaUse
    from ops.status.reconciliation import Account
    from ops.status.report import Status, WorkerStatus
    from schemas.usage import Unit

WATCH_EVERY_S = 2.0
MIB = 1024**2

WatchOption = Annotated[bool, typer.Option("--watch", help="Repeat every two seconds, until Ctrl-C.")]


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command()(status)


def status(watch: WatchOption = False, as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Show delay, disk use, quotas and the reconciliation.

    Exits with 1 if there is a problem.
    """
    from ops.cli.servers import find_settings  # noqa: PLC0415

    if not asyncio.run(_run(find_settings(data_dir), watch=watch, as_json=as_json)):
        raise typer.Exit(1)


async def _run(settings: Settings, *, watch: bool, as_json: bool) -> bool:
    """Returns whether there is no problem."""
    from nats.errors import Error as NatsError  # noqa: PLC0415

    from ops.cli.servers import open_nats  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415
    from ops.status.report import SAMPLE_S, Observer  # noqa: PLC0415

    async with open_nats(settings, "status") as client:
        observer = Observer(client, settings)
        try:
            await observer.open()
            before = await observer.sample()
            await asyncio.sleep(SAMPLE_S)
            while True:
                now = await observer.sample()
                current = await observer.status(before, now)
                _show(current, as_json=as_json, clear=watch)
                if not watch:
                    return not current.problems
                before = now
                await asyncio.sleep(WATCH_EVERY_S)
        except (NatsError, TimeoutError) as error:
            raise Failed(f"the broker did not complete the request: {error!r}. Run the command again.") from error


def _show(status: Status, *, as_json: bool, clear: bool) -> None:
    if as_json:
        print_json(status.as_json())
        return
    if clear and sys.stdout.isatty():
        console().clear()
    for problem in status.problems:
        print(f"PROBLEM: {problem}")
    workers = ("worker", "waiting", "in flight", "oldest", "redelivered", "done/s", "listeners")
    print_table("Workers", workers, [_worker_row(one) for one in _interesting(status)])
    streams = [
        (
            one.stream,
            one.messages,
            _mib(one.size_bytes),
            _mib(one.max_bytes),
            f"{one.fill:.1%}",
            one.rate,
            _age(one.oldest_s),
        )
        for one in status.streams
    ]
    print_table("Streams", ("stream", "messages", "MiB", "of MiB", "full", "stored/s", "oldest"), streams)
    if status.quotas:
        quotas = ("quota of", "organisation", "requests", "decompressed", "rows", "used")
        print_table("Quotas, last minute", quotas, [_quota_row(one) for one in status.quotas])
    if status.reconciliation is None:
        print(status.trouble)
        return
    totals = status.reconciliation
    accounts = [_account_row(one) for one in (*totals.channels, totals.total)]
    columns = (
        "channel",
        "accepted",
        "= rows",
        "+ merged",
        "+ rejected",
        "+ dropped",
        "+ dead",
        "+ queued",
        "difference",
    )
    print_table("Everything accepted is accounted for", columns, accounts)
    if totals.total.difference and not totals.total.queued:
        print(f"{totals.total.difference} accepted rows are unaccounted for: this is a bug, please report it")


def _interesting(status: Status) -> list[WorkerStatus]:
    """All workers; of replay workers only those with work or with a missing durable."""
    return [
        worker
        for worker in status.workers
        if not worker.worker.endswith("-replay") or worker.pending or worker.in_flight or worker.missing
    ]


def _worker_row(status: WorkerStatus) -> tuple[object, ...]:
    if status.missing:
        return (status.worker, "durable is missing: run `axonpush migrate`", "", "", "", "", "")
    return (
        status.worker,
        status.pending,
        status.in_flight,
        _age(status.oldest_s),
        status.redelivered,
        status.rate,
        status.listeners,
    )


def _quota_row(use: QuotaUse) -> tuple[object, ...]:
    named = use.name if use.of == "organisation" else f"key {use.name}"
    return (named, use.organisation, *(_used(use, unit) for unit in use.units), f"{use.share:.1%}")


def _used(use: QuotaUse, unit: Unit) -> str:
    if unit not in use.allowed:
        return ""
    text = size_text if unit == "bytes" else "{:,}".format
    return f"{text(use.used[unit])} of {text(use.allowed[unit])}"


def _account_row(account: Account) -> tuple[object, ...]:
    name = "all" if account.channel is None else account.channel
    return (
        name, account.accepted, account.rows, account.merged, account.rejected, account.dropped, account.dead,
        account.queued, account.difference,
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
