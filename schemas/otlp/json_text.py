"""Parses OTLP/JSON text to plain Python values, and repairs what a strict parser refuses."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from schemas.tolerant_json import check_containers

# Deep enough for any value within records.HARD_DEPTH (four JSON levels each), and shallow enough for Python's stack.
_MAX_LEVELS: Final = 224
# Longer integers become doubles; Python refuses to convert very long digit strings.
_MAX_INT_DIGITS: Final = 40
# Possessive, and the closing quote is optional: an unterminated string is one token, not one attempt per character.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse_json(body: bytes) -> tuple[Any, bool]:
    """Returns (value, whether its strings need `mend`). Raises ValueError.

    Strict JSON takes the fast path. The slow path also accepts a byte order mark, invalid UTF-8, lone surrogates, raw
    control characters, NaN, numbers beyond a double and any nesting depth, so that one bad value never costs a batch.
    """
    check_containers(body)
    try:
        return orjson.loads(body), False
    except orjson.JSONDecodeError as strict:
        text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        try:
            return json.loads(_flatten(text), strict=False, parse_int=_integer), True
        except (ValueError, RecursionError):
            raise strict from None


def mend(value: Any) -> tuple[Any, bool]:
    """A value of `parse` with all strings valid for UTF-8, and whether one was changed."""
    if isinstance(value, str):
        if not _SURROGATE.search(value):
            return value, False
        return _mend_text(value), True
    mended = False
    if isinstance(value, list):
        items = []
        for member in value:
            item, changed = mend(member)
            items.append(item)
            mended |= changed
        return items, mended
    if isinstance(value, dict):
        members = {}
        for name, member in value.items():
            key, key_changed = mend(name)
            members[key], changed = mend(member)
            mended |= changed or key_changed
        return members, mended
    return value, False


def _mend_text(text: str) -> str:
    """Replaces invalid text by U+FFFD: per byte, as in protobuf strings, else per half of a surrogate pair."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_INT_DIGITS else float(digits)


def _flatten(text: str) -> str:
    """`text` with anything deeper than _MAX_LEVELS converted to JSON strings."""
    pieces: list[str] = []
    depth = kept_to = cut_from = 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "[{":
            depth += 1
            if depth == _MAX_LEVELS + 1:
                cut_from = token.start()
                pieces.append(text[kept_to:cut_from])
        elif mark in "]}":
            depth -= 1
            if depth == _MAX_LEVELS:
                kept_to = token.end()
                pieces.append(json.dumps(text[cut_from:kept_to]))
    pieces.append(text[kept_to:])
    return "".join(pieces) if kept_to else text


def count_objects(document: dict[str, Any]) -> int:
    """The number of objects in a document, ignoring braces in strings."""
    count = 1
    waiting: list[Any] = [document]
    while waiting:
        container = waiting.pop()
        parts = list(container.values()) if container.__class__ is dict else container
        # Empty ones are counted in C: there may be a million.
        count += parts.count({})
        inner = [value for value in parts if value and (value.__class__ is dict or value.__class__ is list)]
        count += sum(value.__class__ is dict for value in inner)
        waiting += inner
    return count
