"""A sender's metadata as text that ClickHouse's JSON type takes: one bad row would fail every query that reads it."""

from __future__ import annotations

from typing import Any, Final

from schemas.tolerant_json import dumps_text
from workers.normalise.size_limits import Cuts, fit

METADATA_PATH_DROPPED: Final = "metadata_path_dropped"
METADATA_CUT: Final = "metadata_cut"
METADATA_LEFT_OUT: Final = "metadata_left_out"

MAX_DEPTH: Final = 64
MAX_LENGTH: Final = 1_000_000
# Characters of all paths together: each member's path holds the names of all that are around it.
MAX_PATHS_LENGTH: Final = 4 * MAX_LENGTH


def metadata_text(metadata: dict[str, Any], repairs: list[str]) -> str:
    """JSON text. Of two members with one path ({"a.b": 1, "a": {"b": 2}}) the first stays, and that is named.

    Of what is too long the long values are cut, and named. A member that is too deep, or has too many paths below it,
    is left out; all of it still stands in the row's payload.
    """
    if not metadata:
        return "{}"
    kept = _keep_fitting(metadata, _Paths(), repairs)
    text = dumps_text(kept)
    if len(text) > MAX_LENGTH:
        cuts = Cuts()
        text = dumps_text(fit(kept, MAX_LENGTH, cuts))
        repairs += [METADATA_CUT, *cuts.repairs()]
    return text


def _keep_fitting(metadata: dict[str, Any], paths: _Paths, repairs: list[str]) -> dict[str, Any]:
    """What ClickHouse's JSON type takes, member by member: one that is too large costs none beside it."""
    kept: dict[str, Any] = {}
    for key, value in metadata.items():
        member_repairs: list[str] = []
        try:
            kept |= _distinct({key: value}, "", paths, MAX_DEPTH, member_repairs)
        except _TooLarge:
            member_repairs = [METADATA_LEFT_OUT]
        repairs += member_repairs
    return kept


class _TooLarge(Exception):
    """Deeper than MAX_DEPTH, or paths longer than MAX_PATHS_LENGTH."""


class _Paths:
    """The paths seen in one object, and the lengths of all paths of the metadata so far, which its objects share."""

    __slots__ = ("lengths", "seen")

    def __init__(self, lengths: list[int] | None = None) -> None:
        self.seen: set[str] = set()
        self.lengths = [0] if lengths is None else lengths

    def join(self, prefix: str, key: str) -> str:
        """A member's path. Raises _TooLarge."""
        self.lengths[0] += len(prefix) + len(key)
        if self.lengths[0] > MAX_PATHS_LENGTH:
            raise _TooLarge
        return f"{prefix}{key}"


def _distinct(members: dict[str, Any], prefix: str, paths: _Paths, depth: int, repairs: list[str]) -> dict[str, Any]:
    """`members` without those whose path is among `paths`. Raises _TooLarge."""
    kept: dict[str, Any] = {}
    for key, value in members.items():
        path = paths.join(prefix, key)
        if value.__class__ is dict:
            kept[key] = _distinct(value, f"{path}.", paths, _below(depth), repairs)
        elif path in paths.seen:
            repairs.append(METADATA_PATH_DROPPED)
        else:
            paths.seen.add(path)
            kept[key] = _list(value, paths, _below(depth), repairs) if value.__class__ is list else value
    return kept


def _list(values: list[Any], paths: _Paths, depth: int, repairs: list[str]) -> list[Any]:
    """Objects in a list have paths of their own."""
    return [
        _distinct(value, "", _Paths(paths.lengths), _below(depth), repairs)
        if value.__class__ is dict
        else _list(value, paths, _below(depth), repairs)
        if value.__class__ is list
        else value
        for value in values
    ]


def _below(depth: int) -> int:
    if depth <= 0:
        raise _TooLarge
    return depth - 1
