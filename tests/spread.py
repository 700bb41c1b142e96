"""Which tests of a run in several processes go to the same one: those of a file, and of files that share a server.

A whole system takes ten seconds of processor time to start. Files that look after the one of the session go to one
process, which starts it once. The name of their group stands behind the names of their tests: `test_it@system`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

# Fixtures of a session that are dear to start. A file that uses both goes with the first. Files that use only the
# session's ClickHouse are not kept together: it starts in a third of the time, and they are half of the live tests.
SHARED = ("operated", "system")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of files that use a shared server; xdist writes the group into their names."""
    used: dict[Path, set[str]] = {}
    for item in items:
        used.setdefault(item.path, set()).update(getattr(item, "fixturenames", ()))
    for item in items:
        group = next((name for name in SHARED if name in used[item.path]), None)
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadgroup`: tests without a group are kept together by file, as `--dist loadfile` does."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class LoadFilesAndGroups(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = super()._split_scope(nodeid)
            return nodeid.partition("::")[0] if scope == nodeid else scope

    return LoadFilesAndGroups(config, log)
