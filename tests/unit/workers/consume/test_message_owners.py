"""Who works on which message: nobody's message is found, and what is settled is forgotten."""

from __future__ import annotations

from typing import cast

from workers.consume.message import Message
from workers.consume.owned_messages import MessageOwner, OwnedMessages


class Owner:
    """Works until it is said to be done."""

    def __init__(self) -> None:
        self.is_done = False

    def done(self) -> bool:
        return self.is_done


def owner_of(owned: OwnedMessages, message: Message) -> MessageOwner | None:
    return owned._owners.get(message)


def test_an_owned_message_gets_another_owner() -> None:
    """A task hands it to a batch: when the task ends, the message is not nobody's."""
    owned, message = OwnedMessages(), cast("Message", object())
    task, batch = Owner(), Owner()
    owned.take(message, task)
    owned.pass_on(message, batch)
    assert owner_of(owned, message) is batch
    owned.abandon([message], task)
    assert owner_of(owned, message) is batch, "the task owns it no more"


def test_a_settled_message_does_not_come_back() -> None:
    """It would be given back to the broker, and processed twice."""
    owned, message = OwnedMessages(), cast("Message", object())
    owned.take(message, Owner())
    owned.let_go(message)
    owned.pass_on(message, Owner())
    assert message not in owned
    assert len(owned) == 0
