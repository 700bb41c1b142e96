"""Monitors as the page and tools read them: the plan, the last runs, and each run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chdb
import orjson
import pytest

from console.api.monitors import _MONITORS
from tests.unit.console.fakes import FakeClickHouse, client, services
from tests.unit.console.page.test_views import NODE, run_program

pytestmark = pytest.mark.asyncio
PATH = "/api/0/organizations/acme/monitors/"


def monitor(config: dict[str, str]) -> dict[str, Any]:
    """A row as ClickHouse answers it: a Map is an object."""
    return {
        "channel_id": 1, "monitor": "nightly", "first_at": "2026-11-26 12:00:00.000", "last_status": "missed",
        "last_at": "2026-11-27 12:00:00.000", "config": config,
        "runs": [[-1795780800000, "ok", 2_500_000_000], [-1795780700000, "missed", 0]],
    }  # fmt: skip


PLANS: list[tuple[dict[str, str], dict[str, Any], str]] = [
    (
        {"schedule.type": "crontab", "schedule.value": "30 2 * * *", "timezone": "Europe/Berlin"},
        {"schedule": {"type": "crontab", "value": "30 2 * * *"}, "timezone": "Europe/Berlin"},
        "every day at 02:30 Europe/Berlin",
    ),
    (
        {"checkin_margin": "5", "schedule.type": "interval", "schedule.value": "1", "schedule.unit": "hour"},
        {"checkin_margin": "5", "schedule": {"type": "interval", "value": "1", "unit": "hour"}},
        "every 1 hour",
    ),
    ({"schedule": "@daily", "schedule.value": "x"}, {"schedule": "@daily"}, "@daily"),
    ({}, {}, ""),
]


@pytest.mark.parametrize(("stored", "config", "words"), PLANS, ids=str)
async def test_the_plan_of_a_monitor_is_shown(
    stored: dict[str, str], config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Nested as it was sent, and in words on the page."""
    clickhouse = FakeClickHouse(lambda _sql, _parameters: [monitor(stored)])
    async with client(services(clickhouse)) as asking:
        (shown,) = (await asking.get(PATH)).json()
    assert shown["config"] == config
    assert shown["runs"] == [
        {"at": 1795780800.0, "status": "ok", "duration": 2_500},
        {"at": 1795780700.0, "status": "missed_checkin", "duration": 0},
    ]
    if NODE:
        (tmp_path / "config.json").write_bytes(orjson.dumps(shown["config"]))
        program = """
            import { readFileSync } from "node:fs";
            const { schedule } = await import("./static/views/more/runs.js");
            console.log(schedule(JSON.parse(readFileSync("config.json"))));
            """
        assert run_program(tmp_path, program).strip() == words


async def test_the_newest_plan_counts_not_the_longest() -> None:
    """Runs without one leave the plan as it was."""
    rows = [(1, "'a', '1', 'b', '1'"), (2, "'a', '2'"), (3, "")]
    stored = " UNION ALL ".join(
        f"SELECT 'acme' AS organisation, 1 AS channel_id, 'm' AS monitor, toDateTime64({at}, 9, 'UTC') AS opened_at, "
        f"'ok' AS status, CAST(map({config}), 'Map(String, String)') AS monitor_config, 1 AS duration_ns"
        for at, config in rows
    )
    sql = _MONITORS.replace("check_ins", f"({stored})")
    for name, text in (("organisation:String", "'acme'"), ("channels:Array(UInt64)", "[1]"), ("limit:UInt32", "9")):
        sql = sql.replace(f"{{{name}}}", text)
    answer = orjson.loads(chdb.query(sql.replace("{offset:UInt32}", "0") + " FORMAT JSONEachRow").bytes())
    assert answer["config"] == {"a": "2"}


async def test_the_runs_of_a_monitor() -> None:
    """Each with its status in the words of tools."""
    row = {
        "check_in_id": "0" * 32, "status": "missed", "opened_at": "2026-11-27 12:00:00.000", "duration_ns": 5_000_000,
        "environment": "", "release": "", "trace_id": "",
    }  # fmt: skip
    async with client(services(FakeClickHouse(lambda _sql, _parameters: [row]))) as asking:
        (run,) = (await asking.get(f"{PATH}nightly/checkins/")).json()
    assert (run["status"], run["duration"]) == ("missed_checkin", 5)
