"""Secret headers of OTLP records become `[Filtered]` before rows are made: in attributes, events, links and bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from schemas.otlp.columns import SpanColumns, typed
from schemas.otlp.records import Attributes, LogRecord, OtlpSpan, Record
from workers.normalise.secret_headers import (
    filter_attributes,
    filter_values,
    is_header_map,
    is_secret_attribute,
    may_name_headers,
)

# SpanColumns.columns: the attributes as sent, and the same by type.
_SENT: Final = 9
_TYPED: Final = 15


def keys_of(records: Sequence[Record]) -> set[str]:
    """The keys of all attributes of some records, which are few: looking at them is looking at every record."""
    if isinstance(records, SpanColumns):
        return set().union(*records.columns[_SENT])
    return set().union(*(held for record in records for held in _attributes(record)))


def filter_headers(records: Sequence[Record], keys: set[str]) -> None:
    """Filters the headers of some records in place; `keys` are those of keys_of."""
    secret: set[str] = set()
    if may_name_headers(keys):
        secret = {key for key in keys if is_secret_attribute(key) or is_header_map(key)}
    if not isinstance(records, SpanColumns):
        _filter_records(records, secret)
    elif secret:
        _filter_columns(records.columns, secret)


def filter_shared(attributes: Attributes) -> None:
    """The same for the attributes of a resource or a scope."""
    if may_name_headers(attributes):
        filter_attributes(attributes)
    _filter_nested(attributes)


def _filter_columns(columns: tuple[list[Any], ...], secret: set[str]) -> None:
    for index, held in enumerate(columns[_SENT]):
        if not secret.isdisjoint(held) and filter_attributes(held):
            columns[_TYPED][index] = typed(held)


def _filter_records(records: Sequence[Record], secret: set[str]) -> None:
    for record in records:
        for held in _attributes(record):
            if not secret.isdisjoint(held):
                filter_attributes(held)
            _filter_nested(held)
        if record.__class__ is LogRecord and record.body.__class__ is not str:
            filter_values(record.body)


def _filter_nested(attributes: Attributes) -> None:
    for value in attributes.values():
        if value.__class__ is dict or value.__class__ is list:
            filter_values(value)


def _attributes(record: Record) -> Iterator[Attributes]:
    """Every map of attributes of one record."""
    if isinstance(record, OtlpSpan):
        yield record.attributes
        for part in (*record.events, *record.links) if record.events or record.links else ():
            if held := part.get("attributes"):
                yield held
    elif isinstance(record, LogRecord):
        yield record.attributes
