"""What a person is told to do about a broker that does not store."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from nats.errors import NoRespondersError

from ops.janitor import storage
from ops.janitor.storage import JETSTREAM_OFF, StorageRefusal


def test_a_full_disk_wants_room() -> None:
    """A stream's own write error, and a server that turned JetStream off."""
    for found in (StorageRefusal("RAW", "a", "no space left on device"), StorageRefusal("", "a", JETSTREAM_OFF)):
        assert "give its disk room" in found.remedy


@pytest.mark.parametrize("error", [NoRespondersError(), TimeoutError()])
def test_a_broker_that_was_killed_is_not_told_to_have_a_full_disk(error: Exception) -> None:
    """It answers nothing, or that JetStream is not there yet: its process and its log tell why."""

    async def request(*_: Any, **__: Any) -> Any:
        raise error

    found = asyncio.run(storage._refusal_of(SimpleNamespace(request=request), "RAW", "raw.none"))  # type: ignore[arg-type]
    assert found is not None
    assert "room" not in found.remedy
    assert "starting, busy or away" in found.remedy
