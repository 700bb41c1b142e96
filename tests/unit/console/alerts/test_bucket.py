"""Entries on the broker: removed ones are forgotten, and a value that it does not take is not an outage."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
import pytest
from nats.js.errors import APIError

from console.alerts.bucket import Bucket, BucketUnavailable, EntryChanged, EntryTooLarge
from console.alerts.lease import EvaluationLease
from console.alerts.state import RuleState, written
from console.alerts.states import LOADED_AT_ONCE, States
from console.storage.alerts_link import BrokerAlertsLink
from schemas.subjects import ALERT_SECRETS_BUCKET, ALERTS_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket
from tests.unit.console.alerts.world import MemoryEntries

pytestmark = pytest.mark.asyncio


def broker() -> Any:
    return BrokerFake(bucket(ALERTS_BUCKET), bucket(ALERT_SECRETS_BUCKET))


async def test_an_entry_is_written_read_and_removed() -> None:
    """With its revision; the broker forgets a removed one after an hour."""
    client = broker()
    entries = Bucket(client)
    revision = await entries.put("state.acme.5", b"x", 0)
    assert await entries.get("state.acme.5") == (b"x", revision)
    with pytest.raises(EntryChanged):
        await entries.put("state.acme.5", b"y", 0)
    await entries.remove("state.acme.5")
    assert (await entries.get("state.acme.5"))[0] == b""
    assert client.journal[-1][1] == {"KV-Operation": "DEL", "Nats-TTL": "1h"}
    assert await entries.get("none") == (b"", 0)


async def test_secrets_have_a_bucket_of_their_own() -> None:
    """A console that fills it leaves room for the lease."""
    client = broker()
    link, secrets = BrokerAlertsLink(client), Bucket(client, ALERT_SECRETS_BUCKET)
    await link.store({"a.url": "https://hooks.test/x"})
    assert (await secrets.get("a.url"))[0] == b"https://hooks.test/x"
    assert client.streams[f"KV_{ALERTS_BUCKET}"].messages == {}
    await link.remove(["a.url"])
    assert (await secrets.get("a.url"))[0] == b""
    assert client.journal[-1][1]["Nats-TTL"] == "1h"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (APIError(code=503, err_code=10077, description="maximum bytes exceeded"), EntryTooLarge),
        (nats.errors.MaxPayloadError(), EntryTooLarge),
        (APIError(code=503, err_code=10008, description="no leader"), BucketUnavailable),
        (nats.errors.TimeoutError(), BucketUnavailable),
    ],
)
async def test_what_is_refused_for_its_size_is_no_outage(error: Exception, expected: type[Exception]) -> None:
    """Only its rule has an error, and the round goes on."""
    client = broker()
    client.error = error
    with pytest.raises(BucketUnavailable) as failed:
        await Bucket(client).put("state.acme.5", b"x", 0)
    assert type(failed.value) is expected


class CountedEntries(MemoryEntries):
    """How many entries are read at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    async def get(self, name: str) -> tuple[bytes, int]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await super().get(name)


async def test_a_take_over_reads_many_entries_at_once_and_leaves_out_what_was_removed() -> None:
    """Thousands of them within the seconds that are promised."""
    entries = CountedEntries()
    for number in range(300):
        await entries.put(f"state.acme.{number}", written(RuleState(evaluated_ns=1)), 0)
    for number in range(200):
        await entries.remove(f"state.acme.{number}")
    entries.lists_removed = True
    states = States(entries, EvaluationLease(entries, "one"), lambda: 1)
    await states.load_all()
    assert sorted(key for key, _ in states) == sorted(("acme", number) for number in range(200, 300))
    assert entries.most == LOADED_AT_ONCE
    revision = entries.revision
    await states.remove_others({("acme", number): None for number in range(200, 300)})
    assert entries.revision == revision, "nothing is removed again"


async def test_two_who_ask_at_once_get_the_same_state() -> None:
    """Evaluation and history: what one of them changes is not changed again from an older copy."""
    entries = CountedEntries()
    states = States(entries, EvaluationLease(entries, "one"), lambda: 1)
    first, second = await asyncio.gather(states.of(("acme", 5)), states.of(("acme", 5)))
    assert first is second
    assert await states.of(("acme", 5)) is first
