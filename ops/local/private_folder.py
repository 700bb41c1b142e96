"""Keeps a data folder for its owner only: refuses one that others can change, mends modes of files left readable."""

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
# A folder with a million part files must not hold up a start. What is left is still behind the closed top folder.
MAX_ENTRIES: Final = 200_000


@dataclass(slots=True)
class Mending:
    """What was done: entries whose mode was changed, entries of other users (left alone), whether the limit was met."""

    mended: int = 0
    foreign: int = 0
    seen: int = 0
    is_complete: bool = True


def write_private(path: Path, text: str) -> None:
    """Writes a file that holds passwords: nobody else can read it, not even for a moment."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def create_files_for_owner_only() -> None:
    """This process and its children make files 0600 and folders 0700 from now on."""
    os.umask(OWNER_ONLY_UMASK)


def close_to_others(root: Path, names: Collection[str], max_entries: int = MAX_ENTRIES) -> Mending:
    """Takes all rights of group and others from `root`, and from `names` in it with all below them.

    Symbolic links are never followed. The top folder first: once it is closed nobody else reaches what is inside, and
    other files, which are not ours to change, are out of reach as well. Raises Failed for a folder of another
    user, and for one with content that others could have changed; OSError when it cannot be read.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(fd)
        _check_owner(root, found)
        _check_writers(root, fd, found)
        done = Mending()
        _mend(fd, found, done)
    finally:
        os.close(fd)
    _mend_content(root, frozenset(names), done, max_entries)
    return done


def _check_owner(root: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise Failed(
            f"expected a data folder of user {os.geteuid()}, found {root} of user {found.st_uid}: its owner could read "
            "and change everything. Run as that user, `chown` the folder, or name another --data-dir."
        )


def _check_writers(root: Path, fd: int, found: os.stat_result) -> None:
    """A folder that others may write to can hold files of theirs; an empty one can be closed and used."""
    if not found.st_mode & _OTHERS_WRITE:
        return
    if not os.listdir(fd):
        os.fchmod(fd, stat.S_IMODE(found.st_mode) & ~_OTHERS)
        if not os.listdir(fd):
            return
    raise Failed(
        f"expected a data folder that only its owner can change, found {root} with mode "
        f"{stat.S_IMODE(found.st_mode):04o}: other users may have put files into it. Look at what is in it, then "
        f"`chmod -R go-rwx {root}`, or name another --data-dir."
    )


def _mend_content(root: Path, names: frozenset[str], done: Mending, max_entries: int) -> None:
    """Breadth first, so that the folders near the top are closed before the many files below them."""
    folders = deque([root])
    while folders:
        folder = folders.popleft()
        with contextlib.suppress(OSError), _opened(folder, os.O_DIRECTORY) as fd:
            # By descriptor: the path may be another folder by now.
            found = frozenset(os.listdir(fd))  # noqa: PTH208
            for name in found & names if folder == root else found:
                if done.seen >= max_entries:
                    done.is_complete = False
                    return
                done.seen += 1
                if _mend_entry(fd, name, done):
                    folders.append(folder / name)


def _mend_entry(folder_fd: int, name: str, done: Mending) -> bool:
    """Closes one entry; True for a folder of ours. Sockets, pipes and links stay as they are."""
    try:
        kind = os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            return False
        with _opened(name, 0, folder_fd) as fd:
            found = os.fstat(fd)
            return _mend(fd, found, done) and stat.S_ISDIR(found.st_mode)
    except OSError:  # gone meanwhile, or not ours to open
        return False


def _mend(fd: int, found: os.stat_result, done: Mending) -> bool:
    """Takes the rights of others from what belongs to us; False for what does not."""
    if found.st_uid != os.geteuid():
        done.foreign += 1
        return False
    mode = stat.S_IMODE(found.st_mode)
    if mode & _OTHERS:
        os.fchmod(fd, mode & ~_OTHERS)
        done.mended += 1
    return True


@contextlib.contextmanager
def _opened(path: Path | str, flags: int, folder_fd: int | None = None) -> Iterator[int]:
    # Not through a symbolic link that took the entry's place, and without waiting for the other end of a pipe.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)
