"""The data folder of one `axonpush up`: its lock, its files, and processes that an earlier run left. Starts nothing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ops.cli.servers import BUDGETS_FILE, READY_FILE, read_json, stored_budgets
from ops.local import broker_users
from ops.local.clickhouse_http.access.users import PASSWORDS_FILE
from ops.local.disk_budgets import BY_DISK, CHOSEN_KEY, chosen_budgets
from ops.local.private_folder import PermissionRepair, restrict_to_owner
from ops.provisioning.streams import Budgets
from ops.runtime.failures import Failed
from ops.runtime.nats_options import Role
from schemas.registry import DesiredState

LOCK_FILE: Final = "lock"
CREDENTIALS_FILE: Final = "credentials.json"
GITIGNORE: Final = ".gitignore"
NATS_CONFIG: Final = "nats.conf"
BROKER_PASSWORDS_FILE: Final = "broker_passwords.json"
SERVERS_FILE: Final = "servers.json"
SYSTEM_FILE: Final = "system.json"
NATS_FOLDER, CLICKHOUSE_FOLDER, LOGS_FOLDER = "nats", "clickhouse", "logs"
# What `up` creates in the folder. The user may have named a folder that holds other things.
OWN_NAMES: Final = frozenset(
    {
        *(LOCK_FILE, CREDENTIALS_FILE, READY_FILE, BUDGETS_FILE, GITIGNORE, NATS_CONFIG, BROKER_PASSWORDS_FILE),
        *(SERVERS_FILE, SYSTEM_FILE, NATS_FOLDER, CLICKHOUSE_FOLDER, LOGS_FOLDER),
    }
)
SERVER_FOLDERS: Final = (NATS_FOLDER, CLICKHOUSE_FOLDER)
# Environment variable of children, so that a later run can find them. Its value is the folder's full path.
MARKER: Final = "AXONPUSH_STARTED_BY_UP"
LEFTOVERS_TIMEOUT_S: Final = 5.0
LEFTOVERS_POLL_S: Final = 0.05


class DataDir:
    """Everything `up` stores on disk, readable only by its owner."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.nats = self.root / NATS_FOLDER
        self.clickhouse = self.root / CLICKHOUSE_FOLDER
        self.logs = self.root / LOGS_FOLDER
        self.nats_config = self.root / NATS_CONFIG
        self.ready = self.root / READY_FILE
        self.credentials = self.root / CREDENTIALS_FILE
        self.permission_repair = PermissionRepair()
        # What a start that fails must leave: everything that was there before it.
        self._made_folders = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        self._names_before = frozenset(name for name in OWN_NAMES if (self.root / name).exists())
        self._had_content = bool(_entries(self.root))
        self._held_before = {name: _entries(self.root / name) for name in SERVER_FOLDERS}
        self._numbers_before = self._folder_numbers()

    @property
    def is_known(self) -> bool:
        """Whether both servers' folders are new, or those of the last good start; else one may be lost or another's."""
        have_data = [bool(self._data_before(name)) for name in SERVER_FOLDERS]
        return not any(have_data) or (all(have_data) and read_json(self.root / SERVERS_FILE) == self._numbers_before)

    @property
    def had_content(self) -> bool:
        """Whether the folder held anything before this start, that others could have read."""
        return self._had_content

    @property
    def lost_clickhouse(self) -> bool:
        """Whether the broker's folder has data, and ClickHouse's has not even passwords."""
        return bool(self._data_before(NATS_FOLDER)) and not self._held_before[CLICKHOUSE_FOLDER]

    @property
    def own_servers(self) -> frozenset[str]:
        """The folders of servers that have run here: they hold data, or are empty where a good start had noted them, as
        an unmounted disk is."""
        noted = read_json(self.root / SERVERS_FILE)
        return frozenset(
            name
            for name in SERVER_FOLDERS
            if self._held_before[name] or (name in noted and (self.root / name).is_dir())
        )

    @property
    def system_id(self) -> str:
        """The id of the system whose servers run here; empty where none is noted."""
        noted = read_json(self.root / SYSTEM_FILE).get("system_id")
        return noted if isinstance(noted, str) else ""

    def keep_known(self, system_id: str = "") -> None:
        """Notes the folders of both servers, which belong together, and the id of their system."""
        if self._folder_numbers() and system_id not in {"", self.system_id}:
            self.write_json(self.root / SYSTEM_FILE, {"system_id": system_id})
        if (numbers := self._folder_numbers()) != read_json(self.root / SERVERS_FILE):
            self.write_json(self.root / SERVERS_FILE, numbers)

    def _data_before(self, name: str) -> frozenset[str]:
        return self._held_before[name] - {PASSWORDS_FILE}

    def _folder_numbers(self) -> dict[str, Any]:
        """What the file system calls them: a copy or a new folder has another number."""
        folders = {name: self.root / name for name in SERVER_FOLDERS}
        return {name: folder.stat().st_ino for name, folder in folders.items() if folder.is_dir()}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Creates the folder, restricts it to its owner and locks it for this process.

        Raises Failed when another `up` has locked it, and when other users could have changed its content.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.permission_repair = restrict_to_owner(self.root, OWN_NAMES)
            # It holds keys and data, which must not be committed to a repository.
            if not (self.root / GITIGNORE).exists():
                (self.root / GITIGNORE).write_text("*\n")
            lock = (self.root / LOCK_FILE).open("a+")
        except OSError as error:
            raise Failed(
                f"expected a folder to write to at {self.root}, found: {error}. Name another --data-dir."
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                owner = lock.read().strip() or "unknown"
                raise Failed(
                    f"axonpush up is running on {self.root} already (process {owner}): "
                    f"stop it first, or name another --data-dir"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def remove_new(self) -> None:
        """Removes what this run created, after a first start that failed before anything could be stored."""
        for name in OWN_NAMES - self._names_before:
            _remove(self.root / name)
        for name in SERVER_FOLDERS:
            if not self._data_before(name):  # it was empty: a disk that is not mounted, or a lost one
                for entry in _entries(self.root / name) - self._held_before[name]:
                    _remove(self.root / name / entry)
        for folder in self._made_folders:
            with contextlib.suppress(OSError):  # somebody else has put a file there
                folder.rmdir()

    def end_leftovers(self) -> int:
        """Ends processes that a killed earlier run left; returns how many. Call it only while the lock is held."""
        leftovers = _find_marked(str(self.root))
        for pid in leftovers:
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + LEFTOVERS_TIMEOUT_S
        while (left := _find_marked(str(self.root))) and time.monotonic() < deadline:
            time.sleep(LEFTOVERS_POLL_S)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        self.ready.unlink(missing_ok=True)
        return len(leftovers)

    def write_json(self, path: Path, value: dict[str, Any]) -> None:
        """Replaces a file atomically, with mode 0600."""
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def read_credentials(self) -> dict[str, Any]:
        """The first keys in clear text, empty before the first start. The broker has only their hashes."""
        return read_json(self.credentials)

    def broker_passwords(self) -> dict[Role, str]:
        """Passwords of the embedded broker's users, created at the first call."""
        path = self.root / BROKER_PASSWORDS_FILE
        return broker_users.passwords(read_json(path), lambda passwords: self.write_json(path, passwords))

    @property
    def sizes_by_disk(self) -> bool:
        """Whether the sizes of the streams were computed from the disk, and no variable sets one."""
        by_disk = read_json(self.root / BUDGETS_FILE).get(CHOSEN_KEY) == BY_DISK
        return by_disk and not Budgets().model_fields_set

    def keep_sizes(self, state: DesiredState) -> None:
        """Notes sizes that a person chose: the broker must know at its start how much it may store."""
        sizes = {name: getattr(state, name) for name in Budgets.model_fields}
        if not state.sizes_by_disk and read_json(self.root / BUDGETS_FILE) != sizes:
            self.write_json(self.root / BUDGETS_FILE, sizes)

    def budgets(self) -> Budgets:
        """The size limit of each stream: from the environment, else computed from the free disk space."""
        path = self.root / BUDGETS_FILE
        stored = read_json(path)
        chosen = chosen_budgets(stored, self.nats)
        if chosen != stored:
            self.write_json(path, chosen)
        return Budgets(**stored_budgets(self.root))


def _entries(folder: Path) -> frozenset[str]:
    with contextlib.suppress(OSError):
        return frozenset(entry.name for entry in folder.iterdir())
    return frozenset()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _find_marked(root: str) -> list[int]:
    """Processes of this user that an `up` of this folder started. Empty on systems without /proc."""
    if sys.platform != "linux":
        return []
    mark = f"{MARKER}={root}".encode()
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
    return pids


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
