from collections.abc import Callable, Sequence

def span_block(
    chunks: Sequence[bytes],
    prefix: bytes,
    earliest_ns: int,
    latest_ns: int,
    needs_care: Callable[[str], int],
    dumps: Callable[[float], bytes],
    most_odd: int,
    /,
) -> tuple[tuple[bytes, ...], list[str], list[int], list[str]] | None: ...
