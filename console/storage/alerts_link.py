"""What the console has to do with `axonpush alerts`: it stores secrets of actions, and asks for a message now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import nats.errors
import orjson
from nats.js.errors import APIError

from console.api.errors import ApiError
from schemas.headers import MESSAGE_TTL
from schemas.subjects import ALERT_SECRETS_BUCKET, ALERTS_ASK

if TYPE_CHECKING:
    from nats.aio.client import Client

STORE_S: Final = 3.0
# A message may take 10 s, several are sent side by side.
ASK_S: Final = 20.0
_PREFIX: Final = f"$KV.{ALERT_SECRETS_BUCKET}."
# The broker forgets that there was a secret.
_REMOVED: Final = {"KV-Operation": "DEL", MESSAGE_TTL: "1h"}


class AlertsLink(Protocol):
    """Of one console."""

    async def store(self, secrets: Mapping[str, str]) -> None:
        """Secrets by name, each in place of an older one. Raises ApiError 503."""

    async def remove(self, names: Iterable[str]) -> None:
        """Raises ApiError 503."""

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the process that evaluates. Raises ApiError 503."""


class BrokerAlertsLink:
    """Over the broker. This user may write the secrets and cannot read them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def store(self, secrets: Mapping[str, str]) -> None:
        """Stored before the rule that needs them."""
        for name, value in secrets.items():
            await self._publish(name, value.encode(), None)

    async def remove(self, names: Iterable[str]) -> None:
        """A marker takes the place of each."""
        for name in names:
            await self._publish(name, b"", _REMOVED)

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """At most ASK_S."""
        try:
            reply = await self._client.request(ALERTS_ASK, orjson.dumps(question), timeout=ASK_S)
        except (TimeoutError, nats.errors.Error):
            text = "alerts: expected a process `axonpush alerts` that answers, found none: start one, or wait for it"
            raise ApiError(503, text, {"Retry-After": "10"}) from None
        answer = orjson.loads(reply.data)
        return answer if isinstance(answer, dict) else {}

    async def _publish(self, name: str, value: bytes, headers: dict[str, str] | None) -> None:
        try:
            await self._client.jetstream().publish(_PREFIX + name, value, timeout=STORE_S, headers=headers)
        except (TimeoutError, APIError, nats.errors.Error):
            text = "broker: expected it to store the addresses of the actions, found no answer; nothing was changed"
            raise ApiError(503, text, {"Retry-After": "5"}) from None
