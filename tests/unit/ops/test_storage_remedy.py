"""What an operator is told to do about a broker that does not store messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from nats.errors import NoRespondersError

from ops.janitor import storage
from ops.janitor.storage import JETSTREAM_OFF, StorageRefusal


def test_a_full_disk_needs_free_space() -> None:
    """A stream's own write error, and a server that turned JetStream off."""
    for found in (StorageRefusal("RAW", "a", "no space left on device"), StorageRefusal("", "a", JETSTREAM_OFF)):
        assert "free disk space" in found.remedy


@pytest.mark.parametrize("error", [NoRespondersError(), TimeoutError()])
@pytest.mark.asyncio
async def test_the_disk_of_a_killed_broker_is_not_called_full(error: Exception) -> None:
    """It does not answer, or JetStream is not ready yet: the operator looks at its process and its log."""

    async def request(*_: Any, **__: Any) -> Any:
        raise error

    found = await storage._refusal_of(SimpleNamespace(request=request), "RAW", "raw.none")  # type: ignore[arg-type]
    assert found is not None
    assert "disk space" not in found.remedy
    assert "starting, busy or away" in found.remedy
