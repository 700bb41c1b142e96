"""How long rows wait for company: short while inserting is cheap, longer while it is not, never too long."""

from __future__ import annotations

import pytest

from workers.store.flush_age import ACTIVE_S, WAIT_FACTOR, FlushAge


def test_a_batch_rests_in_proportion_to_what_inserts_into_all_tables_take() -> None:
    """One table's 40 ms change nothing; those of ten do. Batches of one table count once: they are flushed together."""
    pace = FlushAge()
    assert pace.age_s(0.2, 1.0, 0.0) == 0.2
    for _ in range(10):
        pace.took("event_rows", 0.04, 1.0)
    assert pace.age_s(0.2, 1.0, 1.0) == 0.2
    for number in range(10):
        pace.took(f"table-{number}", 0.03, 1.0)
    assert pace.age_s(0.2, 1.0, 1.0) == pytest.approx(WAIT_FACTOR * (0.04 + 10 * 0.03))


def test_nobody_waits_longer_than_allowed() -> None:
    """An outage of a minute is no reason to wait two; a least age above the most is obeyed."""
    pace = FlushAge()
    pace.took("event_rows", 60.0, 1.0)
    assert pace.age_s(0.2, 1.0, 1.0) == 1.0
    assert pace.age_s(3.0, 1.0, 1.0) == 3.0


def test_who_is_quiet_takes_no_share() -> None:
    """And a table's last flush counts, not the sum of them."""
    pace = FlushAge()
    pace.took("event_rows", 0.9, 1.0)
    pace.took("event_rows", 0.1, 1.0)
    pace.took("outcome_rows", 0.3, 1.0)
    assert pace.age_s(0.1, 9.0, 1.0) == pytest.approx(WAIT_FACTOR * 0.4)
    assert pace.age_s(0.1, 9.0, 1.0 + ACTIVE_S) == 0.1
