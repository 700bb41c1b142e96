"""Databases for tests of one engine: a migration takes more than a second, so what one test is done with the next gets.

A test has its database to itself. It comes without a row, and without a query that could still write one.
"""

from __future__ import annotations

import uuid

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from schemas.identifiers import SYSTEM_COLUMN, SYSTEM_TABLE
from tests.polling import eventually
from tests.servers import Server

_free: dict[str, list[str]] = {}


def take(clickhouse: Server) -> str:
    """The name of a database: one that a test gave back, else one that `migrate` has yet to make."""
    given_back = _free.get(clickhouse.url)
    if not given_back:
        return f"test_{uuid.uuid4().hex}"
    name = given_back.pop()
    _empty(clickhouse, name)
    return name


def give_back(clickhouse: Server, name: str) -> None:
    """When no process of the test runs any more. Only of a test that changes no table."""
    _free.setdefault(clickhouse.url, []).append(name)


def _empty(clickhouse: Server, name: str) -> None:
    client = clickhouse_connect.get_client(dsn=clickhouse.url, autogenerate_session_id=False)
    try:
        eventually(lambda: _queries(client, name) == 0, f"the last queries on {name} to end")
        tables = "SELECT name FROM system.tables WHERE database = {name:String} AND engine LIKE '%MergeTree'"
        for (table,) in client.query(tables, parameters={"name": name}).result_rows:
            if table != "migrations":
                client.command(f"TRUNCATE TABLE `{name}`.`{table}`")
            if table == SYSTEM_TABLE:  # the next test has a broker of its own
                client.command(f"ALTER TABLE `{name}`.`{table}` COMMENT COLUMN {SYSTEM_COLUMN} ''")
    finally:
        client.close()


def _queries(client: Client, name: str) -> int:
    sql = "SELECT count() FROM system.processes WHERE current_database = {name:String}"
    return int(client.query(sql, parameters={"name": name}).result_rows[0][0])
