"""The desired state without servers: what is adopted, what disagrees, what takes something away."""

from __future__ import annotations

from typing import Any

import pytest
from nats.js.api import StreamConfig

from ops.provisioning.adoption import found_values
from ops.provisioning.amounts import duration_text, exact_size, parse_duration_s
from ops.provisioning.cluster_changes import fewer_replicas
from ops.provisioning.desired_state import FIELDS, StateStore, asked_by, checked
from ops.provisioning.lowering_cost import lowered
from ops.provisioning.streams import GIB, MIB, Budgets, streams
from ops.runtime.environment.sizes import parse_size
from ops.runtime.failures import Conflict, Failed
from ops.runtime.settings import Settings
from schemas.registry import DesiredState
from schemas.subjects import DEAD, RAW, REGISTRY_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket

SIZES = dict.fromkeys(Budgets.model_fields, 64 * MIB)


def state(**fields: Any) -> DesiredState:
    return DesiredState(**({"nats_replicas": 3} | SIZES | fields))


def configs(wanted: DesiredState) -> dict[str, StreamConfig]:
    return {str(stream.name): stream for stream in streams(wanted, wanted.nats_replicas)}


@pytest.mark.parametrize("idempotency_bytes", [512 * MIB, 100 * MIB + 1, 4, 5, 6, 7])
def test_what_a_system_has_is_adopted_exactly(idempotency_bytes: int) -> None:
    """The streams of the adopted values have at least what they had, and at most a few bytes more."""
    wanted = state(raw_max_bytes=7 * GIB, idempotency_max_bytes=idempotency_bytes)
    adopted = asked_by(Settings(), Budgets()).new_state(found_values(configs(wanted)))
    assert adopted.nats_replicas == 3
    before, after = configs(wanted), configs(adopted)
    for name, config in before.items():
        assert 0 <= (after[name].max_bytes or 0) - (config.max_bytes or 0) <= 4, name


def test_missing_streams_say_nothing_and_the_highest_replicas_count() -> None:
    """A system on its way: what is there counts, the rest is asked for."""
    found = configs(state())
    partial = {RAW: found[RAW].evolve(num_replicas=1), DEAD: found[DEAD]}
    adopted = asked_by(Settings(nats_replicas=5), Budgets(items_max_bytes=9 * MIB)).new_state(found_values(partial))
    assert (adopted.nats_replicas, adopted.items_max_bytes, adopted.raw_max_bytes) == (3, 9 * MIB, 64 * MIB)


def test_a_stream_without_a_limit_is_not_given_one_in_silence() -> None:
    """Any limit would be lower than none."""
    with pytest.raises(Failed, match="expected a size limit on stream RAW"):
        found_values({RAW: configs(state())[RAW].evolve(max_bytes=-1)})


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ({"nats_replicas": 3}, {"nats_replicas": 1}, ["nats_replicas"]),
        ({"nats_replicas": 1}, {"nats_replicas": 3}, []),
        ({"clickhouse_ttl_days": 0}, {"clickhouse_ttl_days": 900}, ["clickhouse_ttl_days"]),
        ({"clickhouse_ttl_days": 900}, {"clickhouse_ttl_days": 0}, []),
        ({"clickhouse_ttl_days": 30}, {"clickhouse_ttl_days": 31}, []),
        ({"clickhouse_ttl_days": 31}, {"clickhouse_ttl_days": 30}, ["clickhouse_ttl_days"]),
        ({"dead_max_bytes": 9 * MIB}, {"dead_max_bytes": 8 * MIB}, ["dead_max_bytes"]),
        ({"replay_horizon_s": 60.0}, {"replay_horizon_s": 59.0}, ["replay_horizon_s"]),
        ({"replay_horizon_s": None}, {"replay_horizon_s": 59.0}, []),
        ({"janitor_pressure": 1.0}, {"janitor_pressure": 0.9}, ["janitor_pressure"]),
        ({"public_url": "https://z"}, {"public_url": ""}, []),
    ],
)
def test_what_takes_something_away_is_lowering(before: Any, after: Any, names: list[str]) -> None:
    """No TTL is the longest one; what nobody has decided cannot be lowered."""
    assert lowered(state(**before), state(**after)) == names


def test_only_what_somebody_said_can_disagree() -> None:
    """A default of this version is nobody's wish."""
    kept = state(nats_replicas=3)
    assert asked_by(Settings(), Budgets()).disagreements(kept) == []
    (text,) = asked_by(Settings(nats_replicas=1), Budgets()).disagreements(kept)
    assert text.startswith("AXONPUSH_NATS_REPLICAS is 1, but this system keeps 3")
    assert "`axonpush cluster set --replicas 1`" in text, "without the flag, so that the cost is shown first"
    assert asked_by(Settings(nats_replicas=3), Budgets()).disagreements(kept) == []


def test_streams_with_fewer_replicas_are_named() -> None:
    """A missing one has none."""
    found = configs(state())
    found[RAW] = found[RAW].evolve(num_replicas=1)
    del found[DEAD]
    assert fewer_replicas(state(), found) == {RAW: 1, DEAD: 0}


@pytest.mark.asyncio
async def test_changes_at_the_same_time_are_all_kept() -> None:
    """Compare-and-swap: the other command's value stays, and the version counts both."""
    made = BrokerFake(bucket(REGISTRY_BUCKET))
    store = StateStore(await made.key_value(REGISTRY_BUCKET))
    await store.add(state())
    left = [1]

    def meanwhile(subject: str) -> None:
        if left[0]:
            left[0] = 0
            data = state(version=2, public_url="https://in.example.com").model_dump_json().encode()
            made.store(made.streams[f"KV_{REGISTRY_BUCKET}"], subject, data, {})

    made.before = meanwhile
    changed = await store.change({"nats_replicas": 5})
    assert (changed.version, changed.nats_replicas, changed.public_url) == (3, 5, "https://in.example.com")
    assert await store.change({"nats_replicas": 5}) == changed, "the same again counts no version"
    assert await store.add(state(nats_replicas=1)) == changed, "a faster command's entry stays"


@pytest.mark.asyncio
async def test_an_entry_of_a_newer_version_is_refused() -> None:
    """It is neither ignored, which would provision by defaults, nor replaced."""
    made = BrokerFake(bucket(REGISTRY_BUCKET))
    store = StateStore(await made.key_value(REGISTRY_BUCKET))
    subject = f"$KV.{REGISTRY_BUCKET}.{DesiredState.KV_KEY}"
    made.store(made.streams[f"KV_{REGISTRY_BUCKET}"], subject, b'{"nats_replicas":7}', {})
    for call in (store.read(), store.change({"nats_replicas": 1})):
        with pytest.raises(Failed, match="upgrade axonpush-ingest"):
            await call


def test_a_wrong_value_names_its_option() -> None:
    """As the command line calls it."""
    with pytest.raises(Failed, match="--replicas"):
        checked(state().model_dump() | {"nats_replicas": 2})
    assert issubclass(Conflict, Failed)


@pytest.mark.parametrize("size", [1, 1023, MIB, 10 * GIB, 14_415_822_848, 1536 * MIB, 3 * GIB // 2 + 1, 1_000_000_000])
def test_a_printed_size_is_read_back(size: int) -> None:
    """The command in a warning sets exactly the value."""
    assert parse_size(exact_size(size)) == size
    assert parse_size(FIELDS["raw_max_bytes"].command(size).rpartition(" ")[2]) == size


@pytest.mark.parametrize("seconds", [0, 59, 90, 3600, 86_400, 604_800, 604_801, 12_345_678])
def test_a_printed_duration_is_read_back(seconds: float) -> None:
    """The same."""
    assert parse_duration_s(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("10GiB", 10 * GIB), ("10 GB", 10**10), ("1.5MiB", 1536 * 1024), ("7", 7), ("512mib", 512 * MIB)]
)
def test_sizes_are_written_as_people_write_them(text: str, size: int) -> None:
    """Thousands and 1024s are told apart by the i."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "1e3", "10GiB/min", "ten"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    """Nothing is guessed."""
    for parse in (parse_size, parse_duration_s):
        with pytest.raises(ValueError, match="expected"):
            parse(text)
