"""A Sentry envelope into its items, after the Sentry envelope specification."""

from __future__ import annotations

from typing import Final

import orjson

from schemas import envelope
from schemas.headers import Origin
from schemas.tolerant_json import loads
from workers.normalise.verdict import Invalid
from workers.split.pieces import ITEM_WORKERS, Split, word

# Item types that another type's worker reads; the item's own header keeps its type.
_WORKER_OF: Final = {"sessions": "session", "user_report": "feedback", "minidump": "attachment"}


def read(body: bytes, _origin: Origin, _limit_bytes: int) -> Split:
    """Every item that has a worker, each as an envelope of its own. Raises Invalid."""
    try:
        header, items = envelope.read(body)
    except envelope.EnvelopeError as error:
        raise Invalid(str(error)) from error
    line = _without_key(header)
    found = Split()
    for item in items:
        worker = _WORKER_OF.get(item.type, item.type)
        if worker in ITEM_WORKERS:
            found.items.append((item.index, worker, envelope.write_single(line, item.header, item.payload)))
        else:
            found.dropped[word(item.type)] += 1
    return found


def _without_key(header: envelope.EnvelopeHeader) -> bytes:
    """The header line; a `dsn` in it holds the key, which must not travel on into tables."""
    if header.dsn is None:
        return header.raw
    fields = loads(header.raw)
    fields.pop("dsn", None)
    return orjson.dumps(fields)
