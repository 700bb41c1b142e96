"""Texts made from a pattern to make it work hard: parts of what it matches, again and again, and never an end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, product
from re import _constants as sre  # type: ignore[attr-defined]  # the only way to a pattern's parts
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

MAX_EXAMPLES: Final = 24
_CATEGORIES: Final = {
    sre.CATEGORY_DIGIT: "1",
    sre.CATEGORY_NOT_DIGIT: "a",
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_NOT_SPACE: "a",
    sre.CATEGORY_WORD: "a",
    sre.CATEGORY_NOT_WORD: "-",
}
_NOTHING: Final = frozenset({sre.AT, sre.ASSERT, sre.ASSERT_NOT, sre.GROUPREF})


def texts(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """Texts of about `size` characters: each beginning of each example repeated, and followed by one character."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    parts = _parser.parse(source, pattern.flags & ~re.UNICODE)
    units, long_texts = set[str](), set[str]()
    for example in islice(_sequence(parts), MAX_EXAMPLES):
        for length in range(1, min(len(example), 12) + 1):
            for tail in ("", example[length - 1 : length] * 3, "a", "1", "(", " "):
                units.add(example[:length] + tail)
        for filler in set(example[:40]) | {"a", "1", " "}:
            long_texts |= {example[:1] + filler * size, filler * size + "\0"}
    yield from sorted(long_texts | {unit * (size // len(unit)) + "\0" for unit in units})


def _sequence(parts: Any) -> Iterator[str]:
    """Examples of what a sequence of parts matches, each part by few of its own."""
    choices = [list(islice(_one(kind, value), 3)) or [""] for kind, value in parts]
    for chosen in islice(product(*choices), MAX_EXAMPLES):
        yield "".join(chosen)


def _one(kind: Any, value: Any) -> Iterator[str]:  # noqa: PLR0912 - one branch for each kind of part
    if kind in _NOTHING:
        yield ""
    elif kind is sre.LITERAL:
        yield chr(value)
    elif kind is sre.NOT_LITERAL:
        yield "a" if value != ord("a") else "b"
    elif kind is sre.ANY:
        yield "a"
    elif kind is sre.IN:
        yield from _of_set(value)
    elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        least, most, inner = value
        for example in islice(_sequence(inner), 2):
            yield example * max(least, min(int(most), 1))
            yield example * max(least, min(int(most), 3))
    elif kind is sre.SUBPATTERN:
        yield from _sequence(value[3])
    elif kind is sre.ATOMIC_GROUP:
        yield from _sequence(value)
    elif kind is sre.BRANCH:
        for branch in value[1]:
            yield from islice(_sequence(branch), 2)
    elif kind is sre.GROUPREF_EXISTS:
        yield from _sequence(value[1])
    else:
        raise AssertionError(f"no example of {kind}: teach it here")


def _of_set(items: Any) -> Iterator[str]:
    if items[0][0] is sre.NEGATE:
        refused = set(_of_set(items[1:])) if len(items) > 1 else set()
        yield from (one for one in ("a", "1", "-", " ", "(", "\x7f") if one not in refused)
        return
    for kind, value in items:
        if kind is sre.LITERAL:
            yield chr(value)
        elif kind is sre.RANGE:
            yield chr(value[0])
            yield chr(value[1])
        elif kind is sre.CATEGORY:
            yield _CATEGORIES[value]
