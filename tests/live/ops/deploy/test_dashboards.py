"""Every query of Grafana's dashboards and every grant of ops/deploy/clickhouse, given to the engine."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from clickhouse_connect.driver.client import Client

from ops.cli.servers import open_clickhouse
from ops.provisioning import migrate
from ops.runtime.settings import Settings
from tests.servers import Server

pytestmark = pytest.mark.live

OPS = Path(__file__).parents[4] / "ops" / "deploy"
# What the data source writes in their place.
MACROS = (
    (r"\$__timeFilter\((\w+)\)", r"\1 >= toDateTime64('2026-01-01', 3) AND \1 <= now64(3)"),
    (r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)"),
    (r"\$\{channel:csv\}", "1,2"),
    (r"\$\{\w+:singlequote\}", "'a'"),
)


@pytest.fixture(scope="module")
def client(clickhouse_server: Server) -> Iterator[Client]:
    """A connection in a database with our tables."""
    settings = Settings(clickhouse_url=clickhouse_server.url, clickhouse_database=f"test_{uuid.uuid4().hex}")
    migrate.migrate_tables(settings, dry_run=False)
    found = open_clickhouse(settings)
    found.database = settings.clickhouse_database
    yield found
    found.command(f"DROP DATABASE {settings.clickhouse_database}")
    found.close()


def queries() -> Iterator[tuple[str, str, bool]]:
    """Title, text, and whether it is drawn over time."""
    for path in sorted((OPS / "grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{path.stem}: ${variable['name']}", variable["query"], False
        for panel in board["panels"]:
            for target in panel["targets"]:
                if "rawSql" in target:
                    yield f"{path.stem}: {panel['title']}", target["rawSql"], panel["type"] == "timeseries"


def as_sent(text: str) -> str:
    """The query with its macros written out."""
    for macro, written in MACROS:
        text = re.sub(macro, written, text)
    return text


def test_every_query_of_a_dashboard_runs(client: Client) -> None:
    """With macros as the data source fills them; what is drawn over time begins with the time."""
    found = list(queries())
    assert len(found) >= 9
    for title, text, over_time in found:
        plain = as_sent(text)
        assert "$" not in plain, title
        client.query(plain)
        name, kind = client.query(f"DESCRIBE ({plain})").result_rows[0][:2]
        assert not over_time or (name == "time" and kind.startswith("DateTime")), title


def test_every_grant_parses(client: Client) -> None:
    """A server that cannot read one of them does not start."""
    found = ElementTree.parse(OPS / "clickhouse/users.d/axonpush.xml").findall("users/*/grants/query")
    assert len(found) >= 10
    for grant in found:
        client.query("SELECT formatQuery({q:String})", parameters={"q": f"{grant.text} TO somebody"})


def test_every_setting_of_a_profile_exists(client: Client) -> None:
    """Neither does one that meets a setting it does not know."""
    profiles = ElementTree.parse(OPS / "clickhouse/users.d/axonpush.xml").findall("profiles/*/*")
    names = {one.tag for one in profiles if isinstance(one.tag, str) and one.tag != "constraints"}
    rows = client.query("SELECT name FROM system.settings WHERE name IN {n:Array(String)}", parameters={"n": [*names]})
    assert {name for (name,) in rows.result_rows} == names
