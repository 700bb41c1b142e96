"""How much disk `up` promises to its streams: never more than the disk has, never less than a stream holds."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ops.provisioning.streams import CONTROL_MAX_BYTES, GIB, MIB, REGISTRY_MAX_BYTES, Budgets
from schemas.subjects import IDEMPOTENCY_BUCKET

# Half of what streams could have at most: ClickHouse is on the same disk. More than this no machine for development
# needs; with less than the least nothing of use fits.
MAX_TOTAL_BYTES: Final = 20 * GIB
MIN_TOTAL_BYTES: Final = 128 * MIB
# Of what the other streams leave.
SHARES: Final = {"raw_max_bytes": 0.7, "items_max_bytes": 0.2, "dead_max_bytes": 0.1}
# Of the total, for each other stream; on large disks their defaults in ops/provisioning/streams.py are less.
OTHER_SHARE: Final = 0.05
# Of what streams could have, JetStream as a whole may use this: a file system without any room breaks streams.
FILE_STORE_SHARE: Final = 0.9
# In the file: these numbers were worked out from the disk, so they are worked out anew at the next start.
CHOSEN_KEY: Final = "chosen"
BY_DISK: Final = "by disk"


def available_bytes(store: Path) -> int:
    """What JetStream could have on the disk of `store`: what is free, and what it holds already."""
    return shutil.disk_usage(_existing(store)).free + sum(held_bytes(store).values())


def held_bytes(store: Path) -> dict[str, int]:
    """Bytes of files by stream. A stream's files are never smaller than its messages."""
    return {folder.name: _size_bytes(folder) for folder in store.glob("jetstream/*/streams/*")}


def budgets_for(available: int) -> dict[str, int]:
    """Budgets by setting name for a disk on which streams could have `available` bytes."""
    total = max(MIN_TOTAL_BYTES, min(MAX_TOTAL_BYTES, available // 2))
    others = {
        name: max(MIB, min(int(field.default), int(total * OTHER_SHARE)))
        for name, field in Budgets.model_fields.items()
        if name not in SHARES
    }
    rest = total - sum(others.values()) - REGISTRY_MAX_BYTES - CONTROL_MAX_BYTES
    return {name: int(rest * share) for name, share in SHARES.items()} | others


def chosen_budgets(stored: Mapping[str, Any], store: Path) -> dict[str, Any]:
    """What the file of budgets should hold now, given what it holds.

    Numbers that were worked out from the disk are worked out again. Those of a person, or of an earlier version, stay
    unless the disk has become too small for them. None is ever below what its stream holds.
    """
    available, held = available_bytes(store), held_bytes(store)
    by_disk = budgets_for(available)
    if not stored or stored.get(CHOSEN_KEY) == BY_DISK:
        wanted, mark = by_disk, {CHOSEN_KEY: BY_DISK}
    else:
        given = {name: value for name, value in stored.items() if name in by_disk and isinstance(value, int)}
        fits = sum(given.values()) <= available
        wanted, mark = {name: size if fits else min(size, by_disk[name]) for name, size in given.items()}, {}
    return {name: max(size, held.get(_stream_of(name), 0)) for name, size in wanted.items()} | mark


def max_file_store_bytes(budgets: Budgets, store: Path) -> int:
    """What JetStream may reserve for all streams: room for `migrate` to give more, as far as the disk has it."""
    return max(budgets.total_bytes(), int(available_bytes(store) * FILE_STORE_SHARE))


def _stream_of(setting: str) -> str:
    """The stream that a budget is for: `raw_max_bytes` -> RAW, that of a bucket -> KV_…."""
    name = setting.removesuffix("_max_bytes")
    return f"KV_{name}" if name == IDEMPOTENCY_BUCKET else name.upper()


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _size_bytes(folder: Path) -> int:
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                yield os.lstat(f"{path}/{name}").st_size
