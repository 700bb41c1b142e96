"""Writes the engine's configuration: limits, durability and rights, in the two XML files that it reads at start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from ops.local.clickhouse_http.access.users import ALERTS, CONSOLE, OPERATOR, READER, WORKER

_MIB: Final = 1 << 20
BACKUPS_FOLDER: Final = "backups"
KEEPER: Final = "axonpush_keeper"
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def machine_memory_bytes() -> int:
    """The memory of the machine, or of this process's control group if that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Limits of the engine. `memory_bytes` 0 means half of the machine; with `fsync` an answered insert is durable.

    fsync protects from power loss; a killed process loses nothing either way. docs/decisions/0015-engine-rights.md has
    its cost.
    """

    memory_bytes: int = 0
    threads: int = 0
    fsync: bool = True

    def memory_cap_bytes(self) -> int:
        """The limit of the whole process: half of the machine, at least 1 GiB, because broker and workers run beside
        it.
        """
        return self.memory_bytes or max(1024 * _MIB, machine_memory_bytes() // 2)

    def query_memory_bytes(self) -> int:
        """The limit of one query."""
        return self.memory_cap_bytes() * 4 // 5

    def reader_memory_bytes(self) -> int:
        """The memory limit of one query of a reader: several of them together leave memory for inserts."""
        return max(256 * _MIB, self.memory_cap_bytes() // 4)

    def thread_cap(self) -> int:
        """Maximum threads of one query."""
        return self.threads or min(8, os.cpu_count() or 2)


# By default caches take gigabytes; here they must be small. The disk `backups` is the only one that BACKUP may write
# to; ops/deploy/clickhouse/config.d/server.xml defines it for a server too.
_SERVER: Final = """<clickhouse>
<users_config>{users}</users_config>
<display_name>axonpush</display_name>
<max_server_memory_usage>{memory}</max_server_memory_usage>
<background_pool_size>2</background_pool_size>
<background_schedule_pool_size>2</background_schedule_pool_size>
<mark_cache_size>{cache}</mark_cache_size>
<index_mark_cache_size>{cache}</index_mark_cache_size>
<primary_index_cache_size>{cache}</primary_index_cache_size>
<merge_tree>
<fsync_after_insert>{fsync}</fsync_after_insert>
<fsync_part_directory>{fsync}</fsync_part_directory>
<min_rows_to_fsync_after_merge>{fsync}</min_rows_to_fsync_after_merge>
</merge_tree>
<storage_configuration><disks>
<backups><type>local</type><path>{backups}/</path></backups>
</disks></storage_configuration>
<backups><allowed_disk>backups</allowed_disk></backups>
</clickhouse>
"""

# Settings that the engine refuses to change: those that name files, hosts or expressions, or that compute on data.
# VALUES accepts literals only, because expressions there would not have been checked.
_FIXED_SETTINGS: Final = {
    "format_schema": "",
    "format_schema_source": "file",
    "format_template_row": "",
    "format_template_resultset": "",
    "format_avro_schema_registry_url": "",
    "output_format_schema": "",
    "input_format_record_errors_file_path": "",
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
    "allow_introspection_functions": "0",
    "additional_result_filter": "",
    "dialect": "clickhouse",
}
# An answered insert is stored. The statement `1` is an error, as on a server.
_DEFAULTS: Final = {"async_insert": "0", "implicit_select": "0"}

# Rights of each user, as in ops/deploy/clickhouse/users.d/axonpush.xml; none may use files, commands or hosts. The
# engine has only the login `default`: a session gets its user by SET ROLE, which clients cannot run.
WORKER_TABLES: Final = ("event_rows", "outcome_rows", "taken_rows", "dead_letter_rows")
# What the console writes: states of issues, releases and deploys, artifacts, rules.
CONSOLE_TABLES: Final = (
    *("issue_changes", "issue_assignments", "release_rows", "deploy_rows", "artifact_rows", "artifact_file_rows"),
    "alert_rule_rows",
)
# What `axonpush alerts` writes: what it found, whom it told, how rules are.
ALERTS_TABLES: Final = ("alert_firing_rows", "alert_delivery_rows", "alert_state_rows")
_OPERATOR_RIGHTS: Final = (
    "SHOW, CHECK, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, "
    "DROP DATABASE, DROP TABLE, DROP VIEW, TRUNCATE, OPTIMIZE, BACKUP, KILL QUERY"
)


def grants(database: str) -> dict[str, tuple[str, ...]]:
    """The engine's rights of each user, by name."""
    quoted = "`" + database.replace("\\", "\\\\").replace("`", "\\`") + "`"
    return {
        # With one login, materialised views run with the rights of the inserting user. So the engine lets a worker read
        # and fill what the views use; rights.py lets it name only its own tables.
        WORKER: (f"GRANT SELECT, INSERT, SHOW COLUMNS ON {quoted}.*",),
        READER: (f"GRANT SELECT ON {quoted}.*", "GRANT CREATE TEMPORARY TABLE ON *.*"),
        CONSOLE: (
            f"GRANT SELECT ON {quoted}.*",
            *(f"GRANT INSERT ON {quoted}.{table}" for table in CONSOLE_TABLES),
        ),
        ALERTS: (
            f"GRANT SELECT ON {quoted}.*",
            *(f"GRANT INSERT ON {quoted}.{table}" for table in ALERTS_TABLES),
        ),
        # For BACKUP and RESTORE; rights.py checks the disk.
        OPERATOR: (f"GRANT {_OPERATOR_RIGHTS} ON *.*", "GRANT READ, WRITE ON DISK"),
        # Only for our own sessions: they parse, cancel and set up.
        KEEPER: ("GRANT ALL ON *.*",),
    }


_USERS: Final = """<clickhouse>
<profiles><default>
{fixed}
<max_memory_usage>{query_memory}</max_memory_usage>
<max_threads>{threads}</max_threads>
<constraints>{constraints}</constraints>
</default></profiles>
<roles>{roles}</roles>
<users><default>
<password></password>
<networks><ip>::/0</ip></networks>
<profile>default</profile>
<quota>default</quota>
<grants>{granted}</grants>
</default></users>
<quotas><default></default></quotas>
</clickhouse>
"""


def _users(limits: EngineLimits, database: str) -> str:
    rights_by_user = grants(database)
    return _USERS.format(
        query_memory=limits.query_memory_bytes(),
        threads=limits.thread_cap(),
        fixed="".join(f"<{name}>{value}</{name}>" for name, value in (_FIXED_SETTINGS | _DEFAULTS).items()),
        constraints="".join(f"<{name}><const/></{name}>" for name in _FIXED_SETTINGS),
        roles="".join(
            f"<{name}><grants>{_queries(rights)}</grants></{name}>" for name, rights in rights_by_user.items()
        ),
        granted=_queries(tuple(f"GRANT {name}" for name in rights_by_user)),
    )


def _queries(rights: tuple[str, ...]) -> str:
    return "".join(f"<query>{escape(right)}</query>" for right in rights)


def write_config(path: Path, limits: EngineLimits, database: str) -> Path:
    """Writes both files into the data directory and returns the first, which refers to the second."""
    memory = limits.memory_cap_bytes()
    users, server = path / "users.xml", path / "engine.xml"
    users.write_text(_users(limits, database), encoding="utf-8")
    server.write_text(
        _SERVER.format(
            users=escape(str(users)),
            backups=escape(str(path / BACKUPS_FOLDER)),
            memory=memory,
            cache=min(256 * _MIB, memory // 8),
            fsync=int(limits.fsync),
        ),
        encoding="utf-8",
    )
    return server
