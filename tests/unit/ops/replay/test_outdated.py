"""Dead letters of messages that were processed again: which go and which stay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ops.replay.outdated import generation_of, message_of, remove_outdated_dead_letters
from ops.runtime.stream_reader import StoredMessage
from schemas.subjects import DEAD, REFUSED
from tests.unit.broker_fake import BrokerFake, StreamFake

# (channel, stage, sequence of the body, item) -> generation in which it was processed last
TAKEN = [(7, "event", 41, 0, 3)]


def dead_letters() -> BrokerFake:
    return BrokerFake(StreamFake(DEAD, ("dead.>",)), StreamFake(REFUSED, ("refused.>",)))


def database(*taken: tuple[int, str, int, int, int]) -> Any:
    return SimpleNamespace(query=lambda _text: SimpleNamespace(result_rows=list(taken)))


def headers(generation: int | None, seq: int = 41, item: int = 0) -> dict[str, str]:
    told = {"Origin-Seq": str(seq), "Item-Index": str(item)}
    return told if generation is None else told | {"Replay-Generation": str(generation)}


@pytest.mark.parametrize(("generation", "stays"), [(None, False), (0, False), (2, False), (3, True), (4, True)])
@pytest.mark.parametrize("subject", ["dead.event.event.7", "refused.event.event.k1.7"])
@pytest.mark.asyncio
async def test_a_letter_goes_when_a_later_processing_came_to_an_end(
    subject: str, generation: int | None, stays: bool
) -> None:
    """One of the same processing is the message's newest death: it stays."""
    broker = dead_letters()
    await broker.publish(subject, b"{}", headers=headers(generation))
    assert await remove_outdated_dead_letters(broker, database(*TAKEN)) == (0 if stays else 1)  # type: ignore[arg-type]
    assert len(broker.streams[subject.partition(".")[0].upper()].messages) == (1 if stays else 0)


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("dead.event.event.8", headers(0)),
        ("dead.session.session.7", headers(0)),
        ("dead.event.event.7", headers(0, seq=42)),
        ("dead.event.event.7", headers(0, item=1)),
        ("dead.event.event.7", {}),
    ],
    ids=["channel", "stage", "body", "item", "without headers"],
)
@pytest.mark.asyncio
async def test_letters_of_other_messages_stay(subject: str, told: dict[str, str]) -> None:
    """A message is a channel's, a worker's, a body's and one item of it."""
    broker = dead_letters()
    await broker.publish(subject, b"{}", headers=told)
    assert await remove_outdated_dead_letters(broker, database(*TAKEN)) == 0  # type: ignore[arg-type]
    assert len(broker.streams[DEAD].messages) == 1


@pytest.mark.asyncio
async def test_of_many_only_the_cured_go() -> None:
    """Whatever stands between them."""
    broker = dead_letters()
    for generation in (0, 3, 1, 4):
        await broker.publish("dead.event.event.7", b"{}", headers=headers(generation))
    assert await remove_outdated_dead_letters(broker, database(*TAKEN)) == 2  # type: ignore[arg-type]
    assert sorted(broker.streams[DEAD].messages) == [2, 4]


@pytest.mark.asyncio
async def test_nothing_is_read_where_nothing_was_processed_again() -> None:
    """A system without a replay has no reason to look at its dead letters."""
    broker = dead_letters()
    await broker.publish("dead.event.event.7", b"{}", headers=headers(0))
    assert await remove_outdated_dead_letters(broker, database()) == 0  # type: ignore[arg-type]
    assert len(broker.streams[DEAD].messages) == 1


def test_a_letter_says_which_message_it_is() -> None:
    """Its own stage counts where the subject names the stream's."""
    told = StoredMessage(1, "dead.event.event.7", headers(2) | {"Dead-Stage": "unpack"}, b"", 0, 0)
    assert message_of(told) == (7, "unpack", 41, 0)
    assert generation_of(told) == 2
    odd = StoredMessage(1, "dead.event.event.7", {"Origin-Seq": "-4", "Item-Index": "²"}, b"", 0, 0)
    assert (message_of(odd), generation_of(odd)) == ((7, "event", 0, 0), 0)
