"""Where faults happen: the fleets of a run, each made when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from ops.provisioning.streams import MIB, Budgets
from tests.chaos.faults import SMALL_DISK, UP
from tests.chaos.fleet import Fleet
from tests.chaos.up_fleet import UpFleet
from tests.cluster import Cluster

# Each of the three keeps everything, and may use 2 GB.
CLUSTER_DISK = Budgets(
    raw_max_bytes=512 * MIB, items_max_bytes=128 * MIB, dead_max_bytes=64 * MIB, artifacts_max_bytes=MIB
)


@contextmanager
def sites(folder: Path, ack_wait_s: float = 0) -> Iterator[Callable[[str], Fleet]]:
    """A function from an Entry's `site` to a running Fleet; one at a time, since the machine is small."""
    running: dict[str, Fleet] = {}
    number = count(1)

    def at(site: str) -> Fleet:
        if site not in running:
            _end(running)
            place = folder / f"{site.replace(' ', '-')}-{next(number)}"
            place.mkdir()
            running[site] = _fleet(site, place, ack_wait_s)
            running[site].start()
        return running[site]

    try:
        yield at
    finally:
        _end(running)


def _fleet(site: str, folder: Path, ack_wait_s: float) -> Fleet:
    if site == UP:
        return UpFleet(folder)
    if site == "cluster":
        return Fleet(folder, CLUSTER_DISK, ack_wait_s, Cluster(folder))
    if site == "small disk":
        return Fleet(folder, SMALL_DISK, ack_wait_s, AXONPUSH_JANITOR_INTERVAL_S="1")
    return Fleet(folder, ack_wait_s=ack_wait_s)


def _end(running: dict[str, Fleet]) -> None:
    for fleet in running.values():
        fleet.end()
    running.clear()
