"""A sender's metadata as text that ClickHouse's JSON type takes: one bad row would fail every query that reads it."""

from __future__ import annotations

from typing import Any, Final

from schemas.tolerant_json import dumps_text

METADATA_PATH_DROPPED: Final = "metadata_path_dropped"
METADATA_LEFT_OUT: Final = "metadata_left_out"

MAX_DEPTH: Final = 64
MAX_LENGTH: Final = 1_000_000


def metadata_text(metadata: dict[str, Any], repairs: list[str]) -> str:
    """JSON text. Of two members with one path ({"a.b": 1, "a": {"b": 2}}) the first stays, and that is named.

    What is too deep or too long is left out as a whole; it still stands in the row's payload.
    """
    if not metadata:
        return "{}"
    try:
        kept = _distinct(metadata, "", set(), MAX_DEPTH, repairs)
    except RecursionError:
        repairs.append(METADATA_LEFT_OUT)
        return "{}"
    text = dumps_text(kept)
    if len(text) > MAX_LENGTH:
        repairs.append(METADATA_LEFT_OUT)
        return "{}"
    return text


def _distinct(members: dict[str, Any], prefix: str, paths: set[str], depth: int, repairs: list[str]) -> dict[str, Any]:
    """`members` without those whose path is among `paths`. Raises RecursionError beyond `depth` levels."""
    kept: dict[str, Any] = {}
    for key, value in members.items():
        path = f"{prefix}{key}"
        if value.__class__ is dict:
            kept[key] = _distinct(value, f"{path}.", paths, _below(depth), repairs)
        elif path in paths:
            repairs.append(METADATA_PATH_DROPPED)
        else:
            paths.add(path)
            kept[key] = _list(value, _below(depth), repairs) if value.__class__ is list else value
    return kept


def _list(values: list[Any], depth: int, repairs: list[str]) -> list[Any]:
    """Objects in a list have paths of their own."""
    return [
        _distinct(value, "", set(), _below(depth), repairs)
        if value.__class__ is dict
        else _list(value, _below(depth), repairs)
        if value.__class__ is list
        else value
        for value in values
    ]


def _below(depth: int) -> int:
    if depth <= 0:
        raise RecursionError
    return depth - 1
