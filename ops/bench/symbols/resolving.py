"""Measures errors with minified stack traces in one worker, beside the same errors without an uploaded map."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson

from ops.bench import machine
from ops.bench.figures import Figure, FigureTarget, percentile
from ops.bench.session import BenchSession
from ops.bench.symbols.artifacts import SEGMENT_COLUMNS, SEGMENTS, URL, StoreInMemory, application, artifact_of, bundle
from ops.runtime.artifacts.library import ArtifactLibrary
from ops.runtime.tasks import end
from schemas import headers, subjects
from schemas.envelope import body as envelope
from schemas.headers import Origin
from workers.consume.message import Message
from workers.normalise.registry import normalisers
from workers.settings import WorkerSettings
from workers.symbolicate.entries import EntryCache
from workers.symbolicate.event_symbolicator import EventSymbolicator
from workers.symbolicate.find_maps import MapFinder
from workers.symbolicate.frame_resolver import FrameResolver
from workers.symbolicate.known import KnownArtifacts
from workers.symbolicate.maps.process import MapProcess
from workers.symbolicate.maps.service import MapService

FRAMES: Final = 30
BREADCRUMBS: Final = 100
MAPS: Final = 20
RELEASES: Final = 1_000
BUNDLED_FILES: Final = 3_000
# How often the event loop is looked at while a map is built.
TICK_S: Final = 0.001
_NORMALISER: Final = normalisers(30, 6_000_000)["event"]
_ORIGIN: Final = Origin("default", 1, "bench", "production", False, time.time_ns(), "", origin_id="b", origin_seq=1)


class _NoReceipt:
    async def ack(self) -> None: ...

    async def nak(self, delay: float | None = None) -> None: ...

    async def in_progress(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Workbench:
    """A worker's symbolication, with artifacts in memory."""

    store: StoreInMemory
    known: KnownArtifacts
    process: MapProcess
    symbolicator: EventSymbolicator

    def upload(self, data: bytes) -> None:
        artifact = artifact_of(data)
        self.store.put(artifact, data)
        self.known.add(artifact)

    async def rows(self, message: Message) -> list[Any]:
        """The rows of an error, as the event worker makes them."""
        resolved = await self.symbolicator.resolve(message, _ORIGIN)
        return list(_NORMALISER.normalise(_ORIGIN, resolved).rows)

    def used_s(self) -> float:
        """Processor time of this process and of the one that builds maps."""
        pid = self.process.pid
        return time.process_time() + (machine.cpu_s(pid) if pid else 0.0)


@contextlib.contextmanager
def _workbench() -> Iterator[_Workbench]:
    settings, store, known = WorkerSettings(), StoreInMemory(), KnownArtifacts()
    process = MapProcess(settings.worker_symbols_memory_bytes, settings.worker_symbols_cpu_s)
    library = ArtifactLibrary(store)  # type: ignore[arg-type]
    frames = FrameResolver(MapFinder(known, EntryCache(library)), MapService(library, process))
    try:
        yield _Workbench(store, known, process, EventSymbolicator(known, frames))
    finally:
        process.close()


def symbols(session: BenchSession) -> None:
    """Measures errors with minified stack traces: processor time, large maps, many releases, memory."""
    with _workbench() as bench:
        release, data = application(0)
        session.tell(f"a map of {SEGMENTS:,} segments, a bundle of {len(data):,} bytes")
        bench.upload(data)
        first_ms, held_ms = asyncio.run(_first(bench, _error(release)))
        session.add(Figure("first error of a map of 7 MB, until its row is made", "ms", (first_ms,)))
        note = "rows of other item types wait no longer than that"
        session.add(Figure("longest block of the event loop meanwhile", "ms", (held_ms,), note=note))
        session.add(_beside_plain(session, bench, release))
        session.add(_releases(session, bench, release))
        session.add(_memory(bench))
    session.add(_large_bundle())


def _error(release: str) -> Message:
    """An error of 30 frames, with breadcrumbs as the browser SDK sends them."""
    columns = [1 + SEGMENT_COLUMNS * (SEGMENTS // (FRAMES + 1)) * number for number in range(1, FRAMES + 1)]
    frames = [{"abs_path": URL, "filename": URL, "function": "e", "lineno": 1, "colno": at} for at in columns]
    crumb = {"type": "http", "category": "fetch", "timestamp": time.time(), "data": {"url": URL, "status_code": 200}}
    error = {"type": "TypeError", "value": "no item", "stacktrace": {"frames": frames}}
    event = {"platform": "javascript", "release": release, "exception": {"values": [error]}, "event_id": "f" * 32}
    payload = orjson.dumps({**event, "breadcrumbs": {"values": [crumb] * BREADCRUMBS}})
    body = envelope.write_single(b"{}", {"type": "event"}, payload)
    return Message(
        "item.event.1", {headers.ORGANISATION: "default"}, body, subjects.ITEMS, 1, 1, time.time_ns(), _NoReceipt()
    )


async def _first(bench: _Workbench, message: Message) -> tuple[float, float]:
    """Milliseconds until the first error is a row, and the longest time in which the event loop did nothing else."""
    held_s = 0.0

    async def tick() -> None:
        nonlocal held_s
        last_s = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_S)
            held_s, last_s = max(held_s, time.perf_counter() - last_s - TICK_S), time.perf_counter()

    ticking = asyncio.create_task(tick())
    began_s = time.perf_counter()
    rows = await bench.rows(message)
    taken_ms = (time.perf_counter() - began_s) * 1_000
    await end(ticking)
    assert "src/part" in str(rows)
    return taken_ms, held_s * 1_000


def _beside_plain(session: BenchSession, bench: _Workbench, release: str) -> Figure:
    """Processor time of a resolved error, in turns with one whose release has no map."""
    ours, plain = [], []
    for _ in range(session.turns):
        ours.append(asyncio.run(_cost_us(bench, _error(release), session.seconds / 2)))
        plain.append(asyncio.run(_cost_us(bench, _error("unknown"), session.seconds / 2)))
    name = f"processor, error of {FRAMES} minified frames, worker and map process"
    note = f"{len(_error(release).body):,} bytes sent"
    return Figure(name, "us", tuple(ours), tuple(plain), "the same without a map", note=note)


async def _cost_us(bench: _Workbench, message: Message, seconds: float) -> float:
    await bench.rows(message)
    began_s, calls = bench.used_s(), 0
    while (spent_s := bench.used_s() - began_s) < seconds:
        for _ in range(20):
            await bench.rows(message)
        calls += 20
    return spent_s / calls * 1e6


def _releases(session: BenchSession, bench: _Workbench, release: str) -> Figure:
    """Looking for maps of an event that has none, with 1,000 releases known beside with one."""
    message, few, many = _error("unknown"), [], []
    few.append(_look_us(bench, message))
    for number in range(RELEASES):
        files = {f"~/static/{part}.js": ("minified_source", b"1") for part in range(3)}
        bench.upload(bundle(f"other@{number}", files))
    for _ in range(session.turns):
        many.append(_look_us(bench, message))
    baseline = tuple(few * len(many))
    return Figure(f"look for the maps of an error, {RELEASES:,} releases", "us", tuple(many), baseline, "one release")


def _look_us(bench: _Workbench, message: Message) -> float:
    look, calls = partial(bench.symbolicator.concerns, message), 2_000
    began_s = time.process_time()
    for _ in range(calls):
        look()
    return (time.process_time() - began_s) / calls * 1e6


def _memory(bench: _Workbench) -> Figure:
    """Resident memory of the process that builds maps, after many maps in turn."""
    peaks = []
    for number in range(1, MAPS + 1):
        release, data = application(number)
        bench.upload(data)
        asyncio.run(bench.rows(_error(release)))
        pid = bench.process.pid
        peaks.append(machine.resident_bytes(pid, "VmHWM") / 1e6 if pid else 0.0)
    limit_mb = WorkerSettings().worker_symbols_memory_bytes / 1e6
    target = FigureTarget(limit_mb, limit_mb / 2, "less")
    note = f"{MAPS} maps of 7 MB in turn; its limit is {limit_mb:,.0f} MB"
    return Figure("memory of the process that builds maps, peak", "MB", (percentile(peaks, 1.0),), (), "", target, note)


def _large_bundle() -> Figure:
    """Reading and checking an upload of many files."""
    files = {f"~/static/{part}.js": ("minified_source", b"x" * 2_000) for part in range(BUNDLED_FILES)}
    data = bundle("many@1", files)
    began_s = time.process_time()
    artifact_of(data)
    return Figure(f"read a bundle of {BUNDLED_FILES:,} files", "ms", ((time.process_time() - began_s) * 1_000,))
