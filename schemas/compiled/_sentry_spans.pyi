from collections.abc import Callable, Sequence
from typing import Any

def sentry_span_block(
    spans: Sequence[Any],
    prefix: bytes,
    earliest_ns: int,
    latest_ns: int,
    needs_care: Callable[[str], int],
    op_needs_care: Callable[[str], int],
    dumps: Callable[[Any], bytes],
    segment_id: str,
    segment_name: str,
    most_odd: int,
    /,
) -> tuple[tuple[bytes, ...], list[str], list[int], list[str]] | None: ...
