"""A replay over a broker in memory: which bodies, how they go out again, where it stops and goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
from nats.errors import TimeoutError as NatsTimeout

from ops.replay import reprocess
from ops.replay.control import Choice, Control, ReplayState, open_control
from ops.replay.reprocess import reprocessed
from ops.replay.run import Replay
from ops.runtime.failures import Conflict, Failed
from ops.runtime.stream_reader import StoredMessage
from schemas import headers
from schemas.subjects import CONTROL_BUCKET, ITEMS, RAW, REPLAY, SOURCES
from tests.unit.broker_fake import STARTED_AT, BrokerFake, StreamFake, bucket

HOUR = dt.timedelta(hours=1)
ALL = Choice(since=STARTED_AT - HOUR, until=STARTED_AT + 100 * HOUR)


class Scene:
    """RAW with a body an hour on three subjects in turn; what was told; and a workers' end that takes what comes."""

    SUBJECTS = ("raw.sentry.envelope.7", "raw.otlp.logs.7", "raw.sentry.envelope.8")

    def __init__(self) -> None:
        self.broker = BrokerFake(
            StreamFake(RAW, ("raw.>",)),
            StreamFake(ITEMS, ("item.>",)),
            StreamFake(REPLAY, ("replay.>",)),
            bucket(CONTROL_BUCKET),
        )
        self.told: list[tuple[int, int, str]] = []
        self.stop = asyncio.Event()
        self.published: list[tuple[str, dict[str, str]]] = []
        for source in SOURCES.values():
            if source.stream in (RAW, ITEMS):
                self.broker.add_durable(source.stream, source.durable, acknowledged=0)

    async def fill(self, bodies: int) -> None:
        for number in range(bodies):
            self.broker.now = STARTED_AT + number * HOUR
            told = {"Nats-Msg-Id": f"m{number}", "Organisation": "acme", "Counts-To": "_INBOX.x"}
            await self.broker.publish(self.SUBJECTS[number % 3], b"body %d" % number, headers=told)
        self.broker.journal.clear()

    async def replay(self) -> Replay:
        control = await open_control(self.broker)  # type: ignore[arg-type]
        return Replay(self.broker, control, lambda *told: self.told.append(told), self.stop)  # type: ignore[arg-type]

    def take_everything(self, stop_after: int = 10**9) -> None:
        """Workers settle what is replayed at once; the person ends the replay after so many."""

        def before(subject: str) -> None:
            replayed = self.broker.streams[REPLAY]
            self.published += [(one.subject, one.headers) for one in replayed.messages.values()]
            replayed.messages.clear()
            if subject.startswith("replay.") and len(self.published) + 1 >= stop_after:
                self.stop.set()

        self.broker.before = before

    def bodies(self) -> list[int]:
        """Sequences of the bodies that went out, in order."""
        sent = [told for subject, told in self.broker.journal if subject.startswith("replay.")]
        return [int(told[headers.ORIGIN_SEQ]) for told in sent]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"since": STARTED_AT + 2 * HOUR}, [3, 4, 5, 6, 7, 8, 9]),
        ({"until": STARTED_AT + 2 * HOUR}, [1, 2]),
        ({"since": STARTED_AT + 2 * HOUR, "until": STARTED_AT + 2 * HOUR}, []),
        ({"channels": [8]}, [3, 6, 9]),
        ({"routes": ["otlp.logs"]}, [2, 5, 8]),
        ({"routes": ["sentry.envelope"], "channels": [7]}, [1, 4, 7]),
    ],
)
@pytest.mark.asyncio
async def test_the_chosen_bodies_go_out_in_order(choice: dict[str, Any], expected: list[int]) -> None:
    """From `since` on, before `until`; and the plan has counted them."""
    scene = Scene()
    await scene.fill(9)
    replay = await scene.replay()
    plan = await replay.plan(ALL.model_copy(update=choice), 0)
    assert plan.total == len(expected)
    scene.take_everything()
    plan = plan.model_copy(update={"updated_at": STARTED_AT})
    done = await replay.run(plan)
    assert scene.bodies() == expected
    assert (done.published, done.next_seq >= done.end_seq, done.generation) == (len(expected), True, 1)
    assert [told for told in scene.told if told[2] == "replaying"] == [
        (number, plan.total, "replaying") for number in range(1, plan.total + 1)
    ]
    assert done.updated_at > plan.updated_at


@pytest.mark.asyncio
async def test_a_dry_run_counts_and_publishes_nothing() -> None:
    """By route and channel."""
    scene = Scene()
    await scene.fill(9)
    replay = await scene.replay()
    found = await replay.look(await replay.plan(ALL, 0))
    assert dict(found.bodies) == {("sentry.envelope", 7): 3, ("otlp.logs", 7): 3, ("sentry.envelope", 8): 3}
    assert dict(found.size_bytes) == dict.fromkeys(found.bodies, 18)
    assert scene.broker.journal == []


@pytest.mark.asyncio
async def test_a_replay_that_was_ended_goes_on_where_it_stopped() -> None:
    """No body twice, none left out, under the same generation."""
    scene = Scene()
    await scene.fill(9)
    replay = await scene.replay()
    scene.take_everything(stop_after=4)
    first = await replay.run(await replay.plan(ALL, 0))
    done_before = scene.bodies()
    assert 1 <= len(done_before) < 9
    assert first.next_seq == done_before[-1] + 1
    scene.stop.clear()
    scene.take_everything()
    found = await replay.last()
    assert found == first
    assert (await replay.run(first)).generation == first.generation
    assert scene.bodies() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.asyncio
async def test_what_the_janitor_has_trimmed_meanwhile_is_said() -> None:
    """A resumed replay would leave it out without a word."""
    scene = Scene()
    await scene.fill(9)
    replay = await scene.replay()
    plan = await replay.plan(ALL, 0)
    await scene.broker.purge_stream(RAW, seq=5)
    with pytest.raises(Failed, match="found 5 to be the oldest"):
        await replay.run(plan.model_copy(update={"generation": 3}))


@pytest.mark.asyncio
async def test_it_ends_when_nothing_is_under_way_any_more() -> None:
    """Every row is stored then: not when the last body was published."""
    scene = Scene()
    await scene.fill(3)
    replay = await scene.replay()
    running = asyncio.create_task(replay.run(await replay.plan(ALL, 0)))
    while not any("workers" in what for *_, what in scene.told):
        await asyncio.sleep(0)
    assert not running.done()
    assert scene.bodies() == [1, 2, 3]
    scene.broker.streams[REPLAY].messages.clear()
    assert (await running).published == 3


def stored(**told: str) -> StoredMessage:
    return StoredMessage(41, "raw.sentry.envelope.7", told, b"body", 4, 0)


def test_a_replayed_message_makes_the_same_rows() -> None:
    """Its identity stays, its generation is new; what bound the first publish only stays behind."""
    message = reprocessed(
        stored(
            **{
                "Nats-Msg-Id": "m1",
                "Nats-Batch-Id": "b",
                "Organisation": "acme",
                "Counts-To": "_INBOX.x",
                "Sync": "1",
                "Replay-Types": "event",
                "Replay-Generation": "2",
                "Dead-Reason": "r",
                "Dead-Stage": "event",
                "Dead-Error": "e",
                "Origin-Stream": "RAW",
                "Origin-Subject": "s",
                "Deliveries": "3",
                "Traceparent": "t",
            }
        ),
        3,
    )
    assert (message.subject, message.body) == ("raw.sentry.envelope.7", b"body")
    assert message.headers == {
        "Organisation": "acme",
        "Nats-Msg-Id": "again:raw:41::3",
        "Origin-Seq": "41",
        "Origin-Id": "m1",
        "Replay-Generation": "3",
    }


def test_an_item_keeps_the_place_it_came_from() -> None:
    """Of a message that was an item already: its body's sequence and id, not its own."""
    told = {"Nats-Msg-Id": "9:2:0", "Origin-Seq": "9", "Origin-Id": "m9", "Item-Index": "2"}
    message = reprocessed(stored(**told), 5, subject="item.event.7", types=("event", "session"))
    assert message.headers == {
        "Nats-Msg-Id": "again:item:9:2:5",
        "Origin-Seq": "9",
        "Origin-Id": "m9",
        "Item-Index": "2",
        "Replay-Generation": "5",
        "Replay-Types": "event,session",
    }
    assert message.subject == "item.event.7"


@pytest.mark.asyncio
async def test_a_full_stream_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is published once, when there is room; a person may end the wait."""
    scene = Scene()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            scene.broker.error = None

    monkeypatch.setattr(reprocess.asyncio, "sleep", sleep)
    scene.broker.error = NatsTimeout()
    assert await reprocess.publish(scene.broker, reprocessed(stored(), 1), scene.stop)  # type: ignore[arg-type]
    assert len(pauses) == 7
    assert all(0 < pause <= 2 for pause in pauses)
    assert len(scene.broker.streams[REPLAY].messages) == 1
    scene.stop.set()
    assert not await reprocess.publish(scene.broker, reprocessed(stored(), 2), scene.stop)  # type: ignore[arg-type]
    assert len(scene.broker.streams[REPLAY].messages) == 1


async def control() -> tuple[BrokerFake, Control]:
    made = BrokerFake(bucket(CONTROL_BUCKET))
    return made, await open_control(made)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_generations_only_rise() -> None:
    """Whoever asks at once gets a number of its own; the last of them is the end."""
    made, target = await control()
    assert sorted(await asyncio.gather(*(target.next_generation() for _ in range(20)))) == list(range(1, 21))
    await (await made.key_value(CONTROL_BUCKET)).put("generation", str(headers.MAX_GENERATION - 1).encode())
    assert await target.next_generation() == headers.MAX_GENERATION
    with pytest.raises(Failed, match="used up"):
        await target.next_generation()


@pytest.mark.asyncio
async def test_generations_that_others_keep_taking_are_said() -> None:
    """Between our reading and our writing, again and again."""
    made, target = await control()

    def before(subject: str) -> None:
        stream = made.streams[f"KV_{CONTROL_BUCKET}"]
        made.store(stream, subject, b"7", {})

    made.before = before
    with pytest.raises(Conflict):
        await target.next_generation()


@pytest.mark.asyncio
async def test_replays_are_remembered_until_they_are_forgotten() -> None:
    """Oldest first; what another version wrote is left out."""
    made, target = await control()
    assert await target.replays() == []
    states = [
        ReplayState(
            generation=number,
            choice=ALL,
            rate=0,
            first_seq=1,
            next_seq=1,
            end_seq=1,
            total=0,
            updated_at=STARTED_AT,
        )
        for number in (10, 2)
    ]
    for state in states:
        await target.save(state)
    await (await made.key_value(CONTROL_BUCKET)).put("replay.odd", b"{}")
    assert await target.replays() == states[::-1]
    await target.forget(states[0])
    assert await target.replays() == [states[1]]
    assert states[0].is_alive(STARTED_AT + dt.timedelta(seconds=599))
    assert not states[0].is_alive(STARTED_AT + dt.timedelta(seconds=600))
