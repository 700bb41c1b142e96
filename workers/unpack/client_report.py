"""Client reports: what SDKs discarded before sending, as counts for `outcomes`.

Follows the Sentry SDK documentation, Client Reports. No event row is made of one.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from schemas.tolerant_json import loads
from workers.unpack.pieces import LostAtClient, word

# The list in a report -> the outcome. All begin with `client_`: these records never reached us, and a sum of
# all received records can leave them out by that prefix.
_OUTCOMES: Final = {
    "discarded_events": "client_discarded",
    "rate_limited_events": "client_rate_limited",
    "filtered_events": "client_filtered",
    "filtered_sampling_events": "client_filtered_sampling",
}
# Our item types by Sentry's data categories, where both count the same. Categories that count bytes keep their names,
# so that a sum does not add bytes to records.
_ITEM_TYPES: Final = {
    "default": "event",
    "error": "event",
    "log_item": "log",
    "monitor": "check_in",
    "security": "csp",
    "attachment_item": "attachment",
    "attachment": "attachment_byte",
    "user_report": "feedback",
    "user_report_v2": "feedback",
}
MAX_ENTRIES: Final = 500
MAX_QUANTITY: Final = 10**15


class MalformedReport(ValueError):
    """Not a client report: the item is dropped and counted as such."""


def read(payload: bytes | memoryview) -> Counter[LostAtClient]:
    """How many records of which type were lost and why; invalid entries are ignored.

    Raises MalformedReport.
    """
    try:
        report = loads(payload)
    except ValueError as error:
        raise MalformedReport(str(error)) from error
    if not isinstance(report, dict):
        raise MalformedReport(f"expected an object, found {type(report).__name__}")
    lost: Counter[LostAtClient] = Counter()
    for name, outcome in _OUTCOMES.items():
        for entry in _entries(report, name):
            _add(lost, outcome, entry)
    return lost


def _entries(report: dict[str, Any], name: str) -> list[Any]:
    entries = report.get(name)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise MalformedReport(f"expected a list as {name}, found {type(entries).__name__}")
    return entries[:MAX_ENTRIES]


def _add(lost: Counter[LostAtClient], outcome: str, entry: Any) -> None:
    match entry:
        case {"quantity": bool()}:
            return
        case {"reason": str(reason), "category": str(category), "quantity": int(quantity)} if quantity > 0:
            category = word(category)
            lost[outcome, word(reason), _ITEM_TYPES.get(category, category)] += min(quantity, MAX_QUANTITY)
