"""Asks broker and ClickHouse which system they belong to, for `migrate`, `up`, and commands that need both."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from ops.cli.servers import open_clickhouse, open_nats
from ops.provisioning.desired_state import stored_state
from ops.provisioning.sequences import highest_of
from ops.provisioning.system.running import fetching_workers, last_insert
from ops.provisioning.system.system_id import (
    BrokerSide,
    Evidence,
    IdsOfTables,
    SystemId,
    TablesSide,
    decide,
    mismatch,
    rows_of,
    tables_ids,
    tables_of_ours,
)
from ops.runtime.failures import Failed, not_completed
from ops.runtime.secret_masking import without_secrets
from ops.runtime.stream_state import StreamState, consumers_of, stream_state
from schemas import headers
from schemas.identifiers import SYSTEM_METADATA
from schemas.outcomes import minute_of
from schemas.subjects import RAW, SOURCES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from nats.aio.client import Client
    from nats.js import JetStreamContext
    from nats.js.api import ConsumerInfo

    from ops.runtime.settings import Settings

# Bodies of RAW that are compared: from its beginning, its end, and between.
SAMPLES: Final = 24
JETSTREAM_TIMEOUT_S: Final = 10.0
# For commands that can do their work without ClickHouse.
BRIEF_S: Final = 4.0
# (channel, minute in seconds): what identifies a body beside its number.
BodyFacts = tuple[int, int]

_KNOWN: Final = """
SELECT origin_seq, channel_id, toUnixTimestamp(minute) FROM {database:Identifier}.taken_rows
WHERE origin_seq IN {seqs:Array(UInt64)} AND stage IN {stages:Array(String)} GROUP BY ALL"""
_BODY_STAGES: Final = tuple(name for name, source in SOURCES.items() if source.stream == RAW)


@dataclass(frozen=True, slots=True)
class Taking:
    """Whether one side may be taken from its system, and which servers this process has just started itself, so that
    nobody else uses them."""

    adopts: bool = False
    takes_back: bool = False
    # The folders of embedded servers; empty for others.
    own_broker: str = ""
    own_tables: str = ""


async def find_system(settings: Settings, taking: Taking | None = None) -> SystemId:
    """The id that broker and tables of these settings have or shall have; changes nothing. Raises Failed."""
    async with open_nats(settings, "system-id") as client:
        try:
            return await _find(client, settings, taking or Taking())
        except (NatsError, TimeoutError) as error:
            raise not_completed(error) from error


async def _find(client: Client, settings: Settings, taking: Taking) -> SystemId:
    js = client.jetstream(timeout=JETSTREAM_TIMEOUT_S)
    broker = replace(await _broker_side(client, js, settings), folder=taking.own_broker)
    tables = await asyncio.to_thread(_tables_side, settings, taking)
    if broker.system_id and broker.system_id == tables.system_id:
        return decide(broker, tables, Evidence.NONE)
    if not taking.own_broker and not taking.takes_back and (taking.adopts or broker.system_id):
        broker = replace(broker, fetching=await fetching_workers(js))
    evidence = await _evidence(js, client, settings, tables)
    return decide(broker, tables, evidence, adopts=taking.adopts, takes_back=taking.takes_back)


async def _evidence(js: JetStreamContext, client: Client, settings: Settings, tables: TablesSide) -> Evidence:
    raw = await _raw(client) if tables.exists else None
    if raw is None:
        return Evidence.NONE
    in_raw = await _held_bodies(js, raw, tables.highest)
    return compared(in_raw, await asyncio.to_thread(_known_bodies, settings, sorted(in_raw)))


async def _broker_side(client: Client, js: JetStreamContext, settings: Settings) -> BrokerSide:
    raw, state = await _raw(client), await stored_state(js)
    durables = await consumers_of(js, RAW) if raw else []
    return BrokerSide(
        settings.nats_addresses(),
        (state.system_id if state else "") or id_of_durables(durables),
        raw.last_seq if raw else 0,
        # Whether a worker has ever got a body.
        any(info.delivered is not None and info.delivered.consumer_seq > 0 for info in durables),
        state.clickhouse_database if state else "",
        raw.messages if raw else 0,
        _text(raw.first_at) if raw and raw.first_at else "",
        state.previous_system_id if state else "",
    )


async def _raw(client: Client) -> StreamState | None:
    try:
        return await stream_state(client, RAW)
    except NotFoundError:
        return None


def id_of_durables(durables: Sequence[ConsumerInfo]) -> str:
    """The id that they all have: the entry of the registry may be lost, or rewritten by an older version."""
    ids = {(info.config.metadata or {}).get(SYSTEM_METADATA, "") for info in durables}
    return ids.pop() if len(ids) == 1 else ""


def _text(time: dt.datetime) -> str:
    """To the second before: nothing is younger than its text."""
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tables_side(settings: Settings, taking: Taking) -> TablesSide:
    database, address = settings.clickhouse_database, without_secrets(settings.clickhouse_url)
    client = open_clickhouse(settings)
    try:
        ids = tables_ids(client, database)
        others = tables_of_ours(client, database) if ids is None else 0
        if ids is None and not others:
            return TablesSide(address, database, folder=taking.own_tables)
        insert = last_insert(client, database) if taking.adopts and not taking.own_tables else None
        return TablesSide(
            address,
            database,
            ids is not None,
            ids.current if ids else "",
            highest_of(client, database) if ids else 0,
            insert.at if insert else None,
            insert.s_ago if insert else None,
            ids.previous if ids else "",
            taking.own_tables,
            rows_of(client, database) if taking.adopts or taking.takes_back else 0,
            others,
        )
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {address} refused: {error}") from error
    finally:
        client.close()


async def _held_bodies(js: JetStreamContext, raw: StreamState, highest: int) -> dict[int, BodyFacts]:
    """Some bodies that RAW holds and the tables may know: their channels and minutes by number. Raises NatsError."""
    first, last = raw.first_seq, min(raw.last_seq, highest)
    if not raw.messages or last < first:
        return {}
    step = max(1, (last - first) // (SAMPLES - 1))
    facts: dict[int, BodyFacts] = {}
    for seq in sorted({*range(first, last + 1, step), last})[: SAMPLES + 1]:
        try:
            message = await js.get_msg(RAW, seq=seq)
        except NotFoundError:
            continue
        received = (message.headers or {}).get(headers.RECEIVED_AT, "")
        channel = (message.subject or "").rpartition(".")[2]
        if received.isdigit() and channel.isdigit():
            facts[seq] = (int(channel), minute_of(int(received)))
    return facts


def _known_bodies(settings: Settings, seqs: list[int]) -> dict[int, set[BodyFacts]]:
    """What the tables know of these numbers. Raises Failed."""
    known: dict[int, set[BodyFacts]] = {}
    if not seqs:
        return known
    client = open_clickhouse(settings)
    try:
        parameters = {"database": settings.clickhouse_database, "seqs": seqs, "stages": list(_BODY_STAGES)}
        for seq, channel, minute in client.query(_KNOWN, parameters=parameters).result_rows:
            known.setdefault(int(seq), set()).add((int(channel), int(minute)))
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    finally:
        client.close()
    return known


def compared(in_raw: dict[int, BodyFacts], known: dict[int, set[BodyFacts]]) -> Evidence:
    """One number with another channel or minute is enough: then another system has written into these tables too."""
    both = [(facts, known[seq]) for seq, facts in in_raw.items() if seq in known]
    if not both:
        return Evidence.NONE
    return Evidence.SAME if all(in_tables == {facts} for facts, in_tables in both) else Evidence.OTHER


async def check_same_system(
    client: Client, settings: Settings, *, needs_clickhouse: bool = True, needs_tables: bool = True
) -> None:
    """Refuses a command whose broker and tables belong to two systems, or whose tables are missing.

    Without `needs_clickhouse`, a ClickHouse that does not answer is no reason to refuse: workers compare too. Without
    `needs_tables`, missing tables are none either. Raises Failed, NatsError.
    """
    state = await stored_state(client.jetstream(timeout=JETSTREAM_TIMEOUT_S))
    if state is None or not state.system_id:
        return
    try:
        ids = await asyncio.to_thread(_ids_in_tables, settings, None if needs_clickhouse else BRIEF_S)
    except Failed:
        if needs_clickhouse:
            raise
        return
    # Where only the table with the id is lost, the tables are not another system's.
    limit_s = None if needs_clickhouse else BRIEF_S
    lost = await asyncio.to_thread(_lost_tables, settings, limit_s) if needs_tables or ids is None else ""
    wrong = mismatch(state, ids.current if ids else None, settings, ids)
    if text := lost if ids is None and lost else wrong or lost:
        raise Failed(f"{text}. Nothing was changed.")


def _lost_tables(settings: Settings, timeout_s: float | None) -> str:
    from ops.provisioning import lost_tables  # noqa: PLC0415 (parses all migrations)
    from ops.provisioning.cluster_tables import Cluster  # noqa: PLC0415

    database, name = settings.clickhouse_database, settings.clickhouse_cluster
    client = open_clickhouse(settings, timeout_s)
    try:
        return lost_tables.refusal(
            lost_tables.missing_as_seen(client, database, Cluster(name, database) if name else None)
        )
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
    finally:
        client.close()


def _ids_in_tables(settings: Settings, timeout_s: float | None) -> IdsOfTables | None:
    client = open_clickhouse(settings, timeout_s)
    try:
        return read_tables_ids(client, settings)
    finally:
        client.close()


def read_tables_ids(client: ClickHouseClient, settings: Settings) -> IdsOfTables | None:
    """The ids in the tables of these settings. Raises Failed."""
    try:
        return tables_ids(client, settings.clickhouse_database)
    except ClickHouseError as error:
        raise Failed(f"ClickHouse at {without_secrets(settings.clickhouse_url)} refused: {error}") from error
