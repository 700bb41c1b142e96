"""Exports the registry bucket to a file of JSON lines, and imports it. The file holds hashes of keys, never keys."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nats.js.errors import KeyWrongLastSequenceError
from pydantic import BaseModel

from ops.registry.entry_changes import changes
from ops.runtime.failures import Conflict, Failed
from ops.runtime.registry.registry_log import newest
from ops.runtime.stream_state import stream_state
from schemas.registry import MODELS, Channel, DesiredState, Entry, Key, Token, decode
from schemas.subjects import REGISTRY_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.kv import KeyValue

FORMAT: Final = "axonpush-registry"
# Increase it when entries get fields that an older version must not ignore.
SCHEMA: Final = 1
AT_ONCE: Final = 64
# A key's hash is shown only up to this length, which is its id.
_HASHED: Final = ("key.", "token.")
_SHOWN: Final = 16


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry: its name in the bucket (`channel.1`, `key.<sha256>`) and its stored value."""

    name: str
    value: dict[str, Any]

    @property
    def shown(self) -> str:
        """The name as the other commands show it."""
        kind, dot, rest = self.name.partition(".")
        return kind + dot + rest[:_SHOWN] if self.name.startswith(_HASHED) else self.name


@dataclass(frozen=True, slots=True)
class ChannelConflict:
    """A channel that is one organisation's here and another's in the file. So many `keys` of the file name it, or
    all channels of their organisation."""

    channel: int
    here: str
    in_file: str
    keys: int

    def __str__(self) -> str:
        what = "1 key of the file" if self.keys == 1 else f"{self.keys} keys of the file"
        return (
            f"channel {self.channel} belongs to {self.here} here and to {self.in_file} in the file: {what} cannot send "
            "to it"
        )


@dataclass(slots=True)
class Imported:
    """What an import changed or would change. `kept` entries differ from the file and were not changed.

    `changes` has by entry what --overwrite changes, or has changed.
    """

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unchanged: int = 0
    changes: dict[str, list[str]] = field(default_factory=dict)
    # Channels of another organisation here than in the file.
    conflicts: list[ChannelConflict] = field(default_factory=list)


def encode_file(entries: Iterable[StoredEntry], exported_at: str, system: str = "") -> bytes:
    """The text of the file: a header line with the number of entries, then one line per entry, sorted by name.

    `system` is the id of the system that it comes from. An import takes nothing of it: a copy is another system.
    """
    by_name = sorted(entries, key=lambda entry: entry.name)
    head = {"format": FORMAT, "schema": SCHEMA, "exported_at": exported_at, "entries": len(by_name)}
    head |= {"system": system} if system else {}
    lines = [head, *({"name": entry.name, "value": entry.value} for entry in by_name)]
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def parse_file(data: bytes) -> list[StoredEntry]:
    """The entries of a file. Raises Failed, naming the line, if it is incomplete, changed, or from a newer version."""
    lines = _lines(data)
    number, head = next(lines, (1, {}))
    if head.get("format") != FORMAT or not isinstance(head.get("schema"), int):
        raise Failed(f"line {number}: expected a file that `axonpush registry export` wrote, found something else")
    if head["schema"] > SCHEMA:
        raise Failed(f"line {number}: expected schema {SCHEMA} or older, found {head['schema']}: {_UPGRADE}")
    entries = [_entry(number, line) for number, line in lines]
    if len(entries) != head.get("entries"):
        raise Failed(f"expected {head.get('entries')} entries, found {len(entries)}: the file is incomplete")
    if len({entry.name for entry in entries}) != len(entries):
        raise Failed("expected each entry once, found one twice: the file was changed")
    return entries


def system_of_file(data: bytes) -> str | None:
    """The id of the system that a file was exported from; empty if it names none, None if the file is no export."""
    try:
        head = next((line for _, line in _lines(data)), {})
    except Failed:
        return None
    return str(head.get("system", "")) if head.get("format") == FORMAT else None


_UPGRADE: Final = "import it with the version of axonpush-ingest that wrote it, or a newer one"


def _lines(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                document = None
            if not isinstance(document, dict):
                raise Failed(f"line {number}: expected a JSON object, found something else")
            yield number, document


def _entry(number: int, line: dict[str, Any]) -> StoredEntry:
    """Parses and checks one line. Errors never quote the line: a hash may be a key that someone pasted."""
    name, value = line.get("name"), line.get("value")
    if not isinstance(name, str) or not isinstance(value, dict):
        raise Failed(f"line {number}: expected a name and a value, found something else")
    model = MODELS.get(name.partition(".")[0])
    if model is None or set(value) - set(model.model_fields):
        raise Failed(f"line {number}: expected an entry this version knows, found a newer one: {_UPGRADE}")
    try:
        entry = decode(name, json.dumps(value).encode())
    except ValueError:
        raise Failed(f"line {number}: expected a valid {name.partition('.')[0]}, found invalid fields") from None
    if entry is None or entry.kv_key != name:
        raise Failed(f"line {number}: expected the name that matches its fields, found another: the file was changed")
    if name == DesiredState.KV_KEY:
        value.pop("system_id", None)
        value.pop("previous_system_id", None)
    return StoredEntry(name, value)


def count_kinds(entries: Iterable[StoredEntry]) -> dict[str, int]:
    """The number of entries of each kind."""
    return dict(sorted(Counter(entry.name.partition(".")[0] for entry in entries).items()))


class RegistryCopy:
    """Reads all of the bucket and writes entries to it. Methods raise Failed, Conflict, NatsError."""

    def __init__(self, client: Client, bucket: KeyValue) -> None:
        self._client = client
        self._jetstream = client.jetstream()
        self._bucket = bucket
        self._busy = asyncio.Semaphore(AT_ONCE)

    async def read(self) -> list[StoredEntry]:
        """All entries of all organisations, including kinds that this version does not know."""
        prefix = f"$KV.{REGISTRY_BUCKET}."
        state = await stream_state(self._client, f"KV_{REGISTRY_BUCKET}", by_subject=True)
        names = [subject.removeprefix(prefix) for subject in state.by_subject]
        stored_entries = await asyncio.gather(*(self._read(name) for name in names))
        return [entry for entry, _ in stored_entries if entry is not None]

    async def write(
        self, entries: Iterable[StoredEntry], *, overwrite: bool = False, dry_run: bool = False
    ) -> Imported:
        """Adds missing entries. Entries that differ stay, or are replaced with `overwrite`.

        A revoked key or token always stays revoked: an old backup must not restore a stolen one. The desired state of
        a system always stays too: only `axonpush cluster set` changes it, which says what is lowered.
        """
        done, entries = Imported(), list(entries)
        for entry in entries:
            existing, revision = await self._read(entry.name)
            if existing is None:
                await self._add(entry, dry_run=dry_run)
                done.added.append(entry.shown)
                continue
            if _decoded(existing) == _decoded(entry):
                done.unchanged += 1
                continue
            is_replaceable = not (_is_revoked(existing) or entry.name == DesiredState.KV_KEY)
            if is_replaceable and (texts := _changes(_decoded(existing), _decoded(entry))):
                done.changes[entry.shown] = texts
            if overwrite and is_replaceable:
                if not dry_run:
                    await self._replace(entry, revision)
                done.replaced.append(entry.shown)
            else:
                done.kept.append(entry.shown)
                if conflict := _conflict(_decoded(existing), _decoded(entry), entries):
                    done.conflicts.append(conflict)
        return done

    async def _add(self, entry: StoredEntry, *, dry_run: bool) -> None:
        if dry_run:
            return
        try:
            await self._bucket.create(entry.name, _text(entry))
        except KeyWrongLastSequenceError as error:
            raise Conflict(
                f"somebody else made {entry.shown} meanwhile: run this command again, it continues"
            ) from error

    async def _replace(self, entry: StoredEntry, revision: int) -> None:
        try:
            await self._bucket.update(entry.name, _text(entry), last=revision)
        except KeyWrongLastSequenceError as error:
            raise Conflict(
                f"somebody else changed {entry.shown} meanwhile: run this command again, it continues"
            ) from error

    async def _read(self, name: str) -> tuple[StoredEntry | None, int]:
        async with self._busy:
            entry = await newest(self._jetstream, name)
        return (_stored(name, entry.value), entry.revision) if entry else (None, 0)


def _stored(name: str, value: bytes) -> StoredEntry:
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        entry = StoredEntry(name, {})
        raise Failed(f"expected JSON under {entry.shown} in bucket {REGISTRY_BUCKET}, found something else")
    if name == DesiredState.KV_KEY:  # a copy is another system
        document.pop("system_id", None)
        document.pop("previous_system_id", None)
    return StoredEntry(name, document)


def _decoded(stored: StoredEntry) -> Entry | dict[str, Any]:
    """For comparing: the entry with its defaults, or as it is where this version cannot read it."""
    try:
        return decode(stored.name, json.dumps(stored.value).encode()) or stored.value
    except ValueError:
        return stored.value


def _changes(here: object, in_file: object) -> list[str]:
    """Nothing for entries that this version cannot read."""
    return changes(here, in_file) if isinstance(here, BaseModel) and isinstance(in_file, BaseModel) else []


def _conflict(here: object, in_file: object, entries: Iterable[StoredEntry]) -> ChannelConflict | None:
    """The conflict of two entries of one channel, if they have two owners."""
    if not isinstance(here, Channel) or not isinstance(in_file, Channel) or here.organisation == in_file.organisation:
        return None
    keys = sum(
        not key.revoked and key.organisation == in_file.organisation and in_file.id in (key.channels or (in_file.id,))
        for key in map(_decoded, entries)
        if isinstance(key, Key)
    )
    return ChannelConflict(here.id, here.organisation, in_file.organisation, keys)


def _is_revoked(stored: StoredEntry) -> bool:
    entry = _decoded(stored)
    return isinstance(entry, Key | Token) and entry.revoked


def _text(entry: StoredEntry) -> bytes:
    return json.dumps(entry.value, ensure_ascii=False, separators=(",", ":")).encode()
