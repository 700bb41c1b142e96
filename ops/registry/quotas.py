"""Parses and prints quotas of the command line: `600/min`, `100MB/min`, `none`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from schemas.registry import Quota

# Means no limit. It cannot be None, which typer uses for a missing option.
NO_QUOTA: Final = -1
_MOST: Final = 2**63 - 1
_AMOUNT: Final = re.compile(r"(?P<number>\d{1,18}(?:\.\d{1,9})?) ?(?P<unit>[kmgt]i?)?(?P<byte>b|bytes)? ?/ ?min", re.I)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_STEPS: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def _amount(text: str, *, is_bytes: bool) -> int | None:
    """The number per minute; None if the text does not match. Decimal, so that 0.1GB is exactly 100,000,000."""
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
    """Parses `N/min`; `none` becomes NO_QUOTA. k, M and G mean thousand, million and billion."""
    limit = NO_QUOTA if text == "none" else _amount(text, is_bytes=False)
    if limit is None:
        raise typer.BadParameter(f"expected a number per minute like 1000/min or 120k/min, or none, found {text!r}")
    return limit


def size_quota(text: str) -> int:
    """Parses bytes per minute; `none` becomes NO_QUOTA. MB is a million bytes, MiB is 1024 * 1024."""
    limit = NO_QUOTA if text == "none" else _amount(text, is_bytes=True)
    if limit is None:
        raise typer.BadParameter(f"expected bytes per minute like 100MB/min or 2GiB/min, or none, found {text!r}")
    return limit


def check_more_than_0(requests: int | None, size_bytes: int | None, rows: int | None, of: str) -> None:
    """Elsewhere 0 means no limit; as a quota it would close all of `of` without a question. Raises BadParameter."""
    zeros = [
        option
        for option, limit in (("--quota", requests), ("--quota-bytes", size_bytes), ("--quota-rows", rows))
        if limit == 0
    ]
    if zeros:
        raise typer.BadParameter(
            f"{', '.join(zeros)}: expected more than 0: 0/min refuses everything of {of}. `none` removes the quota; to "
            "close a channel use `axonpush channels archive`, to close a key `axonpush keys revoke`. Nothing was "
            "changed."
        )


RequestsOption = Annotated[
    int | None,
    typer.Option(
        "--quota", metavar="N/min|none", parser=quota, help="Maximum requests per minute; default for public: 120k."
    ),
]
BytesOption = Annotated[
    int | None,
    typer.Option(
        "--quota-bytes", metavar="N/min|none", parser=size_quota, help="Maximum decompressed bytes, e.g. 100MB/min."
    ),
]
RowsOption = Annotated[
    int | None,
    typer.Option("--quota-rows", metavar="N/min|none", parser=quota, help="Maximum rows per minute, e.g. 100k/min."),
]


def changes(requests: int | None, size_bytes: int | None, rows: int | None, of: str) -> dict[str, int | None]:
    """The given quotas by field name; None removes one. Raises BadParameter if none was given, or 0.

    `of`: the key or organisation, for the error.
    """
    check_more_than_0(requests, size_bytes, rows, of)
    typed = {"quota_per_minute": requests, "quota_bytes_per_minute": size_bytes, "quota_rows_per_minute": rows}
    given = {name: None if value == NO_QUOTA else value for name, value in typed.items() if value is not None}
    if not given:
        raise typer.BadParameter("expected --quota, --quota-bytes or --quota-rows, found none of them")
    return given


def quota_text(quota: Quota) -> str:
    """One line for display: `600 requests, 100 MB, 100,000 rows a minute`."""
    parts = [
        f"{quota.requests:,} requests" if quota.requests is not None else "",
        short_size(quota.inflated_bytes) if quota.inflated_bytes is not None else "",
        f"{quota.rows:,} rows" if quota.rows is not None else "",
    ]
    return f"{', '.join(filter(None, parts))} a minute" if any(parts) else "no quota"


def short_size(size_bytes: int) -> str:
    """A size for display, with three digits."""
    for step, unit in _STEPS:
        if size_bytes >= step:
            return f"{size_bytes / step:.3g} {unit}"
    return f"{size_bytes} B"
