"""A publish always ends: whatever breaks the group it is in, its publisher hears of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ops.runtime.group_commit import GroupCommit
from tests.polling import DEADLINE_S


def group_commit(publish: Any, observe: Any = None) -> GroupCommit:
    client = SimpleNamespace(max_payload=1_000_000, jetstream=lambda: SimpleNamespace(publish=publish))
    return GroupCommit(client, "RAW", 5.0, observe)  # type: ignore[arg-type]


async def stored(*_: Any) -> object:
    return object()


def broken(*_: Any) -> None:
    raise RuntimeError("broken")


@pytest.mark.asyncio
async def test_a_metric_that_raises_ends_the_publish() -> None:
    """Else its publisher, and the message it holds, would wait for ever."""
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(group_commit(stored, broken).publish("a", b"", {}), DEADLINE_S)


@pytest.mark.asyncio
async def test_a_group_that_is_cancelled_ends_its_publishes() -> None:
    """By whoever ends tasks."""

    async def never(*_: Any) -> object:
        await asyncio.Event().wait()
        return object()

    group = group_commit(never)
    publishing = asyncio.create_task(group.publish("a", b"", {}))
    ours = {asyncio.current_task(), publishing}
    while not (groups := asyncio.all_tasks() - ours):
        await asyncio.sleep(0)
    for task in groups:
        task.cancel()
    with pytest.raises(Exception, match=r"(?i)clos"):
        await asyncio.wait_for(publishing, DEADLINE_S)
