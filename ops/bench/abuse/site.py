"""Sends a body to a separate receiver and worker, and measures what it costs both."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import brotli
import nats
from nats.errors import Error as NatsError

from ops.bench import machine
from ops.bench.abuse.shape import AbuseKind
from ops.bench.instrumented import SharedFigures
from ops.bench.stack import HOST, NO_COUNTS, Stack, free_port, wait_for
from ops.local.probes import http_ok, workers_listen
from ops.registry.connection import open_registry
from ops.registry.key_options import KeyOptions
from schemas.subjects import DEAD, ITEMS, RAW, SOURCES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from nats.js import JetStreamContext

# Channels and keys alternate: equal bytes for one channel are one message, and a key with only refused bodies is
# refused.
CHANNELS: Final = 40
# A body that takes longer is abandoned.
MAX_CPU_S: Final = 20.0
MAX_WALL_S: Final = 180.0
POLL_S: Final = 0.02
IDLE_S: Final = 1.0
_STREAMS: Final = (RAW, ITEMS, DEAD)
_SENTRY: Final = "/api/{channel}/%s/?sentry_key={key}"
_PATHS: Final = {
    "sentry.envelope": _SENTRY % "envelope",
    "sentry.store": _SENTRY % "store",
    "sentry.security": _SENTRY % "security",
    "sentry.minidump": _SENTRY % "minidump",
    "sentry.attachment": _SENTRY % f"events/{'a' * 32}/attachments",
    "sentry.cron": _SENTRY % "cron/nightly",
    "otlp.logs": "/v1/logs",
    "otlp.traces": "/v1/traces",
    "event": "/event",
    "event.batch": "/event/batch",
}


@dataclass(frozen=True, slots=True)
class BodyCost:
    """The cost of one body, or of several sent at once.

    `held_s` is the longest block of the event loop of receiver or worker, in processor time. `stored`: the broker
    stored it. `is_cut`: it took more than MAX_CPU_S and was abandoned.
    """

    sent_bytes: int
    inflated_bytes: int
    coding: str
    status: int
    stored: bool
    receiver_s: float
    worker_s: float
    receiver_held_s: float
    worker_held_s: float
    peak_bytes: int
    is_cut: bool = False

    @property
    def cpu_s(self) -> float:
        return self.receiver_s + self.worker_s

    @property
    def held_s(self) -> float:
        return max(self.receiver_held_s, self.worker_held_s)

    @property
    def per_sent_kb_s(self) -> float:
        return self.cpu_s / (self.sent_bytes / 1e3)

    @property
    def per_mb_s(self) -> float:
        return self.cpu_s / (self.inflated_bytes / 1e6)


@dataclass(slots=True)
class WatchedProcess:
    """One measured process with its shared figures. `idle` is its processor time per second without work."""

    name: str
    stack: Stack
    board: SharedFigures
    idle: float = 0.0
    began_cpu_s: float = 0.0
    began_s: float = 0.0
    began_bytes: int = 0

    @property
    def pid(self) -> int:
        return self.stack.pid(self.name)

    def cpu_s(self) -> float:
        """Processor seconds of the process and its children."""
        return self.board.read()[1] + sum(map(_cpu_of, _children(self.pid)))

    async def begin(self) -> None:
        """Resets the figures and frees memory."""
        self.board.begin()
        asked_s = time.monotonic()
        while not self.board.has_begun and time.monotonic() - asked_s < MAX_WALL_S:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(POLL_S)
        self._forget_peaks()
        self.began_bytes = self._bytes("VmRSS")
        self.began_cpu_s, self.began_s = self.cpu_s(), time.monotonic()

    def _forget_peaks(self) -> None:
        for pid in (self.pid, *_children(self.pid)):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def spent_s(self) -> float:
        """Processor seconds since `begin`, without idle time."""
        return max(0.0, self.cpu_s() - self.began_cpu_s - self.idle * (time.monotonic() - self.began_s))

    def peak_bytes(self) -> int:
        return max(0, self._bytes("VmHWM") - self.began_bytes)

    def _bytes(self, name: str) -> int:
        total = 0
        for pid in (self.pid, *_children(self.pid)):
            with contextlib.suppress(OSError):
                total += machine.resident_bytes(pid, name)
        return total


@dataclass(slots=True)
class Site:
    """A broker, a measured receiver and a measured worker."""

    stack: Stack
    js: JetStreamContext
    port: int = 0
    keys: list[str] = field(default_factory=list)
    receiver: WatchedProcess = field(init=False)
    worker: WatchedProcess = field(init=False)
    _turn: Iterator[int] = field(default_factory=itertools.count)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(CHANNELS))

    async def start(self) -> None:
        """Creates channels and keys, starts both processes, and measures their idle time."""
        async with open_registry(self.stack.settings, "default") as registry:
            for number in range(2, CHANNELS + 1):
                await registry.create_channel(number)
            for _ in range(CHANNELS):
                self.keys.append((await registry.mint(KeyOptions("production")))[0])
        self.port = free_port()
        self.receiver = self._start_watched("receiver", host=HOST, port=self.port, **NO_COUNTS)
        await asyncio.to_thread(wait_for, lambda: asyncio.run(http_ok(f"http://{HOST}:{self.port}/ready")), "receiver")
        await self.start_worker()
        await self._measure_idle()

    async def start_worker(self) -> None:
        """Starts a new worker after the last one was abandoned."""
        idle = self.worker.idle if "worker" in self.stack.processes else 0.0
        self.worker = self._start_watched("worker")
        self.worker.idle = idle
        await asyncio.to_thread(wait_for, lambda: asyncio.run(workers_listen(self.stack.settings)), "worker")

    async def cost(self, kind: AbuseKind, coding: str, bodies: Sequence[tuple[int, bytes]]) -> BodyCost:
        """Sends bodies in this encoding at once, each with its decompressed size; ends when everything is acknowledged.

        Sizes and processor time are totals, the status is that of the first body.
        """
        for watched in (self.receiver, self.worker):
            await watched.begin()
        before = await self._last_seq()
        loop = asyncio.get_running_loop()
        sending = asyncio.gather(
            *(loop.run_in_executor(self._pool, self._send, kind, coding, body) for _, body in bodies)
        )
        is_cut = not await self._until_done(sending)
        status = (await sending)[0] if sending.done() or not is_cut else 0
        worker_s = max(self.worker.spent_s(), _kernel_cpu_s(self.worker)) if is_cut else self.worker.spent_s()
        cost = BodyCost(
            sent_bytes=sum(len(wire) for _, wire in bodies),
            inflated_bytes=sum(size for size, _ in bodies),
            coding=coding,
            status=status,
            stored=await self._last_seq() > before,
            receiver_s=self.receiver.spent_s(),
            worker_s=worker_s,
            receiver_held_s=self.receiver.board.read()[0],
            worker_held_s=worker_s if is_cut else self.worker.board.read()[0],
            peak_bytes=max(self.receiver.peak_bytes(), self.worker.peak_bytes()),
            is_cut=is_cut,
        )
        if is_cut:
            await self._give_up()
        return cost

    def _start_watched(self, name: str, **settings: object) -> WatchedProcess:
        path = self.stack.folder / f"{name}.board"
        board = SharedFigures.create(path)
        command = [sys.executable, "-m", "ops.bench.instrumented", name, str(path)]
        self.stack.start(name, command, **settings)
        return WatchedProcess(name, self.stack, board)

    async def _measure_idle(self) -> None:
        for watched in (self.receiver, self.worker):
            await watched.begin()
        await asyncio.sleep(IDLE_S)
        for watched in (self.receiver, self.worker):
            watched.idle = watched.spent_s() / IDLE_S

    def _send(self, kind: AbuseKind, coding: str, wire: bytes) -> int:
        """The status; 0 if the connection broke."""
        turn = next(self._turn)
        channel, key = turn % CHANNELS + 1, self.keys[turn % CHANNELS]
        headers = {"content-type": kind.content_type, "x-api-key": key, "x-axonpush-channel": str(channel)}
        if kind.route.startswith("sentry."):
            headers = {"content-type": kind.content_type}
        if coding != "identity":
            headers["content-encoding"] = coding
        source = (f"127.0.1.{turn % CHANNELS + 1}", 0)
        connection = http.client.HTTPConnection(HOST, self.port, timeout=MAX_WALL_S, source_address=source)
        try:
            connection.request("POST", _PATHS[kind.route].format(channel=channel, key=key), wire, headers)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    async def _until_done(self, sending: asyncio.Future[list[int]]) -> bool:
        """Whether the body was answered and all its messages were acknowledged in time."""
        began_s = time.monotonic()
        while not (sending.done() and await self._is_settled()):
            await asyncio.sleep(POLL_S)
            spent_s = self.receiver.spent_s() + max(self.worker.spent_s(), _kernel_cpu_s(self.worker))
            if spent_s > MAX_CPU_S or time.monotonic() - began_s > MAX_WALL_S:
                return False
        return True

    async def _is_settled(self) -> bool:
        for source in SOURCES.values():
            info = await self.js.consumer_info(source.stream, source.durable)
            if info.num_pending or info.num_ack_pending:
                return False
        return True

    async def _last_seq(self) -> int:
        return int((await self.js.stream_info(RAW)).state.last_seq)

    async def _give_up(self) -> None:
        """Ends the worker and discards its messages."""
        self.stack.processes["worker"].kill()
        self.stack.processes["worker"].wait()
        for stream in _STREAMS:
            await self.js.purge_stream(stream)
        await self.start_worker()


def _kernel_cpu_s(watched: WatchedProcess) -> float:
    """Processor seconds by the kernel since `begin`: a blocked event loop cannot report its own."""
    return max(0.0, machine.cpu_s(watched.pid) - watched.began_cpu_s)


@contextlib.asynccontextmanager
async def open_site(stack: Stack) -> AsyncIterator[Site]:
    """A Site on a running broker."""
    client = await nats.connect(stack.settings.nats_url)
    site = Site(stack, client.jetstream(timeout=30))
    try:
        await site.start()
        yield site
    finally:
        with contextlib.suppress(NatsError):
            await client.close()


CODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "br": lambda body: brotli.compress(body, quality=9),
    "zstd": lambda body: zstd.compress(body, 19 if len(body) < 1_000_000 else 9),
    "gzip": lambda body: gzip.compress(body, 9, mtime=0),
    "identity": lambda body: body,
}


def encode_all(body: bytes) -> list[tuple[str, bytes]]:
    """The body in every encoding, the smallest first."""
    return sorted(((name, pack(body)) for name, pack in CODINGS.items()), key=lambda coded: len(coded[1]))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _cpu_of(pid: int) -> float:
    """Processor seconds of a child, to the nanosecond."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return (
            sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9
        )
    return 0.0
