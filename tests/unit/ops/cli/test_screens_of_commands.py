"""What commands print for people: sizes, bodies that are gone, invalid bodies, files that they would replace."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from ops.cli import cluster, terminal
from ops.cli.refusals import invalid_text
from ops.cli.registry.file import check_target, tell_origin
from ops.cli.replay import missing_bodies_text
from ops.local.data_dir import DataDir
from ops.local.start.named_servers import tell_new
from ops.provisioning.amounts import for_people
from ops.provisioning.cluster_changes import StateReport, StateRow
from ops.provisioning.desired_state import Asked, checked
from ops.provisioning.streams import Budgets
from ops.refusals.read import RefusalChoice, invalid_bodies
from ops.registry.file_copy import StoredEntry, encode_file
from ops.replay.control import Choice
from ops.runtime.failures import Failed

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
ODD = 13_664_203_571


@pytest.mark.parametrize(
    ("both", "shown"),
    [
        ((f"{ODD} bytes", f"{ODD} bytes"), ("12.7 GiB", "12.7 GiB")),
        ((f"{ODD} bytes", f"{ODD + 1} bytes"), (f"{ODD} bytes", f"{ODD + 1} bytes")),
        ((f"{ODD} bytes", "512 MiB"), ("12.7 GiB", "512 MiB")),
        ((f"{ODD} bytes", ""), ("12.7 GiB", "")),
        (("0 (for ever)", "90"), ("0 (for ever)", "90")),
    ],
)
def test_odd_sizes_are_rounded_where_that_hides_nothing(both: tuple[str, str], shown: tuple[str, str]) -> None:
    assert for_people(*both) == shown
    assert StateRow("raw_max_bytes", *both).cells == ("raw_max_bytes", *shown)


@pytest.mark.parametrize("as_json", [True, False])
def test_the_exact_size_is_for_scripts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    state = checked({**Budgets().model_dump(), "nats_replicas": 1, "raw_max_bytes": ODD})
    made = StateReport(state, [StateRow("raw_max_bytes", f"{ODD} bytes", f"{ODD} bytes")])
    monkeypatch.setattr(cluster, "_run_report", lambda _: (made, state))
    cluster.show_cluster(as_json=as_json)
    out = capsys.readouterr().out
    if as_json:
        document = json.loads(out)
        assert document["desired"]["raw_max_bytes"] == ODD
        assert document["actual"] == {"raw_max_bytes": f"{ODD} bytes"}
    else:
        assert "12.7 GiB" in out
        assert str(ODD) not in out


def test_a_setting_that_is_not_applied_is_shown_rounded() -> None:
    state = checked({**Budgets().model_dump(), "nats_replicas": 1, "raw_max_bytes": ODD})
    (text,) = Asked({"raw_max_bytes": 2**30}, {"raw_max_bytes": "AXONPUSH_RAW_MAX_BYTES"}).disagreements(state)
    assert "is 1 GiB, but this system keeps 12.7 GiB" in text


def choice(since: dt.datetime) -> Choice:
    return Choice(since=since, until=NOW)


def test_a_replay_says_since_when_raw_has_bodies() -> None:
    """`0 bodies replayed; every row of them is stored` was all that it said of a day that the janitor had deleted."""
    day = dt.timedelta(days=1)
    assert "since 2026-11-27 12:00:00 UTC only" in missing_bodies_text(NOW, choice(NOW - day))
    assert missing_bodies_text(NOW - day, choice(NOW)) == ""
    assert "RAW holds no bodies" in missing_bodies_text(None, choice(NOW))
    assert missing_bodies_text(None, None) == "", "a resumed one has said it"


class Answer:
    def __init__(self, total: int) -> None:
        self.result_rows = [(total,)]


def test_refusals_count_invalid_bodies_beside_them() -> None:
    """A key whose broken bodies were each answered 400 showed `0 requests were refused`."""
    asked: list[dict[str, Any]] = []

    class Client:
        def query(self, _sql: str, parameters: dict[str, Any]) -> Answer:
            asked.append(parameters)
            return Answer(3)

    client: Any = Client()
    assert invalid_bodies(client, RefusalChoice(NOW, "5a8f", 7)) == 3
    assert asked == [{"since": NOW, "key": "5a8f", "channel": 7}]
    assert invalid_text(0, 7) == ""
    assert invalid_text(1, 0).startswith(
        "1 more body of this time was received and then found invalid (most are answered 400)"
    )
    assert "`axonpush dead list --reason invalid --channel 7`" in invalid_text(3, 7)


def exported(system: str) -> bytes:
    return encode_file([StoredEntry("channel.1", {"id": 1})], "2026-11-26T00:00:00Z", system)


@pytest.mark.parametrize(
    ("there", "word"),
    [
        (None, ""),
        (exported("a" * 32), ""),
        (exported(""), ""),
        (exported("b" * 32), "the export of another system (bbbbbbbb"),
        (b"my notes", "a file that is no export"),
    ],
)
def test_an_export_replaces_only_one_of_the_same_system(tmp_path: Path, there: bytes | None, word: str) -> None:
    """In a wrong shell, `registry export FILE` destroyed the backup of another system."""
    target = tmp_path / "registry.jsonl"
    if there is not None:
        target.write_bytes(there)
    if not word:
        check_target(target, "a" * 32)
        return
    with pytest.raises(Failed, match="Nothing was written") as raised:
        check_target(target, "a" * 32)
    assert word in str(raised.value)
    assert target.read_bytes() == there


def test_a_new_system_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`up --data-dir TYPO` started an empty system without a word."""
    for name in ("NATS_URL", "CLICKHOUSE_URL"):
        monkeypatch.delenv(f"AXONPUSH_{name}", raising=False)
    tell_new(DataDir(tmp_path / "typo"), terminal.console())
    told = capsys.readouterr().out
    assert "a new system" in told
    assert str(tmp_path / "typo") in told
    for name in ("nats", "clickhouse"):
        (tmp_path / "old" / name / "store").mkdir(parents=True)
    tell_new(DataDir(tmp_path / "old"), terminal.console())
    for name in ("NATS_URL", "CLICKHOUSE_URL"):
        monkeypatch.setenv(f"AXONPUSH_{name}", "x")
    tell_new(DataDir(tmp_path / "new"), terminal.console())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("of_file", "here", "is_told"), [("a" * 32, "b" * 32, True), ("a" * 32, "a" * 32, False), ("", "b" * 32, False)]
)
def test_an_import_of_another_systems_file_says_so(
    capsys: pytest.CaptureFixture[str], of_file: str, here: str, is_told: bool
) -> None:
    """Its active keys were valid here without a word."""
    tell_origin(of_file, here)
    assert ("the file is of system aaaaaaaa, this one is bbbbbbbb" in capsys.readouterr().err) == is_told
