"""Mutation of JSON by its tree: members and items replaced, dropped, doubled, renamed, wrapped, in odd spellings."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

# What JSON text can say and a tree cannot: put in for a marker after the tree was written.
_MARKER: Final = "\u2603raw"
_RAW: Final = (
    *("NaN", "-Infinity", "1e400", "-0", "1" * 400, "18446744073709551616", "-9223372036854775809", "0.1e-999"),
    *(
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u0000"',
        '{"a":1,"a":2}',
        "[" * 300 + "]" * 300,
        '{"a":' * 1500 + "1" + "}" * 1500,
    ),
    *(
        "nul",
        "'single'",
        '"\n"',
        "",
        "1.",
        "[1,]",
        '{"kvlistValue":{"values":[{"key":"k","value":' * 60 + "{}" + "}]}}" * 60,
    ),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64 - 1, 1.5, -1e300, "", "0", "-1", "1e21", "NaN"),
    *(
        "Infinity",
        "a" * 5000,
        "\u0000",
        "\u00e9\U0001f600",
        [],
        {},
        [None],
        [[]],
        {"": ""},
        {"a": None},
        [{}] * 50,
        ["x"] * 50,
    ),
    *(
        {"type": "Buffer", "data": [1, 2, 300]},
        {"stringValue": 5},
        {"intValue": "x"},
        {"arrayValue": {}},
        "2026-01-01T00:00:00Z",
    ),
    *(
        "00000000000000000000000000000000",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "x" * 32,
        "0" * 16,
        1700000000.5,
        "1700000000000000000",
    ),
)


def mutate_json(rng: Random, body: bytes) -> bytes | None:
    """`body` with one change to its tree; None if it is no JSON."""
    try:
        root = json.loads(body)
    except (ValueError, RecursionError):
        return None
    holder = {"root": root}
    raw = _change(rng, holder)
    try:
        text = json.dumps(holder["root"], ensure_ascii=rng.random() < 0.5) if "root" in holder else ""
    except (RecursionError, ValueError):
        return None
    return text.replace(f'"{_MARKER}"', raw).encode("utf-8", "surrogatepass")


def _change(rng: Random, holder: dict[str, Any]) -> str:
    """Changes one node below `holder`; returns the text the marker stands for."""
    nodes = _nodes(holder)
    container, key = rng.choice(nodes)
    choice = rng.randrange(9)
    if choice == 0:
        del container[key]
    elif choice <= 2:
        container[key] = rng.choice(_VALUES)
    elif choice == 3:
        container[key] = _MARKER
        return rng.choice(_RAW)
    elif choice == 4:
        other, place = rng.choice(nodes)
        container[key] = other[place] if not _holds(other[place], container) else None
    elif choice == 5:
        container[key] = _wrapped(rng, container[key])
    elif choice == 6 and isinstance(container, dict) and container is not holder:
        container[_renamed(rng, key)] = container.pop(key)
    elif choice == 7 and isinstance(container, list):
        container.extend([container[key]] * rng.choice((1, 2, 40)))
    else:
        container[key] = _retyped(container[key])
    return ""


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a value."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        held = waiting.pop()
        keys = held.keys() if isinstance(held, dict) else range(len(held))
        for key in keys:
            found.append((held, key))
            if isinstance(held[key], dict | list):
                waiting.append(held[key])
    return found


def _holds(value: Any, container: Any) -> bool:
    """Whether `container` is `value` or inside of it: moving it there would make a ring."""
    return value is container or any(held[key] is container for held, key in _nodes([value]))


def _wrapped(rng: Random, value: Any) -> Any:
    for _ in range(rng.choice((1, 2, 30, 120))):
        value = rng.choice(([value], {"values": value}, {"arrayValue": {"values": [value]}}))
    return value


def _renamed(rng: Random, key: str) -> str:
    snake = "".join(f"_{message.lower()}" if message.isupper() else message for message in key)
    return rng.choice((snake, key.upper(), key[:-1], "", "value", "key", "stringValue", "attributes", "\u2603"))


def _retyped(value: Any) -> Any:
    """The same in another type, as loose senders write it."""
    if isinstance(value, str):
        return int(value) if value.isdigit() and len(value) < 300 and value.isascii() else [value]
    if isinstance(value, dict):
        return [{"key": key, "value": held} for key, held in value.items()]
    if isinstance(value, list):
        return {str(index): held for index, held in enumerate(value)}
    return str(value)
