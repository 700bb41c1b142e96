"""Tables and views that an applied migration made and that are not there now: someone dropped them.

Each is made again with the shape that all applied migrations give it. docs/decisions/0054-lost-tables.md
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import Error as ClickHouseError

from ops.provisioning import tables
from ops.provisioning.system.made_again import write_made_again
from ops.provisioning.table_templates import render
from ops.provisioning.tables import Applied
from ops.runtime.failures import Failed
from schemas.issues.day_counts import COUNTS_TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from ops.provisioning.cluster_tables import Cluster
    from ops.provisioning.tables import Migration

TABLE: Final = "table"
VIEW: Final = "view"
# A view that fills a table at each insert.
FILLING_VIEW: Final = "materialized view"
# Workers make these rows of bodies, so a replay makes them again.
FROM_BODIES: Final = frozenset({"event_rows", "taken_rows", "stored_rows", "outcome_rows", "dead_letter_rows"})
# The janitor makes these rows of others.
COUNTED: Final = frozenset({COUNTS_TABLE})

# The table that says which files were applied.
MIGRATIONS: Final = "migrations"
SECOND: Final = 2
_ACCESS_DENIED: Final = 497
_MADE: Final = re.compile(
    r"CREATE (?:OR REPLACE )?(?P<kind>TABLE|MATERIALIZED VIEW|VIEW) (?:IF NOT EXISTS )?"
    r"{{(?:stored|name)\.(?P<name>\w+)}}(?:{{on_cluster}} TO {{stored\.(?P<target>\w+)}})?"
)
_CHANGED: Final = re.compile(r"(?:ALTER TABLE|INSERT INTO) {{(?:stored|each|name)\.(?P<name>\w+)}}")
_DISTRIBUTED: Final = re.compile(r"{{distributed\.(?P<name>\w+)}}")
_MENTIONED: Final = re.compile(r"{{(?:stored|name|each)\.(\w+)}}")
_SELECT: Final = re.compile(r"(?: AS|MODIFY QUERY)\s+(?P<select>SELECT\b.*)", re.DOTALL)
_IS_THERE: Final = "SELECT name FROM system.tables WHERE database = {database:String}"


@dataclass(slots=True)
class Relation:
    """A table or view: the file that made it, and the templates that give it its present shape.

    `target` is the table that a materialized view fills.
    """

    kind: str
    name: str
    file: str
    templates: list[str] = field(default_factory=list)
    target: str = ""

    @property
    def is_needed(self) -> bool:
        """Whether workers cannot store without it, or store too little."""
        return self.kind != VIEW and self.name not in COUNTED

    def names(self, cluster: Cluster | None) -> list[str]:
        """What it is called in the database; on a cluster a table has two parts."""
        return [self.name, f"{self.name}_local"] if cluster and self.kind == TABLE else [self.name]

    def select(self) -> str:
        """The query of a materialized view, as a template."""
        match = _SELECT.search(self.templates[-1])
        return match["select"] if match else ""


def relations_of(migrations: Iterable[Migration]) -> dict[str, Relation]:
    """Every table and view of these migrations by name. A view has its last definition only."""
    every: dict[str, Relation] = {}
    for migration in migrations:
        for template in migration.templates:
            if new := _MADE.match(template):
                relation = every.setdefault(
                    new["name"], Relation(new["kind"].lower(), new["name"], migration.name, target=new["target"] or "")
                )
                relation.templates = [*relation.templates, template] if relation.kind == TABLE else [template]
            elif (known := _CHANGED.match(template) or _DISTRIBUTED.fullmatch(template)) and known["name"] in every:
                every[known["name"]].templates.append(template)
    return every


@functools.cache
def _every() -> dict[str, Relation]:
    """Those of all migrations of this version."""
    return relations_of(tables.known())


def missing(client: Client, database: str, cluster: Cluster | None) -> list[Relation]:
    """What applied migrations made and is not there, in the order to make it again. Raises what the client raises."""
    recorded = tables.applied(client, database)
    before = recorded or recovered(client, database, cluster)
    if not before:
        return []
    existing = {row[0] for row in client.query(_IS_THERE, parameters={"database": database}).result_rows}
    every = relations_of(migration for migration in tables.known() if migration.version in before)
    gone = {
        name: relation
        for name, relation in every.items()
        if any(_is_gone(client, name) for name in relation.names(cluster) if name not in existing)
    }
    lost_record = [] if recorded else [Relation(TABLE, MIGRATIONS, "axonpush migrate")]
    return [*lost_record, *_ordered(gone)]


def applied(client: Client, database: str, cluster: Cluster | None) -> dict[int, Applied]:
    """The applied migrations, also if their own table was dropped. Raises what the client raises."""
    return tables.applied(client, database) or recovered(client, database, cluster)


def recovered(client: Client, database: str, cluster: Cluster | None) -> dict[int, Applied]:
    """What must have been applied, by the tables and views that are there: files are applied in order.

    Nothing for a first migration that was interrupted in the first file; on a cluster nothing is concluded.
    """
    if cluster is not None or not tables.database_exists(client, database):
        return {}
    existing = {row[0] for row in client.query(_IS_THERE, parameters={"database": database}).result_rows}
    files = {relation.file for name, relation in _every().items() if name in existing}
    last = max((migration.version for migration in tables.known() if migration.name in files), default=0)
    if last < SECOND:
        return {}
    return {
        migration.version: Applied(migration.name, migration.sha256)
        for migration in tables.known()
        if migration.version <= last
    }


def missing_as_seen(client: Client, database: str, cluster: Cluster | None) -> list[Relation]:
    """The same for a user who may not see everything: nothing then. Raises what the client raises."""
    try:
        return missing(client, database, cluster)
    except ClickHouseError as error:
        if "ACCESS_DENIED" in str(error) or error.code == _ACCESS_DENIED:
            return []
        raise


def _is_gone(client: Client, name: str) -> bool:
    """The list of tables has only those that the user may see; this question is refused for others."""
    try:
        return not client.query(f"EXISTS TABLE {name}").result_rows[0][0]
    except ClickHouseError as error:
        if "ACCESS_DENIED" in str(error) or error.code == _ACCESS_DENIED:
            return False
        raise


def _ordered(gone: Mapping[str, Relation]) -> Iterator[Relation]:
    """Each after what its statements mention."""
    done: set[str] = set()

    def visit(relation: Relation) -> Iterator[Relation]:
        if relation.name in done:
            return
        done.add(relation.name)
        for name in _MENTIONED.findall(" ".join(relation.templates)):
            if name in gone:
                yield from visit(gone[name])
        yield relation

    for relation in gone.values():
        yield from visit(relation)


def make_again(client: Client, database: str, gone: list[Relation], cluster: Cluster | None) -> None:
    """Makes them again, and fills the tables that views fill from others. Raises Failed, what the client raises."""
    check_possible(client, database, gone, cluster)
    client.database = database
    if any(relation.name == MIGRATIONS for relation in gone):
        tables.record(client, recovered(client, database, cluster), cluster)
    for statement in statements(gone, cluster):
        client.command(statement)
    every = _every()
    names = {relation.name for relation in gone}
    if cluster is None:  # there, only the table over all servers is made again, and its rows are in its parts
        write_made_again(client, sorted(emptied(names)), dt.datetime.now(dt.UTC))
    for view in every.values():
        if view.target and names & {view.name, view.target}:
            _fill(client, view, cluster)


def emptied(names: Iterable[str]) -> set[str]:
    """Those of these tables that are empty when they are made again, and whose rows workers make of bodies."""
    return set(FROM_BODIES.intersection(names)) - {relation.target for relation in _every().values()}


def statements(gone: Iterable[Relation], cluster: Cluster | None) -> list[str]:
    """What makes them again. Tables that views fill are filled by the views' queries instead of their INSERTs."""
    filled = {relation.target for relation in _every().values()}
    templates = [
        statement
        for relation in gone
        for template in relation.templates
        if not (template.startswith("INSERT ") and relation.name in filled)
        for statement in render(template, cluster)
    ]
    dropped = tables.DroppedColumns(templates)
    return [seen for statement in templates if (seen := dropped.without(statement))]


def _fill(client: Client, view: Relation, cluster: Cluster | None) -> None:
    """What the view would have written of all rows that are there. Rows that were there already merge with these."""
    table, on_all = "{{name." + view.target + "}}", view.select().replace("{{stored.", "{{name.")
    select = render(f"INSERT INTO {on_all}", cluster)[0].removeprefix("INSERT INTO ")
    columns = ", ".join(row[0] for row in client.query(f"DESCRIBE TABLE ({select})").result_rows)
    target = render(f"INSERT INTO {table}", cluster)[0]
    client.command(f"{target} ({columns}) {select} SETTINGS max_partitions_per_insert_block = 0")


def check_possible(client: Client, database: str, gone: list[Relation], cluster: Cluster | None) -> None:
    """On a cluster, refuses to make the local part of a table again. Raises Failed.

    Other servers may still have it: ON CLUSTER would then give this one a replica of its own, beside theirs.
    """
    if cluster is None:
        return
    existing = {row[0] for row in client.query(_IS_THERE, parameters={"database": database}).result_rows}
    if lost := [relation for relation in gone if relation.kind == TABLE and f"{relation.name}_local" not in existing]:
        names = ", ".join(f"{relation.name}_local" for relation in lost)
        raise Failed(
            f"{names} is missing on the server of cluster {cluster.name} that was asked: someone dropped it. migrate "
            "does not make it again on a cluster, because replicas on other servers may have its rows: look with "
            f"`SELECT hostName(), name FROM clusterAllReplicas('{cluster.name}', system.tables) WHERE database = "
            f"'{database}'`. If another replica of the shard has it, run its SHOW CREATE TABLE here, with its path in "
            "ZooKeeper. If no server has it, run these statements:\n" + ";\n".join(statements(lost, cluster)) + ";"
        )


# The id of the system is in its comment.
TABLE_WITH_ID: Final = "taken_rows"
WITHOUT_ID: Final = (
    "With taken_rows the id of the system is lost: restore that table from a backup; without one, `axonpush migrate "
    "--adopt-tables` makes it again, empty, and all other rows stay"
)


def lost_names(names: Iterable[str]) -> str:
    """`table event_rows, materialized view errors_from_events`: each with its kind."""
    every = _every()
    return ", ".join(f"{every[name].kind if name in every else TABLE} {name}" for name in names)


def meanwhile_text(names: Iterable[str]) -> str:
    """What happens to new rows until such tables and filling views are made again."""
    every = _every()
    known = [every[name] for name in names if name in every]
    filled = {relation.target for relation in every.values()}
    waits = any(
        relation.kind == TABLE and (relation.name in FROM_BODIES or relation.name in filled) for relation in known
    )
    views = [relation for relation in known if relation.kind == FILLING_VIEW]
    others = FROM_BODIES | COUNTED | filled
    people = [relation.name for relation in known if relation.kind == TABLE and relation.name not in others]
    texts = []
    if waits:
        texts.append("What comes now is not lost: rows wait in the broker")
    if views and not waits:
        targets = ", ".join(relation.target for relation in views)
        texts.append(f"Rows are stored, but {targets} lacks those that came since")
    if people:
        texts.append(f"What people and programs write to {', '.join(people)} is refused, and nothing keeps it")
    if any(relation.name in COUNTED for relation in known):
        texts.append("Lists of issues are slower, because they read all errors")
    emptied = [relation.name for relation in known if relation.kind == TABLE and relation.name in FROM_BODIES - filled]
    if emptied:
        texts.append(
            f"Rows that {', '.join(emptied)} held are gone: a replay makes those again whose bodies RAW has, older "
            "ones are only in a backup"
        )
    return "; ".join(texts)


def relation_text(relation: Relation, *, dry_run: bool) -> str:
    """The sentence about one of them."""
    again = "would be made again" if dry_run else "is made again"
    text = (
        f"{relation.kind} {relation.name} is missing although {relation.file} made it: someone dropped it. It {again}"
    )
    filled = {other.target for other in _every().values() if other.target}
    if relation.name == MIGRATIONS:
        return f"table {MIGRATIONS} is missing: someone dropped it. It {again} from the tables that there are"
    if relation.kind == VIEW:
        return f"{text}; a view has no rows"
    if relation.target:
        return f"{text}, and table {relation.target} is filled from the rows that are there"
    if relation.name in filled:
        return f"{text} and filled from the rows of event_rows"
    if relation.name in COUNTED:
        return f"{text}; the janitor fills it again"
    if any(template.startswith("INSERT ") for template in relation.templates):
        return f"{text} with its first rows; what was changed in it comes only from a backup"
    return f"{text}, empty"


def lost_rows_text(gone: Iterable[Relation], since: str) -> str:
    """How the rows of the tables come back; empty if there is nothing to do. `since` is the time of RAW's first body,
    empty if it holds none."""
    names = [relation.name for relation in gone if relation.kind == TABLE and relation.name != MIGRATIONS]
    filled = {other.target for other in _every().values() if other.target}
    of_bodies = [name for name in names if name in FROM_BODIES - filled]
    of_people = [name for name in names if name not in FROM_BODIES | COUNTED | filled]
    texts = []
    if of_bodies and since:
        texts.append(
            f"the rows of {', '.join(of_bodies)}: `axonpush replay --since '{since}'`; older ones only from a backup"
        )
    elif of_bodies:
        texts.append(f"the rows of {', '.join(of_bodies)} come only from a backup: RAW holds no bodies")
    if "outcome_rows" in of_bodies and since:
        texts.append("with the bodies, what receivers refused comes back too: do not choose channels or keys then")
    if of_people:
        texts.append(f"the rows of {', '.join(of_people)} come only from a backup: no body has them")
    return "; ".join(texts)


def refusal(gone: Iterable[Relation]) -> str:
    """Why a command that needs the tables does not begin; empty if it may."""
    needed = [relation.name for relation in gone if relation.is_needed]
    if not needed:
        return ""
    verb, them, their = ("does", "it", "its") if len(needed) == 1 else ("do", "them", "their")
    dropped = f"{lost_names(needed)} {verb} not exist: someone dropped {them}."
    if TABLE_WITH_ID in needed:
        return f"{dropped} {WITHOUT_ID}"
    return f"{dropped} `axonpush migrate` makes {them} again and says how {their} rows come back"
