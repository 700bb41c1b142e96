"""Walks the tree of a statement. Every object is visited, whatever its key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ops.local.clickhouse_http.access import allowed
from ops.local.clickhouse_http.access.parse import Tree

# Below these keys calls are not functions but codecs, statistics and kinds of indexes (whose arguments are expressions
# again).
OTHER_NAMES: Final = {
    "codec": allowed.CODECS | {"CODEC"},
    "statistics": allowed.STATISTICS | {"STATISTICS"},
    "index_type": allowed.INDEX_TYPES,
}
_INHERITED: Final = {"CODEC": "codec", "STATISTICS": "statistics"}


def nodes(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Every object of a tree with its key, without recursion: a tree may be deep."""
    waiting: list[tuple[str, Any]] = [("", tree)]
    while waiting:
        key, node = waiting.pop()
        if isinstance(node, dict):
            key = _INHERITED.get(str(node.get("kind")), key)
            yield key, node
            waiting.extend((_key_below(key, node, name), value) for name, value in node.items())
        elif isinstance(node, list):
            waiting.extend((key, child) for child in node)


def _key_below(key: str, node: Tree, name: str) -> str:
    if key in _INHERITED.values():
        return key
    if name == "settings_changes" or (name == "settings" and node.get("type") == "Storage"):
        return "table_settings"
    return "backup_settings" if name == "settings" and node.get("type") == "BackupQuery" else name


def arguments(call: Tree) -> list[Any]:
    """The arguments of a call."""
    list_node = call.get("arguments")
    children = list_node.get("children") if isinstance(list_node, dict) else None
    return children if isinstance(children, list) else []


def literal_text(value: Any) -> str | None:
    """A literal's value as text; None for anything else."""
    if isinstance(value, dict):
        value = value.get("value")
    return str(value) if isinstance(value, str | int | float) else None
