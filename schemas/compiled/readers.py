"""The compiled parsers, where they were built. Each does exactly what its Python version does.

Callers read these variables at each call, so that the parsers can be switched off while a process runs.
`schemas.compiled.build_readers` builds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from schemas.otlp.columns import PlainSpans

# The messages of a scope, and index and JSON of the records that are not plain: those have no bytes.
JsonScope = tuple[list[bytes], list[tuple[int, Any]]]
PlainMessages = Callable[[Sequence[bytes]], PlainSpans]
# Returns columns, keys of attributes, indexes of odd records, words; None if too many are odd.
MakeBlock = Callable[..., tuple[tuple[bytes, ...], list[str], list[int], list[str]] | None]
PlainText = Callable[[bytes, bool], tuple[list[bytes], list[JsonScope]] | None]

# Span messages in protobuf; a whole body of OTLP/JSON as messages. None: the Python version is used.
messages: PlainMessages | None = None
text: PlainText | None = None
# Messages in protobuf as columns of an insert; the ids of log records, which depend on their place in the body.
span_block: MakeBlock | None = None
log_block: MakeBlock | None = None
# The spans of a Sentry transaction, as parsed JSON, likewise.
sentry_span_block: MakeBlock | None = None
record_ids: Callable[[bytes, bytes, int], bytes] | None = None
# Whether bytes may contain a key at all.
may_hold_key: Callable[[bytes], bool] | None = None
with suppress(ImportError):
    from schemas.compiled._plain_spans import plain_spans as messages
with suppress(ImportError):
    from schemas.compiled._plain_json import plain_messages as text
with suppress(ImportError):
    from schemas.compiled._key_needles import may_hold_key  # noqa: F401 (leave_out takes it away again)
with suppress(ImportError):
    from schemas.compiled._span_blocks import span_block  # noqa: F401 (the same)
with suppress(ImportError):
    from schemas.compiled._log_blocks import log_block, record_ids  # noqa: F401 (the same)
with suppress(ImportError):
    from schemas.compiled._sentry_spans import sentry_span_block  # noqa: F401 (the same)


def in_use() -> list[str]:
    """What compiled code parses in this process: "protobuf", "json"."""
    return [name for name, reader in (("protobuf", messages), ("json", text)) if reader]


def leave_out() -> None:
    """Switches all compiled parsers off in this process."""
    global messages, text, may_hold_key, span_block, log_block, record_ids, sentry_span_block  # noqa: PLW0603
    messages = text = may_hold_key = span_block = log_block = record_ids = sentry_span_block = None
