"""What the workers take from others without a public way: an upgrade that takes it away fails here (decision 27)."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from faststream.nats import NatsBroker
from faststream.nats.subscriber.usecases import BatchPullStreamSubscriber

from schemas.subjects import SOURCES
from workers.consume.pull import FetchSize, PullLoop, attach


async def handle(_messages: object) -> None:
    """Never called: nothing is started."""


def test_a_subscriber_becomes_a_pull_loop() -> None:
    """FastStream makes it, and its layout is still one that `__class__` may be assigned to."""
    source = SOURCES["event"]
    made = attach(NatsBroker(), source, handle, on_bound=lambda _s: None, size=FetchSize(10, 1_000))
    assert type(made) is PullLoop
    assert (made.source, made.size) == (source, FetchSize(10, 1_000))


@pytest.mark.parametrize("name", ["_create_subscription", "_consume_pull", "stop", "consume", "add_task"])
def test_faststream_still_calls_what_is_replaced(name: str) -> None:
    """A method of another name would leave FastStream's own loop running."""
    assert callable(getattr(BatchPullStreamSubscriber, name))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_glibc_takes_every_setting() -> None:
    """In a process of its own: the allocator of this one stays as it is."""
    program = "from workers import memory; raise SystemExit(not memory.keep_freed_memory())"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
