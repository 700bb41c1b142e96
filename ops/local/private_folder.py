"""Restricts a data folder to its owner: corrects file modes, and refuses a folder that others could change."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.runtime.failures import Failed

OWNER_ONLY_UMASK: Final = 0o077
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022
# Limit of corrected entries, so that a million files do not delay a start. Other users cannot reach the rest through
# the restricted top folder.
MAX_ENTRIES: Final = 200_000


@dataclass(slots=True)
class PermissionRepair:
    """The result: how many modes were changed, how many entries have other owners, whether all were checked."""

    changed: int = 0
    of_other_users: int = 0
    seen: int = 0
    is_complete: bool = True


def write_private(path: Path, text: str) -> None:
    """Writes a file with passwords. Other users can never read it, not even while it is written."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def create_files_for_owner_only() -> None:
    """From now on this process and its children create files with mode 0600 and folders with 0700."""
    os.umask(OWNER_ONLY_UMASK)


def restrict_to_owner(root: Path, names: Collection[str], max_entries: int = MAX_ENTRIES) -> PermissionRepair:
    """Removes all rights of group and others from `root`, and from `names` in it with everything below.

    Symbolic links are never followed. The top folder comes first: after that no other user can reach what is inside,
    including files that we may not change. Raises Failed for a folder of another user, and for one with content that
    others could have changed; OSError if it cannot be read.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(fd)
        _check_owner(root, status)
        _check_writers(root, fd, status)
        done = PermissionRepair()
        _restrict(fd, status, done)
    finally:
        os.close(fd)
    _restrict_content(root, frozenset(names), done, max_entries)
    return done


def _check_owner(root: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise Failed(
            f"expected a data folder of user {os.geteuid()}, found {root} of user {status.st_uid}: its owner could "
            "read and change everything. Run as that user, `chown` the folder, or name another --data-dir."
        )


def _check_writers(root: Path, fd: int, status: os.stat_result) -> None:
    """Refuses a folder that others may write to, because it may hold files of theirs. An empty one is restricted and
    used.
    """
    if not status.st_mode & _OTHERS_WRITE:
        return
    if not os.listdir(fd):
        os.fchmod(fd, stat.S_IMODE(status.st_mode) & ~_OTHERS)
        if not os.listdir(fd):
            return
    raise Failed(
        f"expected a data folder that only its owner can change, found {root} with mode "
        f"{stat.S_IMODE(status.st_mode):04o}: other users may have put files into it. Look at what is in it, then "
        f"`chmod -R go-rwx {root}`, or name another --data-dir."
    )


def _restrict_content(root: Path, names: frozenset[str], done: PermissionRepair, max_entries: int) -> None:
    """Breadth first, so that folders near the top are restricted before the many files below them."""
    folders = deque([root])
    while folders:
        folder = folders.popleft()
        with contextlib.suppress(OSError), _open(folder, os.O_DIRECTORY) as fd:
            # By descriptor: the path may name another folder by now.
            entries = frozenset(os.listdir(fd))  # noqa: PTH208
            for name in entries & names if folder == root else entries:
                if done.seen >= max_entries:
                    done.is_complete = False
                    return
                done.seen += 1
                if _restrict_entry(fd, name, done):
                    folders.append(folder / name)


def _restrict_entry(folder_fd: int, name: str, done: PermissionRepair) -> bool:
    """Restricts one entry; True for a folder of ours. Sockets, pipes and links are left unchanged."""
    try:
        kind = os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            return False
        with _open(name, 0, folder_fd) as fd:
            status = os.fstat(fd)
            return _restrict(fd, status, done) and stat.S_ISDIR(status.st_mode)
    except OSError:  # deleted meanwhile, or of another user
        return False


def _restrict(fd: int, status: os.stat_result, done: PermissionRepair) -> bool:
    """Removes the rights of others if the entry is ours; returns False if it is not."""
    if status.st_uid != os.geteuid():
        done.of_other_users += 1
        return False
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        os.fchmod(fd, mode & ~_OTHERS)
        done.changed += 1
    return True


@contextlib.contextmanager
def _open(path: Path | str, flags: int, folder_fd: int | None = None) -> Iterator[int]:
    # Does not follow a symbolic link that replaced the entry, and does not wait for the other end of a pipe.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)
