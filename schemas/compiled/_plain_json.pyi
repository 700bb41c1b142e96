from typing import Any

def plain_messages(
    body: bytes, has_logs: bool, /
) -> tuple[list[bytes], list[tuple[list[bytes], list[tuple[int, Any]]]]] | None: ...
