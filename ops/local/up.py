"""`axonpush up`: the whole system on one machine. Decides which children run, in which order, and what is printed."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from ops.cli.installed import check_engine
from ops.cli.servers import CLICKHOUSE_USERS, DEFAULT_DATA_DIR
from ops.cli.terminal import counted, in_folder
from ops.local.broker_watch import watch_embedded
from ops.local.clickhouse_http.access import users
from ops.local.data_dir import DataDir
from ops.local.disk_watch import DiskWatch
from ops.local.private_folder import create_files_for_owner_only
from ops.local.programs import Programs
from ops.local.start.addresses import Addresses, Options
from ops.local.start.named_servers import check_own_servers, tell_mended, tell_named_servers, tell_new
from ops.local.start.start_message import StartMessage, print_start_message
from ops.local.supervisor import Kind, Supervisor
from ops.provisioning.streams import Budgets
from ops.runtime.failures import Failed
from ops.runtime.output import protect_output
from ops.runtime.tasks import end, run_together
from schemas.web_tokens import login_url

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from ops.local.first_keys import FirstKeys
    from ops.provisioning.desired_state import Asked
    from ops.provisioning.system.system_id import SystemId
    from schemas.registry import DesiredState

START_TIMEOUT_S: Final = 60.0
_SHOWN_KINDS: Final[tuple[Kind, ...]] = (
    "receiver", "worker", "console", "alerts", "janitor", "nats", "clickhouse",
)  # fmt: skip


async def up(options: Options, console: Console) -> None:
    """Runs until SIGINT or SIGTERM. Raises Failed when it cannot start, or when a second signal interrupts the stop."""
    try:
        await _up(options, console)
    except Failed as error:
        raise Failed(with_folder(str(error), options.data_dir)) from error


def with_folder(text: str, folder: Path) -> str:
    """The text with this folder of `up` in its commands."""
    is_default = folder.resolve() == DEFAULT_DATA_DIR.resolve()
    return text if is_default else in_folder(text, folder.resolve(), of_up=True)


async def _up(options: Options, console: Console) -> None:
    protect_output()
    create_files_for_owner_only()
    folder = DataDir(options.data_dir)
    tell_named_servers(console)
    with folder.locked():
        check_own_servers(folder)
        tell_new(folder, console)
        tell_mended(folder, console)
        if ended := await asyncio.to_thread(folder.end_leftovers):
            console.print(
                f"ended {counted(ended, 'process', 'processes')} that an earlier run left behind", style="yellow"
            )
        system = None
        try:
            system = LocalSystem(options, folder, console)
            await system.run()
        except BaseException:
            if system is None or not system.may_hold_data:
                folder.remove_new()
            raise


class LocalSystem:
    """One running system: its addresses, children and ready.json."""

    def __init__(self, options: Options, folder: DataDir, console: Console) -> None:
        self._options = options
        self._folder = folder
        self._console = console
        lost_clickhouse = folder.lost_clickhouse
        self._addresses = Addresses(options, folder)
        self._settings = self._addresses.settings
        self._has_new_passwords = not self._addresses.has_external_clickhouse and lost_clickhouse
        self._budgets = folder.budgets()
        self._programs = Programs(
            folder,
            self._settings,
            self._budgets,
            options.host,
            self._addresses.ports,
            self._addresses.url,
            self._addresses.console_url,
            self._addresses.clickhouse_user(users.WORKER),
            self._addresses.clickhouse_user(users.CONSOLE),
            self._addresses.clickhouse_user(users.ALERTS),
            self._addresses.clickhouse_user(users.OPERATOR),
            self._addresses.broker_passwords,
        )
        self._supervisor = Supervisor(self._programs.environment(), self._write_ready, self._warn)
        self._desired: asyncio.Future[DesiredState] = asyncio.get_running_loop().create_future()
        # Whether a receiver was ever ready, so that somebody may have sent something.
        self.may_hold_data = False
        self._stop_asked = asyncio.Event()
        self._forced = False
        self._first_keys: FirstKeys | None = None
        self._hint = ""
        self._lost_keys = ""
        self._took = ""
        self._watching: list[asyncio.Task[None]] = []

    @property
    def _may_be_anothers(self) -> bool:
        """Whether a server may belong to another system, or its tables are to be adopted, or one half may be lost."""
        is_external = self._addresses.has_external_nats or self._addresses.has_external_clickhouse
        return is_external or self._options.adopts_tables or self._options.takes_back or not self._folder.is_known

    async def run(self) -> None:
        """Starts, waits for a signal, stops. Children are always stopped, however this ends."""
        self._listen_for_signals()
        began = time.monotonic()
        starting = asyncio.create_task(self._start())
        asked = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                keys = starting.result()
                took_s = time.monotonic() - began
                named = frozenset(self._addresses.named_servers.values())
                url = self._addresses.public_console_url()
                text = StartMessage(self._settings, self._addresses.url, keys, self._folder, took_s, named, url)
                print_start_message(self._console, text)
                self._tell_hint()
                await asked
        finally:
            await end(starting, asked)
            await self._stop()

    def _tell_hint(self) -> None:
        if self._has_new_passwords:
            self._warn(
                f"ClickHouse's users have new passwords, because its folder was new: {self._folder.ready} has them. "
                "Programs that know the old ones, such as Grafana, need the new ones"
            )
        if self._lost_keys:
            self._warn(self._lost_keys)
        if self._took:
            self._warn(self._took)
        if self._hint:
            self._warn(self._hint)

    async def _start(self) -> FirstKeys:
        keys: asyncio.Future[FirstKeys] = asyncio.get_running_loop().create_future()
        await (self._start_checked(keys) if self._may_be_anothers else self._start_own_servers(keys))
        await run_together(self._start_workers(), self._supervisor.start(self._programs.console(), START_TIMEOUT_S))
        await self._supervisor.start(self._programs.janitor(), START_TIMEOUT_S)
        await self._supervisor.start(self._programs.alerts(), START_TIMEOUT_S)
        self._watch_disks()
        self._first_keys = keys.result()
        self._write_ready()
        return self._first_keys

    async def _start_checked(self, keys: asyncio.Future[FirstKeys]) -> None:
        """A named server may be another system's: nothing is written before both are compared."""
        await run_together(self._start_broker(), self._start_clickhouse())
        system = await self._system()
        await run_together(self._start_receiver(system, keys), self._update_tables(system))
        if system.is_adopted:
            from ops.registry.table_channels import lost_keys  # noqa: PLC0415

            self._lost_keys = await lost_keys(self._settings, is_new=not system.on_broker)

    async def _start_own_servers(self, keys: asyncio.Future[FirstKeys]) -> None:
        """The receiver starts while ClickHouse does, which takes longest; workers only after the comparison."""

        async def broker_and_receiver() -> None:
            await self._start_broker()
            await self._start_receiver(None, keys)

        async def tables() -> None:
            await self._start_clickhouse()
            desired, system = await self._desired, await self._system()
            if desired.system_id != system.system_id:
                await self._update_broker(system, warn=False)
            await self._update_tables(system)

        await run_together(broker_and_receiver(), tables())

    async def _start_broker(self) -> None:
        if not self._addresses.has_external_nats:
            await self._supervisor.start(self._programs.nats(), START_TIMEOUT_S)

    async def _start_clickhouse(self) -> None:
        if not self._addresses.has_external_clickhouse:
            check_engine()
            await self._supervisor.start(self._programs.clickhouse(), START_TIMEOUT_S)

    async def _system(self) -> SystemId:
        """Whether broker and tables belong to one system. Raises Failed."""
        from ops.provisioning.migrate import continue_raw  # noqa: PLC0415
        from ops.provisioning.system.same_system import Taking, find_system  # noqa: PLC0415

        own_tables = "" if self._addresses.has_external_clickhouse else str(self._folder.clickhouse)
        own_broker = "" if self._addresses.has_external_nats else str(self._folder.nats)
        options = self._options
        system = await find_system(
            self._settings, Taking(options.adopts_tables, options.takes_back, own_broker, own_tables)
        )
        self._hint, self._took = system.hint, system.took
        if system.is_adopted:
            await continue_raw(self._settings, dry_run=True)
        return system

    async def _update_broker(self, system: SystemId | None, *, warn: bool = True) -> DesiredState:
        from ops.provisioning.migrate import update_broker  # noqa: PLC0415
        from ops.provisioning.stream_changes import Mode  # noqa: PLC0415

        mode = Mode(warn=self._warn if warn else lambda _text: None)
        return (await update_broker(self._settings, self._asked(), mode, system))[1]

    async def _start_receiver(self, system: SystemId | None, keys: asyncio.Future[FirstKeys]) -> None:
        # Imported while the servers start, which takes longer than the import.
        from ops.local.first_keys import ensure_first_keys  # noqa: PLC0415
        from ops.provisioning.migrate import continue_raw  # noqa: PLC0415

        state = await self._update_broker(system)
        self._folder.keep_sizes(state)
        if system and system.is_adopted:  # before the first body
            await continue_raw(self._settings, dry_run=False)
        self._desired.set_result(state)
        url, is_embedded = self._addresses.public_console_url(), not self._addresses.has_external_nats
        keys.set_result(await ensure_first_keys(self._settings, self._folder, url, is_embedded=is_embedded))
        await self._supervisor.start(self._programs.receiver(), START_TIMEOUT_S)
        self.may_hold_data = True

    async def _update_tables(self, system: SystemId) -> None:
        from ops.provisioning.migrate import update_tables  # noqa: PLC0415
        from ops.provisioning.stream_changes import Mode  # noqa: PLC0415

        await update_tables(self._settings, await self._desired, Mode(warn=self._warn), system)
        self._folder.keep_known(system.system_id)

    def _asked(self) -> Asked:
        """What a new system should be; of the sizes only those of variables are asked for."""
        from ops.provisioning.desired_state import asked_by  # noqa: PLC0415

        asked = asked_by(self._settings, Budgets())
        by_disk = not self._addresses.has_external_nats and self._folder.sizes_by_disk
        sizes = self._budgets.model_dump()
        return replace(asked, values={**asked.values, **sizes}, sizes_by_disk=by_disk)

    def _watch_disks(self) -> None:
        folders = {"logs": self._folder.logs}
        if not self._addresses.has_external_clickhouse:
            folders["ClickHouse"] = self._folder.clickhouse
        if not self._addresses.has_external_nats:
            folders["the broker"] = self._folder.nats
            restart = partial(self._supervisor.restart, "nats")
            broker = watch_embedded(self._settings, self._folder.nats, restart, self._warn)
            self._watching.append(asyncio.create_task(broker.watch()))
        self._watching.append(asyncio.create_task(DiskWatch(folders, self._warn).watch()))

    async def _start_workers(self) -> None:
        programs = [self._programs.worker(number) for number in range(1, self._options.workers + 1)]
        await run_together(*(self._supervisor.start(program, START_TIMEOUT_S) for program in programs))

    async def _stop(self) -> None:
        """Stops in the direction of the data: receiver, workers, then the servers that they store in."""
        await end(*self._watching)
        await self._supervisor.stop("receiver", "console", "alerts")
        await self._supervisor.stop("worker", "janitor")
        await self._supervisor.stop("clickhouse", "nats")
        await self._supervisor.close()
        self._folder.ready.unlink(missing_ok=True)
        if self._forced:
            raise Failed("stopped by force: unfinished work continues after the next start, nothing is lost")

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup ignores SIGHUP so that we outlive the terminal. Shells ignore SIGINT for background jobs, but we
            # handle it.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if not self._stop_asked.is_set():
            self._console.print("stopping: no new requests, then draining (press again to force)", style="yellow")
            self._stop_asked.set()
        else:
            self._forced = True
            self._supervisor.kill()

    def _warn(self, text: str) -> None:
        self._console.print(
            with_folder(text, self._folder.root), style="yellow", markup=False, highlight=False, soft_wrap=True
        )

    def _write_ready(self) -> None:
        """Writes the present state, from the first time that everything is ready until the stop."""
        keys = self._first_keys
        if keys is None or self._stop_asked.is_set():
            return
        from ops.local.first_keys import CHANNEL, ENVIRONMENT, ORGANISATION  # noqa: PLC0415

        self._folder.write_json(
            self._folder.ready,
            {
                "url": self._addresses.url,
                "public_url": self._desired.result().public_url,
                "dsn": keys.dsn(self._addresses.url),
                "api_key": keys.api_key,
                "public_token": keys.public_token,
                "channel": CHANNEL,
                "environment": ENVIRONMENT,
                "clickhouse_url": self._addresses.readers_url(),
                CLICKHOUSE_USERS: self._addresses.passwords,
                "nats_url": self._addresses.operators_nats_url(),
                "console_url": self._addresses.public_console_url(),
                "console_login_url": self._login_url(keys),
                "auth_token": keys.auth_token,
                "organisation": ORGANISATION,
                "project": keys.project,
                "runs": self._supervisor.kinds(),
                "pids": {kind: self._supervisor.pids(kind) for kind in _SHOWN_KINDS},
            },
        )

    def _login_url(self, keys: FirstKeys) -> str:
        """The link that signs in to the page once; empty where no token was made."""
        return login_url(self._addresses.public_console_url(), keys.login_code) if keys.login_code else ""
