"""Which tests of a run in several processes go to the same one: those of a file, and of files that share a server.

A whole system takes ten seconds of processor time to start, and works as long as its process does. Files that look
after the one of the session go to one process, which starts it once.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

# Fixtures of a session that are dear to start. A file that uses both goes with the first. Files that use only the
# session's ClickHouse are not kept together: it starts in a third of the time, and they are half of the live tests.
SHARED: Final = ("operated", "system")
# Where a process that ran the collection says which file belongs to which group. The one that distributes tests does
# not collect any. xdist's own mark for groups writes them into the names of tests, which pytest 9.2 does not allow.
GROUPS_FILE: Final = "groups_of_files"


def groups_of(items: Iterable[pytest.Item]) -> dict[str, str]:
    """The group of each file that uses a shared server; files are named as at the beginning of the ids of tests."""
    used: dict[str, set[str]] = {}
    for item in items:
        used.setdefault(item.nodeid.partition("::")[0], set()).update(getattr(item, "fixturenames", ()))
    found = {file: next((name for name in SHARED if name in names), "") for file, names in used.items()}
    return {file: group for file, group in found.items() if group}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the process that distributes: tells the others where to write."""
    node.workerinput[GROUPS_FILE] = str(_groups_file(node.config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the others: writes. All of them write the same, and none tells of its collection before it has written."""
    path = getattr(config, "workerinput", {}).get(GROUPS_FILE)
    if path is not None:
        own = Path(f"{path}.{config.workerinput['workerid']}")  # type: ignore[attr-defined]
        own.write_text(json.dumps(groups_of(items)))
        own.rename(path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`: a group is distributed as a file is."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LoadFilesAndGroups(LoadFileScheduling):
        def schedule(self) -> None:
            if self.collection is None:
                self.groups: dict[str, str] = json.loads(_groups_file(config).read_text())
            super().schedule()

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return self.groups.get(file, file)

    return LoadFilesAndGroups(config, log)


_folder = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def _groups_file(config: pytest.Config) -> Path:
    """In a folder that ends with the run."""
    if _folder not in config.stash:
        config.stash[_folder] = tempfile.TemporaryDirectory(prefix="axonpush-tests-")
        config.add_cleanup(config.stash[_folder].cleanup)
    return Path(config.stash[_folder].name, "groups.json")
