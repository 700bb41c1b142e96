"""Channels, keys and limits over a bucket in memory: races that a real broker shows once in a while, on purpose."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from ops.registry.changes import OrganisationSummary, RegistryWriter
from ops.registry.entries import CAS_ATTEMPTS
from ops.registry.key_options import KeyOptions
from ops.registry.quotas import NO_QUOTA
from ops.runtime.failures import Conflict, Failed
from schemas.registry import DEFAULT_PUBLIC_QUOTA, Key, decode
from schemas.subjects import REGISTRY_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket


async def writer(made: BrokerFake, organisation: str = "acme") -> RegistryWriter:
    return RegistryWriter(made, await made.key_value(REGISTRY_BUCKET), organisation, lambda: "2026-01-01T00:00:00Z")  # type: ignore[arg-type]


async def site() -> tuple[BrokerFake, RegistryWriter]:
    made = BrokerFake(bucket(REGISTRY_BUCKET))
    registry = await writer(made)
    await registry.create_environment("production")
    return made, registry


def stored_key(made: BrokerFake, key: Key) -> Key:
    """The entry as it is in the bucket."""
    stream = made.streams[f"KV_{REGISTRY_BUCKET}"]
    name = f"$KV.{REGISTRY_BUCKET}.{key.kv_key}"
    found = decode(key.kv_key, stream.messages[stream.last_of(name)].data)
    assert isinstance(found, Key)
    return found


def meanwhile(made: BrokerFake, key: Key, times: int = 1, **changes: object) -> None:
    """Another command writes the key between our reading and our writing."""
    left = [times]

    def before(subject: str) -> None:
        if left[0] and subject.endswith(key.kv_key):
            left[0] -= 1
            stream = made.streams[f"KV_{REGISTRY_BUCKET}"]
            data = json.loads(stream.messages[stream.last_of(subject)].data) | changes
            made.store(stream, subject, json.dumps(data).encode(), {})

    made.before = before


class ReplicaBehind(BrokerFake):
    """A direct read is answered by a replica that has nothing yet."""

    async def get_msg(self, *args: Any, direct: bool = False, **options: Any) -> RawStreamMsg:
        if direct:
            raise NotFoundError(code=404, err_code=10037, description="no message found")
        return await super().get_msg(*args, direct=direct, **options)


@pytest.mark.asyncio
async def test_what_was_written_just_now_is_found_while_replicas_are_behind() -> None:
    registry = await writer(ReplicaBehind(bucket(REGISTRY_BUCKET)))
    await registry.create_environment("production")
    channel = await registry.create_channel(name="Web shop")
    text, key = await registry.mint(KeyOptions("production", channels=(channel.id,)))
    assert [one.id for one in await registry.all_keys()] == [key.id]
    assert (await registry.revoke(text)).revoked
    with pytest.raises(Failed, match="Web shop"):
        await registry.create_channel(name="Web shop")


@pytest.mark.asyncio
async def test_a_revocation_survives_a_change_at_the_same_time() -> None:
    """Another command limits the key in between: the entry that is stored has both."""
    made, registry = await site()
    _, key = await registry.mint(KeyOptions("production"))
    meanwhile(made, key, quota_per_minute=60)
    assert (await registry.revoke(key.id)).revoked
    found = stored_key(made, key)
    assert (found.revoked, found.quota_per_minute) == (True, 60)


@pytest.mark.asyncio
async def test_a_change_does_not_undo_a_revocation_at_the_same_time() -> None:
    """The other way round."""
    made, registry = await site()
    _, key = await registry.mint(KeyOptions("production"))
    meanwhile(made, key, revoked=True)
    await registry.limit(key.id, {"quota_per_minute": 5})
    found = stored_key(made, key)
    assert (found.revoked, found.quota_per_minute) == (True, 5)


@pytest.mark.asyncio
async def test_a_race_that_never_ends_is_said() -> None:
    """And nothing is half done; one turn less is enough."""
    made, registry = await site()
    _, key = await registry.mint(KeyOptions("production"))
    meanwhile(made, key, times=CAS_ATTEMPTS, name="other")
    with pytest.raises(Conflict, match="again"):
        await registry.revoke(key.id)
    assert not stored_key(made, key).revoked
    meanwhile(made, key, times=CAS_ATTEMPTS - 1, name="other")
    assert (await registry.revoke(key.id)).revoked


@pytest.mark.asyncio
async def test_revoking_twice_writes_once() -> None:
    """And is no error."""
    made, registry = await site()
    text, key = await registry.mint(KeyOptions("production"))
    await registry.revoke(text)
    written = len(made.journal)
    assert (await registry.revoke(key.id)).revoked
    assert len(made.journal) == written


@pytest.mark.asyncio
async def test_the_broker_never_sees_a_key_in_clear_text() -> None:
    """Neither in a name nor in an entry; by the text it is found all the same."""
    made, registry = await site()
    text, key = await registry.mint(KeyOptions("production"))
    for one in made.streams[f"KV_{REGISTRY_BUCKET}"].messages.values():
        assert text not in one.subject
        assert text.encode() not in one.data
    assert await registry.find(text) == key
    assert await registry.find("ak_" + "x" * 32) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"public": True}, DEFAULT_PUBLIC_QUOTA.requests),
        ({"public": True, "quota_per_minute": 7}, 7),
        ({"public": True, "quota_per_minute": NO_QUOTA}, None),
        ({}, None),
        ({"quota_per_minute": 7}, 7),
    ],
)
@pytest.mark.asyncio
async def test_a_quota_that_is_not_named_is_that_of_its_kind(options: dict[str, Any], expected: int | None) -> None:
    """A public token's default, none of a secret key; NO_QUOTA lifts either."""
    _, registry = await site()
    _, key = await registry.mint(KeyOptions("production", **options))
    assert key.quota_per_minute == expected


@pytest.mark.asyncio
async def test_channels_are_numbered_across_organisations() -> None:
    """The one after the highest of all; an id that is taken is a conflict."""
    made, registry = await site()
    other = await writer(made, "other")
    assert [(await registry.create_channel()).id, (await other.create_channel()).id] == [1, 2]
    assert (await registry.create_channel(40)).id == 40
    assert (await other.create_channel()).id == 41
    with pytest.raises(Conflict):
        await other.create_channel(40)
    assert [one.id for one in await registry.channels()] == [1, 40]
    assert [one.id for one in await other.channels()] == [2, 41]


@pytest.mark.asyncio
async def test_organisations_list_only_their_own_and_a_key_is_found_from_any() -> None:
    """A leaked key is revoked by whoever has it; a named organisation must be the key's."""
    made, registry = await site()
    text, key = await registry.mint(KeyOptions("production"))
    other = await writer(made, "other")
    assert await other.keys() == []
    with pytest.raises(Failed, match="is of organisation acme, not of other"):
        await other.revoke(text, "other")
    assert not stored_key(made, key).revoked
    await other.revoke(f"https://{text}@in.example.com/7")
    assert stored_key(made, key).revoked


@pytest.mark.parametrize("entry", [b"{", b'{"id":1}'])
@pytest.mark.asyncio
async def test_an_entry_of_a_newer_version_is_not_overwritten(entry: bytes) -> None:
    """What this version cannot read stays as it is."""
    made, registry = await site()
    channel = await registry.create_channel()
    stream = made.streams[f"KV_{REGISTRY_BUCKET}"]
    made.store(stream, f"$KV.{REGISTRY_BUCKET}.{channel.kv_key}", entry, {})
    with pytest.raises(Failed):
        await registry.archive_channel(channel.id, archived=True)
    assert stream.messages[stream.last_seq].data == entry


@pytest.mark.asyncio
async def test_old_entries_read_without_change() -> None:
    """Written before names, notes and archives: they are as they were, and what is changed keeps the rest."""
    made, registry = await site()
    stream = made.streams[f"KV_{REGISTRY_BUCKET}"]
    old = {"id": 7, "organisation": "acme", "name": "web", "created_at": "2025-01-01T00:00:00Z"}
    made.store(stream, f"$KV.{REGISTRY_BUCKET}.channel.7", json.dumps(old).encode(), {})
    (found,) = await registry.channels()
    assert (found.note, found.archived_at) == ("", "")
    archived = await registry.archive_channel(7, archived=True)
    assert (archived.name, archived.created_at, archived.archived_at) == (
        "web",
        "2025-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z",
    )
    assert (await registry.summaries())[0].entry.created_at == "2025-01-01T00:00:00Z"


@pytest.mark.asyncio
async def test_a_name_is_taken_by_an_archived_channel_too() -> None:
    """It may be opened again; another organisation may use the name."""
    made, registry = await site()
    first = await registry.create_channel(name="web")
    await registry.archive_channel(first.id, archived=True)
    with pytest.raises(Conflict, match="archived"):
        await registry.create_channel(name=" WEB ")
    assert (await (await writer(made, "other")).create_channel(name="web")).name == "web"
    assert (await registry.rename_channel(first.id, "Web")).name == "Web", "its own name in another case"


@pytest.mark.asyncio
async def test_a_key_needs_a_channel_of_its_own_organisation() -> None:
    """One of another: refused, nothing stored."""
    made, registry = await site()
    channel = await (await writer(made, "other")).create_channel()
    with pytest.raises(Failed, match="expected a channel of organisation acme"):
        await registry.mint(KeyOptions("production", channels=(channel.id,)))
    assert await registry.keys() == []


@pytest.mark.asyncio
async def test_hints_name_the_organisation() -> None:
    """A command that is suggested makes what is missing where it is missed."""
    made, registry = await site()
    channel = await (await writer(made, "other")).create_channel()
    with pytest.raises(Failed, match="`axonpush channels create --id 77 --organisation acme` creates it"):
        await registry.mint(KeyOptions("production", channels=(77,)))
    with pytest.raises(Failed, match=f"channel {channel.id} belongs to organisation other"):
        await registry.mint(KeyOptions("production", channels=(channel.id,)))
    with pytest.raises(Conflict, match=f"channel {channel.id} of organisation other exists already"):
        await registry.create_channel(channel.id)
    with pytest.raises(Failed, match="`axonpush channels create --id 77` creates it"):
        await (await writer(made, "default")).mint(KeyOptions("production", channels=(77,)))


@pytest.mark.asyncio
async def test_limits_of_an_organisation_keep_what_is_not_named() -> None:
    """Made when first set, changed after; listed by name."""
    made, registry = await site()
    await registry.limit_organisation({"quota_per_minute": 5})
    found = await registry.limit_organisation({"quota_rows_per_minute": 9})
    assert (found.quota_per_minute, found.quota_rows_per_minute) == (5, 9)
    assert found.changed_at == "2026-01-01T00:00:00Z"
    await (await writer(made, "abc")).limit_organisation({"quota_per_minute": 1})
    assert [one.slug for one in await registry.organisations()] == ["abc", "acme"]


@pytest.mark.asyncio
async def test_a_summary_counts_what_each_organisation_owns() -> None:
    """Each has another number of everything, so that nothing is counted for another or under another name."""
    made, acme = await site()
    other = await writer(made, "other")
    await other.create_environment("production")
    for slug, registry, sizes in (("acme", acme, (3, 2, 4, 1, 1)), ("other", other, (4, 1, 5, 3, 2))):
        channels, archived, keys, revoked, environments = sizes
        for number in range(1, environments):
            await registry.create_environment(f"{slug}-{number}")
        made_channels = [await registry.create_channel() for _ in range(channels)]
        for channel in made_channels[:archived]:
            await registry.archive_channel(channel.id, archived=True)
        minted = [(await registry.mint(KeyOptions("production")))[1] for _ in range(keys)]
        for key in minted[:revoked]:
            await registry.revoke(key.id)
    found = {one.entry.slug: one for one in await acme.summaries()}
    assert list(found) == ["acme", "default", "other"]
    assert found["acme"] == OrganisationSummary(found["acme"].entry, 3, 2, 4, 1, 1)
    assert found["other"] == OrganisationSummary(found["other"].entry, 4, 1, 5, 3, 2)
    assert found["default"] == OrganisationSummary(found["default"].entry)


@pytest.mark.asyncio
async def test_a_new_channel_has_a_number_without_rows() -> None:
    """After a lost broker, tables know more channels than the registry; a number that is asked for stays."""
    _, registry = await site()
    assert (await registry.create_channel(used=7)).id == 8
    assert (await registry.create_channel(used=3)).id == 9
    assert (await registry.create_channel(2, used=30)).id == 2
