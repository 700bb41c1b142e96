"""The compiled readers beside their twins in Python: the same bytes have to say the same. No mutation here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from schemas import key_masking
from schemas.compiled import readers as compiled
from schemas.compiled.readers import PlainMessages, PlainText
from schemas.headers import Origin
from schemas.otlp.http_bodies import MEDIA_TYPES, Encoding
from schemas.otlp.protobuf_records import plain_spans
from schemas.otlp.protobuf_values import BodyTally
from schemas.otlp.records import Allowance
from workers.normalise.otlp.body import normalise_spans
from workers.normalise.verdict import Invalid

RECEIVED_AT_NS: Final = 1_763_700_000_000_000_000
# Around the message under test, so that columns would show if one of them got out of step.
NEIGHBOUR: Final = b"\x0a\x10" + b"\x01" * 16 + b"\x12\x08" + b"\x02" * 8 + b"\x2a\x01n"


class Twins(NamedTuple):
    """What is compiled: the reader of protobuf, the one of JSON, and the look for keys."""

    messages: PlainMessages
    text: PlainText
    may_hold_key: Callable[[bytes], bool] | None = None


def load(folder: Path) -> Twins | None:
    """Those that were built into `folder`; None if one of them is missing."""
    paths = [next(folder.glob(f"{name}.*so"), None) for name in ("_plain_spans", "_plain_json", "_key_needles")]
    if not all(paths):
        return None
    messages, text, needles = (load_module(path) for path in paths if path)
    return Twins(messages.plain_spans, text.plain_spans, needles.may_hold_key)


def installed() -> Twins | None:
    """Those that this process uses; None if it uses none."""
    if not compiled.messages or not compiled.text:
        return None
    return Twins(compiled.messages, compiled.text, compiled.may_hold_key)


def load_module(path: Path) -> Any:
    """A compiled module, apart from the one that is installed."""
    spec = importlib.util.spec_from_file_location(f"schemas.compiled.{path.name.partition('.')[0]}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def read_by(twins: Twins | None) -> Iterator[None]:
    """With these compiled readers in use, or with none."""
    before = compiled.messages, compiled.text, compiled.may_hold_key
    compiled.messages, compiled.text, compiled.may_hold_key = twins or (None, None, None)
    try:
        yield
    finally:
        compiled.messages, compiled.text, compiled.may_hold_key = before


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


def same_look(twins: Twins, data: bytes) -> bool:
    """Asserts that the compiled look for keys finds what Python's searches find; True if there is something."""
    assert twins.may_hold_key is not None
    found = twins.may_hold_key(data)
    assert found == any(needle in data for needle, _ in key_masking._FORMS), data
    return found


def same_columns(twins: Twins, message: bytes) -> bool:
    """Asserts that what is plain to the compiled reader is plain in Python, with the same values; True if it is."""
    chunks = [NEIGHBOUR, message, NEIGHBOUR]
    columns, odd = twins.messages(chunks)
    expected, odd_in_python = plain_spans(chunks, BodyTally(Allowance(0)))
    assert odd in ([], [1]), odd
    assert set(odd_in_python) <= set(odd), "odd in Python alone"
    if odd and not odd_in_python:
        expected = tuple([column[0], column[2]] for column in expected)
    assert repr(columns) == repr(expected), f"expected {expected}\nfound {columns}"
    return not odd
