"""What `status` says about quotas: the sum of everybody's last word, beside what the registry allows."""

from __future__ import annotations

from typing import Any

import pytest
from nats.js.errors import KeyNotFoundError

from ops.cli.status import _quota_row
from ops.status.quotas import MAX_LOOKED_UP, MAX_SHOWN, QuotaListener, QuotaTotals, quota_use
from schemas import subjects, usage
from schemas.registry import Key, Organisation, key_hash
from schemas.usage import WINDOW_S, Unit
from tests.unit.receiver.admission.test_quotas import Clock


def key(name: str = "a", **quotas: int) -> Key:
    return Key(sha256=key_hash(name), organisation="acme", environment="production", kind="secret", **quotas)  # type: ignore[arg-type]


def test_the_last_word_of_each_process_counts_for_a_minute() -> None:
    """Two receivers add up; a report replaces the one before; whoever is silent for a minute is gone."""
    clock = Clock()
    totals = QuotaTotals(clock)
    totals.hear("left", {("key.a", Unit.REQUESTS): 5})
    totals.hear("left", {("key.a", Unit.REQUESTS): 7})
    clock.now_s += WINDOW_S / 2
    totals.hear("right", {("key.a", Unit.REQUESTS): 3, ("key.a", Unit.BYTES): 90, ("key.b", Unit.ROWS): 0})
    assert totals.by_owner() == {"key.a": {Unit.REQUESTS: 10, Unit.BYTES: 90}}
    clock.now_s += WINDOW_S / 2
    assert totals.by_owner() == {"key.a": {Unit.REQUESTS: 3, Unit.BYTES: 90}}


def test_the_share_is_that_of_the_quota_used_up_most() -> None:
    """A quota of zero is used up by anything."""
    one = key(quota_per_minute=100, quota_rows_per_minute=10)
    found = quota_use(one, {Unit.REQUESTS: 50, Unit.ROWS: 9})
    assert found is not None
    assert found.share == 0.9
    assert found.as_json() == {
        "of": "key",
        "name": one.id,
        "organisation": "acme",
        "share": 0.9,
        "requests": {"used": 50, "allowed": 100},
        "bytes": None,
        "rows": {"used": 9, "allowed": 10},
    }
    closed = quota_use(Organisation(slug="acme", quota_bytes_per_minute=0), {Unit.BYTES: 1})
    assert closed is not None
    assert closed.share == 1.0
    assert quota_use(key(), {Unit.REQUESTS: 5}) is None, "its quota was lifted meanwhile"


def test_a_person_reads_used_of_allowed() -> None:
    """Units without a limit are empty."""
    found = quota_use(key(quota_per_minute=120_000, quota_bytes_per_minute=3 * 10**9), {Unit.REQUESTS: 1_500})
    assert found is not None
    assert _quota_row(found) == (f"key {key().id}", "acme", "1,500 of 120,000", "0 B of 3 GB", "", "1.2%")


class Registry:
    """A NATS client with a registry; counts how many entries were read."""

    def __init__(self, *entries: Key | Organisation) -> None:
        self.entries = {entry.kv_key: entry.model_dump_json().encode() for entry in entries}
        self.callbacks: dict[str, Any] = {}
        self.reads = 0

    async def subscribe(self, subject: str, cb: Any) -> None:
        self.callbacks[subject] = cb

    def jetstream(self) -> Registry:
        return self

    async def key_value(self, _name: str) -> Registry:
        return self

    async def stream_info(self, _stream: str, subjects_filter: str) -> Any:
        prefix = subjects_filter.removesuffix("key.>")
        self.info = type("Info", (), {})()
        self.info.state = type("State", (), {"subjects": {prefix + name: 1 for name in self.entries}})()
        return self.info

    async def get(self, name: str) -> Any:
        self.reads += 1
        if name not in self.entries:
            raise KeyNotFoundError
        return type("Entry", (), {"value": self.entries[name]})()


@pytest.mark.asyncio
async def test_reports_and_registry_come_together() -> None:
    """A key is reported by its id and found by it; rows come on a subject of their own; nonsense is let be."""
    client = Registry(
        key("a", quota_per_minute=10, quota_rows_per_minute=100), Organisation(slug="acme", quota_rows_per_minute=50)
    )

    listener = QuotaListener(client)  # type: ignore[arg-type]
    await listener.open()
    assert await listener.uses() == []
    named = f"key.{key('a').id}"

    async def hear(subject: str, data: bytes) -> None:
        await client.callbacks[subject](type("Msg", (), {"data": data})())

    await hear(subjects.QUOTA_USE, b"nonsense")
    await hear(subjects.QUOTA_USE, usage.encode("r", {named: 5, f"{named}:minutes": 3, "key.ffffffffffffffff": 4}))
    await hear(subjects.QUOTA_ROWS, usage.encode("w", {named: 90, "organisation.acme": 10}))
    assert [(one.name, one.share) for one in await listener.uses()] == [(key("a").id, 0.9), ("acme", 0.2)]


@pytest.mark.asyncio
async def test_however_many_quotas_there_are_the_answer_is_bounded() -> None:
    """The busiest are looked up, fewer are shown."""
    keys = [key(str(number), quota_per_minute=1_000) for number in range(MAX_LOOKED_UP + 50)]
    client = Registry(*keys)

    listener = QuotaListener(client)  # type: ignore[arg-type]
    await listener.open()
    used = {f"key.{one.id}": number + 1 for number, one in enumerate(keys)}
    await client.callbacks[subjects.QUOTA_USE](type("Msg", (), {"data": usage.encode("r", used)})())
    shares = [one.share for one in await listener.uses()]
    assert len(shares) == MAX_SHOWN
    assert shares[0] == len(keys) / 1_000
    assert client.reads == MAX_LOOKED_UP
