"""Texts of a firing come from senders, so any of them may be megabytes: they are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from console.alerts.state import Firing

MAX_TITLE: Final = 300
MAX_MESSAGE: Final = 2_000
MAX_DETAILS_BYTES: Final = 8_000
# Texts of details are cut to the first of these with which all are within their bytes.
_TEXTS: Final = (1_000, 200, 50)
_MEMBERS: Final = 100


def cut(firing: Firing) -> Firing:
    """The same with texts and details within their bounds."""
    return replace(
        firing,
        title=firing.title[:MAX_TITLE],
        message=firing.message[:MAX_MESSAGE],
        details=_cut_details(firing.details),
    )


def _cut_details(details: dict[str, Any]) -> dict[str, Any]:
    for most in _TEXTS:
        result = _cut(details, most)
        if len(orjson.dumps(result)) <= MAX_DETAILS_BYTES:
            assert isinstance(result, dict)
            return result
    return {}


def _cut(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[: most - 1]}…"
    if isinstance(value, Mapping):
        return {str(name)[:most]: _cut(entry, most) for name, entry in list(value.items())[:_MEMBERS]}
    return [_cut(entry, most) for entry in value[:_MEMBERS]] if isinstance(value, list | tuple) else value
