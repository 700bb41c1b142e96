"""`axonpush status` says that no janitor or no worker runs, before bodies fill RAW or wait."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from ops.janitor import trimming
from ops.janitor.presence import answer_presence
from ops.provisioning.cluster_changes import StateReport
from ops.provisioning.desired_state import checked
from ops.provisioning.streams import Budgets
from ops.status.findings import Status, StreamStatus, WorkerStatus
from ops.status.janitor_process import JanitorState, janitor_state
from ops.status.local_up import LocalUp
from ops.status.servers import RefusedWorker
from schemas.subjects import JANITOR_ASK, SOURCES


def noted(word: str, **fields: Any) -> list[str]:
    return [text for text in Status(**fields).notes if word in text]


def workers(**fields: Any) -> list[WorkerStatus]:
    first, *others = SOURCES
    return [WorkerStatus(first, **fields), *map(WorkerStatus, others)]


def test_no_janitor_is_noted() -> None:
    """Nobody trims RAW, which says nothing until it is full."""
    (text,) = noted("janitor", janitor=JanitorState.NONE)
    assert text.startswith("no janitor runs: processed bodies stay in RAW")
    assert "Start `axonpush janitor`" in text
    (silent,) = noted("janitor", janitor=JanitorState.SILENT)
    assert "connected" in silent
    assert "kill -CONT" in silent
    assert noted("janitor", janitor=JanitorState.ANSWERS) == noted("janitor") == []


def test_a_janitor_of_up_is_not_to_be_started_by_hand() -> None:
    """`up` starts it again; one that someone stopped is a problem already."""
    (text,) = noted("janitor", janitor=JanitorState.NONE, up=LocalUp("7", "/d", ended=frozenset({"janitor"})))
    assert "`up` starts it again" in text
    assert "Start `axonpush janitor`" not in text
    stopped = LocalUp("7", "/d", pids={"janitor": (9,)}, stopped={"janitor": (9,)})
    assert noted("janitor", janitor=JanitorState.SILENT, up=stopped) == []


def test_no_worker_at_all_is_noted_before_something_waits() -> None:
    """One type that nobody fetches may be meant so, all of them hardly."""
    (text,) = noted("no worker runs", workers=workers())
    assert "waits in the broker" in text
    for seen in ({"listeners": 1}, {"in_flight": 3}, {"rate": 2.0}, {"pending": 4}, {"missing": True}):
        assert noted("no worker runs", workers=workers(**seen)) == [], seen
    assert noted("no worker runs") == []
    assert noted("no worker runs", workers=workers(), refused_workers=[RefusedWorker("w", ("event",), ("x",))]) == []
    assert noted("no worker runs", workers=workers(), unknown={"ClickHouse": "away"}) == []


def test_replays_that_reach_less_far_than_they_should_are_noted() -> None:
    """RAW of 16 MiB kept bodies for 24 s, and the screen said OK until somebody wanted to replay the day."""

    def noted_at(fill: float, oldest_s: float | None, **values: Any) -> list[str]:
        kept = {"replay_horizon_s": 604_800, "janitor_pressure": 0.9} | values
        state = checked({**Budgets().model_dump(), "nats_replicas": 1, **kept})
        raw = StreamStatus("RAW", 7, 7, 7, fill, 0.0, oldest_s)
        return noted("replay reaches back", streams=[raw], desired=StateReport(state))

    (text,) = noted_at(0.852, 24.3)
    assert text.startswith("RAW is 85% full, and from 90% on processed bodies are deleted before their time")
    assert "reaches back 24s now, and not 7d. `axonpush cluster set --raw-max-bytes`" in text
    assert "reaches back 3h now" in noted_at(0.99, 12_000.0)[0]
    assert noted_at(0.5, 24.3) == noted_at(0.85, 700_000.0) == noted_at(0.85, None) == []
    assert noted_at(0.85, 24.3, janitor_pressure=1.0) == noted_at(0.85, 24.3, replay_horizon_s=None) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "state"),
    [(None, JanitorState.ANSWERS), (NoRespondersError(), JanitorState.NONE), (NatsTimeoutError(), JanitorState.SILENT)],
)
async def test_the_broker_says_whether_a_janitor_listens(error: Exception | None, state: JanitorState) -> None:
    """No answer in time is another thing than nobody who could answer."""

    async def request(subject: str, *_arguments: Any, **_options: Any) -> None:
        assert subject == JANITOR_ASK
        if error:
            raise error

    assert await janitor_state(SimpleNamespace(request=request)) is state  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_the_janitor_answers_while_it_runs() -> None:
    """Each of them, also where requests of consoles are turned off."""
    asked, answers, ended = asyncio.Event(), [], asyncio.Event()

    async def unsubscribe() -> None:
        ended.set()

    async def subscribe(subject: str, cb: Any) -> Any:
        async def respond(body: bytes) -> None:
            answers.append((subject, body))

        await cb(SimpleNamespace(reply="_INBOX.x", respond=respond))
        await cb(SimpleNamespace(reply="", respond=respond))
        asked.set()
        return SimpleNamespace(unsubscribe=unsubscribe)

    task = asyncio.create_task(answer_presence(SimpleNamespace(subscribe=subscribe)))  # type: ignore[arg-type]
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answers == [(JANITOR_ASK, b"{}")]
    assert ended.is_set()
    always, _, _ = inspect.getsource(trimming.work).partition("if settings.janitor_console_requests")
    assert "answer_presence(client)" in always
