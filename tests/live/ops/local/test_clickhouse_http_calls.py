# ruff: noqa: E501 (one statement a line)
"""No call of a function is hidden from the check, wherever the engine's grammar or the engine itself has one.

Against the real engine, without HTTP. `engine_expressions.txt` has a statement for each place of the grammar.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local.clickhouse_http.access import allowed
from ops.local.clickhouse_http.access.tree import nodes
from ops.local.clickhouse_http.access.users import OPERATOR, READER, USERS, WORKER
from ops.local.clickhouse_http.config import EngineLimits
from ops.local.clickhouse_http.engine import Engine, EngineSession
from ops.local.clickhouse_http.errors import ServerError

pytestmark = [pytest.mark.live, pytest.mark.long]

EXPRESSIONS = (Path(__file__).parent / "engine_expressions.txt").read_text().splitlines()
REFUSED = {497, 46, 62, 36}
HARMLESS, FORBIDDEN = "lower('zzz')", "file('zzz')"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("engine"), EngineLimits())
    yield made
    made.close()


@pytest.fixture(scope="module")
def reading(engine: Engine) -> Iterator[EngineSession]:
    """A reader's session, asked past the check."""
    session = engine.session(READER)
    yield session
    session.close()


def refused(engine: Engine, user: str, sql: str) -> int:
    """The code of the refusal, 0 for none."""
    try:
        engine.guard.statement(user, sql.encode(), "TSV")
    except ServerError as error:
        return error.code
    return 0


def said(session: EngineSession, sql: str) -> str:
    """The error of a statement, empty when it has none."""
    try:
        session.query(sql, "TSV")
    except ServerError as error:
        return error.text
    return ""


def written(expression: str, call: str) -> str:
    return expression.replace("{X}", call).replace("{{", "{").replace("}}", "}")


# --- places of the grammar


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_call_is_seen_wherever_the_grammar_has_one(engine: Engine, expression: str) -> None:
    """A forbidden one is refused for everybody; where there is a tree, the walk meets every call of the text that runs."""
    parser, sql = engine._parsers[OPERATOR], written(expression, HARMLESS).encode()
    if tree := parser.tree(sql):
        text, again = parser.text(tree)
        met = [json.dumps(node).count("zzz") for _, node in nodes(again) if node.get("field_type") == "String"]
        assert text.count(HARMLESS.encode()) > 0
        assert sum(map(bool, met)) >= text.count(HARMLESS.encode())
    else:
        assert HARMLESS.encode() in parser.canonical(sql)
    for user in USERS:
        assert refused(engine, user, written(expression, FORBIDDEN)) in REFUSED, user


def test_types_compute_nothing(engine: Engine, reading: EngineSession) -> None:
    """Their arguments are no calls to the tree, so they must be none to the engine either."""
    call = "throwIf(1, 'CALLED')"
    for (name,) in rows(engine, "SELECT name FROM system.data_type_families"):
        for arguments in (call, f"3, {call}", f"UInt8, {call}", f"a {call}", f"{call}, UInt8", f"n = {call}"):
            text = f"{name}({arguments})".replace("'", "\\'")
            for sql in (f"SELECT CAST(NULL, '{text}')", f"SELECT defaultValueOfTypeName('{text}')"):
                assert not said(reading, sql).startswith("Code: 395."), sql


# --- functions called by their names alone


def rows(engine: Engine, sql: str) -> list[list[str]]:
    session = engine.session(OPERATOR)
    try:
        return [json.loads(row) for row in session.query(sql, "JSONCompactEachRow")[0].splitlines()]
    finally:
        session.close()


def test_a_function_that_is_given_as_a_value_is_checked(engine: Engine, reading: EngineSession, tmp_path: Path) -> None:
    """`arrayMap(file, …)` calls `file`."""
    secret = tmp_path / "secret"
    secret.write_text("only-the-owner")
    for name in ("file", "`file`", '"file"', "(file)", "file AS z", "getMacro", "demangle"):
        for call in (f"arrayMap({name}, ['{secret}'])", f"arrayExists({name}, ['{secret}'])", f"mapApply({name}, map('a', 1))",
                     f"arrayMap(x -> arrayMap({name}, [x]), ['{secret}'])", f"if(1, arraySort({name}, ['{secret}']), [])"):  # fmt: skip
            for user in USERS:
                assert refused(engine, user, f"SELECT {call}") == 497, call
    for name in ("h3kRing", "arrayFold", "editDistance"):  # what cannot be stopped
        assert refused(engine, READER, f"SELECT arrayMap({name}, [1], [1])") == 497
    for sql in ("SELECT arrayMap(upper, ['a'])", "SELECT lower(file) FROM (SELECT 'a' AS file)", "SELECT uniq(file) FROM (SELECT 1 AS file)",
                "SELECT arraySort(t.file) FROM (SELECT ['a'] AS file) AS t", "SELECT file FROM (SELECT 1 AS file) GROUP BY file"):  # fmt: skip
        assert refused(engine, READER, sql) == 0, sql
        reading.query(sql, "TSV")


def test_no_other_function_calls_a_name(engine: Engine, reading: EngineSession) -> None:
    """The engine says which functions take one; each other one that may be called takes `upper` for a column."""
    functions = engine.guard.rights[READER].functions
    found = rows(engine, "SELECT name FROM system.functions WHERE ifNull(higher_order, 0) = 0")
    assert len(found) > 1000
    for (name,) in found:
        if not functions.allow(name):
            continue
        for arguments in ("upper, ['x']", "'x', upper"):
            assert said(reading, f"SELECT `{name}`({arguments})"), f"{name} takes a function: is it in higher_order?"


# --- texts in which the engine reads columns


def test_no_structure_holds_a_call(engine: Engine) -> None:
    calling = "a String, b String ALIAS file(''x'')"
    for user in USERS:
        for text in (
            f"values('{calling}', ('x'))", f"values(('{calling}'), ('x'))", f"view(SELECT * FROM values('{calling}', ('x')))", f"input('{calling}')",
            "values('a String DEFAULT file(1)', ('x'))", "values('a String MATERIALIZED file(1)', ('x'))", "values('a String EPHEMERAL file(1)', ('x'))",
            "values('a String CODEC(ZSTD(file(1)))', ('x'))", "values('a String TTL file(1)', ('x'))", "values('a String) AS SELECT (1', ('x'))",
            "values({p:String}, ('x'))", "values('a String, INDEX i file(1) TYPE minmax', ('x'))", "values('a String COMMENT file(1)', ('x'))",
        ):  # fmt: skip
            for source in (text, text.replace("values", "VALUES")):
                for sql in (
                    f"SELECT * FROM {source}",
                    f"DESCRIBE TABLE {source}",
                    f"EXPLAIN SELECT * FROM {source}",
                    f"SELECT (SELECT b FROM {source})",
                ):
                    assert refused(engine, user, sql) in REFUSED, (user, sql)
        assert refused(engine, user, f"WITH '{calling}' AS s SELECT b FROM values(s, ('x'))") == 497
    for sql in ("SELECT * FROM values('a String, b Array(Nullable(DateTime64(3)))', ('x', []))", "SELECT * FROM values(1, 2)", "SELECT * FROM values('x')",
                "SELECT * FROM (VALUES ('x'), ('y'))", "SELECT * FROM values(('x', 1), ('y', 2))", "SELECT * FROM VALUES('a String', ('x'))",
                "SELECT * FROM vaLues('x')"):  # fmt: skip
        assert refused(engine, READER, sql) == 0, sql


def test_only_values_reads_columns_from_a_text_that_stands_there(engine: Engine, reading: EngineSession) -> None:
    """No other table function, and not from a text that is computed: the engine calls nothing there."""
    text, parts = "'a String, b String ALIAS version()'", "concat('a String, b String ALIAS ver', 'sion()')"
    for name in (*sorted(allowed.TABLE_FUNCTIONS), "VALUES"):
        texts = (
            parts,
            f"lower({text})",
            f"CAST({text}, 'String')",
            f"(SELECT {text})",
            f"if(1, {text}, '')",
            f"tuple({text})",
        )
        for first in texts if name.lower() == "values" else (text, *texts):
            for arguments in (first, f"{first}, ('x')"):
                assert said(reading, f"SELECT b FROM {name}({arguments})"), (name, arguments)


# --- statements that tell of tables


def test_a_worker_learns_columns_and_no_rows(engine: Engine) -> None:
    for sql in (
        "DESCRIBE TABLE (SELECT a FROM axonpush.event_rows)", "DESCRIBE TABLE view(SELECT a FROM axonpush.event_rows)", "DESCRIBE TABLE (SELECT 1)",
        "DESCRIBE TABLE values('a String', (SELECT a FROM axonpush.event_rows))", "DESCRIBE TABLE numbers((SELECT count() FROM axonpush.event_rows))",
        "SHOW TABLES WHERE (SELECT 1 FROM axonpush.event_rows)", "SHOW TABLES WHERE name IN axonpush.event_rows",
        *(f"SELECT {name}('a', axonpush.event_rows)" for (name,) in rows(engine, "SELECT name FROM system.functions WHERE match(name, '(?i)in(ignoreset)?$')")),
    ):  # fmt: skip
        assert refused(engine, WORKER, sql), sql
    for sql in ("DESCRIBE TABLE axonpush.event_rows", "DESCRIBE TABLE `event_rows` FORMAT TSV", "EXISTS TABLE axonpush.event_rows",
                "SHOW CREATE TABLE axonpush.event_rows", "SELECT version(), timezone()", "SELECT name, value FROM system.settings WHERE name IN ('a', 'b')"):  # fmt: skip
        assert refused(engine, WORKER, sql) == 0, sql


def test_what_tells_of_tables_tells_no_path(engine: Engine) -> None:
    for user in (READER, WORKER):
        for condition in ("toUInt8(metadata_path) = 1", "tables.data_paths = []", "toString(tuple(*)) = ''", "name IN (SELECT metadata_path FROM system.tables)",
                          "COLUMNS('path') = ''", "toUInt8(tables.*) = 1", "arrayExists(x -> x = data_paths, [1])"):  # fmt: skip
            assert refused(engine, user, f"SHOW TABLES FROM axonpush WHERE {condition}") == 497, condition
            assert refused(engine, user, f"SHOW COLUMNS FROM x WHERE {condition}") == 497, condition
        assert refused(engine, user, "DESCRIBE TABLE (SELECT metadata_path FROM system.tables)") == 497
    for sql in ("DESCRIBE TABLE system.tables", "SHOW TABLES LIKE 'a'", "SHOW TABLES FROM axonpush WHERE name = 'a'", "SHOW FULL COLUMNS FROM x",
                "EXISTS TABLE system.tables", "SHOW INDEX FROM x"):  # fmt: skip
        assert refused(engine, READER, sql) == 0, sql


# --- codecs, statistics, indexes


def test_honest_codecs_statistics_and_indexes_pass(engine: Engine) -> None:
    for column in ("a String CODEC(ZSTD(3))", "a UInt8 CODEC(Delta(4), LZ4)", "a UInt8 CODEC(NONE) STATISTICS(tdigest, uniq)", "a String CODEC(Default)",
                   "a String, INDEX i lower(a) TYPE bloom_filter(0.01) GRANULARITY 4", "a String, INDEX i a TYPE minmax", "a String, INDEX i a TYPE set(100)",
                   "a String, INDEX i a TYPE text(tokenizer = ngrams(3), preprocessor = lower(a))", "a String, INDEX i a TYPE ngrambf_v1(3, 256, 2, 0)"):  # fmt: skip
        sql = f"CREATE TABLE axonpush.t ({column}) ENGINE = MergeTree ORDER BY tuple()"
        assert refused(engine, OPERATOR, sql) == 0, sql
    known = {name for (name,) in rows(engine, "SELECT name FROM system.codecs")}
    assert known - allowed.CODECS == {"Multiple", "Quantized"}, "look at them, and put them into allowed.py"


# --- values and names


def test_a_value_may_be_any_text_and_no_parameter_a_name(engine: Engine) -> None:
    """The value `system` is no table; where a parameter would be a name, it is refused whatever its value."""
    assert refused(engine, READER, "SELECT {x:String}") == 0
    for sql in ("SHOW TABLES FROM {d:Identifier}", "EXISTS TABLE {d:Identifier}.x", "EXISTS DATABASE {d:Identifier}", "SHOW CREATE DATABASE {d:Identifier}",
                "DESCRIBE {d:Identifier}.x", "SELECT * FROM {d:Identifier}", "INSERT INTO {d:Identifier} SELECT 1", "CREATE TEMPORARY TABLE {d:Identifier} (a Int8)",
                "DROP TEMPORARY TABLE {d:Identifier}", "USE {d:Identifier}", "SELECT * EXCEPT {d:Identifier}", "SELECT {d:Identifier}.a", "SELECT {d: Identifier }",
                "SHOW COLUMNS FROM {d:Identifier}", "SELECT {d:LowCardinality(Identifier)}", "SELECT arrayMap({d:Identifier}, ['x'])"):  # fmt: skip
        for user in (READER, WORKER):
            assert refused(engine, user, sql) in REFUSED, sql


# --- the disk


def test_a_readers_query_writes_little_on_the_disk(engine: Engine, reading: EngineSession) -> None:
    """What is counted has a bound, and the engine keeps it; what is not counted is off, and stays off."""
    found = reading.read_settings(allowed.READER_DEFAULTS)
    assert found == dict(allowed.READER_DEFAULTS)
    rights = engine.guard.rights[READER]
    names = [
        name
        for (name,) in rows(
            engine,
            "SELECT name FROM system.settings WHERE match(name, 'before_external|temporary_data|on_disk|partial_merge|grace_hash')",
        )
    ]
    assert len(names) > 10
    for name in [*names, "function_sleep_max_microseconds_per_block", "max_bytes_before_remerge_sort"]:
        with pytest.raises(ServerError):
            rights.check_setting(name, "1")
    for value in ("grace_hash", "partial_merge", "prefer_partial_merge", "auto", "hash,grace_hash", "HASH", "", None):
        with pytest.raises(ServerError):
            rights.check_setting("join_algorithm", value)
    for value in ("default", "hash", "direct, parallel_hash,hash"):
        rights.check_setting("join_algorithm", value)
    spilling = engine.session(READER)
    spilling.apply(
        {"max_bytes_before_external_group_by": "4000000", "max_temporary_data_on_disk_size_for_query": "1000000"}
    )
    with pytest.raises(ServerError) as full:
        spilling.query("SELECT count() FROM (SELECT number FROM numbers(3000000) GROUP BY number)", "TSV")
    assert full.value.code == 396
    spilling.apply(
        {"max_temporary_data_on_disk_size_for_query": "0", "min_free_disk_space_for_temporary_data": str(1 << 60)}
    )
    with pytest.raises(ServerError) as full:
        spilling.query("SELECT count() FROM (SELECT number FROM numbers(3000000) GROUP BY number)", "TSV")
    assert full.value.code == 243
    spilling.close()


def test_a_readers_query_has_a_quarter_of_the_memory(engine: Engine, reading: EngineSession) -> None:
    quarter = max(256 << 20, engine.memory_cap_bytes // 4)
    assert reading.read_settings(["max_memory_usage"]) == {"max_memory_usage": str(quarter)}
    engine.guard.rights[READER].check_setting("max_memory_usage", str(quarter))
    with pytest.raises(ServerError):
        engine.guard.rights[READER].check_setting("max_memory_usage", str(quarter + 1))
