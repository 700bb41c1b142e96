"""What blocks of spans and blocks of logs share: columns that all rows of a scope have, maps of attributes, and which
keys of attributes are judged by Python.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from schemas.blocks.columns import DATE_TIME, DICTIONARY, TEXT, Column, Constant, Empty, Maps
from schemas.blocks.rows import Layout
from workers.normalise import gen_ai
from workers.normalise.otlp.values import ORIGIN_COLUMNS, SCOPE_COLUMNS
from workers.normalise.secrets.headers import ADDRESS_KEYS, has_secrets, may_name_secrets

_TEXT_MAP: Final = f"Map({DICTIONARY}, {TEXT})"
_SHARED: Final = {
    "organisation": DICTIONARY,
    "channel_id": "UInt64",
    "key_id": DICTIONARY,
    "environment": DICTIONARY,
    "version": "UInt64",
    "event_type": DICTIONARY,
    "item_type": DICTIONARY,
    "received_at": DATE_TIME,
    "source_seq": "UInt64",
    "resource": _TEXT_MAP,
    "service_name": DICTIONARY,
    "scope_name": DICTIONARY,
    "scope_version": DICTIONARY,
    "scope_attributes": _TEXT_MAP,
    "schema_url": DICTIONARY,
}
# The parts of the four maps, in the order in which C makes them. A map has three.
MAP_PARTS: Final = (
    *("attributes_string", "", "", "attributes_int", "", "", "attributes_double", "", "", "attributes_bool", "", ""),
)
_VALUES: Final = {"string": TEXT, "int": "Int64", "double": "Float64", "bool": "Bool"}
ALWAYS, WITH_AT = 1, 2


def maps(parts: tuple[str, ...]) -> list[Column]:
    """The columns of attributes, given the names of all parts."""
    return [
        Maps(name, parts.index(name), value_type)
        for name, value_type in ((f"attributes_{suffix}", value_type) for suffix, value_type in _VALUES.items())
    ]


def layout(kind: str, names: tuple[str, ...], own_columns: list[Column], empty: dict[str, str]) -> Layout:
    """A layout of these columns between those that are shared. Raises KeyError for a column that nobody makes."""
    shared = [*ORIGIN_COLUMNS, *SCOPE_COLUMNS]
    known: dict[str, Column] = {column.name: column for column in own_columns}
    known |= {name: Constant(name, type_, shared.index(name)) for name, type_ in _SHARED.items()}
    known |= {name: Empty(name, type_) for name, type_ in empty.items()}
    columns = tuple(known[name] for name in (*ORIGIN_COLUMNS, *names, *SCOPE_COLUMNS))
    return Layout(kind, columns, [column.name for column in columns].index("source_ordinal"))


@lru_cache(4096)  # the same few keys come again and again
def needs_care(key: str) -> int:
    """What a record with such an attribute is: 0 a usual one; ALWAYS none (an exception, a call of a model, what may
    hold secrets); WITH_AT none if the text has an @, because it is an address and a password may stand in it.
    """
    # A look for a few words first: a body may have thousands of keys that nobody has seen.
    if key in gen_ai.MARKS or key.startswith("exception.") or (may_name_secrets((key,)) and has_secrets(key)):
        return ALWAYS
    return WITH_AT if key in ADDRESS_KEYS else 0
