# ruff: noqa: E501 (one statement a line)
"""What nobody may do with the embedded engine, tried for all that the engine itself lists.

A newer engine's novelties fail here. Statements are sent as a reader, a worker and an operator. What is refused is
refused before it runs: no file of the machine is read or made, and nobody calls the port that statements point to.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from ops.local.clickhouse_http.access import allowed, users
from ops.local.clickhouse_http.config import EngineLimits
from ops.local.clickhouse_http.engine import Engine
from ops.local.clickhouse_http.errors import ServerError
from ops.local.clickhouse_http.request import OURS
from tests import servers

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = [pytest.mark.live, pytest.mark.long]

SECRET = "only-the-owner-may-read-this"
# 497 refused; 46, 62, 73, 115 not even understood; 358 INTO OUTFILE; 452 a setting out of its bounds.
REFUSED = {"497", "46", "62", "73", "115", "358", "452"}
EVERYBODY = (users.READER, users.WORKER, users.OPERATOR)


class Site:
    """A server, a file of the machine that nobody may see, and a port where nobody may call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret.txt"
        self.secret.write_text(f"{SECRET}\n")
        self.made = folder / "made-by-the-engine"
        self.server = servers.ClickHouseProcess(folder)
        self._connection = http.client.HTTPConnection(servers.HOST, self.server.port, timeout=60)
        self.calls = 0
        self._listener = socket.create_server((servers.HOST, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def end(self) -> None:
        self._listener.close()
        self._connection.close()
        self.server.stop()

    def ask(self, user: str, sql: str | bytes, headers: dict[str, str] | None = None, **url: str) -> tuple[str, str]:
        """Error code (empty for none) and text of an answer."""
        body = sql.encode() if isinstance(sql, str) else sql
        credentials = {"X-ClickHouse-User": user, "X-ClickHouse-Key": self.server.passwords.get(user, "")}
        self._connection.request("POST", f"/?{urlencode(url)}", body, credentials | (headers or {}))
        answer = self._connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        return answer.headers.get("X-ClickHouse-Exception-Code", ""), text

    def refuses(self, user: str, sql: str | bytes, codes: set[str] = REFUSED, **url: str) -> None:
        """Fails unless a statement is refused and nothing has come out."""
        code, text = self.ask(user, sql, **url)
        assert code in codes, f"{user}: {sql!r} {url}: {code or 'done'} {text[:300]}"
        assert SECRET not in text, f"{user}: {sql!r} told a file"
        assert not self.made.exists(), f"{user}: {sql!r} made a file"
        assert self.calls == 0, f"{user}: {sql!r} called another host"

    def listed(self, sql: str) -> list[str]:
        code, text = self.ask(users.OPERATOR, sql)
        assert not code, text
        return text.split("\n")[:-1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("rights"))
    made.server.start()
    for sql in (
        "CREATE DATABASE axonpush",
        "CREATE TABLE axonpush.event_rows (a String) ENGINE = MergeTree ORDER BY a",
        "INSERT INTO axonpush.event_rows VALUES ('row')",
        "CREATE VIEW axonpush.events AS SELECT * FROM axonpush.event_rows",
        "CREATE TABLE default.other (a String) ENGINE = MergeTree ORDER BY a",
        "CREATE TABLE axonpush.filled (a String) ENGINE = MergeTree ORDER BY a",
        "CREATE MATERIALIZED VIEW axonpush.fills TO axonpush.filled AS SELECT a FROM axonpush.event_rows",
    ):
        assert made.ask(users.OPERATOR, sql) == ("", ""), sql
    yield made
    made.end()


def shapes(site: Site) -> list[str]:
    """Arguments with which functions and engines would read a file, make one, or call a host."""
    at = f"{servers.HOST}:{site.port}"
    return [
        f"'{site.secret}'",
        f"'{site.secret}', 'LineAsString'",
        f"'{site.secret}', 'LineAsString', 'a String'",
        f"LineAsString, '{site.secret}'",
        f"'{site.made}'",
        f"TSV, '{site.made}'",
        f"'http://{at}/x', 'LineAsString', 'a String'",
        f"'{at}', 'd', 't', 'u', 'p'",
        f"'{at}', system.one",
        f"'{at}', 'd', 't', 'u', 'p', 'a String'",
        "",
        "'a String'",
        "default.other",
        f"'cat {site.secret}', 'LineAsString', 'a String'",
    ]


# --- what the engine lists


def test_every_table_function_is_refused_but_those_that_compute(site: Site) -> None:
    """`input` is for inserts; the others make numbers or rows of what stands in the query."""
    names = site.listed("SELECT name FROM system.table_functions")
    assert len(names) > 80
    assert set(names) >= allowed.TABLE_FUNCTIONS
    for name in sorted(set(names) - allowed.TABLE_FUNCTIONS):
        for user in EVERYBODY:
            for arguments in shapes(site)[:: 1 if user == users.OPERATOR else 5]:
                site.refuses(user, f"SELECT * FROM {name}({arguments})")
            call = f"{name}('{site.secret}')"
            site.refuses(user, f"DESCRIBE TABLE {call}")
            site.refuses(user, f"INSERT INTO FUNCTION {call} SELECT 1")
            site.refuses(user, f"SELECT 1 IN (SELECT * FROM view(SELECT * FROM {call}))")
            site.refuses(user, f"CREATE TABLE default.x AS {call}")
            site.refuses(user, f"EXPLAIN SELECT * FROM (SELECT * FROM {call})")


def test_every_table_engine_is_refused_but_the_engines_own(site: Site) -> None:
    """MergeTree and its like, and tables in memory; for readers, temporary tables in memory."""
    names = site.listed("SELECT name FROM system.table_engines")
    assert len(names) > 60
    assert set(names) >= allowed.TABLE_ENGINES
    for name in sorted(set(names) - allowed.TABLE_ENGINES):
        for user in EVERYBODY:
            for arguments in shapes(site)[:: 1 if user == users.OPERATOR else 7]:
                site.refuses(user, f"CREATE TABLE default.x (a String) ENGINE = {name}({arguments})")
                site.refuses(user, f"CREATE TEMPORARY TABLE x (a String) ENGINE = {name}({arguments})")
    for name in allowed.TABLE_ENGINES:
        site.refuses(users.READER, f"CREATE TABLE axonpush.x (a String) ENGINE = {name}")
        site.refuses(users.WORKER, f"CREATE TABLE axonpush.x (a String) ENGINE = {name}")


def test_every_database_engine_is_refused_but_the_engines_own(site: Site) -> None:
    for name in site.listed("SELECT name FROM system.database_engines"):
        for user in EVERYBODY:
            if user == users.OPERATOR and name in allowed.DATABASE_ENGINES:
                continue
            for arguments in ("", f"('{site.secret}')", f"('{servers.HOST}:{site.port}', 'd', 'u', 'p')"):
                site.refuses(user, f"CREATE DATABASE x ENGINE = {name}{arguments}")


def test_no_dictionary_of_any_source_or_layout(site: Site) -> None:
    sources = [*site.listed("SELECT name FROM system.dictionary_sources"), "executable", "executable_pool"]
    layouts = site.listed("SELECT name FROM system.dictionary_layouts")
    assert len(sources) > 5
    assert len(layouts) > 5
    arguments = f"PATH '{site.secret}' COMMAND 'cat {site.secret}' FORMAT 'TSV' URL 'http://{servers.HOST}:{site.port}'"
    pairs = [(source, "flat") for source in sources] + [("executable", layout) for layout in layouts]
    for source, layout in pairs:
        sql = (
            f"CREATE DICTIONARY default.d (a UInt64, b String) PRIMARY KEY a "
            f"SOURCE({source}({arguments})) LAYOUT({layout}()) LIFETIME(1)"
        )
        for user in EVERYBODY:
            site.refuses(user, sql)
            site.refuses(user, sql.replace("CREATE", "CREATE OR REPLACE"))
            site.refuses(user, sql.replace("CREATE", "ATTACH"))


def test_every_function_was_looked_at(site: Site) -> None:
    """A newer engine's function in a category that may be called, or in none, fails here until somebody has looked."""
    rows = site.listed("SELECT name, categories FROM system.functions WHERE alias_to = ''")
    found = dict(row.split("\t") for row in rows)
    known = allowed.FUNCTION_CATEGORIES | {
        "AI", "Dictionary", "Embedded Dictionary", "Internal", "Introspection", "Machine Learning", "Other",
    }  # fmt: skip
    assert set(found.values()) <= known
    reviewed = set((Path(__file__).parent / "engine_functions.txt").read_text().split())
    assert set(found) - reviewed == set(), "look at them, put those that only compute into allowed.py, and all here"
    for name in sorted(found):
        if found[name] in allowed.FUNCTION_CATEGORIES and name not in allowed.REFUSED_FUNCTIONS:
            continue
        if name in allowed.FUNCTIONS:
            continue
        for user in EVERYBODY:
            site.refuses(user, f"SELECT {name}('{site.secret}')")
    for user in EVERYBODY:
        for call in ("fIlE('{}')", "arrayMap(x -> file(x), ['{}'])", "(SELECT file('{}'))", "fileIf('{}', 1)"):
            site.refuses(user, f"SELECT {call.format(site.secret)}")
        site.refuses(user, f"SELECT * APPLY file FROM (SELECT '{site.secret}' AS a)")
        site.refuses(user, f"SELECT * APPLY(x -> file(x)) FROM (SELECT '{site.secret}' AS a)")
        site.refuses(user, f"SELECT 1 ORDER BY file('{site.secret}')")
        site.refuses(user, f"WITH file('{site.secret}') AS f SELECT f")
        site.refuses(user, f"SELECT * REPLACE(file('{site.secret}') AS a) FROM (SELECT 1 AS a)")


def test_every_format_that_reads_files_is_refused(site: Site) -> None:
    """As the format of an answer, of data, of external tables; by name, by parameter, by header."""
    names = site.listed("SELECT name FROM system.formats")
    refused = {name for name in names if name.lower() not in allowed.FORMATS}
    assert refused == {
        "Avro", "AvroConfluent", "Buffers", "CustomSeparated", "CustomSeparatedIgnoreSpaces",
        "CustomSeparatedIgnoreSpacesWithNames", "CustomSeparatedIgnoreSpacesWithNamesAndTypes", "CustomSeparatedWithNames",
        "CustomSeparatedWithNamesAndTypes", "DWARF", "MySQLDump", "MySQLWire", "Npy", "ODBCDriver2", "One", "PNG",
        "ParquetMetadata", "PostgreSQLWire", "Protobuf", "ProtobufList", "ProtobufSingle", "Puffin", "PuffinMetadata",
        "Regexp", "Template", "TemplateIgnoreSpaces",
    }  # fmt: skip
    for name in sorted(refused):
        for user in EVERYBODY:
            site.refuses(user, f"SELECT 1 FORMAT {name}")
            site.refuses(user, "SELECT 1", default_format=name)
            site.refuses(user, f"SHOW TABLES FORMAT {name}")
            site.refuses(user, f"INSERT INTO axonpush.event_rows FORMAT {name} x")
            site.refuses(user, f"SELECT * FROM format({name}, 'x')")
            site.refuses(user, f"SELECT formatRow('{name}', 1)")
            code, _ = site.ask(user, "SELECT 1", headers={"X-ClickHouse-Format": name})
            assert code in REFUSED


def test_every_setting_that_names_a_file_a_host_or_an_expression_is_refused(site: Site) -> None:
    """In a URL, in SETTINGS wherever the grammar has it, in SET, and in DDL."""
    names = site.listed("SELECT name FROM system.settings")
    pattern = re.compile(
        r"path|schema$|schema_source|output_format_schema|template|_file|url|uri|host|disk|dialect|expression|_filter$"
        r"|custom_key|cluster|credentials|workload|profile|readonly|allow_ddl|introspection|python|hints|rename"
    )
    fine = {
        "enable_optimize_predicate_expression", "optimize_trivial_count_with_sparsity_filter",
        "output_format_parquet_write_bloom_filter", "prefer_localhost_replica", "query_plan_merge_expression_into_join",
        "optimize_count_from_files", "optimize_distributed_group_by_sharding_key", "output_format_avro_rows_in_file",
        "compile_expressions", "compile_aggregate_expressions", "compile_regular_expressions",
    }  # fmt: skip
    dangerous = [name for name in names if pattern.search(name) and not allowed.is_setting(name, writes=True)]
    assert len(dangerous) > 100
    passing = {name for name in names if pattern.search(name) and allowed.is_setting(name, writes=True)}
    assert {name for name in passing if "schema_inference" not in name and "expressions" not in name} <= fine | {
        name
        for name in passing
        if re.search(r"filter_push_down|merge_filter|split_filter|json_.*paths|local_file|profile", name)
    }
    for name in dangerous:
        value = str(site.secret)
        for user in (
            EVERYBODY if name not in OURS else ()
        ):  # in a URL those are the server's, and never reach the engine
            site.refuses(user, "SELECT 1", **{name: value})
        site.refuses(users.READER, f"SELECT 1 SETTINGS {name} = '{value}'")
        site.refuses(users.WORKER, f"SELECT * FROM (SELECT 1 SETTINGS {name} = '{value}')")
        site.refuses(users.OPERATOR, f"SET {name} = '{value}'")
    for name in ("format_template_row", "additional_result_filter", "input_format_record_errors_file_path", "dialect"):
        setting = f"SETTINGS {name} = '{site.secret}'"
        for user in EVERYBODY:
            for sql in (
                f"SELECT 1 FORMAT TSV {setting}", f"SELECT 1 {setting} FORMAT TSV", f"SHOW TABLES {setting}",
                f"INSERT INTO axonpush.event_rows {setting} FORMAT TSV\nx", f"INSERT INTO axonpush.event_rows {setting} SELECT 'x'",
                f"CREATE VIEW axonpush.v AS SELECT 1 {setting}", f"EXPLAIN SELECT 1 {setting}", f"DESCRIBE TABLE axonpush.events {setting}",
                f"CREATE MATERIALIZED VIEW axonpush.v ENGINE = Memory AS SELECT 1 {setting}", f"SELECT 1 UNION ALL SELECT 2 {setting}",
            ):  # fmt: skip
                site.refuses(user, sql)


def test_settings_of_allowed_names_take_no_path(site: Site) -> None:
    """Those with a text as value, looked at one by one: a newer engine's fail here."""
    rows = site.listed("SELECT name FROM system.settings WHERE type = 'String'")
    assert {name for name in rows if allowed.is_setting(name, writes=True)} == {
        "bool_false_representation", "bool_true_representation", "count_distinct_implementation",
        "format_csv_null_representation", "format_custom_field_delimiter", "format_custom_result_after_delimiter",
        "format_custom_result_before_delimiter", "format_custom_row_after_delimiter", "format_custom_row_before_delimiter",
        "format_custom_row_between_delimiter", "format_json_object_each_row_column_for_object_name",
        "format_tsv_null_representation", "input_format_mysql_dump_table_name", "input_format_orc_reader_time_zone_name",
        "insert_deduplication_token", "log_comment", "output_format_avro_codec", "output_format_avro_confluent_subject",
        "output_format_avro_string_column_pattern", "output_format_image_terminal_mode",
        "output_format_orc_writer_time_zone_name", "output_format_pretty_grid_charset",
        "output_format_sql_insert_table_name",
    }  # fmt: skip


def test_no_system_statement(site: Site) -> None:
    """Each of those that the engine's privileges name, and some of their forms."""
    named = [name for name in site.listed("SELECT DISTINCT keyword FROM system.keywords") if name.startswith("SYSTEM ")]
    words = {"SHUTDOWN", "KILL", "SUSPEND FOR 1 SECOND", "RELOAD CONFIG", "RELOAD DICTIONARIES", "RELOAD FUNCTIONS",
             "DROP MARK CACHE", "DROP DNS CACHE", "FLUSH LOGS", "STOP MERGES", "START MERGES", "STOP TTL MERGES",
             "STOP MOVES", "STOP FETCHES", "SYNC REPLICA x", "RESTART REPLICAS", "UNFREEZE WITH NAME 'x'", "STOP LISTEN HTTP",
             "ENABLE FAILPOINT x", "RELOAD USERS", "JEMALLOC PURGE", "LOAD PRIMARY KEY", "WAIT LOADING PARTS x",
             "DROP FORMAT SCHEMA CACHE", "DROP QUERY CACHE", "SYNC FILE CACHE", "RESTORE REPLICA x"}  # fmt: skip
    for statement in [*named, *(f"SYSTEM {one}" for one in sorted(words))]:
        for user in EVERYBODY:
            site.refuses(user, statement)


def test_no_output_clause(site: Site) -> None:
    for user in EVERYBODY:
        for sql in (
            f"SELECT 1 INTO OUTFILE '{site.made}'",
            f"SELECT 1 INTO OUTFILE '{site.made}' APPEND",
            f"SELECT 1 INTO OUTFILE '{site.made}' TRUNCATE FORMAT TSV",
            f"SELECT 1 INTO OUTFILE '{site.made}' AND STDOUT",
            f"SELECT 1 INTO OUTFILE '{site.made}' COMPRESSION 'gzip' LEVEL 1",
            f"(SELECT 1) UNION ALL (SELECT 2) INTO OUTFILE '{site.made}'",
            f"SHOW TABLES INTO OUTFILE '{site.made}'",
            f"DESCRIBE TABLE axonpush.events INTO OUTFILE '{site.made}'",
            f"EXISTS TABLE axonpush.events INTO OUTFILE '{site.made}'",
            f"SHOW CREATE TABLE axonpush.events INTO OUTFILE '{site.made}'",
            f"EXPLAIN SELECT 1 INTO OUTFILE '{site.made}'",
            f"EXPLAIN AST SELECT 1 INTO OUTFILE '{site.made}'",
            f"SHOW FUNCTIONS INTO OUTFILE '{site.made}'",
            f"CREATE TABLE default.y (a Int8) ENGINE = Memory INTO OUTFILE '{site.made}'",
            f"KILL QUERY WHERE 0 INTO OUTFILE '{site.made}'",
            f"BACKUP DATABASE axonpush TO Disk('backups', 'x') INTO OUTFILE '{site.made}'",
            f"INSERT INTO axonpush.event_rows FROM INFILE '{site.secret}' FORMAT LineAsString",
            f"INSERT INTO axonpush.event_rows (a) FROM INFILE '{site.secret}' COMPRESSION 'none' FORMAT LineAsString",
        ):
            site.refuses(user, sql)


# --- kinds of statements, and rights


def test_statements_that_nobody_needs_are_refused_for_everybody(site: Site) -> None:
    folder = site.folder
    for user in EVERYBODY:
        for sql in (
            "SET ROLE axonpush_keeper", "SET ROLE ALL", "SET ROLE DEFAULT", "SET DEFAULT ROLE axonpush_keeper TO default",
            "EXECUTE AS default SELECT 1", "EXECUTE AS default",
            "CREATE USER x", "CREATE ROLE x", "GRANT SELECT ON *.* TO default", "REVOKE ALL ON *.* FROM default",
            "CREATE FUNCTION f AS x -> x", "CREATE NAMED COLLECTION x AS a = 1", "CREATE QUOTA q", "CREATE ROW POLICY p ON axonpush.events",
            "CREATE SETTINGS PROFILE p", "CREATE WORKLOAD w", "CREATE RESOURCE r (READ DISK d)", "DROP FUNCTION f",
            "DETACH TABLE axonpush.event_rows", "DETACH DATABASE axonpush", "ATTACH TABLE axonpush.event_rows",
            f"ATTACH TABLE axonpush.y FROM '{folder}' (a String) ENGINE = MergeTree ORDER BY a",
            "ATTACH DATABASE x ENGINE = Atomic",
            f"BACKUP DATABASE axonpush TO File('{site.made}')", "BACKUP DATABASE axonpush TO Disk('default', 'x')",
            f"BACKUP DATABASE axonpush TO S3('http://{servers.HOST}:{site.port}/x')", "BACKUP ALL TO Disk('backups', 'x')",
            "BACKUP TABLE axonpush.event_rows TO Disk('backups', '../../x')", "BACKUP TABLE axonpush.event_rows TO Disk('backups', '/tmp/x')",
            f"RESTORE DATABASE axonpush FROM File('{site.secret}')",
            f"BACKUP DATABASE axonpush TO Disk('backups', 'x') SETTINGS base_backup = File('{site.secret}')",
            f"CREATE TABLE default.y (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{site.made}/')",
            f"CREATE TABLE default.y (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local', path = '{site.made}/')",
            "CREATE TABLE default.y (a String) ENGINE = MergeTree ORDER BY a SETTINGS storage_policy = 'x'",
            "ALTER TABLE axonpush.event_rows MODIFY SETTING storage_policy = 'x'",
            "ALTER TABLE axonpush.event_rows FREEZE", "ALTER TABLE axonpush.event_rows FETCH PARTITION tuple() FROM '/x'",
            "ALTER TABLE axonpush.event_rows MOVE PARTITION tuple() TO DISK 'backups'", "ALTER TABLE axonpush.event_rows ATTACH PARTITION tuple()",
            "ALTER TABLE axonpush.event_rows DETACH PARTITION tuple()", "ALTER TABLE axonpush.event_rows EXPORT PART 'x' TO TABLE y",
            "CREATE TABLE default.y (a String, d Date) ENGINE = MergeTree ORDER BY a TTL d TO DISK 'backups'",
            f"CREATE TABLE default.y (a String DEFAULT file('{site.secret}')) ENGINE = Memory",
            f"ALTER TABLE axonpush.event_rows ADD COLUMN b String DEFAULT file('{site.secret}')",
            f"ALTER TABLE axonpush.event_rows UPDATE a = file('{site.secret}') WHERE 1",
            f"ALTER TABLE axonpush.event_rows DELETE WHERE file('{site.secret}') = ''",
            f"DELETE FROM axonpush.event_rows WHERE file('{site.secret}') = ''",
            f"CREATE VIEW axonpush.y AS SELECT file('{site.secret}')", f"CREATE VIEW axonpush.y AS SELECT * FROM file('{site.secret}')",
            f"CREATE MATERIALIZED VIEW axonpush.y ENGINE = File(TSV, '{site.made}') AS SELECT 1",
            f"CREATE MATERIALIZED VIEW axonpush.y REFRESH EVERY 1 SECOND ENGINE = Memory AS SELECT file('{site.secret}')",
            f"INSERT INTO axonpush.event_rows VALUES (file('{site.secret}'))", f"INSERT INTO axonpush.event_rows SELECT file('{site.secret}')",
            f"INSERT INTO axonpush.event_rows VALUES ('a'), (file('{site.secret}'))",
            f"INSERT INTO axonpush.event_rows VALUES ('a')) FROM file('{site.secret}') --",
            f"INSERT INTO FUNCTION file('{site.made}') SELECT 1", f"INSERT INTO FUNCTION file('{site.made}') FORMAT TSV\nx",
            f"INSERT INTO axonpush.event_rows SELECT * FROM input('a String DEFAULT file(\\'{site.secret}\\')') FORMAT TSV\n",
            "EXPLAIN TABLE OVERRIDE mysql('a', 'b', 'c', 'd', 'e') PARTITION BY a", "EXPLAIN CURRENT TRANSACTION", "BEGIN TRANSACTION",
            "SELECT 1 PARALLEL WITH SELECT 2", "SHOW PROCESSLIST", "SHOW GRANTS", "SHOW USERS", "SHOW ACCESS", "SHOW NAMED COLLECTIONS",
            "SHOW FILESYSTEM CACHES", "DESCRIBE FILESYSTEM CACHE 'x'", "DROP TABLE axonpush.event_rows ON CLUSTER c", "CHECK GRANT SELECT ON *.*",
            "COPY axonpush.event_rows TO '/tmp/x'", "WATCH axonpush.events", "UNDROP TABLE x", "MOVE ROLE r TO x", "KILL TRANSACTION WHERE 1",
            "SELECT * FROM python('os')", "SELECT * FROM Python(site)", "USE `system`; SELECT 1",
        ):  # fmt: skip
            site.refuses(
                user, sql, REFUSED | {"27", "81", "60", "36", "80", "48", "536"} if "File" not in sql else REFUSED
            )
    assert site.listed("SELECT a FROM axonpush.event_rows") == ["row"]


def test_a_reader_reads_and_changes_nothing_that_stays(site: Site) -> None:
    for sql in (
        "INSERT INTO axonpush.event_rows VALUES ('x')", "INSERT INTO axonpush.event_rows FORMAT TSV\nx",
        "INSERT INTO axonpush.event_rows SELECT 'x'", "CREATE TABLE axonpush.z (a Int8) ENGINE = Memory",
        "CREATE DATABASE z", "CREATE VIEW axonpush.z AS SELECT 1", "DROP TABLE axonpush.event_rows", "DROP VIEW axonpush.events",
        "TRUNCATE TABLE axonpush.event_rows", "ALTER TABLE axonpush.event_rows DELETE WHERE 1", "DELETE FROM axonpush.event_rows WHERE 1",
        "RENAME TABLE axonpush.event_rows TO axonpush.z", "OPTIMIZE TABLE axonpush.event_rows", "KILL QUERY WHERE 1",
        "BACKUP DATABASE axonpush TO Disk('backups', 'z')", "RESTORE DATABASE axonpush FROM Disk('backups', 'z')",
        "SELECT * FROM default.other", "SELECT 1 IN default.other", "SELECT * FROM system.parts", "SELECT * FROM system.processes",
        "SELECT 1 WHERE 'a' IN (SELECT name FROM system.parts)", "SELECT ('a', 'b') IN system.parts", "USE system", "SELECT * FROM system.disks",
    ):  # fmt: skip
        site.refuses(users.READER, sql)
    site.refuses(users.READER, "SELECT * FROM parts", database="system")
    site.refuses(users.READER, "SELECT * FROM {d:Identifier}.parts", param_d="system")
    site.refuses(users.READER, "SELECT * FROM {d:Identifier}.{t:Identifier}", param_d="system", param_t="parts")
    site.refuses(users.READER, "SELECT * FROM {t:Identifier}", param_t="system.parts", codes=REFUSED | {"60"})
    for sql in (
        "SELECT a FROM axonpush.events", "SELECT count() FROM system.columns", "SHOW TABLES FROM axonpush", "DESCRIBE TABLE axonpush.events",
        "SHOW CREATE TABLE axonpush.events", "EXPLAIN SELECT * FROM axonpush.events", "SELECT name FROM system.settings LIMIT 1",
        "CREATE TEMPORARY TABLE t (a UInt8)", "SELECT count() FROM information_schema.tables", "SET max_threads = 1", "SHOW DATABASES",
        "CREATE TEMPORARY TABLE t ENGINE = Memory AS SELECT * FROM axonpush.events", "EXISTS TABLE axonpush.events", "SHOW FUNCTIONS",
    ):  # fmt: skip
        code, text = site.ask(users.READER, sql)
        assert not code, f"{sql}: {text}"


def test_a_worker_inserts_into_its_tables_and_reads_nothing(site: Site) -> None:
    assert site.ask(users.WORKER, "INSERT INTO axonpush.event_rows FORMAT TSV\n") == ("", "")
    for sql in (
        "SELECT a FROM axonpush.event_rows", "SELECT * FROM axonpush.events", "INSERT INTO default.other VALUES ('x')",
        "INSERT INTO axonpush.filled VALUES ('x')", "SELECT 'row' IN axonpush.event_rows", "EXPLAIN SELECT * FROM axonpush.events",
        "SELECT * FROM view(SELECT * FROM axonpush.events)", "SELECT (SELECT count() FROM axonpush.events)",
        "INSERT INTO axonpush.event_rows SELECT * FROM axonpush.event_rows", "DROP TABLE axonpush.event_rows",
        "CREATE TEMPORARY TABLE t (a UInt8)", "ALTER TABLE axonpush.event_rows DELETE WHERE 1", "TRUNCATE TABLE axonpush.event_rows",
    ):  # fmt: skip
        site.refuses(users.WORKER, sql)
    code, text = site.ask(users.WORKER, "DESCRIBE TABLE axonpush.event_rows")
    assert (code, text.startswith("a\tString")) == ("", True)


@pytest.mark.parametrize(
    ("name", "too_much"),
    [("max_execution_time", "301"), ("max_result_rows", "1000001"), ("max_memory_usage", str(1 << 60)), ("max_rows_to_read", "1e15"),
     ("max_threads", "10000")],
)  # fmt: skip
def test_a_reader_cannot_lift_its_bounds(site: Site, name: str, too_much: str) -> None:
    """0 means no bound to the engine."""
    for value in (too_much, "0", "-1", "0.0", "1e9", "", "inf", "18446744073709551616"):
        site.refuses(users.READER, "SELECT 1", **{name: value})
        site.refuses(users.READER, f"SELECT 1 SETTINGS {name} = '{value}'")
        site.refuses(users.READER, f"SET {name} = '{value}'")
    site.refuses(users.READER, f"SELECT 1 SETTINGS {name} = DEFAULT")
    site.refuses(users.READER, f"SET {name} = DEFAULT")
    site.refuses(users.READER, f"SELECT * FROM (SELECT 1 SETTINGS {name} = 0)")
    assert site.ask(users.READER, "SELECT 1", **{name: "1"})[0] == ""


def test_a_readers_result_and_time_end_at_the_bounds(site: Site) -> None:
    code, text = site.ask(users.READER, "SELECT count() FROM (SELECT 1) FORMAT TSV")
    assert (code, text) == ("", "1\n")
    code, text = site.ask(users.READER, "SELECT getSetting('max_execution_time'), getSetting('max_result_rows')")
    assert (code, text) == ("", "60\t1000000\n")
    code, _ = site.ask(users.READER, "SELECT sum(number) FROM numbers(100000000000)")
    assert code in {"158", "159"}  # rows, time
    code, _ = site.ask(users.READER, "SELECT sum(number) FROM numbers(9000000000)", max_execution_time="1")
    assert code == "159"


# --- who asks


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("headers", "url", "status"),
    [
        ({}, {}, 401),
        ({"X-ClickHouse-User": "default"}, {}, 403),
        ({"X-ClickHouse-User": "axonpush_reader"}, {}, 403),
        ({"X-ClickHouse-User": "axonpush_reader", "X-ClickHouse-Key": "x"}, {}, 403),
        ({"Authorization": "Basic ZGVmYXVsdDo="}, {}, 403),
        ({"Authorization": "Basic !"}, {}, 403),
        ({}, {"user": "axonpush_operator", "password": ""}, 403),
        ({}, {"user": "axonpush_keeper", "password": ""}, 403),
        ({"Origin": "http://localhost:3000"}, {}, 401),
    ],
    ids=str,
)
def test_nobody_is_anonymous(
    site: Site, method: str, headers: dict[str, str], url: dict[str, str], status: int
) -> None:
    with closing(http.client.HTTPConnection(servers.HOST, site.server.port, timeout=60)) as connection:
        connection.request(method, f"/?{urlencode(url | {'query': 'SELECT 42'})}", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (status, "516")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert b"42" not in answer.read().replace(b"1.42", b"")


def test_credentials_are_taken_wherever_clickhouse_takes_them(site: Site) -> None:
    password = site.server.passwords[users.READER]
    basic = base64.b64encode(f"{users.READER}:{password}".encode()).decode()
    forms: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"Authorization": f"Basic {basic}"}, {}),
        ({"X-ClickHouse-User": users.READER, "X-ClickHouse-Key": password}, {}),
        ({}, {"user": users.READER, "password": password}),
    ]
    for headers, url in forms:
        with closing(http.client.HTTPConnection(servers.HOST, site.server.port, timeout=60)) as connection:
            connection.request("GET", f"/?{urlencode(url | {'query': 'SELECT 42'})}", headers=headers)
            assert connection.getresponse().read() == b"42\n"


def test_a_session_belongs_to_its_user(site: Site) -> None:
    """Its name is no key to another user's temporary tables, and not to his rights."""
    assert not site.ask(users.OPERATOR, "CREATE TEMPORARY TABLE mine (a UInt8)", session_id="s")[0]
    assert not site.ask(users.OPERATOR, "SELECT * FROM mine", session_id="s")[0]
    assert site.ask(users.READER, "SELECT * FROM mine", session_id="s")[0] == "60"
    site.refuses(users.READER, "INSERT INTO axonpush.event_rows VALUES ('x')", session_id="s")


# --- odd texts around a forbidden core

ODD = ["\u2018", "\u2019", "\u201c", "\u201d", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u2028", "\u0085", "\x00", "\x0b", "\x1a",
       "/*", "*/", "/* /* */", "/* ' */", "--", "-- '\n", "#!", "# '\n", "$$", "$a$", "`", '"', "'", "\\", "\\'", "''", ";", "(", ")",
       "\u2018'\u2019", "`\u2018`", "\"'\"", "`'`", "{", "}", "/**/", "\n", "\t", "FORMAT", "VALUES", "INSERT INTO", "SETTINGS"]  # fmt: skip


def cores(site: Site) -> list[str]:
    return [
        f"SELECT file('{site.secret}')",
        f"SELECT 1 INTO OUTFILE '{site.made}' TRUNCATE",
        f"SELECT * FROM file('{site.secret}', 'LineAsString')",
        f"INSERT INTO FUNCTION file('{site.made}', 'TSV', 'a UInt8') SELECT 1",
        f"INSERT INTO axonpush.event_rows FROM INFILE '{site.secret}' FORMAT LineAsString",
        f"SELECT 1 FORMAT Template SETTINGS format_template_row = '{site.secret}'",
        "SET ROLE axonpush_keeper",
    ]


def test_no_odd_text_hides_what_is_forbidden(site: Site) -> None:
    """Before, behind, between every two words: whatever the engine makes of it, it is not run."""
    for core in cores(site):
        words = core.split(" ")
        for odd in ODD:
            texts = {
                odd + core,
                core + odd,
                core.replace(" ", odd),
                core.replace(" ", f" {odd} "),
                f"{odd} {core} {odd}",
            }
            texts |= {" ".join([*words[:at], odd, *words[at:]]) for at in range(1, len(words))}
            texts |= {
                f"SELECT {odd}1{odd}, {core[7:]}",
                f"SELECT '{odd}', {core[7:]}",
                f"SELECT 1 AS `{odd}`, {core[7:]}",
            }
            for text in texts:
                for user in (users.READER, users.OPERATOR):
                    code, answer = site.ask(user, text)
                    assert SECRET not in answer, text
                    assert not site.made.exists(), text
                    if "\u2018" not in odd and odd not in ("--", "-- '\n", "#!", "# '\n", "/*", ";", "\x00"):
                        assert code, f"{text!r} was run: {answer[:200]}"
    assert site.calls == 0


def test_external_tables_and_their_structure_hold_no_expression(site: Site) -> None:
    """A column's default would be computed by the engine, and a second bracket would end the definition."""
    hostile = [
        f"a String DEFAULT file('{site.secret}')", f"a String, b String MATERIALIZED file('{site.secret}')",
        f"a String) ENGINE = File(TSV, '{site.secret}'", f"a String) AS SELECT file('{site.secret}') --", "a String TTL now()",
        f"a String ALIAS file('{site.secret}')", "a String, CONSTRAINT c CHECK 1", "a String, INDEX i a TYPE minmax", "",
    ]  # fmt: skip
    for user in EVERYBODY:
        for structure in hostile:
            for name in ("structure", "types"):
                code, text = _external(site, user, structure, name, "TSV", b"x\n")
                assert code, (user, structure)
                assert SECRET not in text
        for name in ("Template", "Protobuf", "Avro"):
            assert _external(site, user, "a String", "structure", name, b"x")[0] in REFUSED
        code, text = _external(site, user, "a String", "structure", "Values", f"(file('{site.secret}'))".encode())
        assert code
        assert SECRET not in text
    assert _external(site, users.READER, "a String", "structure", "TSV", b"x\n") == ("", "x\n")


def _external(site: Site, user: str, structure: str, *described: Any) -> tuple[str, str]:
    kind, format_name, data = described
    boundary = "line"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n'.encode()
        + data
        + f"\r\n--{boundary}--\r\n".encode()
    )
    told = {"query": "SELECT * FROM t", f"t_{kind}": structure, "t_format": format_name}
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return site.ask(user, body, headers=headers, **told)


def test_nothing_a_reader_sees_names_the_machine_or_a_password(site: Site) -> None:
    """Every system table that is left to a reader."""
    for table in site.listed("SELECT name FROM system.tables WHERE database = 'system'"):
        if table in allowed.OPERATORS_SYSTEM_TABLES:
            site.refuses(users.READER, f"SELECT * FROM system.{table}")
            continue
        assert table in allowed.READERS_SYSTEM_TABLES, table
        hidden = ", ".join(f"'{name}'" for name in ("", *allowed.HIDDEN_COLUMNS.get(table, ())))
        shown = site.listed(
            f"SELECT name FROM system.columns WHERE database = 'system' AND table = '{table}' AND name NOT IN ({hidden})"
        )
        code, text = site.ask(users.READER, f"SELECT {', '.join(shown)} FROM system.{table} LIMIT 20000 FORMAT TSVRaw")
        assert not code, (table, text)
        for word in (*site.server.passwords.values(), str(site.folder)):
            assert word not in text, (table, word)


def test_an_insert_says_how_many_rows_it_wrote(site: Site) -> None:
    """Workers compare it with what they have sent. As on a server, rows that a view fills another table with count too."""
    credentials = {"X-ClickHouse-User": users.WORKER, "X-ClickHouse-Key": site.server.passwords[users.WORKER]}
    native = b"\x01\x03\x01a\x06String" + b"\x01x" * 3
    with closing(http.client.HTTPConnection(servers.HOST, site.server.port, timeout=60)) as connection:
        query = urlencode({"query": "INSERT INTO axonpush.event_rows FORMAT Native"})
        connection.request("POST", f"/?{query}", native, credentials)
        answer = connection.getresponse()
        assert answer.read() == b""
        assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "6"
    assert not site.ask(users.OPERATOR, "TRUNCATE TABLE axonpush.event_rows")[0]
    assert not site.ask(users.OPERATOR, "INSERT INTO axonpush.event_rows VALUES ('row')")[0]


def test_no_parameter_is_a_name_of_a_table_or_database(site: Site) -> None:
    """Their values come after the check, from a URL or a session."""
    for user in (users.READER, users.WORKER):
        for sql in (
            "SET param_d = 'system'",
            "SET max_threads = 1, param_d = 'system'",
            "SELECT 1 SETTINGS param_d = 'system'",
        ):
            site.refuses(user, sql, session_id=f"names-{user}")
        for sql in (
            "SELECT name, path FROM {d:Identifier}.disks", "SELECT query FROM system.{t:Identifier}",
            "SELECT 1 IN {d:Identifier}.disks", "SELECT 1 IN {t:Identifier}", "SHOW TABLES FROM {d:Identifier}",
            "DESCRIBE TABLE {d:Identifier}.disks", "EXISTS TABLE system.{t:Identifier}", "USE {d:Identifier}",
            "SELECT * FROM view(SELECT * FROM {d:Identifier}.parts)", "WITH x AS (SELECT * FROM {d:Identifier}.backups) SELECT * FROM x",
            "EXPLAIN SELECT * FROM {d : Identifier}.disks", "INSERT INTO {d:Identifier}.{t:Identifier} FORMAT TSV\nx",
            "SELECT {t:Identifier}.* FROM system.one", "SELECT {d:Identifier} FROM system.databases",
        ):  # fmt: skip
            site.refuses(user, sql)
            site.refuses(user, sql, param_d="default", param_t="one")
            site.refuses(user, sql, param_d="system", param_t="processes")
    site.refuses(users.OPERATOR, "SET param_d = 'system'", session_id="names")
    assert site.ask(users.OPERATOR, "SELECT count() > 0 FROM {d:Identifier}.disks", param_d="system") == ("", "1\n")
    assert site.ask(users.READER, "SELECT {a:UInt8}, {b:String}", param_a="1", param_b="b") == ("", "1\tb\n")


def test_no_reader_learns_where_files_lie(site: Site) -> None:
    for user in (users.READER, users.WORKER):
        for sql in (
            "SELECT data_path FROM system.databases", "SELECT metadata_path FROM system.databases", "SELECT data_paths FROM system.tables",
            "SELECT d.`data_path` FROM system.databases AS d", "SELECT data_paths[1] FROM system.tables", "SELECT * FROM system.tables",
            "SELECT t.* FROM system.tables AS t", "SELECT COLUMNS('path') FROM system.databases", "SELECT DATA_PATH FROM system.databases",
            "SELECT b FROM system.databases AS t(a, b, c)", "SELECT x.* FROM (SELECT * FROM system.databases) AS x",
            "SELECT name FROM system.databases WHERE data_path LIKE '/t%'", "SELECT 1 IN system.databases",
            "SELECT 1 FROM system.one JOIN system.databases AS d ON d.metadata_path != ''", "FROM system.databases", "TABLE system.databases",
            "SELECT * FROM system.one, system.databases", "SELECT data_paths.size0 FROM system.tables", "SELECT tuple(*) FROM system.tables",
            "WITH x AS (SELECT * FROM system.tables) SELECT data_paths FROM x", "SELECT count(*, data_path) FROM system.databases",
            "SELECT d.name FROM system.databases AS d NATURAL JOIN (SELECT '/guess' AS data_path) AS g",
            "SELECT DISTINCT ON (data_path) name FROM system.databases", "SELECT name FROM system.databases ORDER BY data_path",
            "SELECT name FROM (SELECT 1 AS a) AS x ANY LEFT JOIN system.databases AS y USING (data_path)",
        ):  # fmt: skip
            site.refuses(user, sql)
    for sql in (
        "SET additional_table_filters = {}",
        "SET additional_table_filters = DEFAULT",
        "SELECT 1 SETTINGS additional_table_filters = {}",
    ):
        site.refuses(users.READER, sql)
    site.refuses(users.READER, "SELECT 1", additional_table_filters="{}")
    for sql in (
        "SELECT count(*), count() FROM system.tables", "SELECT name, engine, comment FROM system.databases ORDER BY name",
        "SELECT * FROM (SELECT name, database FROM system.tables WHERE database = 'axonpush') ORDER BY name", "SHOW TABLES FROM axonpush",
        "SELECT 'x' AS path", "SHOW DATABASES",
    ):  # fmt: skip
        code, text = site.ask(users.READER, sql)
        assert not code, (sql, text)
    assert site.ask(users.OPERATOR, "SELECT count() > 0 FROM system.databases WHERE data_path != ''") == ("", "1\n")


def test_what_is_the_operators_is_empty_for_others_in_the_engine_itself(tmp_path: Path) -> None:
    """The wall behind the check: a session of the engine, asked past it."""
    engine = Engine(tmp_path / "engine", EngineLimits())
    try:
        for user in (users.READER, users.WORKER):
            session = engine.session(user)
            for table in sorted(allowed.OPERATORS_SYSTEM_TABLES):
                sql = f"SELECT count() FROM system.{table}"
                with contextlib.suppress(ServerError):
                    assert session.query(sql, "TSV")[0] == b"0\n", (user, table)
            session.close()
        operator = engine.session(users.OPERATOR)
        assert operator.query("SELECT count() > 0 FROM system.disks", "TSV")[0] == b"1\n"
        operator.close()
    finally:
        engine.close()


def test_an_insert_that_may_not_be_is_refused_before_its_data_is_read(site: Site) -> None:
    """Of a body of 64 MiB, packed into a few kilobytes, for tables the user may not fill."""
    body = zstd.compress(b"INSERT INTO no_such_table FORMAT TSV\n" + b"x\n" * (32 << 20))
    assert len(body) < 65_536
    for sql in ("", "INSERT INTO no_such_table FORMAT TSV", "INSERT INTO axonpush.event_rows FORMAT TSV"):
        code, text = site.ask(users.READER, body, {"Content-Encoding": "zstd"}, **({"query": sql} if sql else {}))
        assert code == "497", text
        assert "temporary" in text
    code, text = site.ask(
        users.WORKER, body, {"Content-Encoding": "zstd"}, query="INSERT INTO default.event_rows FORMAT TSV"
    )
    assert code == "497", text


def test_a_readers_temporary_table_is_filled(site: Site) -> None:
    told = {"session_id": "fills"}
    assert site.ask(users.READER, "CREATE TEMPORARY TABLE `a ``b` (a String)", **told) == ("", "")
    assert site.ask(users.READER, "INSERT INTO `a ``b` FORMAT TSV\nx\ny\n", **told) == ("", "")
    assert site.ask(users.READER, "INSERT INTO `a ``b` VALUES ('z'), (concat('a', 'b'))", **told) == ("", "")
    assert site.ask(users.READER, "SELECT count() FROM `a ``b`", **told) == ("", "4\n")


def test_a_long_statement_is_refused_before_it_is_parsed(site: Site) -> None:
    for user, longest in ((users.READER, 64 << 10), (users.WORKER, 256 << 10)):
        code, text = site.ask(user, "SELECT " + "1," * (longest // 2) + "1")
        assert (code, "Max query size exceeded" in text) == ("62", True), text
    site.refuses(users.READER, "SELECT 1 FROM " + "a," * 30_000 + "a", codes={"168"})  # 6 MB as a tree
    assert site.ask(users.READER, "SELECT length('" + "x" * 60_000 + "')") == ("", "60000\n")
