from collections.abc import Sequence
from typing import Any

def plain_spans(chunks: Sequence[bytes], /) -> tuple[tuple[list[Any], ...], list[int]]: ...
