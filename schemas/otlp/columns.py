"""Column-oriented spans, so that row building need not create Span objects; and attributes by type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.otlp.records import Attributes, OtlpSpan, Value, json_text

Maps = tuple[dict[str, str], dict[str, int], dict[str, float], dict[str, bool]]

# (the fields of OtlpSpan in order, without events, links and flaws; then attributes as Maps), one list per field; and
# the indexes of the other spans.
PlainSpans = tuple[tuple[list[Any], ...], list[int]]


class SpanColumns(Sequence[OtlpSpan]):
    """The spans of one scope, one list per field: creating span objects would be half the work of parsing.

    They have no events, links or flaws. Used as a sequence, it creates span objects on request.
    """

    __slots__ = ("columns",)

    def __init__(self, columns: tuple[list[Any], ...]) -> None:
        """`columns` are those of PlainSpans."""
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        values = [column[index] for column in self.columns]
        return OtlpSpan._make((*values[:11], [], values[11], [], *values[12:15], ()))


def typed(attributes: Attributes) -> Maps:
    """Attributes by type: strings, integers, doubles, booleans. Other types become strings."""
    strings: dict[str, str] = {}
    integers: dict[str, int] = {}
    doubles: dict[str, float] = {}
    booleans: dict[str, bool] = {}
    for key, value in attributes.items():
        kind = value.__class__
        if kind is str:
            strings[key] = value
        elif kind is int:
            integers[key] = value
        elif kind is bool:
            booleans[key] = value
        elif isinstance(value, float):
            doubles[key] = value
        else:
            strings[key] = text_of_value(value)
    return strings, integers, doubles, booleans


def text_of_value(value: Value) -> str:
    """A value as text: strings unchanged, None as "", everything else as compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return json_text(value).strip('"')
    return json_text(value)
