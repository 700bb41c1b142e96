"""Texts from seeds, in few words, so that bodies compress like real ones: six to one."""

from __future__ import annotations

import random
from functools import cache
from typing import Final

VOCABULARY: Final = 12
# Seeds of one variant of a body: no other variant uses them.
SEEDS: Final = 10_000
# The id in a body that was built once; each request has its own in this place.
ID: Final = b"5eed" * 8


def text(seed: int, count: int) -> str:
    """`count` words."""
    return " ".join(random.Random(seed).choices(vocabulary(), k=count))


@cache
def vocabulary() -> list[str]:
    """All words there are."""
    rest = random.Random(0)
    return ["".join(rest.choices("etaoinshrdlucmfwyp", k=rest.randint(3, 9))) for _ in range(VOCABULARY)]
