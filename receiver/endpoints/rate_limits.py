"""The header `X-Sentry-Rate-Limits` and the data categories it names. quotas.py decides when a limit applies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from schemas.counts import UNSUPPORTED_ITEM_TYPE

HEADER: Final = "x-sentry-rate-limits"

Scope = Literal["organization", "project", "key"]

# What a DSN may send, by the names SDKs use. A limit on `error` alone would let message events of SDKs that call them
# `default` slip through, and one on `log_item` alone those that count bytes.
ACCEPTED_CATEGORIES: Final = (
    "error", "transaction", "default", "span", "log_item", "log_byte", "trace_metric", "trace_metric_byte",
    "attachment", "attachment_item", "session", "monitor", "feedback", "security",
)  # fmt: skip
UNSUPPORTED_CATEGORIES: Final = ("profile", "profile_chunk", "profile_chunk_ui", "replay", "metric_bucket")
ALL_CATEGORIES: Final = (*ACCEPTED_CATEGORIES, *UNSUPPORTED_CATEGORIES)
UNSUPPORTED_S: Final = 86_400

_PROFILES: Final = ("profile", "profile_chunk", "profile_chunk_ui")
# What SDKs check before they send an item of this type. Only categories that nothing we store shares: a limit on them
# stops nothing else, and an item type that is not here stops nothing at all.
_CATEGORIES_OF: Final = {
    "profile": _PROFILES,
    "profile_chunk": _PROFILES,
    "profile_chunk_ui": _PROFILES,
    "replay_event": ("replay",),
    "replay_recording": ("replay",),
    "replay_video": ("replay",),
    "statsd": ("metric_bucket",),
    "metric_buckets": ("metric_bucket",),
    "metric_meta": ("metric_bucket",),
}


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One limit: for `seconds` nothing of these categories should be sent; no categories mean every one.

    `reason` is a word for people: letters, digits and `_`.
    """

    seconds: int
    categories: tuple[str, ...]
    scope: Scope = "organization"
    reason: str = ""


def header_value(limits: Iterable[RateLimit]) -> str:
    """The header's value: `seconds:category;category:scope[:reason]`, limits joined with `, ` (Sentry SDKs, Rate
    Limiting). SDKs ignore a limit whose categories they do not know.
    """
    return ", ".join(_limit(limit) for limit in limits)


def for_each(categories: Iterable[str], seconds: int) -> list[RateLimit]:
    """One limit for each category, the plainest form of the header: every reader of it knows that one."""
    return [RateLimit(seconds, (category,)) for category in categories]


def for_unsupported(reasons: Iterable[str]) -> list[RateLimit]:
    """A limit of a day on the item types of a body that are not stored, from the reasons in its counts.

    It is sent with a 200, which SDKs obey too: they stop sending items that would be dropped again.
    """
    prefix = f"{UNSUPPORTED_ITEM_TYPE}:"
    types = (reason.removeprefix(prefix) for reason in reasons if reason.startswith(prefix))
    categories = dict.fromkeys(category for name in types for category in _CATEGORIES_OF.get(name, ()))
    return [RateLimit(UNSUPPORTED_S, tuple(categories), reason="unsupported")] if categories else []


def _limit(limit: RateLimit) -> str:
    text = f"{limit.seconds}:{';'.join(limit.categories)}:{limit.scope}"
    return f"{text}:{limit.reason}" if limit.reason else text
