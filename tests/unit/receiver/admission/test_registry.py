"""What a receiver holds of the registry: newest first, whatever comes twice, late, or not at all."""

from __future__ import annotations

from typing import Any, cast

import pytest
from nats.aio.client import Client

from receiver.admission.registry import Directory, RegistryUnavailable, WatchedRegistry, _KnownEntry
from schemas.registry import Channel, Organisation, decode

CHANNEL = Channel(id=7, organisation="acme")
LIMITED = Organisation(slug="acme", quota_per_minute=10)


class Unconnected:
    """A client without a broker."""

    is_connected = False

    def jetstream(self, **_options: Any) -> None:
        """Nobody asks it anything."""


def registry(directory: Directory) -> WatchedRegistry:
    return WatchedRegistry(cast(Client, Unconnected()), directory=directory, resync_s=60, clock=lambda: 0.0)


def directory() -> Directory:
    return Directory(30, clock=lambda: 0.0)


def test_the_newest_revision_is_remembered_and_forgotten_with_its_bucket() -> None:
    """The broker is asked for what comes after it; a bucket made anew counts from the beginning."""
    held = Directory(30)
    held.store("a", 5, CHANNEL)
    held.store("b", 3, CHANNEL)
    assert held.revision == 5
    held.begin()
    held.store_all({"a": _KnownEntry(2, CHANNEL)})
    assert held.revision == 2
    held.begin()
    held.store("c", 9, CHANNEL)
    held.store_all({"a": _KnownEntry(2, CHANNEL)})
    assert held.revision == 9
    assert held.get("c") == CHANNEL


def test_what_was_looked_up_hides_no_change_before_it() -> None:
    """The broker is still asked for all that came before, also where the look-up came while a snapshot was read."""
    held = Directory(30)
    held.store("a", 5, CHANNEL)
    held.learn("b", _KnownEntry(9, CHANNEL))
    assert (held.revision, held.get("b")) == (5, CHANNEL)
    held.begin()
    held.learn("c", _KnownEntry(12, CHANNEL))
    held.store_all({"a": _KnownEntry(7, CHANNEL)})
    assert (held.revision, held.get("c")) == (7, CHANNEL)


def test_a_deleted_entry_is_known_to_be_gone() -> None:
    """The broker is not asked again; an older word about it changes nothing."""
    held = Directory(30)
    held.store("a", 5, None)
    held.store("a", 4, CHANNEL)
    assert held.has("a")
    assert held.get("a") is None


@pytest.mark.asyncio
async def test_without_a_broker_nothing_is_unknown() -> None:
    """What was looked up in vain before may have been made meanwhile: 503, not 401 or 404."""
    held = registry(known := directory())
    known.mark_unknown("channel.7")
    with pytest.raises(RegistryUnavailable):
        await held.channel(7)
    known.store("channel.7", 1, CHANNEL)
    assert await held.channel(7) == CHANNEL


def test_an_organisation_without_an_entry_has_no_quota() -> None:
    """Nor does one whose limit was lifted."""
    held = registry(known := directory())
    assert held.organisation("acme") is None
    known.store(LIMITED.kv_key, 1, LIMITED)
    assert held.organisation("acme") is LIMITED
    known.store(LIMITED.kv_key, 2, LIMITED.model_copy(update={"quota_per_minute": None}))
    lifted = held.organisation("acme")
    assert lifted is not None
    assert not lifted.is_limited


def test_an_organisations_entry_comes_back_as_it_went() -> None:
    """Under the name it is stored by."""
    found: Any = decode(LIMITED.kv_key, LIMITED.model_dump_json().encode())
    assert found == LIMITED


def test_a_snapshot_ends_what_was_unknown() -> None:
    """An entry that was made while the receiver was away from the broker is not refused for half a minute more."""
    held = directory()
    held.mark_unknown("a")
    assert held.knows("a")
    held.begin()
    held.store_all({})
    assert not held.knows("a")
