"""How much disk `up` promises to its streams: never more than the disk has, never less than a stream holds."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ops.streams import CONTROL_MAX_BYTES, GIB, MIB, REGISTRY_MAX_BYTES, Budgets

# Half of what streams could have at most: ClickHouse is on the same disk. More than this no machine for development
# needs; with less than the least nothing of use fits.
MAX_TOTAL_BYTES: Final = 20 * GIB
MIN_TOTAL_BYTES: Final = 128 * MIB
RAW_SHARE, ITEMS_SHARE, DEAD_SHARE = 0.7, 0.2, 0.1
# Of the total, before RAW, ITEMS and DEAD share the rest; on large disks the defaults of ops/streams.py are less.
REPLAY_SHARE, IDEMPOTENCY_SHARE = 0.05, 0.05
# Of what streams could have, JetStream as a whole may use this: a file system without any room breaks streams.
FILE_STORE_SHARE: Final = 0.9
# In the file: these numbers were worked out from the disk, so they are worked out anew at the next start.
CHOSEN_KEY: Final = "chosen"
BY_DISK: Final = "by disk"
_STREAM_OF: Final = {
    "raw_max_bytes": "RAW",
    "items_max_bytes": "ITEMS",
    "dead_max_bytes": "DEAD",
    "replay_max_bytes": "REPLAY",
    "idempotency_max_bytes": "KV_idempotency",
}


def available_bytes(store: Path) -> int:
    """What JetStream could have on the disk of `store`: what is free, and what it holds already."""
    return shutil.disk_usage(_existing(store)).free + sum(held_bytes(store).values())


def held_bytes(store: Path) -> dict[str, int]:
    """Bytes of files by stream. A stream's files are never smaller than its messages."""
    return {folder.name: _size_bytes(folder) for folder in store.glob("jetstream/*/streams/*")}


def budgets_for(available: int) -> dict[str, int]:
    """Budgets by setting name for a disk on which streams could have `available` bytes."""
    total = max(MIN_TOTAL_BYTES, min(MAX_TOTAL_BYTES, available // 2))
    usual = Budgets.model_fields
    replay = min(int(usual["replay_max_bytes"].default), int(total * REPLAY_SHARE))
    idempotency = min(int(usual["idempotency_max_bytes"].default), int(total * IDEMPOTENCY_SHARE))
    rest = total - replay - idempotency - REGISTRY_MAX_BYTES - CONTROL_MAX_BYTES
    return {
        "raw_max_bytes": int(rest * RAW_SHARE),
        "items_max_bytes": int(rest * ITEMS_SHARE),
        "dead_max_bytes": int(rest * DEAD_SHARE),
        "replay_max_bytes": replay,
        "idempotency_max_bytes": idempotency,
    }


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
    return {name: max(size, held.get(_STREAM_OF[name], 0)) for name, size in wanted.items()} | mark


def max_file_store_bytes(budgets: Budgets, store: Path) -> int:
    """What JetStream may reserve for all streams: room for `migrate` to give more, as far as the disk has it."""
    return max(budgets.total_bytes(), int(available_bytes(store) * FILE_STORE_SHARE))


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
