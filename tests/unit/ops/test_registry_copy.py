"""The registry as a file: what is written can be read, and nothing that was cut, changed or is newer is taken."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.registry.file_copy import FORMAT, RegistryCopy, StoredEntry, count_kinds, encode_file, parse_file
from ops.runtime.failures import Failed
from schemas.registry import Channel, Environment, Key, Organisation, key_hash
from schemas.subjects import REGISTRY_BUCKET
from tests.unit.broker_fake import BrokerFake, bucket

SECRET = "ak_" + "s" * 32
ENTRIES = [
    Channel(id=7, organisation="acme", name="Läden"),
    Environment(organisation="acme", slug="production"),
    Organisation(slug="acme", quota_per_minute=60, quota_bytes_per_minute=10**9, quota_rows_per_minute=5_000),
    Key(sha256=key_hash(SECRET), organisation="acme", environment="production", kind="secret", revoked=True),
]
STORED = [StoredEntry(one.kv_key, json.loads(one.model_dump_json())) for one in ENTRIES]
FILE = encode_file(STORED, "2026-11-21T10:00:00Z")


def changed(line: int, **fields: Any) -> bytes:
    """The file with fields of one line replaced."""
    lines = [json.loads(text) for text in FILE.splitlines()]
    lines[line] |= fields
    return b"\n".join(json.dumps(one).encode() for one in lines)


def test_what_is_written_is_read() -> None:
    """Every field, in the order of names, and no key in it."""
    assert sorted(parse_file(FILE), key=lambda one: one.name) == sorted(STORED, key=lambda one: one.name)
    assert encode_file(reversed(STORED), "2026-11-21T10:00:00Z") == FILE
    assert SECRET.encode() not in FILE
    assert count_kinds(STORED) == {"channel": 1, "environment": 1, "key": 1, "organisation": 1}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "expected a file that"),
        (b"{}\n", "expected a file that"),
        (b"\xff\xfe", "line 1: expected a JSON object"),
        (b"[" * 100_000, "line 1: expected a JSON object"),
        (FILE[: FILE.rindex(b"\n", 0, -1) + 1], "expected 4 entries, found 3: the file is incomplete"),
        (FILE + FILE.splitlines()[1] + b"\n", "expected 4 entries, found 5"),
        (changed(0, schema=2), "expected schema 1 or older, found 2"),
        (changed(1, name="lease.1"), "line 2: expected an entry this version knows, found a newer one"),
        (changed(1, value=STORED[0].value | {"colour": "red"}), "line 2: expected an entry this version knows"),
        (changed(1, value={"id": 7}), "line 2: expected a valid channel"),
        (changed(1, name="channel.8"), "line 2: expected the name that matches its fields"),
        (changed(1, value=[]), "line 2: expected a name and a value"),
        (changed(2, **json.loads(FILE.splitlines()[1])), "found one twice"),
    ],
)
def test_anything_else_is_refused_with_its_line(data: bytes, told: str) -> None:
    """Cut, changed, doubled, of another program, or of a newer version: all of it or nothing."""
    with pytest.raises(Failed, match=told):
        parse_file(data)


def test_a_key_in_the_file_is_not_quoted() -> None:
    """Somebody may have put one where its hash should be."""
    with pytest.raises(Failed) as error:
        parse_file(changed(3, name=f"key.{SECRET}", value=STORED[3].value | {"sha256": SECRET}))
    assert SECRET not in str(error.value)


def test_names_of_keys_are_shown_by_their_id() -> None:
    """As the other commands do."""
    assert STORED[3].shown == f"key.{key_hash(SECRET)[:16]}"
    assert STORED[0].shown == "channel.7"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
LINES = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from([one.name for one in STORED]) | st.text(), "value": JSON}
)


def _file(lines: list[Any]) -> bytes:
    head = {"format": FORMAT, "schema": 1, "entries": len(lines)}
    return b"\n".join(json.dumps(line).encode() for line in [head, *lines])


@given(st.binary() | st.lists(LINES | JSON, max_size=4).map(_file))
def test_any_bytes_are_a_registry_or_refused(data: bytes) -> None:
    """Never another error."""
    try:
        found = parse_file(data)
    except Failed:
        return
    assert parse_file(encode_file(found, "")) == sorted(found, key=lambda one: one.name)


@pytest.mark.asyncio
async def test_a_channel_of_another_organisation_is_a_conflict() -> None:
    """It says who owns it where, and how many keys of the file cannot send: those that may and are not revoked."""
    broker = BrokerFake(bucket(REGISTRY_BUCKET))
    client: Any = SimpleNamespace(jetstream=lambda: broker)
    copy = RegistryCopy(client, await broker.key_value(REGISTRY_BUCKET))  # type: ignore[arg-type]

    def entry(one: Channel | Key) -> StoredEntry:
        return StoredEntry(one.kv_key, json.loads(one.model_dump_json()))

    def key(text: str, **fields: Any) -> StoredEntry:
        return entry(Key(sha256=key_hash(text), environment="production", kind="secret", **fields))

    await copy.write([entry(Channel(id=7, organisation="rival")), entry(Channel(id=8, organisation="acme"))])
    keys = [
        key("every", organisation="acme"),
        key("this", organisation="acme", channels=(7,)),
        key("other", organisation="acme", channels=(8,)),
        key("revoked", organisation="acme", revoked=True),
        key("rivals", organisation="rival"),
    ]
    done = await copy.write(
        [entry(Channel(id=7, organisation="acme")), entry(Channel(id=8, organisation="acme")), *keys]
    )
    assert list(map(str, done.conflicts)) == [
        "channel 7 belongs to rival here and to acme in the file: 2 keys of the file cannot send to it"
    ]
    renamed = await copy.write([entry(Channel(id=8, organisation="acme", name="new"))])
    assert (renamed.kept, renamed.conflicts) == (["channel.8"], [])
