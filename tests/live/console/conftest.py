"""Senders whose channel the console knows: it follows the registry, so a new one is unknown for a moment."""

from __future__ import annotations

import pytest

from tests.live.conftest import MakeSender
from tests.live.console.web_api import Api
from tests.polling import eventually
from tests.system import System
from tests.traffic import Sender


@pytest.fixture(scope="session")
def new_sender(new_sender: MakeSender, operated: System) -> MakeSender:
    """As in the other live tests, and waits for the console."""
    api = Api(operated)

    def make() -> Sender:
        sender = new_sender()
        path = f"/projects/default/{sender.channel}/"
        eventually(lambda: api.answer("GET", path)[0] == 200, "the console to know the channel")
        return sender

    return make
