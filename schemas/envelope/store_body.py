"""Finds the event in a body of the legacy store endpoint, and returns its JSON text.

Old SDKs send it as JSON, as base64 of JSON or of zlib of JSON, or one of these in the field `sentry_data` of a form or
query.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import unquote_plus, unquote_to_bytes

from schemas.encodings import CorruptBody, TooLarge, inflate

DATA_FIELD: Final = "sentry_data"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# Maximum percent escapes: each becomes an object while decoding. Events of these SDKs have at most 200 kB.
MAX_ESCAPES: Final = 1_000_000
_FIELD: Final = f"{DATA_FIELD}=".encode()


class StoreBodyError(ValueError):
    """The body holds no event in any of these forms."""


class StoreBodyTooLarge(StoreBodyError):
    """The content decompresses to more than allowed."""


def event_text(body: bytes, limit_bytes: int) -> bytes:
    """The JSON text, of at most `limit_bytes` if it was compressed. Raises StoreBodyError. The JSON is not checked."""
    text = body.strip()
    if _is_json(text):
        return text
    data = form_data(text)
    if data is not None:
        text = data
    if not text:
        raise StoreBodyError("expected one event as a JSON object, found an empty body; send the event")
    return text if _is_json(text) else _decoded(text, limit_bytes)


def form_data(form: bytes) -> bytes | None:
    """The decoded field `sentry_data` of a form or query string; None if missing. Raises StoreBodyError.

    It does not split all pairs: 6 MB of ampersands would be six million of them.
    """
    start = 0 if form.startswith(_FIELD) else form.find(b"&" + _FIELD) + 1
    if not start and not form.startswith(_FIELD):
        return None
    value = form[start + len(_FIELD) :].partition(b"&")[0]
    if value.count(b"%") > MAX_ESCAPES:
        raise StoreBodyError(f"expected at most {MAX_ESCAPES} escapes in {DATA_FIELD}, found more; send plain JSON")
    text = unquote_plus(value.decode("latin-1"), errors="replace").encode()
    # In JSON a plus is an encoded blank; in base64 it is a digit that was not encoded.
    return text.strip() if _is_json(text.lstrip()) else unquote_to_bytes(value).strip()


def _decoded(text: bytes, limit_bytes: int) -> bytes:
    try:
        # A blank was a plus before a proxy decoded it; line breaks have no meaning.
        raw = base64.b64decode(text.replace(b"\r", b"").replace(b"\n", b"").replace(b" ", b"+"), validate=True)
    except binascii.Error as error:
        raise StoreBodyError("expected {, or base64 of an event, found neither; send JSON") from error
    if _is_json(raw.lstrip()):
        return raw
    try:
        return inflate(raw, "deflate", limit_bytes)
    except TooLarge as error:
        raise StoreBodyTooLarge(str(error)) from error
    except CorruptBody as error:
        raise StoreBodyError(str(error)) from error


def _is_json(text: bytes) -> bool:
    return text.startswith((b"{", _BYTE_ORDER_MARK + b"{"))
