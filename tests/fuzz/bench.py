"""Runs targets over mutated inputs in worker processes, and watches time, memory and exceptions. No printing here."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import queue
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.fuzz.mutations import mutated
from tests.fuzz.target import Target
from tests.fuzz.targets import TABLE

# Processor time, not wall time: a busy machine makes nothing hang. Inputs are small; the slowest take milliseconds.
DEADLINE_CPU_S: Final = 10.0
# What hangs outside of Python hears no signal handler: its process is ended when it says nothing for so long.
SILENCE_S: Final = 180.0
# Allocators round up and caches fill; a leak of 1 KB an input would be hundreds of megabytes.
MAX_GROWTH_BYTES: Final = 48 * 1024 * 1024
MAX_ESCAPES: Final = 5
_REPORT_EVERY: Final = 500


class Hang(BaseException):
    """An input took more than its time. No Exception, so that nothing under test catches it."""


class Escape(NamedTuple):
    """An input that broke its target: which one, in which file it is kept, and what happened."""

    target: str
    seed: int
    number: int
    file: str
    what: str


class Progress(NamedTuple):
    """What a process says about its part of one target so far."""

    process: int
    target: str
    done: int
    accepted: int
    refused: int
    growth_bytes: int
    escape: Escape | None
    is_last: bool


@dataclass(slots=True)
class Total:
    """One target's line in the final table."""

    target: str
    wanted: int
    accepted: int = 0
    refused: int = 0
    growth_bytes: int = 0
    elapsed_s: float = 0.0
    escapes: list[Escape] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.accepted + self.refused + len(self.escapes)

    @property
    def failures(self) -> list[str]:
        """Why this target fails, empty if it does not."""
        found = [f"input {one.number} of seed {one.seed}, kept in {one.file}: {one.what}" for one in self.escapes]
        if self.growth_bytes > MAX_GROWTH_BYTES:
            found.append(f"memory grew by {self.growth_bytes / 1e6:.0f} MB between the first tenth and the last")
        if not self.accepted:
            found.append("no input was accepted: its samples are not valid, so nothing behind the parser was tried")
        if self.done < self.wanted and not self.escapes:
            found.append(f"expected {self.wanted} inputs, ran {self.done}")
        return found


def input_of(target: Target, seed: int, index: int) -> bytes:
    """Input number `index` of a target under `seed`, in any process, at any time."""
    return mutated(target.corpus(), f"{target.name}:{seed}:{index}")


def run_all(
    names: list[str], inputs: int, seed: int, processes: int, on_progress: Callable[[Total], None]
) -> list[Total]:
    """Runs `inputs` inputs for each target, one target after the other, and tells `on_progress` as it goes."""
    context = multiprocessing.get_context("spawn")
    totals = []
    for name in names:
        total = Total(name, inputs)
        totals.append(total)
        started = time.monotonic()
        for _ in _watched(context, total, seed, processes):
            total.elapsed_s = time.monotonic() - started
            on_progress(total)
    return totals


def run_here(name: str, inputs: int, seed: int) -> Total:
    """The same in this process, for short runs under pytest. A hang outside of Python is not noticed."""
    total = Total(name, inputs)
    held: queue.SimpleQueue[Progress] = queue.SimpleQueue()
    _run_part(name, seed, range(inputs), 0, held)
    while not held.empty():
        _add(total, held.get())
    return total


def _watched(context: SpawnContext, total: Total, seed: int, processes: int) -> Iterator[None]:
    """Starts the processes, adds up what they say, and ends the one that falls silent."""
    news: Any = context.Queue()
    children = {}
    for number in range(processes):
        part = range(number, total.wanted, processes)
        children[number] = context.Process(target=_run_part, args=(total.target, seed, part, number, news), daemon=True)
        children[number].start()
    heard = dict.fromkeys(children, time.monotonic())
    reached = dict.fromkeys(children, 0)
    while children:
        with contextlib.suppress(queue.Empty):
            said: Progress = news.get(timeout=1.0)
            heard[said.process], reached[said.process] = time.monotonic(), said.done
            _add(total, said)
            if said.is_last:
                children.pop(said.process).join()
        for number, child in list(children.items()):
            if (not child.is_alive() and news.empty()) or time.monotonic() - heard[number] > SILENCE_S:
                child.kill()
                del children[number]
                total.escapes.append(_lost(total, seed, range(number, total.wanted, processes), reached[number]))
        yield


def _lost(total: Total, seed: int, part: range, done: int) -> Escape:
    """A process that died or hung outside of Python: the culprit is one of the inputs it has not reported."""
    index = part[min(done, len(part) - 1)]
    file = _kept(total.target, seed, index, input_of(TABLE[total.target], seed, index))
    what = f"its process died or hung in this or one of the next {_REPORT_EVERY} inputs: try --input {index} and on"
    return Escape(total.target, seed, index, file, what)


def _add(total: Total, said: Progress) -> None:
    total.accepted += said.accepted
    total.refused += said.refused
    total.growth_bytes = max(total.growth_bytes, said.growth_bytes)
    if said.escape:
        total.escapes.append(said.escape)


def _run_part(name: str, seed: int, part: range, process: int, news: Any) -> None:
    """One process's share of one target: `news` hears of every _REPORT_EVERY inputs, and of each escape."""
    target = TABLE[name]
    early_at, early_bytes, growth_bytes = max(len(part) // 10, 1), 0, 0
    counts = {True: 0, False: 0}
    escapes = 0
    with _alarm():
        for done, index in enumerate(part, 1):
            escape = None
            data = input_of(target, seed, index)
            try:
                counts[_outcome(target, data)] += 1
            except (Exception, Hang) as error:
                escapes += 1
                escape = Escape(name, seed, index, _kept(name, seed, index, data), _described(error))
            if done == early_at:
                early_bytes = _resident_bytes()
            is_last = done == len(part) or escapes >= MAX_ESCAPES
            if is_last and early_bytes:
                growth_bytes = _resident_bytes() - early_bytes
            if escape or is_last or done % _REPORT_EVERY == 0:
                news.put(Progress(process, name, done, counts[True], counts[False], growth_bytes, escape, is_last))
                counts = {True: 0, False: 0}
            if is_last:
                return
    news.put(Progress(process, name, 0, 0, 0, 0, None, is_last=True))


def _outcome(target: Target, data: bytes) -> bool:
    """True: accepted, False: refused. Raises Hang, and whatever the target lets out."""
    signal.setitimer(signal.ITIMER_PROF, DEADLINE_CPU_S)
    try:
        return target.run(data)
    except target.may_raise:
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def on_alarm(_number: int, _frame: object) -> None:
        raise Hang(f"more than {DEADLINE_CPU_S:g} s of processor time")

    before = signal.signal(signal.SIGPROF, on_alarm)
    try:
        yield
    finally:
        signal.signal(signal.SIGPROF, before)


def _kept(name: str, seed: int, index: int, data: bytes) -> str:
    path = Path(tempfile.gettempdir()) / f"axonpush-fuzz-{name}-{seed}-{index}.bin"
    path.write_bytes(data)
    return str(path)


def _described(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)[-4:])[-2000:]


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
