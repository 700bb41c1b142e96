"""`axonpush registry export|import` against a real broker: what went in comes back, and nothing else."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from ops.provisioning import migrate
from ops.provisioning.streams import MIB, Budgets
from ops.registry.changes import RegistryWriter
from ops.registry.connection import open_bucket, open_registry
from ops.registry.file_copy import Imported, RegistryCopy, StoredEntry, encode_file, parse_file
from ops.registry.key_options import KeyOptions
from ops.runtime.settings import Settings
from tests.servers import Server
from tests.system import System

pytestmark = pytest.mark.live

T = TypeVar("T")
STATE = "cluster.desired"
BUDGETS = Budgets(raw_max_bytes=64 * MIB, items_max_bytes=64 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB)


@pytest.fixture
def empty(own_nats_server: Server) -> Settings:
    """A broker with streams and nothing in them."""
    settings = Settings(nats_url=own_nats_server.url)
    asyncio.run(migrate.migrate_broker(settings, BUDGETS, dry_run=False))
    return settings


def copy(settings: Settings, work: Callable[[RegistryCopy], Awaitable[T]]) -> T:
    """Runs `work` on the whole registry."""

    async def run() -> T:
        async with open_bucket(settings) as (client, bucket):
            return await work(RegistryCopy(client, bucket))

    return asyncio.run(run())


def write(settings: Settings, work: Callable[[RegistryWriter], Awaitable[T]]) -> T:
    """Runs `work` as a command of organisation acme does."""

    async def run() -> T:
        async with open_registry(settings, "acme") as registry:
            return await work(registry)

    return asyncio.run(run())


def entries(settings: Settings) -> list[StoredEntry]:
    """All of it but the desired state of the system, by name."""
    found = copy(settings, lambda registry: registry.read())
    return sorted((one for one in found if one.name != STATE), key=lambda one: one.name)


def test_a_file_restores_an_empty_broker(operated: System, empty: Settings, tmp_path: Path) -> None:
    """The real commands: the file is for its owner only, holds no key, and a second import changes nothing."""
    operated.cli("organisations", "create", "acme", check=False)
    operated.cli("organisations", "limit", "acme", "--quota", "60/min")
    key, file = operated.mint("--public", "--origin", "https://a.example"), tmp_path / "registry.jsonl"
    exported = json.loads(operated.cli("registry", "export", str(file), "--json").stdout)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in file.read_text()
    assert file.read_text().splitlines()[1:] == operated.cli("registry", "export", "-").stdout.splitlines()[1:]
    target = {"AXONPUSH_NATS_URL": empty.nats_url}
    told = operated.cli("registry", "import", str(file), "--dry-run", **target).stdout
    assert f"{exported['entries'] - 1} would be added" in told
    assert f"1 differ and were not changed: {STATE}" in told
    assert entries(empty) == []
    first = json.loads(operated.cli("registry", "import", str(file), "--json", **target).stdout)
    again = json.loads(operated.cli("registry", "import", str(file), "--json", **target).stdout)
    assert len(first["added"]) == again["unchanged"] == exported["entries"] - 1
    stored = [one for one in parse_file(file.read_bytes()) if one.name != STATE]
    assert entries(empty) == sorted(stored, key=lambda one: one.name)
    broken = operated.cli("registry", "import", str(tmp_path / "none"), check=False, **target)
    assert (broken.returncode, "expected a file to read" in broken.stderr) == (1, True)


def test_what_differs_stays_unless_it_is_overwritten(empty: Settings) -> None:
    """Quotas that were changed since are somebody's work; --overwrite is somebody's decision."""
    _, key = write(empty, lambda registry: registry.mint(KeyOptions("production", quota_per_minute=10)))
    before = entries(empty)
    write(empty, lambda registry: registry.limit(key.id, {"quota_per_minute": 99}))
    changed = entries(empty)
    name = f"key.{key.id}"
    changes = {name: ["quota of requests: 99 -> 10: who needs more gets 429"]}
    assert copy(empty, lambda registry: registry.write(before)) == Imported(kept=[name], changes=changes)
    assert entries(empty) == changed
    planned = copy(empty, lambda registry: registry.write(before, overwrite=True, dry_run=True))
    assert (planned, entries(empty)) == (Imported(replaced=[name], changes=changes), changed)
    copy(empty, lambda registry: registry.write(before, overwrite=True))
    assert entries(empty) == before


def test_the_desired_state_is_never_overwritten(empty: Settings) -> None:
    """An old file must not lower replicas, sizes or ages; where there is none, it is added like every entry."""
    (stored,) = (one for one in copy(empty, lambda registry: registry.read()) if one.name == STATE)
    lower = StoredEntry(STATE, stored.value | {"raw_max_bytes": MIB, "version": 9})
    assert copy(empty, lambda registry: registry.write([lower], overwrite=True)).kept == [STATE]
    assert stored in copy(empty, lambda registry: registry.read())


def test_a_revoked_key_stays_revoked(empty: Settings) -> None:
    """Whatever an older file says."""
    _, key = write(empty, lambda registry: registry.mint(KeyOptions("production")))
    before = entries(empty)
    write(empty, lambda registry: registry.revoke(key.id))
    assert copy(empty, lambda registry: registry.write(before, overwrite=True)).kept == [f"key.{key.id}"]
    assert write(empty, lambda registry: registry.keys())[0].revoked


@pytest.mark.asyncio
async def test_what_a_newer_version_has_stored_is_exported_whole(empty: Settings) -> None:
    """With fields and kinds that this version does not know; only an import of them is refused."""
    async with open_bucket(empty) as (_, bucket):
        await bucket.put("channel.1", b'{"id":1,"organisation":"acme","colour":"red"}')
        await bucket.put("lease.1", b'{"until":"2027"}')
    text = encode_file(await asyncio.to_thread(entries, empty), "").decode()
    assert '"colour": "red"' in text
    assert '{"name": "lease.1", "value": {"until": "2027"}}' in text
