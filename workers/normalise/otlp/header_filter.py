"""Secrets of OTLP records (headers, commands, addresses) become `[Filtered]` before rows are made.

In attributes, events, links and bodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from schemas.otlp.columns import SpanColumns, typed
from schemas.otlp.records import EMPTY_LOG, EMPTY_SPAN, Attributes, LogRecord, Malformed, OtlpSpan, Record
from workers.normalise.secrets.commands import filtered_url
from workers.normalise.secrets.headers import (
    ADDRESS_KEYS,
    filter_attributes,
    filter_values,
    has_secrets,
    may_name_secrets,
)

# SpanColumns.columns: the attributes as sent, and the same by type.
_SENT: Final = 9
_TYPED: Final = 15


def maps_of(records: Sequence[Record]) -> list[Attributes]:
    """Every map of attributes of some records."""
    if isinstance(records, SpanColumns):
        return list(records.columns[_SENT])
    maps: list[Attributes] = []
    for record in records:
        if record is EMPTY_SPAN or record is EMPTY_LOG or isinstance(record, Malformed):
            continue
        maps.append(record.attributes)
        if isinstance(record, OtlpSpan) and (record.events or record.links):
            maps += [attributes for part in (*record.events, *record.links) if (attributes := part.get("attributes"))]
    return maps


def filter_record_headers(records: Sequence[Record], maps: list[Attributes], keys: set[str]) -> None:
    """Filters the headers of some records in place; `maps` are those of maps_of, `keys` all their keys."""
    secret: set[str] = set()
    if may_name_secrets(keys):
        secret = {key for key in keys if has_secrets(key)}
    addresses = keys & ADDRESS_KEYS
    if isinstance(records, SpanColumns):
        if secret:
            _filter_columns(records.columns, secret)
        for key in addresses:
            _filter_addresses(records.columns, key)
        return
    for attributes in maps:
        for key in addresses:
            _filter_address(attributes, key)
        if not secret.isdisjoint(attributes):
            filter_attributes(attributes)
        _filter_nested(attributes)
    for record in records:
        if isinstance(record, LogRecord) and record.body.__class__ is not str:
            filter_values(record.body)


def filter_shared(attributes: Attributes) -> None:
    """The same for the attributes of a resource or a scope."""
    if may_name_secrets(attributes):
        filter_attributes(attributes)
    _filter_nested(attributes)


def _filter_columns(columns: tuple[list[Any], ...], secret: set[str]) -> None:
    for index, attributes in enumerate(columns[_SENT]):
        if not secret.isdisjoint(attributes) and filter_attributes(attributes):
            columns[_TYPED][index] = typed(attributes)


def _filter_addresses(columns: tuple[list[Any], ...], key: str) -> None:
    for index, attributes in enumerate(columns[_SENT]):
        if _filter_address(attributes, key):
            columns[_TYPED][index] = typed(attributes)


def _filter_address(attributes: Attributes, key: str) -> bool:
    """The password of an address: Python's `in` is quick, and most addresses have no @."""
    text = attributes.get(key)
    if text.__class__ is not str or "@" not in text:
        return False
    attributes[key] = filtered_url(text)
    return bool(attributes[key] != text)


def _filter_nested(attributes: Attributes) -> None:
    for value in attributes.values():
        if value.__class__ is dict or value.__class__ is list:
            filter_values(value)
