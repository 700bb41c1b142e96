"""What the routes need: settings, the registry, ClickHouse, clocks. One object for the whole process."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from console.access.limits import LiveStreams, RequestLimits
from console.explore.live import LivePolls

if TYPE_CHECKING:
    from console.access.registry import FollowedRegistry, KnownEntries
    from console.access.state import SessionState
    from console.explore.delivery import DeliveryReports
    from console.settings import ConsoleSettings
    from console.storage.alerts_link import AlertsLink
    from console.storage.clickhouse import ClickHouse
    from ops.runtime.artifacts.library import ArtifactLibrary


# Uploads whose bodies are in memory at once, each up to 32 MB; others wait.
UPLOADS_AT_ONCE: Final = 3


class OperatorAsked(Protocol):
    """The process with the operator's rights."""

    async def ask(self, body: bytes) -> bytes:
        """Its answer to a request (schemas/operator_requests/). Raises NobodyAnswers."""


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(slots=True)
class Services:
    """Everything with a lifetime of its own is opened and closed by process.py."""

    settings: ConsoleSettings
    registry: FollowedRegistry
    clickhouse: ClickHouse
    # Where tools reach this process, as the settings say or else as it listens.
    url: str
    is_connected: Callable[[], bool]
    session_state: SessionState
    reports: DeliveryReports
    now: Callable[[], dt.datetime] = _utc_now
    now_ns: Callable[[], int] = time.time_ns
    new_id: Callable[[], uuid.UUID] = uuid.uuid4
    limits: RequestLimits = field(default_factory=RequestLimits)
    stopping: bool = False
    # None: without a broker, in tests.
    artifacts: ArtifactLibrary | None = None
    upload_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_AT_ONCE))
    live_streams: LiveStreams = field(default_factory=LiveStreams)
    live_polls: LivePolls = field(default_factory=LivePolls)
    operator: OperatorAsked | None = None
    # Tells that an upload may have made stack traces of stored events readable: (name, JSON).
    request_reprocessing: Callable[[str, bytes], Awaitable[None]] | None = None
    # The entry of that name as the janitor keeps it; b"" if there is none.
    reprocessing_of: Callable[[str], Awaitable[bytes]] | None = None
    # None: without a broker, in tests.
    alerts: AlertsLink | None = None
    # Organisations for which a preview of a rule is being made: one at a time, and few altogether.
    previews: set[str] = field(default_factory=set)

    @property
    def registry_entries(self) -> KnownEntries:
        """Organisations, projects and tokens, as they are now."""
        return self.registry.entries

    def health(self) -> dict[str, bool]:
        """Whether each part works; /ready answers 200 if all do."""
        return {"broker": self.is_connected(), "registry": self.registry.ready, "serving": not self.stopping}
