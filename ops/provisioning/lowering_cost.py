"""Says what it costs to lower a value of the desired state: which messages and rows go, which failures are no longer
survived.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.js.errors import NotFoundError

from ops.cli.servers import open_clickhouse
from ops.cli.terminal import counted
from ops.provisioning.adoption import STREAM_OF_SIZE
from ops.provisioning.amounts import duration_text, size_text
from ops.provisioning.cluster_tables import PLACEMENTS
from ops.provisioning.desired_state import FIELDS
from ops.runtime.failures import Failed
from ops.runtime.stream_state import StreamState, first_seq_since, stream_state
from schemas.subjects import IDEMPOTENCY_BUCKET, RAW, REFUSED

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ops.runtime.settings import Settings
    from schemas.registry import DesiredState

# A full stream of these discards its oldest messages; the others refuse new ones.
DISCARDING: Final = frozenset({REFUSED})
COUNT_TIMEOUT_S: Final = 20


def lowered(before: DesiredState, after: DesiredState) -> list[str]:
    """Names of the values that take something away."""
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in FIELDS]
    return [name for name, old, new in pairs if old is not None and new is not None and FIELDS[name].is_lower(old, new)]


async def costs(client: Client, settings: Settings, before: DesiredState, after: DesiredState) -> list[str]:
    """One text for each lowered value. Raises Failed, NatsError."""
    texts = []
    for name in lowered(before, after):
        state_field, old, new = FIELDS[name], getattr(before, name), getattr(after, name)
        texts.append(
            f"{state_field.option}: from {state_field.shown(old)} to {state_field.shown(new)}: "
            f"{await _cost(client, settings, name, new)}"
        )
    return texts


async def _cost(client: Client, settings: Settings, name: str, new: int) -> str:
    if name == "nats_replicas":
        return replicas_cost(new)
    if name == "clickhouse_ttl_days":
        return await asyncio.to_thread(_ttl_cost, settings, new)
    if name == "replay_horizon_s":
        return await _horizon_cost(client, new)
    if name == "janitor_pressure":
        return "processed bodies are deleted at a lower fill of RAW, so replays may reach less far"
    if name == "artifacts_ttl_days":
        return f"source maps and mappings older than {new} days are deleted: stack traces that need them stay minified"
    return await _size_cost(client, name, new)


def replicas_cost(replicas: int) -> str:
    """Which failures are survived with so many replicas."""
    if replicas == 1:
        return (
            "no broker may fail any more: each stream is on one disk, and if that is lost, so are its bodies without "
            "rows, dead letters and keys"
        )
    brokers = "1 broker" if replicas < 5 else f"{replicas // 2} brokers"
    return f"only {brokers} may fail at a time; if one more fails, requests are refused"


async def _size_cost(client: Client, name: str, max_bytes: int) -> str:
    stream = STREAM_OF_SIZE.get(name)
    if stream is None:
        return await _idempotency_cost(client, max_bytes)
    try:
        state = await stream_state(client, stream)
    except NotFoundError:
        return f"{stream} does not exist yet"
    excess = state.size_bytes - max_bytes
    if excess <= 0:
        return f"{stream} holds {counted(state.messages, 'message')}, {size_text(state.size_bytes)}: none goes"
    if stream in DISCARDING:
        return f"{stream} discards its oldest, about {_number(state, excess)} of {state.messages} messages"
    stored = size_text(state.size_bytes)
    text = f"{stream} holds {stored}, above the new limit: it refuses new messages until there is room"
    if stream == RAW:
        text += (
            f", so senders get 503. The janitor deletes processed bodies early, about {_number(state, excess)} of "
            f"{state.messages}, which then cannot be replayed"
        )
    return text


async def _idempotency_cost(client: Client, max_bytes: int) -> str:
    state = await stream_state(client, f"KV_{IDEMPOTENCY_BUCKET}")
    excess = state.size_bytes - max_bytes * 3 // 4
    number = _number(state, excess) if excess > 0 else 0
    return f"about {number} of {state.messages} idempotency keys are forgotten: their repeats become second events"


async def _horizon_cost(client: Client, horizon_s: float) -> str:
    state = await stream_state(client, RAW)
    oldest = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=horizon_s)
    number = 0
    if state.first_at is not None and state.first_at < oldest:
        number = await first_seq_since(client.jetstream(), RAW, oldest) - state.first_seq
    return (
        f"the janitor deletes processed bodies older than {duration_text(horizon_s)}, about {number} of "
        f"{state.messages}: they cannot be replayed any more"
    )


def _ttl_cost(settings: Settings, days: int) -> str:
    """The rows that are older than the new TTL. Raises Failed if ClickHouse does not count them."""
    client = open_clickhouse(settings)
    try:
        client.database = settings.clickhouse_database
        numbers = {table: _expired_rows(client, table, days) for table, place in PLACEMENTS.items() if place.expires_by}
    except ClickHouseError as error:
        raise Failed(f"ClickHouse refused to count rows older than {days} days: {error}") from error
    finally:
        client.close()
    expired = ", ".join(f"{number:,} of {table}" for table, number in numbers.items() if number)
    return f"ClickHouse deletes rows older than {days} days: {expired or 'there are none now'}"


def _expired_rows(client: object, table: str, days: int) -> int:
    expires_by = PLACEMENTS[table].expires_by
    sql = f"SELECT count() FROM {table} WHERE toDateTime({expires_by}) < now() - INTERVAL {days} DAY"
    result = client.query(sql, settings={"max_execution_time": COUNT_TIMEOUT_S})  # type: ignore[attr-defined]
    return int(result.result_rows[0][0])


def _number(state: StreamState, excess_bytes: int) -> int:
    """About how many messages have so many bytes."""
    return min(state.messages, -(-excess_bytes * state.messages // state.size_bytes))
