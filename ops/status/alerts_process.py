"""Which process evaluates alert rules: the lease that it writes every two seconds."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nats.js.errors import NotFoundError

from schemas.subjects import ALERTS_BUCKET, ALERTS_LEASE_ENTRY

if TYPE_CHECKING:
    from nats.aio.client import Client

# Three leases: clocks of two machines differ.
STALE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class AlertsProcess:
    """Who evaluated last, and how long ago that was written. Empty `owner`: it ended and gave its place back."""

    owner: str
    age_s: float

    @property
    def is_stale(self) -> bool:
        """Whether nobody evaluates."""
        return not self.owner or self.age_s > STALE_S


async def alerts_process(client: Client) -> AlertsProcess | None:
    """None if none ever ran here. Raises NatsError."""
    subject = f"$KV.{ALERTS_BUCKET}.{ALERTS_LEASE_ENTRY}"
    try:
        answer = await client.jetstream().get_last_msg(f"KV_{ALERTS_BUCKET}", subject, direct=True)
    except NotFoundError:
        return None
    try:
        fields = json.loads(answer.data or b"{}")
        return AlertsProcess(str(fields.get("owner") or ""), max(0.0, time.time() - float(fields.get("at_s") or 0)))
    except (ValueError, AttributeError, TypeError):
        return AlertsProcess("", 0.0)
