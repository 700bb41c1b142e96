"""What is compiled from C, where it was built: twins of what is written in Python.

Whoever reads spans or masks keys asks here each time, so that it can be left out while a process runs.
`schemas.compiled.build_readers` builds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from schemas.otlp.columns import PlainSpans

# Columns of the plain spans of a scope; index and JSON of its other records.
JsonSpans = tuple[tuple[list[Any], ...], list[tuple[int, Any]]]
PlainMessages = Callable[[Sequence[bytes]], PlainSpans]
PlainText = Callable[[bytes, Callable[[bytes], Any]], tuple[list[bytes], list[JsonSpans]] | None]

# Span messages in protobuf; a whole body of OTLP/JSON. None: it is read in Python.
messages: PlainMessages | None = None
text: PlainText | None = None
# Whether bytes may hold a key at all.
may_hold_key: Callable[[bytes], bool] | None = None
with suppress(ImportError):
    from schemas.compiled._plain_spans import plain_spans as messages
with suppress(ImportError):
    from schemas.compiled._plain_json import plain_spans as text
with suppress(ImportError):
    from schemas.compiled._key_needles import may_hold_key  # noqa: F401 (leave_out takes it away again)


def in_use() -> list[str]:
    """What is read by compiled code in this process: "protobuf", "json"."""
    return [name for name, reader in (("protobuf", messages), ("json", text)) if reader]


def leave_out() -> None:
    """From now on this process does everything in Python."""
    global messages, text, may_hold_key  # noqa: PLW0603
    messages = text = may_hold_key = None
