"""Computes stream size limits for `up`: never more than the disk has, never less than a stream holds."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ops.provisioning.streams import (
    ALERT_SECRETS_MAX_BYTES,
    ALERTS_MAX_BYTES,
    CONTROL_MAX_BYTES,
    GIB,
    MIB,
    REGISTRY_MAX_BYTES,
    Budgets,
)
from schemas.subjects import ARTIFACTS_BUCKET, ARTIFACTS_STREAM, IDEMPOTENCY_BUCKET

# Half of the available space: ClickHouse uses the same disk. A development machine needs no more than the maximum; with
# less than the minimum nothing useful fits.
MAX_TOTAL_BYTES: Final = 20 * GIB
MIN_TOTAL_BYTES: Final = 152 * MIB
# Share of what the other streams leave.
SHARES: Final = {"raw_max_bytes": 0.7, "items_max_bytes": 0.2, "dead_max_bytes": 0.1}
# Share of the total for each other stream; on large disks the defaults of ops/provisioning/streams.py are lower.
OTHER_SHARE: Final = 0.05
# Share of the available space that JetStream may use as a whole: a full file system breaks streams.
FILE_STORE_SHARE: Final = 0.9
# Marks limits in the file that were computed from the disk: they are computed again at the next start.
CHOSEN_KEY: Final = "chosen"
BY_DISK: Final = "by disk"
_BUCKET_STREAMS: Final = {IDEMPOTENCY_BUCKET: f"KV_{IDEMPOTENCY_BUCKET}", ARTIFACTS_BUCKET: ARTIFACTS_STREAM}


def available_bytes(store: Path) -> int:
    """The space that JetStream could use on the disk of `store`: free space plus what it uses already."""
    return shutil.disk_usage(_existing(store)).free + sum(held_bytes(store).values())


def held_bytes(store: Path) -> dict[str, int]:
    """Bytes on disk by stream. A stream's files are never smaller than its messages."""
    return {folder.name: _size_bytes(folder) for folder in store.glob("jetstream/*/streams/*")}


def budgets_for(available: int) -> dict[str, int]:
    """Limits by setting name, for a disk with `available` bytes for streams."""
    total = max(MIN_TOTAL_BYTES, min(MAX_TOTAL_BYTES, available // 2))
    others = {
        name: max(MIB, min(int(field.default), int(total * OTHER_SHARE)))
        for name, field in Budgets.model_fields.items()
        if name not in SHARES
    }
    alerts_bytes = ALERTS_MAX_BYTES + ALERT_SECRETS_MAX_BYTES
    rest = total - sum(others.values()) - REGISTRY_MAX_BYTES - CONTROL_MAX_BYTES - alerts_bytes
    return {name: int(rest * share) for name, share in SHARES.items()} | others


def chosen_budgets(stored: Mapping[str, Any], store: Path) -> dict[str, Any]:
    """The new content of the file of limits, given its present content.

    Computed limits are computed again. Limits set by a person, or by an earlier version, stay unless the disk has
    become too small for them. No limit is ever below what its stream holds.
    """
    available, stored_bytes = available_bytes(store), held_bytes(store)
    by_disk = budgets_for(available)
    if not stored or stored.get(CHOSEN_KEY) == BY_DISK:
        wanted, mark = by_disk, {CHOSEN_KEY: BY_DISK}
    else:
        given = {name: value for name, value in stored.items() if name in by_disk and isinstance(value, int)}
        fits = sum(given.values()) <= available
        wanted, mark = {name: size if fits else min(size, by_disk[name]) for name, size in given.items()}, {}
    return {name: max(size, stored_bytes.get(_stream_of(name), 0)) for name, size in wanted.items()} | mark


def max_file_store_bytes(budgets: Budgets, store: Path) -> int:
    """What JetStream may reserve for all streams: more than their limits now, so that `migrate` can raise them."""
    return max(budgets.total_bytes(), int(available_bytes(store) * FILE_STORE_SHARE))


def _stream_of(setting: str) -> str:
    """The stream of a limit: `raw_max_bytes` -> RAW; KV_… for buckets."""
    name = setting.removesuffix("_max_bytes")
    return _BUCKET_STREAMS.get(name, name.upper())


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _size_bytes(folder: Path) -> int:
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # deleted meanwhile
                yield os.lstat(f"{path}/{name}").st_size
