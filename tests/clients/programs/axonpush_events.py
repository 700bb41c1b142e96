"""What the axonpush SDK of this interpreter sends and raises. Argument: JSON with url, keys, channels and a name.

The three generations of the SDK differ in constructors and in how `sync` and headers are reached; what they publish
with is the same call.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import sys
import uuid
from typing import Any

import axonpush
from axonpush.integrations.logging_handler import AxonPushLoggingHandler

told = json.loads(sys.argv[1])
VERSION = importlib.metadata.version("axonpush")
GENERATION = int(VERSION.rpartition(".")[2])
HAS_NUMBERS = GENERATION <= 9
NOBODY = "http://127.0.0.1:1"


def options(key: str, url: str, **more: Any) -> dict[str, Any]:
    found = {"api_key": key, "tenant_id": "1", "base_url": url, "fail_open": False, **more}
    if GENERATION > 9:
        found["max_retries"] = 0
    if GENERATION >= 16:
        found["content_capture_mode"] = "full"
    return found


def channel(number: int) -> Any:
    return number if HAS_NUMBERS else str(number)


def id_of(event: Any) -> str:
    return str(event.id if HAS_NUMBERS else event.event_id)


def publish(client: Any, name: str, **more: Any) -> Any:
    fields = {
        "agent_id": "researcher",
        "trace_id": told["trace_id"],
        "event_type": "agent.tool_call.start",
        "metadata": {"framework": "own", "step": {"n": 3}},
    }
    payload = {"tool_name": "search", "input": "ships"}
    return client.events.publish(name, payload, channel(told["channel"]), **(fields | more))


def publish_in_sync(client: Any, name: str) -> Any:
    if HAS_NUMBERS:
        from axonpush.models.events import CreateEventParams, Event

        body = CreateEventParams(identifier=name, payload={"a": 1}, channel_id=told["channel"], sync=True)
        sent = client._transport.request("POST", "/event", json=body.model_dump(by_alias=True, exclude_none=True))
        return Event.model_validate(sent)
    fields = {"identifier": name, "channel_id": str(told["channel"]), "sync": True}
    if GENERATION < 18:
        from axonpush._internal.api.api.event import event_controller_create_event as operation
        from axonpush._internal.api.models import CreateEventDto, CreateEventDtoPayload

        return client._invoke(operation, body=CreateEventDto(payload=CreateEventDtoPayload(), **fields))
    from axonpush._internal.api.api.event import create_event as operation
    from axonpush._internal.api.models import EventBody, EventBodyPayload

    return client._invoke(operation, body=EventBody(payload=EventBodyPayload(), **fields))


def publish_again(client: Any, name: str) -> list[str]:
    """The same event twice under one key; the newest SDK has a parameter for it, for the others it is a header."""
    key = uuid.uuid4().hex
    if GENERATION >= 18:
        return [id_of(publish(client, name, dedup_key=key)) for _ in range(2)]
    http = client._transport._client if HAS_NUMBERS else client.http.get_httpx_client()
    http.headers["Idempotency-Key"] = key
    found = [id_of(publish(client, name)) for _ in range(2)]
    del http.headers["Idempotency-Key"]
    return found


def raised_by(key: str, number: int, name: str = "x", url: str = "", payload: Any = None) -> dict[str, Any]:
    with axonpush.AxonPush(**options(key, url or told["url"])) as client:
        try:
            client.events.publish(name, payload or {}, channel(number))
        except axonpush.AxonPushError as error:
            return {
                "kind": type(error).__name__,
                "status": error.status_code,
                "text": str(error),
                "retry_after": getattr(error, "retry_after", None),
            }
    return {"kind": "none"}


async def publish_asynchronously(name: str) -> str:
    async with axonpush.AsyncAxonPush(**options(told["key"], told["url"])) as client:
        return id_of(await publish(client, name))


def log_a_line(client: Any, name: str) -> None:
    handler = AxonPushLoggingHandler(
        client=client, channel_id=channel(told["channel"]), service_name="shop", mode="sync"
    )
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.warning("stock is low: %s left", 2, extra={"till": "seven"})
    logger.removeHandler(handler)


def main() -> None:
    name = told["name"]
    found: dict[str, Any] = {"version": VERSION}
    with axonpush.AxonPush(**options(told["key"], told["url"], environment="staging")) as client:
        found["published"] = id_of(publish(client, f"{name}.published"))
        found["stored"] = id_of(publish_in_sync(client, f"{name}.stored"))
        found["again"] = publish_again(client, f"{name}.again")
        log_a_line(client, f"{name}.logged")
    with axonpush.AxonPush(**options(told["public_token"], told["url"])) as client:
        found["public"] = id_of(publish(client, f"{name}.public"))
    found["async"] = asyncio.run(publish_asynchronously(f"{name}.async"))
    key, number = told["key"], told["channel"]
    found["errors"] = {
        "key": raised_by("ak_" + "0" * 32, number),
        "foreign": raised_by(key, told["foreign_channel"]),
        "missing": raised_by(key, 2**62),
        "invalid": raised_by(key, number, name=" "),
        "large": raised_by(key, number, payload={"x": [10] * 2_000_001}),
        "away": raised_by(key, number, url=NOBODY),
    }
    with axonpush.AxonPush(**options(told["limited_key"], told["url"])) as client:
        publish(client, f"{name}.limited")
    found["errors"]["limited"] = raised_by(told["limited_key"], number)
    print(json.dumps(found))


main()
