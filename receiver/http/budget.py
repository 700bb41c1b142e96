"""Memory for bodies: how many bytes may be held at once, and how many of them for one sender. Nothing ever waits."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

from receiver import metrics
from receiver.http.answers import Refused

RETRY_AFTER_S: Final = 2
# A receiver counts as full for this long after a refusal, because readiness is checked every second or two.
FULL_S: Final = 3.0

Kind = Literal["key", "organisation", "address", "visitor"]
# The largest share of a budget for one holder. A key at its limit leaves room for another key of its organisation, and
# an organisation for another one, also if all come from one address. A visitor is one address with a public token:
# everybody can read the token, so one address may not fill the key's share.
SHARES: Final[dict[Kind, float]] = {"key": 0.375, "organisation": 0.5, "address": 0.75, "visitor": 0.125}
# Most bodies of one address at once, however few bytes of them have come.
MAX_BODIES: Final = 1024
_NETWORK_BYTES: Final = 8  # of an IPv6 address: a sender with one address of a /64 has all of them
_MAX_ADDRESS_LENGTH: Final = 64


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The text that counts as one address: an IPv4 address, the /64 of an IPv6 one, any other text as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0].strip("[]"))
    except ValueError:
        return address[:_MAX_ADDRESS_LENGTH]
    if isinstance(parsed, ipaddress.IPv6Address):
        ipv4 = parsed.ipv4_mapped
        return str(ipv4) if ipv4 else parsed.packed[:_NETWORK_BYTES].hex()
    return str(parsed)


class Holder:
    """One key, organisation or address that holds bytes at this moment."""

    __slots__ = ("bodies", "bytes", "kind", "name")

    def __init__(self, kind: Kind, name: str) -> None:
        self.kind = kind
        self.name = name
        self.bytes = 0
        self.bodies = 0


class Budget:
    """Limits the bytes in memory. A body that does not fit is refused; only bytes that have arrived count.

    `least_share_bytes` is the smallest share of a holder, because one body has to fit.
    """

    def __init__(
        self,
        limit_bytes: int,
        least_share_bytes: int = 0,
        max_bodies: int = MAX_BODIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.held_bytes = 0
        self._limit_bytes = limit_bytes
        self._max_bodies = max_bodies
        self._shares = {kind: max(int(part * limit_bytes), least_share_bytes) for kind, part in SHARES.items()}
        self._holders: dict[tuple[Kind, str], Holder] = {}
        self._clock = clock
        self._full_until_s = 0.0

    @property
    def is_full(self) -> bool:
        """Whether a body was refused within FULL_S because the whole budget was taken."""
        return self._clock() < self._full_until_s

    def share(self, *holders: tuple[Kind, str]) -> Share:
        """The share of one body, which grows with the bytes that arrive; as a context it gives them back at its end."""
        return Share(self, holders)

    def enter(self, holders: tuple[tuple[Kind, str], ...]) -> list[Holder]:
        """Begins a body. Raises Refused (503)."""
        entered: list[Holder] = []
        for kind_and_name in holders:
            holder = self._holders.get(kind_and_name)
            if holder is None:
                holder = self._holders[kind_and_name] = Holder(*kind_and_name)
            elif holder.kind == "address" and holder.bodies >= self._max_bodies:
                self.leave(entered, 0)
                raise _refusal("bodies", f"this address sends {holder.bodies} requests at once, which is the most")
            holder.bodies += 1
            entered.append(holder)
        return entered

    def leave(self, holders: list[Holder], held_bytes: int) -> None:
        """Ends a body, which held so many bytes."""
        self.held_bytes -= held_bytes
        for holder in holders:
            holder.bytes -= held_bytes
            holder.bodies -= 1
            if not holder.bodies:
                self._holders.pop((holder.kind, holder.name), None)

    def take(self, holders: list[Holder], size_bytes: int) -> None:
        """Raises Refused (503)."""
        if self.held_bytes + size_bytes > self._limit_bytes:
            self._full_until_s = self._clock() + FULL_S
            raise _refusal("all", "the receiver holds as many bytes as it may")
        for holder in holders:
            if holder.bytes + size_bytes > self._shares[holder.kind]:
                raise _refusal(holder.kind, f"the receiver holds as many bytes of this {holder.kind} as it may at once")
        self.held_bytes += size_bytes
        for holder in holders:
            holder.bytes += size_bytes


class Share:
    """One body's part of a Budget."""

    __slots__ = ("_budget", "_holders", "_named", "held_bytes")

    def __init__(self, budget: Budget, holders: tuple[tuple[Kind, str], ...]) -> None:
        self._budget = budget
        self._named = holders
        self._holders: list[Holder] = []
        self.held_bytes = 0

    def begin(self) -> Share:
        """Counts the body. Raises Refused (503)."""
        self._holders = self._budget.enter(self._named)
        return self

    def end(self) -> None:
        """Gives its bytes back. Called once."""
        self._budget.leave(self._holders, self.held_bytes)

    def __enter__(self) -> Share:
        return self.begin()

    def __exit__(self, *_error: object) -> None:
        self.end()

    def grow_to(self, size_bytes: int) -> None:
        """Holds at least `size_bytes`. Raises Refused (503)."""
        if size_bytes > self.held_bytes:
            self._budget.take(self._holders, size_bytes - self.held_bytes)
            self.held_bytes = size_bytes


def _refusal(held_by: str, detail: str) -> Refused:
    metrics.with_labels(metrics.BUDGET_REFUSED, held_by).inc()
    return Refused(503, f"{detail}; send the same again", retry_after_s=RETRY_AFTER_S)
