"""Values cut to a number of bytes so that one long value costs no other: the long ones are cut, the small ones stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.otlp.records import Value, json_text

# A value of this size is small: it is kept whole, or left out where even the small ones are too many together. Of a
# small budget a smaller value is.
SMALL_BYTES: Final = 1024
_SMALL_PART: Final = 8
MAX_NAMED: Final = 8
_PREFIX: Final = "cut:"
_SCALAR_BYTES: Final = 8
_MEMBER_BYTES: Final = 6
_SCALARS: Final = frozenset({int, float, bool, type(None)})

# 0 for the members that stay before all others, 1 for those after them, and so on.
Rank = Callable[[str], int]


@dataclass(slots=True)
class Cuts:
    """What was cut: how many values, and the names of the first of them."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """One value, by the key it stands under."""
        self.count += 1
        if len(self.names) < MAX_NAMED:
            self.names.append(name)

    def repairs(self) -> list[str]:
        """One repair for each name."""
        return [_PREFIX + name for name in self.names]


def fit(value: Value, budget: int, cuts: Cuts, rank: Rank | None = None) -> Value:
    """`value` cut so that its JSON takes about `budget` bytes. Members of an object count in `cuts` by their key."""
    kind = value.__class__
    if kind is dict:
        return _fit_members(value, budget, cuts, rank) if _size(value) > budget else value
    if kind is list:
        return _fit_items(value, budget) if _size(value) > budget else value
    return _fit_scalar(value, budget)


def _fit_members(members: dict[str, Value], budget: int, cuts: Cuts, rank: Rank | None) -> dict[str, Value]:
    """The members in their order; those of a lower rank have the budget to themselves first."""
    fitted: dict[str, Value] = {}
    ranks = {key: rank(key) for key in members} if rank else dict.fromkeys(members, 0)
    for level in sorted(set(ranks.values())):
        keys = [key for key, key_level in ranks.items() if key_level == level]
        sizes = [_size(members[key]) + len(key) + _MEMBER_BYTES for key in keys]
        for key, size, share in zip(keys, sizes, shares(sizes, budget, smallest(budget)), strict=True):
            budget -= min(size, share)
            if share >= size:
                fitted[key] = members[key]
                continue
            cuts.add(key)
            room = share - len(key) - _MEMBER_BYTES
            if room > 0:
                fitted[key] = fit(members[key], room, Cuts())
    return {key: fitted[key] for key in members if key in fitted} if rank else fitted


def _fit_items(items: list[Value], budget: int) -> list[Value]:
    """As many items as the budget has room for, each whole if it is small."""
    items = items[: budget // 2 + 1]
    sizes = [_size(item) + 1 for item in items]
    given = zip(items, sizes, shares(sizes, budget, smallest(budget)), strict=True)
    return [item if share >= size else fit(item, share - 1, Cuts()) for item, size, share in given if share]


def _fit_scalar(value: Value, budget: int) -> Value:
    if isinstance(value, str | bytes):
        size = _size(value)
        return value if size <= budget else value[: len(value) * max(budget, 0) // size]
    return value


def smallest(budget: int) -> int:
    """The size up to which a value is not cut, for so many bytes of all values together."""
    return min(SMALL_BYTES, budget // _SMALL_PART)


def shares(sizes: Sequence[int], budget: int, least: int) -> list[int]:
    """How much of the budget each of these sizes gets: the small ones all they need, the others the same.

    Nobody gets less than `least`, or nothing: the largest, of equals the last.
    """
    left, order = budget, sorted(range(len(sizes)), key=sizes.__getitem__)
    given = [0] * len(sizes)
    for already, index in enumerate(order):
        even = max(left, 0) // (len(order) - already)
        share = min(sizes[index], max(even, least))
        if share > left:
            given[index] = 0 if sizes[index] <= least else max(left, 0)
            break
        given[index] = share
        left -= share
    return given


def _size(value: Value) -> int:
    """Bytes of the value's JSON, about."""
    return _SCALAR_BYTES if value.__class__ in _SCALARS else len(json_text(value))


def fit_texts(texts: dict[str, str], most: int, cuts: Cuts) -> dict[str, Any]:
    """Each text's first `most` characters."""
    for name, text in texts.items():
        if len(text) > most:
            cuts.add(name)
    return {name: text[:most] for name, text in texts.items()}


def fit_together(values: dict[str, Value], budget: int, cuts: Cuts) -> dict[str, Value]:
    """Several values cut to one budget. An object's members count by their keys, another value by its own name."""
    given = shares([_size(value) for value in values.values()], budget, 0)
    fitted = {}
    for (name, value), share in zip(values.items(), given, strict=True):
        fitted[name] = fit(value, share, cuts)
        if fitted[name] is not value and value.__class__ is not dict:
            cuts.add(name)
    return fitted


def cut_names(repairs: list[str]) -> list[str]:
    """What such repairs name."""
    return [repair.removeprefix(_PREFIX) for repair in repairs if repair.startswith(_PREFIX)]


def ranked(*tiers: Callable[[str], Any]) -> Rank:
    """A Rank by the first of these that is true of a key."""
    return lambda key: next((tier for tier, holds in enumerate(tiers) if holds(key)), len(tiers))
