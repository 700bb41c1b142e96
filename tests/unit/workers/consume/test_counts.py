"""Outcome rows and replies: which minute, which id, which words."""

from __future__ import annotations

import pytest

from schemas.outcomes import OUTCOME_COLUMNS, Outcome, minute_of, outcome_row
from tests.unit.worker_fakes import origin
from workers.consume.counts import of_verdict, rejected_rows
from workers.normalise.verdict import Rejection, Verdict

NS = 1_000_000_000


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1_763_700_000, 1_763_700_000), (1_763_700_059, 1_763_700_000), (1_763_700_061, 1_763_700_060)],
)
def test_a_count_belongs_to_the_minute_its_body_came_in(seconds: int, expected: int) -> None:
    """Rounded down, whatever the second."""
    assert minute_of((origin(received_at_ns=seconds * NS + 999_999_999)).received_at_ns) == expected


def test_an_outcome_row_is_what_it_was_in_every_version() -> None:
    """Its id is a literal here: a row of a redelivery must replace the one an older version wrote."""
    told = origin(received_at_ns=1_763_700_061 * NS, origin_seq=3, item_index=2, replay_generation=1)
    row = dict(zip(OUTCOME_COLUMNS, outcome_row(told, "event", Outcome("rejected", "too_old", "span", 4)), strict=True))
    assert row == {
        "minute": 1_763_700_060,
        "organisation": "acme",
        "channel_id": 7,
        "key_id": "0123456789abcdef",
        "item_type": "span",
        "outcome": "rejected",
        "reason": "too_old",
        "source_id": 0xBF83E1C929937CA473910E628B827BD6,
        "quantity": 4,
        "version": 3 * 2**20 + 1,
        "stage": "event",
        "item_index": 2,
        "sender": "",
    }


def test_reasons_of_a_verdict_are_counted_and_said_once() -> None:
    """With the first record's own words, and how many more there were."""
    verdict = Verdict(
        rows=[], rejections=[Rejection(0, "late", "a"), Rejection(1, "late", "b"), Rejection(2, "odd", "")]
    )
    assert [(row[6], row[8]) for row in rejected_rows(origin(), "span", verdict)] == [("late", 2), ("odd", 1)]
    told = of_verdict("span", verdict)
    assert (told.stage, told.accepted, told.rejected) == ("span", 0, 3)
    assert told.reasons == ["late: a (and 1 more)", "odd"]
