from collections.abc import Callable, Sequence

def log_block(
    chunks: Sequence[bytes],
    earliest_ns: int,
    latest_ns: int,
    received_at_ns: int,
    needs_care: Callable[[str], int],
    number_of_word: Callable[[str], int],
    dumps: Callable[[float], bytes],
    most_odd: int,
    /,
) -> tuple[tuple[bytes, ...], list[str], list[int], list[str]] | None: ...
def record_ids(indexes: bytes, prefix: bytes, first: int, /) -> bytes: ...
