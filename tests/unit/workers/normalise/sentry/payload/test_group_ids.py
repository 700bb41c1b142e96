"""Ids of groups as literals: a deploy that changes them splits every issue in two. Such a change is a decision."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workers.normalise.sentry.payload.test_scope import row

FRAMES = {"frames": [{"module": "app.views", "function": "pay", "lineno": 3, "in_app": True}]}
EVENTS: dict[str, tuple[dict[str, Any], str]] = {
    "a message": ({"message": "disk 7 is full"}, "2c956e8b1758da8c9935ca1535032996"),
    "a template": ({"logentry": {"message": "disk %s is full", "params": [7]}}, "15ae3d108f5aa5c0ecb787858b88cb31"),
    "an exception with frames": (
        {"exception": {"values": [{"type": "ValueError", "value": "x", "stacktrace": FRAMES}]}},
        "b9d12e55242b00ebb5d7eb8da8f7f9ac",
    ),
    "an exception without": (
        {"exception": {"values": [{"type": "ValueError", "value": "no user 17"}]}},
        "3ce495990436bff3cccfba3c14468f35",
    ),
    "a chain": (
        {"exception": {"values": [{"type": "A", "value": "a"}, {"type": "B", "value": "b", "stacktrace": FRAMES}]}},
        "71b7964abe46990b72d6a6703567695e",
    ),
    "a fingerprint": ({"message": "x", "fingerprint": ["checkout", "pay"]}, "f28caa306e628c5ce297c2f553f977eb"),
    "a fingerprint of the default": (
        {"message": "x", "fingerprint": ["{{ default }}", "pay"]},
        "4d5f44d56bef8f3476a571a019893ae9",
    ),
    "nothing": ({}, "66d767fd2c1b64062830f5564cb36fec"),
}


@pytest.mark.parametrize("name", EVENTS)
def test_a_group_keeps_its_id_through_versions(name: str) -> None:
    """What is hashed, in which order, joined by what."""
    payload, expected = EVENTS[name]
    assert row(payload)["group_hash"] == expected


def test_who_caused_whom_is_part_of_the_group() -> None:
    """A chain is a list: "A caused by B" is another bug than "B caused by A"."""

    def chain(*names: str, **mechanism: Any) -> str:
        values = [{"type": name, "value": "v", "mechanism": dict(mechanism)} for name in names]
        return str(row({"exception": {"values": values}})["group_hash"])

    assert chain("A", "B") != chain("B", "A")
    assert chain("A", "B", is_exception_group=False) != chain("B", "A", is_exception_group=False)
    assert chain("A", "B", is_exception_group=1) != chain("B", "A", is_exception_group=1)
    assert chain("A", "B", is_exception_group=True) == chain("B", "A", is_exception_group=True)
