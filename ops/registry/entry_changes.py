"""What becomes of an entry of the registry when another version of it replaces it, and what that takes from whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel

# When it was written says nothing about what it does.
_TIMES: Final = ("created_at", "changed_at")
_NAMES: Final = {
    "archived_at": "state",
    "revoked": "state",
    "allow_environment_override": "override of the environment",
    "quota_per_minute": "quota of requests",
    "quota_bytes_per_minute": "quota of bytes",
    "quota_rows_per_minute": "quota of rows",
}
_WHAT_NONE_IS: Final = {"channels": "all", "origins": "all"}


def changes(here: BaseModel, in_file: BaseModel) -> list[str]:
    """One text for each field that differs: before, after, and who gets which answer because of it."""
    after, texts = in_file.model_dump(), []
    for field, before in here.model_dump().items():
        if field in _TIMES or before == after.get(field):
            continue
        loss = _LOSSES[field](before, after.get(field)) if field in _LOSSES else ""
        shown = f"{_shown(field, before)} -> {_shown(field, after.get(field))}"
        texts.append(f"{_NAMES.get(field, field)}: {shown}" + (f": {loss}" if loss else ""))
    return texts


def takes_something(text: str) -> bool:
    """Whether a text of `changes` says that somebody is refused."""
    return any(status in text.rpartition(" -> ")[2] for status in (" 401", " 403", " 404", " 429", ": 403"))


def _shown(field: str, value: Any) -> str:
    if field == "archived_at":
        return "archived" if value else "open"
    if field == "revoked":
        return "revoked" if value else "active"
    if value is None:
        return _WHAT_NONE_IS.get(field, "none")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "none"


def _lower(before: int | None, after: int | None) -> str:
    is_lower = after is not None and (before is None or after < before)
    return "who needs more gets 429" if is_lower else ""


def _fewer(what: str) -> Callable[[Any, Any], str]:
    """None is all of them."""

    def loss(before: Any, after: Any) -> str:
        return f"{what} get 403" if after is not None and (before is None or set(before) - set(after)) else ""

    return loss


def _fewer_scopes(before: Any, after: Any) -> str:
    gone = [scope for scope in before if scope not in after]
    return f"403 for {', '.join(gone)}" if gone else ""


_LOSSES: Final[Mapping[str, Callable[[Any, Any], str]]] = {
    "archived_at": lambda before, after: "its senders get 403" if after and not before else "",
    "revoked": lambda _before, after: "who uses it gets 401, for good" if after else "",
    "organisation": lambda before, _after: f"keys of {before} get 403",
    "slug": lambda before, _after: f"tools that name {before} get 404" if before else "",
    "allow_environment_override": lambda before, _after: (
        "rows get the environment of the key, whatever the sender says" if before else ""
    ),
    "quota_per_minute": _lower,
    "quota_bytes_per_minute": _lower,
    "quota_rows_per_minute": _lower,
    "channels": _fewer("senders to others"),
    "origins": _fewer("other origins"),
    "scopes": _fewer_scopes,
}
