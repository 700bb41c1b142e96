"""Creates and updates streams, buckets and durables on the broker; the changes that a migration shows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from ops.provisioning.amounts import exact_size
from ops.provisioning.streams import streams
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.manager import JetStreamManager

    from ops.janitor.broker_limits import BrokerLimits
    from schemas.registry import DesiredState


# A cluster answers only after a majority has stored a change of a stream.
JETSTREAM_TIMEOUT_S: Final = 10.0


Config = TypeVar("Config", StreamConfig, ConsumerConfig)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a server and our definition. `found` is empty for something missing."""

    kind: str
    name: str
    field: str
    found: str
    wanted: str


def print_warning(text: str) -> None:
    """Prints one warning on stderr."""
    print(f"axonpush: warning: {text}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Mode:
    """How a migration behaves. With `dry_run` it only compares.

    Without `allow_lowering`, streams and tables that have more than the desired state keep it, and `warn` is told.
    """

    dry_run: bool = False
    allow_lowering: bool = False
    # The tables are this broker's from now on, whoever wrote them; or again, after another system took one of both.
    adopts_tables: bool = False
    takes_back: bool = False
    # Of brokers that are known without asking: that of an `up`.
    known_limits: tuple[BrokerLimits, ...] = ()
    warn: Callable[[str], None] = print_warning


async def update_streams(js: JetStreamContext, state: DesiredState, mode: Mode) -> list[Change]:
    """Creates and updates the streams and buckets of the desired state. Raises Failed, NatsError."""
    changes: list[Change] = []
    for stream in streams(state, state.nats_replicas):
        changes += await _update_stream(js, stream, mode)
    return changes


async def _update_stream(js: JetStreamContext, wanted: StreamConfig, mode: Mode) -> list[Change]:
    name = str(wanted.name)
    kind = "bucket" if name.startswith(("KV_", "OBJ_")) else "stream"
    try:
        existing = (await js.stream_info(name)).config
    except NotFoundError:
        if not mode.dry_run:
            await _ask(kind, name, js.add_stream(wanted))
        return [Change(kind, name, "", "", _summary(wanted))]
    if not mode.allow_lowering:
        wanted = _not_lowered(existing, wanted, mode)
    changes = differences(kind, name, existing, wanted)
    if changes and not mode.dry_run:
        await _ask(kind, name, js.update_stream(evolved(existing, wanted)), changes)
    return changes


def _not_lowered(existing: StreamConfig, wanted: StreamConfig, mode: Mode) -> StreamConfig:
    """The wanted configuration with at least the replicas and bytes that the stream has now."""
    lowered = [
        (what, name, current, value)
        for what, name in (("replicas", "num_replicas"), ("bytes", "max_bytes"))
        if (current := getattr(existing, name) or 0) and (value := getattr(wanted, name)) and is_more(current, value)
    ]
    for what, _, current, value in lowered:
        has, should = (_amount(what, number) for number in (current, value))
        mode.warn(
            f"{wanted.name} has {has}, the system should have {should}: not lowered. "
            "`axonpush migrate --allow-lowering` lowers it, `axonpush cluster set` changes what it should be"
        )
    return wanted.evolve(**{name: current for _, name, current, _ in lowered}) if lowered else wanted


def _amount(what: str, number: int) -> str:
    if number < 0:
        return f"no limit of {what}"
    return exact_size(number) if what == "bytes" else f"{number} {what}"


def is_more(current: int, wanted: int) -> bool:
    """Whether `found` is above `wanted`; below zero means no limit."""
    return current < 0 or current > wanted


async def update_consumer(js: JetStreamManager, stream: str, wanted: ConsumerConfig, *, dry_run: bool) -> list[Change]:
    name = str(wanted.durable_name)
    try:
        existing = (await js.consumer_info(stream, name)).config
    except NotFoundError:
        if not dry_run:
            await _ask("durable", name, js.add_consumer(stream, wanted))
        return [Change("durable", name, "", "", f"{stream}: {wanted.filter_subject}")]
    if existing.deliver_policy == DeliverPolicy.BY_START_SEQUENCE:
        # A recreated durable (ops/provisioning/durables.py) has another start, which the broker never changes
        # afterwards.
        wanted = wanted.evolve(deliver_policy=existing.deliver_policy, opt_start_seq=existing.opt_start_seq)
    # The server adds entries of its own to the metadata. A new system id is shown once, not for each durable.
    has_id = (wanted.metadata or {}).items() <= (existing.metadata or {}).items()
    wanted = wanted.evolve(metadata={**(existing.metadata or {}), **(wanted.metadata or {})} or None)
    changes = [change for change in differences("durable", name, existing, wanted) if change.field != "metadata"]
    if (changes or not has_id) and not dry_run:
        # Subscribing never changes an existing durable; add_consumer does.
        await _ask("durable", name, js.add_consumer(stream, evolved(existing, wanted)), changes)
    return changes


async def _ask(kind: str, name: str, request: Any, changes: list[Change] | None = None) -> None:
    try:
        await request
    except APIError as error:
        what = (
            "; ".join(f"{change.field} from {change.found} to {change.wanted}" for change in changes or [])
            or "to make it"
        )
        raise Failed(
            f"the broker refused to change {kind} {name} ({what}): {error.description}. {_remedy(error)}"
        ) from error


def _remedy(error: APIError) -> str:
    """What to do about a refusal, for those that are known."""
    text = (error.description or "").lower()
    has_no_room, has_no_brokers = "insufficient" in text or "resource limits" in text, "no suitable peers" in text
    if has_no_room:
        return (
            "The broker's own limit of disk (max_file_store; in our files AXONPUSH_NATS_MAX_FILE_STORE), or the "
            "account's, is less than all streams together: raise it, or choose smaller streams, such as "
            "`axonpush cluster set --raw-max-bytes`."
            + (" As many brokers are needed as replicas, too." if has_no_brokers else "")
        )
    if "non-clustered" in text or has_no_brokers:
        return (
            "As many brokers are needed as replicas, in one cluster: start more (docs/deploy.md), or choose fewer "
            "replicas."
        )
    return "What cannot be changed in place must be moved by hand; migrate never deletes."


def named_fields(config: StreamConfig | ConsumerConfig) -> dict[str, Any]:
    """The fields that our definition sets; others are left to the server."""
    return {field.name: value for field in fields(config) if (value := getattr(config, field.name)) is not None}


def differences(kind: str, name: str, existing: Config, wanted: Config) -> list[Change]:
    """One Change per field that differs. Absent, 0 and false are equal on the wire."""
    return [
        Change(kind, name, field, _text(getattr(existing, field)), _text(value))
        for field, value in named_fields(wanted).items()
        if (getattr(existing, field) or None) != (value or None)
    ]


def evolved(existing: Config, wanted: Config) -> Config:
    """The server's configuration with our fields, so that an operator's own settings (pause, placement) stay."""
    result: Config = existing.evolve(**named_fields(wanted))
    return result


def _summary(config: StreamConfig) -> str:
    return f"{', '.join(config.subjects or [])}: {_text(config.retention)}, {config.max_bytes} bytes"


def _text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
