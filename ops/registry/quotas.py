"""Quotas as people type and read them: `600/min`, `100MB/min`, `none`. What they mean is the registry's."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from schemas.registry import Quota

# In the place of a number: nothing limits it. None is a missing option, so typer cannot give that.
NO_QUOTA: Final = -1
_MOST: Final = 2**63 - 1
_AMOUNT: Final = re.compile(r"(?P<number>\d{1,18}(?:\.\d{1,9})?) ?(?P<unit>[kmgt]i?)?(?P<byte>b|bytes)? ?/ ?min", re.I)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_STEPS: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def _amount(text: str, *, is_bytes: bool) -> int | None:
    """The number a minute; None where the text is none. Decimal, so that 0.1GB is 100,000,000."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or (match["byte"] and not is_bytes):
        return None
    prefix = (match["unit"] or "").lower()
    if prefix.endswith("i") and not is_bytes:
        return None
    base = 1024 if prefix.endswith("i") else 1000
    amount = Decimal(match["number"]) * base ** _POWERS[prefix.removesuffix("i")]
    return int(amount) if amount == int(amount) and amount <= _MOST else None


def quota(text: str) -> int:
    """`N/min` as a number a minute, `none` as NO_QUOTA. k, M and G stand for thousands, millions, …"""
    found = NO_QUOTA if text == "none" else _amount(text, is_bytes=False)
    if found is None:
        raise typer.BadParameter(f"expected a number a minute like 1000/min or 120k/min, or none, found {text!r}")
    return found


def size_quota(text: str) -> int:
    """Bytes a minute, `none` as NO_QUOTA. MB is a million bytes, MiB 1024 * 1024."""
    found = NO_QUOTA if text == "none" else _amount(text, is_bytes=True)
    if found is None:
        raise typer.BadParameter(f"expected bytes a minute like 100MB/min or 2GiB/min, or none, found {text!r}")
    return found


RequestsOption = Annotated[
    int | None,
    typer.Option("--quota", metavar="N/min|none", parser=quota, help="Most requests a minute; public default 120k."),
]
BytesOption = Annotated[
    int | None,
    typer.Option("--quota-bytes", metavar="N/min|none", parser=size_quota, help="Most inflated bytes, e.g. 100MB/min."),
]
RowsOption = Annotated[
    int | None,
    typer.Option("--quota-rows", metavar="N/min|none", parser=quota, help="Most rows a minute, e.g. 100k/min."),
]


def changes(requests: int | None, size_bytes: int | None, rows: int | None) -> dict[str, int | None]:
    """What was typed, by the names of the entry's fields; None lifts. Raises BadParameter where nothing was."""
    typed = {"quota_per_minute": requests, "quota_bytes_per_minute": size_bytes, "quota_rows_per_minute": rows}
    found = {name: None if value == NO_QUOTA else value for name, value in typed.items() if value is not None}
    if not found:
        raise typer.BadParameter("expected --quota, --quota-bytes or --quota-rows, found none of them")
    return found


def quota_text(found: Quota) -> str:
    """One line for people: `600 requests, 100 MB, 100,000 rows a minute`."""
    parts = [
        f"{found.requests:,} requests" if found.requests is not None else "",
        size_text(found.inflated_bytes) if found.inflated_bytes is not None else "",
        f"{found.rows:,} rows" if found.rows is not None else "",
    ]
    return f"{', '.join(filter(None, parts))} a minute" if any(parts) else "no quota"


def size_text(size_bytes: int) -> str:
    """Bytes as people write them, three digits of them."""
    for step, unit in _STEPS:
        if size_bytes >= step:
            return f"{size_bytes / step:.3g} {unit}"
    return f"{size_bytes} B"
