"""The sets of ClickHouse's codes as they were decided. A code that moves is a decision: a bad row that is retried
blocks its table for ever, an outage taken for bad data throws good rows away.
"""

from __future__ import annotations

import pytest

from workers.store.clickhouse_errors import BAD_DATA, OUR_FAULT, RETRYABLE

DECIDED = {
    "retry": {
        *(3, 32, 74, 75, 76, 95, 101, 159, 160, 164, 198, 201, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 254),
        *(265, 279, 285, 286, 290, 319, 394, 425, 439, 999),
    },
    "bad data": {6, 26, 27, 33, 38, 41, 43, 53, 69, 70, 72, 117, 130, 131, 190, 321, 349, 376, 407, 441, 469, 675, 676},
    "our fault": {10, 16, 44, 47, 60, 62, 81, 115, 192, 193, 194, 291, 497, 516},
}


@pytest.mark.parametrize(("kind", "table"), [("retry", RETRYABLE), ("bad data", BAD_DATA), ("our fault", OUR_FAULT)])
def test_every_code_is_where_it_was_decided(kind: str, table: dict[int, str]) -> None:
    """Compared with a list of its own, and in one table only."""
    assert set(table) == DECIDED[kind]


def test_no_code_is_in_two_tables() -> None:
    """What to do about an error is one thing."""
    assert len(RETRYABLE) + len(BAD_DATA) + len(OUR_FAULT) == len(RETRYABLE | BAD_DATA | OUR_FAULT)
