"""Decides by a message's size where it is worked on: at once, in a thread, or in the child process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from schemas import headers
from workers.consume.large_messages import LargeMessageExecutor
from workers.consume.message import Message
from workers.consume.work_process import WorkJob
from workers.consume.work_process_client import ReadAnswer

T = TypeVar("T")

# A message of more bytes, inflated, is large: a hostile one of this size blocks the event loop for about 50 ms. The 512
# spans in protobuf that SDKs export at once are 173 kB; a thread would add a twentieth to what they cost.
INLINE_BYTES: Final = 192 * 1024
# Text may cost four times as much per byte, for example deep lists before a NaN.
INLINE_TEXT_BYTES: Final = 64 * 1024
# Larger messages go to the child process: one call into C, which cannot be interrupted, takes up to 35 ns a byte (JSON
# of nothing but different names).
THREAD_BYTES: Final = 768 * 1024

_UNKNOWN_BYTES: Final = 2**63


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """The work on one message: `run` does it in this process, `job` describes it for the child process, and `read`
    turns that process's answer into the result.
    """

    run: Callable[[], T]
    job: Callable[[], WorkJob]
    read: ReadAnswer[T]


async def run_work(
    executor: LargeMessageExecutor | None, work: Work[T], message: Message, size_bytes: int, channel_id: int
) -> T:
    """Works on a message that has `size_bytes` when inflated. Raises Invalid, TooCostly and WorkProcessEnded."""
    if executor is None or size_bytes <= inline_bytes(message):
        return work.run()
    if size_bytes <= THREAD_BYTES or not executor.has_process:
        return await executor.run_in_thread(work.run, channel_id)
    job, message.inflated = work.job(), None
    return await executor.run_in_process(job, work.read, channel_id)


def inline_bytes(message: Message) -> int:
    """Up to this size a message is worked on at once."""
    return INLINE_BYTES if "protobuf" in message.headers.get("Content-Type", "") else INLINE_TEXT_BYTES


def inflated_bytes(message: Message) -> int:
    """The message's size once inflated; more than any limit if it was not inflated yet."""
    if message.inflated is not None:
        return len(message.inflated)
    return _UNKNOWN_BYTES if is_compressed(message) else len(message.body)


def is_compressed(message: Message) -> bool:
    """Whether its body has a Content-Encoding."""
    return message.headers.get(headers.CONTENT_ENCODING, "identity") not in {"", "identity"}
