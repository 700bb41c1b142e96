"""Client reports: what SDKs discarded before sending, as counts for `outcomes`.

Follows the Sentry SDK documentation, Client Reports. No event row is made of one.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from schemas.tolerant_json import loads
from workers.normalise.scalars import as_dict, whole
from workers.unpack.pieces import OTHER, LostAtClient, word

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
# Entries of one list that are told apart; what the others say is added up.
MAX_ENTRIES: Final = 500
MAX_QUANTITY: Final = 10**15


class MalformedReport(ValueError):
    """Not a client report: the item is dropped and counted as such."""


def read(payload: bytes | memoryview) -> tuple[Counter[LostAtClient], bool]:
    """(how many records of which type were lost and why, whether an entry could not be read).

    Raises MalformedReport.
    """
    try:
        report = loads(payload)
    except ValueError as error:
        raise MalformedReport(str(error)) from error
    if not isinstance(report, dict):
        raise MalformedReport(f"expected an object, found {type(report).__name__}")
    lost: Counter[LostAtClient] = Counter()
    is_whole = True
    for name, outcome in _OUTCOMES.items():
        entries = _entries(report, name)
        for index, entry in enumerate(entries):
            is_whole &= _add(lost, outcome, entry, is_told_apart=index < MAX_ENTRIES)
    return lost, not is_whole


def _entries(report: dict[str, Any], name: str) -> list[Any]:
    entries = report.get(name)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise MalformedReport(f"expected a list as {name}, found {type(entries).__name__}")
    return entries


def _add(lost: Counter[LostAtClient], outcome: str, entry: Any, *, is_told_apart: bool) -> bool:
    """Whether the entry could be read."""
    fields = as_dict(entry)
    reason, category, quantity = fields.get("reason"), fields.get("category"), whole(fields.get("quantity"))
    if reason.__class__ is not str or category.__class__ is not str or quantity is None or quantity < 0:
        return False
    if not is_told_apart:
        reason = category = OTHER
    if quantity:
        category = word(category)
        lost[outcome, word(reason), _ITEM_TYPES.get(category, category)] += min(quantity, MAX_QUANTITY)
    return quantity <= MAX_QUANTITY
