"""The compiled parsers, where they were built. Each does exactly what its Python version does.

Callers read these variables at each call, so that the parsers can be switched off while a process runs.
`schemas.compiled.build_readers` builds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from schemas.otlp.columns import PlainSpans

# Returns the plain spans of a scope as columns, and index and JSON of its other records.
JsonSpans = tuple[tuple[list[Any], ...], list[tuple[int, Any]]]
PlainMessages = Callable[[Sequence[bytes]], PlainSpans]
# Returns columns, keys of attributes, indexes of odd spans; None if too many are odd.
MakeBlock = Callable[..., tuple[tuple[bytes, ...], list[str], list[int]] | None]
PlainText = Callable[[bytes, Callable[[bytes], Any]], tuple[list[bytes], list[JsonSpans]] | None]

# Span messages in protobuf; a whole body of OTLP/JSON. None: the Python version is used.
messages: PlainMessages | None = None
text: PlainText | None = None
# Span messages in protobuf as columns of an insert.
span_block: MakeBlock | None = None
# Whether bytes may contain a key at all.
may_hold_key: Callable[[bytes], bool] | None = None
with suppress(ImportError):
    from schemas.compiled._plain_spans import plain_spans as messages
with suppress(ImportError):
    from schemas.compiled._plain_json import plain_spans as text
with suppress(ImportError):
    from schemas.compiled._key_needles import may_hold_key  # noqa: F401 (leave_out takes it away again)
with suppress(ImportError):
    from schemas.compiled._span_blocks import span_block  # noqa: F401 (the same)


def in_use() -> list[str]:
    """What compiled code parses in this process: "protobuf", "json"."""
    return [name for name, reader in (("protobuf", messages), ("json", text)) if reader]


def leave_out() -> None:
    """Switches all compiled parsers off in this process."""
    global messages, text, may_hold_key, span_block  # noqa: PLW0603
    messages = text = may_hold_key = span_block = None
