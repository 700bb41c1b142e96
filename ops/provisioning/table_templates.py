"""The statements of schemas/tables are templates. This fills their parameters, for one server or for a cluster.

| parameter | on one server | on a cluster |
|---|---|---|
| `{{stored.x}}` | `x` | the table of this server's rows, `x_local`, with its database |
| `{{name.x}}` | `x` | the table or view over all servers, with its database |
| `{{each.x}}` | `x` | the statement runs twice: for `{{stored.x}}`, then for `{{name.x}}` (new columns) |
| `{{on_cluster}}` | nothing | ON CLUSTER, in every statement |
| `{{replicated}}` | nothing | `Replicated`, before the name of an engine |
| `{{settings}}` | nothing | the clause SETTINGS of a replicated table that sets nothing else |
| `{{first_setting}}` | nothing | the same as the first of several settings |
| `{{global}}` | nothing | GLOBAL, before JOIN and IN: the right side is computed once for all shards |
| `{{every_shard}}` | nothing | arguments of an engine whose rows are the same on every shard |
| `{{distributed.x}}` | no statement | a statement of its own: creates the Distributed table `x` |
"""

from __future__ import annotations

import re
from typing import Final

from ops.provisioning.cluster_tables import Cluster

_PARAMETER: Final = re.compile(r"\{\{(?P<name>[^{}.]*)(?:\.(?P<table>[^{}]*))?\}\}")
_DISTRIBUTED: Final = re.compile(r"\{\{distributed\.(?P<table>\w+)\}\}")

# No block deduplication: equal rows are merged anyway. A deduplicated second insert would not reach the materialised
# views, and these may be what failed the first time.
_LOCAL_SETTING: Final = "replicated_deduplication_window = 0"
_CLUSTER_TEXTS: Final = {
    "replicated": "Replicated",
    "settings": f"\nSETTINGS {_LOCAL_SETTING}",
    "first_setting": f"{_LOCAL_SETTING}, ",
    "global": "GLOBAL ",
    "every_shard": "'/clickhouse/tables/{uuid}/every_shard', '{shard}-{replica}', ",
}
_NAMES: Final = ("stored", "name", "each")


def render(template: str, cluster: Cluster | None) -> list[str]:
    """The statements that a template stands for, in order. Raises ValueError for an unknown parameter or table."""
    if match := _DISTRIBUTED.fullmatch(template):
        return [cluster.distributed(match["table"])] if cluster else []
    is_insert = template.startswith("INSERT INTO ")  # into the Distributed table, from any server
    if "{{on_cluster}}" not in template and not is_insert:
        raise ValueError(
            f"expected {{{{on_cluster}}}} behind the name of the table or view, found {template[:60]!r}: without it "
            "the statement would run on one server of a cluster (ops/provisioning/table_templates.py)"
        )
    if cluster and "{{each." in template:
        return [_filled(template.replace("{{each.", f"{{{{{table}."), cluster) for table in ("stored", "name")]
    return [_filled(template, cluster)]


def _filled(template: str, cluster: Cluster | None) -> str:
    return _PARAMETER.sub(lambda parameter: _value(parameter["name"], parameter["table"], cluster), template)


def _value(name: str, table: str | None, cluster: Cluster | None) -> str:
    if table and name in _NAMES:
        if cluster is None:
            return table
        return cluster.table(table) if name == "name" else cluster.stored(table)
    if table is not None or name not in (*_CLUSTER_TEXTS, "on_cluster"):
        known = ", ".join([*(f"{known_name}.TABLE" for known_name in _NAMES), "on_cluster", *_CLUSTER_TEXTS])
        raise ValueError(
            f"expected a parameter of {known}, found {name!r}: ops/provisioning/table_templates.py has them"
        )
    if cluster is None:
        return ""
    return f" {cluster.on}" if name == "on_cluster" else _CLUSTER_TEXTS[name]
