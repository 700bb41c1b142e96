"""How many requests are worked on at once: few of one organisation, and dead letters apart from keys and channels.

A request about dead letters may take as long as it is allowed to, so it takes no place of the others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ops.operator_requests import dead_letters

if TYPE_CHECKING:
    from schemas.operator_requests.messages import OperatorRequest

AT_ONCE: Final = 8
DEAD_LETTERS_AT_ONCE: Final = 4
OF_ONE_ORGANISATION: Final = 2

# Whether it is about dead letters, and the organisation that it names.
Place = tuple[bool, str]


class RequestPlaces:
    """Of one janitor."""

    def __init__(self) -> None:
        self._taken: Counter[Place] = Counter()

    def take(self, request: OperatorRequest | None) -> Place | None:
        """A place for a request, to be given back; None if there is none. What is no request needs one too."""
        is_about_dead_letters = request is not None and request.action in dead_letters.ACTIONS
        place = is_about_dead_letters, request.organisation if request is not None else ""
        same_kind = sum(number for (kind, _), number in self._taken.items() if kind == is_about_dead_letters)
        most = DEAD_LETTERS_AT_ONCE if is_about_dead_letters else AT_ONCE
        if same_kind >= most or (request is not None and self._taken[place] >= OF_ONE_ORGANISATION):
            return None
        self._taken[place] += 1
        return place

    def give_back(self, place: Place) -> None:
        """After the answer."""
        self._taken[place] -= 1
        if self._taken[place] <= 0:
            del self._taken[place]
