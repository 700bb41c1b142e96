"""Other shapes of load: tiny bodies, huge ones, idle connections, slow senders, one noisy channel among quiet ones."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Final

from ops.bench import load, machine, receiving
from ops.bench.figures import Figure
from ops.bench.session import BenchSession
from ops.bench.stack import CHANNEL, NO_COUNTS, Stack, running
from ops.registry.connection import open_registry
from ops.registry.key_options import KeyOptions

TINY_PER_S: Final = 10_000
LARGE: Final = 40
SLOW: Final = 10
SLOW_CHANNEL: Final = 9_001
QUIET_CHANNELS: Final = 100
QUIET_PER_S: Final = 200.0
NOISY_CONNECTIONS: Final = 128


def shapes(session: BenchSession) -> None:
    """Throughput, latency and memory of one receiver with each shape."""
    with running() as stack:
        port = stack.start_receiver(settings=NO_COUNTS)
        _tiny(session, stack, port)
        _large(session, stack, port)
        _beside_idle(session, stack, port)
        _noisy(session, stack, port)
        peak = machine.resident_bytes(stack.pid("receiver"), "VmHWM")
        session.add(Figure("shapes, receiver's memory at most", "MB", (peak / 1e6,)))


def _tiny(session: BenchSession, stack: Stack, port: int) -> None:
    """Offered at a fixed rate; accepted number and latency show whether the receiver kept up."""
    count = int(TINY_PER_S * session.seconds)
    done = session.load(stack, "tiny", port, count=count, connections=256, rate=TINY_PER_S)
    note = f"p50 {done.p50_ms:.0f} ms, p99 {done.p99_ms:.0f} ms; {done.statuses}"
    session.add(Figure(f"shapes, {TINY_PER_S:,} tiny envelopes a second", "accepted/s", (done.accepted_s,), note=note))
    done = session.load(stack, "tiny", port, count=count, connections=256)
    session.add(Figure("shapes, tiny envelopes, as many as go", "accepted/s", (done.accepted_s,)))


def _large(session: BenchSession, stack: Stack, port: int) -> None:
    done = session.load(stack, "large", port, count=LARGE, connections=4, seconds=60.0)
    note = f"p99 {done.p99_ms:.0f} ms; {done.statuses}"
    session.add(Figure("shapes, six-megabyte envelopes", "MB/s", (done.accepted_s * 5.9,), note=note))


def _beside_idle(session: BenchSession, stack: Stack, port: int) -> None:
    """Idle connections, and senders of another organisation that never end, must not affect others.

    Those of the same key share its part of the byte budget.
    """
    alone, beside = [], []
    slow_key = asyncio.run(_key_of_another_organisation(stack))
    receiving.allow_files(receiving.IDLE_CONNECTIONS + 1_000)
    for _ in range(session.turns):
        alone.append(_errors(session, stack, port))
        with receiving.open_connections(port, receiving.IDLE_CONNECTIONS), _slow(slow_key, port):
            beside.append(_errors(session, stack, port))
    name = f"shapes, errors beside {receiving.IDLE_CONNECTIONS:,} idle connections and {SLOW} slow senders of others"
    session.add(Figure(name, "accepted/s", tuple(beside), tuple(alone), "alone"))


def _slow(key: str, port: int) -> contextlib.AbstractContextManager[None]:
    return receiving.slow_bodies(SLOW_CHANNEL, key, port, SLOW)


async def _key_of_another_organisation(stack: Stack) -> str:
    async with open_registry(stack.settings, "other") as registry:
        await registry.ensure_environment("production")
        await registry.create_channel(SLOW_CHANNEL)
        return (await registry.mint(KeyOptions("production")))[0]


def _errors(session: BenchSession, stack: Stack, port: int) -> float:
    count = int(receiving.OURS_PER_S * session.seconds)
    return session.load(stack, "error", port, count=count, connections=receiving.CONNECTIONS).accepted_s


def _noisy(session: BenchSession, stack: Stack, port: int) -> None:
    """A hundred channels that send little, alone and beside one that sends at full speed."""
    asyncio.run(_make_channels(stack))
    alone, beside, noise = [], [], []
    for _ in range(session.turns):
        alone.append(_quiet(session, stack, port).p99_ms)
        count = int(receiving.OURS_PER_S * (session.seconds + 2))
        plan = session.plan(stack, "error", port, count=count, connections=NOISY_CONNECTIONS)
        noisy = load.start(replace(plan, seconds=session.seconds + 1))
        beside.append(_quiet(session, stack, port).p99_ms)
        noise.append(load.result(noisy).accepted_s)
    name = f"shapes, {QUIET_CHANNELS} quiet channels beside a noisy one, p99"
    note = f"{QUIET_PER_S:.0f} small errors/s in all; the noisy one {sum(noise) / len(noise):,.0f}/s"
    session.add(Figure(name, "ms", tuple(beside), tuple(alone), "alone", note=note))


def _quiet(session: BenchSession, stack: Stack, port: int) -> load.Load:
    plan = session.plan(
        stack, "error-small", port, count=int(QUIET_PER_S * session.seconds), connections=32, rate=QUIET_PER_S
    )
    return load.run(replace(plan, channel=CHANNEL + 1, channels=QUIET_CHANNELS))


async def _make_channels(stack: Stack) -> None:
    async with open_registry(stack.settings, "default") as registry:
        for number in range(QUIET_CHANNELS):
            await registry.create_channel(CHANNEL + 1 + number)
