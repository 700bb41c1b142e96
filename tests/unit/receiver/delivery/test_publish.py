"""What the broker says, or does not say, of a body: not stored, too large for ever, or nobody knows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from nats.errors import ConnectionClosedError, MaxPayloadError
from nats.js.errors import APIError, NoStreamResponseError

from receiver.delivery.publish import BodyTooLarge, PublishError, StreamPublisher, Unavailable, Unconfirmed


def connection() -> SimpleNamespace:
    """As much of a NATS client as a publisher uses."""
    return SimpleNamespace(is_connected=True, jetstream=lambda **_: None)


def refused(err_code: int) -> APIError:
    return APIError(code=503, err_code=err_code, description="refused")


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (NoStreamResponseError(), Unavailable, "no_stream"),
        (refused(10077), Unavailable, "stream_full"),
        (refused(10167), Unavailable, "busy"),
        (refused(10054), BodyTooLarge, "max_payload"),
        (MaxPayloadError(), BodyTooLarge, "max_payload"),
        (TimeoutError(), Unconfirmed, "timeout"),
        (ConnectionClosedError(), Unconfirmed, "connection"),
        (BrokenPipeError(), Unconfirmed, "connection"),
        (refused(10008), Unconfirmed, "api_10008"),
    ],
)
@pytest.mark.asyncio
async def test_only_a_broker_that_said_so_has_not_stored_a_body(
    error: Exception, kind: type[PublishError], reason: str
) -> None:
    """Silence is no refusal: the body may be on its disk."""

    async def publish(*_: object) -> None:
        raise error

    publisher = StreamPublisher(connection(), 1.0)  # type: ignore[arg-type]
    publisher._group = SimpleNamespace(publish=publish)  # type: ignore[assignment]
    with pytest.raises(PublishError) as raised:
        await publisher.publish("raw.event.1", b"", {})
    assert (type(raised.value), raised.value.reason) == (kind, reason)


@pytest.mark.asyncio
async def test_a_connection_that_was_lost_before_has_not_stored_a_body() -> None:
    """Nothing was sent. When it is lost while the answer is awaited, nobody knows."""
    client = connection()
    client.is_connected = False
    publisher = StreamPublisher(client, 1.0)  # type: ignore[arg-type]
    with pytest.raises(Unavailable) as raised:
        await publisher.publish("raw.event.1", b"", {})
    assert type(raised.value) is Unavailable
    client.is_connected = True

    async def lost(*_: object) -> None:
        client.is_connected = False
        raise TimeoutError

    publisher._group = SimpleNamespace(publish=lost)  # type: ignore[assignment]
    with pytest.raises(Unconfirmed, match="disconnected"):
        await publisher.publish("raw.event.1", b"", {})
