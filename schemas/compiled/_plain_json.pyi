from collections.abc import Callable
from typing import Any

def plain_spans(
    body: bytes, loads: Callable[[bytes], Any], /
) -> tuple[list[bytes], list[tuple[tuple[list[Any], ...], list[tuple[int, Any]]]]] | None: ...
