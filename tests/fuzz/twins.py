"""The compiled readers beside their twins in Python: the same bytes have to say the same. No mutation here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from schemas import compiled
from schemas.compiled import PlainMessages, PlainText
from schemas.headers import Origin
from schemas.otlp import MEDIA_TYPES, Encoding
from schemas.otlp_protobuf_records import plain_spans
from schemas.otlp_protobuf_values import Seen
from workers.normalise.otlp import normalise_spans
from workers.normalise.verdict import Invalid

RECEIVED_AT_NS: Final = 1_763_700_000_000_000_000
# Around the message under test, so that columns would show if one of them got out of step.
NEIGHBOUR: Final = b"\x0a\x10" + b"\x01" * 16 + b"\x12\x08" + b"\x02" * 8 + b"\x2a\x01n"


class Twins(NamedTuple):
    """What is compiled: the reader of protobuf and the one of JSON."""

    messages: PlainMessages
    text: PlainText


def load(folder: Path) -> Twins | None:
    """Those that were built into `folder`; None if one of them is missing."""
    paths = [next(folder.glob(f"{name}.*so"), None) for name in ("_plain_spans", "_plain_json")]
    if not all(paths):
        return None
    messages, text = (load_module(path).plain_spans for path in paths if path)
    return Twins(messages, text)


def installed() -> Twins | None:
    """Those that this process uses; None if it uses none."""
    return Twins(compiled.messages, compiled.text) if compiled.messages and compiled.text else None


def load_module(path: Path) -> Any:
    """A compiled module, apart from the one that is installed."""
    spec = importlib.util.spec_from_file_location(f"schemas.{path.name.partition('.')[0]}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def read_by(twins: Twins | None) -> Iterator[None]:
    """With these compiled readers in use, or with none."""
    before = compiled.messages, compiled.text
    compiled.messages, compiled.text = twins or (None, None)
    try:
        yield
    finally:
        compiled.messages, compiled.text = before


def said(encoding: Encoding, body: bytes) -> str:
    """What becomes of an export request: rows, refusals, reasons, every type and digit of them."""
    origin = Origin(
        "default", 7, "k", "test", False, RECEIVED_AT_NS, MEDIA_TYPES[encoding], origin_id="f", origin_seq=5
    )
    try:
        return repr(normalise_spans(origin, body))
    except Invalid as error:
        return f"Invalid: {error}"


def same_verdict(twins: Twins, encoding: Encoding, body: bytes) -> bool:
    """Asserts that both read a whole body as the same; True if it was accepted."""
    with read_by(None):
        expected = said(encoding, body)
    with read_by(twins):
        found = said(encoding, body)
    assert found == expected, f"expected {expected[:2000]}\nfound {found[:2000]}"
    return not found.startswith("Invalid")


def same_columns(twins: Twins, message: bytes) -> bool:
    """Asserts that what is plain to the compiled reader is plain in Python, with the same values; True if it is."""
    chunks = [NEIGHBOUR, message, NEIGHBOUR]
    columns, odd = twins.messages(chunks)
    expected, odd_in_python = plain_spans(chunks, Seen())
    assert odd in ([], [1]), odd
    assert set(odd_in_python) <= set(odd), "odd in Python alone"
    if odd and not odd_in_python:
        expected = tuple([column[0], column[2]] for column in expected)
    assert repr(columns) == repr(expected), f"expected {expected}\nfound {columns}"
    return not odd
