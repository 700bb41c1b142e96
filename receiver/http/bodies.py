"""The step that reads a request's body, within its limits and its sender's share of the receiver's memory."""

from __future__ import annotations

from typing import Final

from receiver import metrics
from receiver.admission.refusal_budget import RefusalBudget
from receiver.http import body as reading
from receiver.http.answers import Refused
from receiver.http.body import Body, BodyLimits
from receiver.http.budget import Budget, Kind, Share
from receiver.http.request import Request
from receiver.settings import ReceiverSettings
from schemas.registry import Key

# Limits for bodies whose key can only be in their first line: bytes, bodies of one address, time for that line.
UNAUTHENTICATED_BYTES: Final = 8 * 1024 * 1024
UNAUTHENTICATED_BODIES: Final = 128
UNAUTHENTICATED_DEADLINE_S: Final = 5.0


class RequestBodies:
    """Reads bodies. A body's bytes are given back to the budget when its request has ended (Request.end)."""

    def __init__(self, settings: ReceiverSettings, refusal_budget: RefusalBudget) -> None:
        # A body may be in memory twice: as received, and inflated.
        self.budget = Budget(settings.in_flight_bytes, 2 * settings.max_body_bytes)
        metrics.IN_FLIGHT_BYTES.set_function(lambda: self.budget.held_bytes)
        self.unauthenticated = Budget(
            min(UNAUTHENTICATED_BYTES, settings.in_flight_bytes), max_bodies=UNAUTHENTICATED_BODIES
        )
        self.limits = _limits(settings, settings.body_deadline_s)
        self._unauthenticated_limits = _limits(settings, min(UNAUTHENTICATED_DEADLINE_S, settings.body_deadline_s))
        self._refusal_budget = refusal_budget
        self._trust_forwarded = settings.trust_forwarded

    async def read(self, request: Request, key: Key, expects: str, keep_bytes: int = reading.HEAD_BYTES) -> Body:
        """The body of an admitted request. Raises Refused, Disconnected.

        `expects` says what the body should be, for the refusal (400) of an empty one; '' if it may be empty. All bytes
        count for the quotas at once, also those of a refused body, because it was read and inflated.
        """
        share = self._reserve(request, key)
        try:
            body = await reading.read(request, reading.encoding_of(request), self.limits, share, keep_bytes)
        finally:
            request.count_inflated(request.inflated_bytes)
        if expects and body.inflated_size_bytes == 0:
            raise empty(expects)
        return body

    def of_query(self, request: Request, key: Key, content: bytes) -> Body:
        """A body that came in the query string. Raises Refused."""
        share = self._reserve(request, key)
        share.grow_to(len(content))
        request.count_inflated(len(content))
        return Body(wire=content, encoding="identity", head=content, inflated_size_bytes=len(content))

    async def read_unauthenticated(self, request: Request, is_enough: reading.Enough) -> bytes:
        """The start of a body that may hold the key, within a budget of its own. Raises Refused, Disconnected."""
        network = request.network(trust_forwarded=self._trust_forwarded)
        self._refusal_budget.check_unauthenticated(network)
        reading.check_declared(request, self.limits)
        with self.unauthenticated.share(("address", network)) as share:
            encoding = reading.encoding_of(request)
            return await reading.read_head(request, encoding, self._unauthenticated_limits, share, is_enough)

    def _reserve(self, request: Request, key: Key) -> Share:
        """Begins the body's share of the budget, for its key, organisation and sender. Raises Refused."""
        reading.check_declared(request, self.limits)
        network = request.network(trust_forwarded=self._trust_forwarded)
        holders: list[tuple[Kind, str]] = [("key", key.id), ("organisation", key.organisation), ("address", network)]
        if key.kind == "public":
            holders.append(("visitor", f"{key.id} {network}"))
        share = request.share = self.budget.share(*holders).begin()
        return share


def empty(expected: str) -> Refused:
    """A body of no bytes."""
    return Refused(400, f"body: expected {expected}, found no bytes")


def _limits(settings: ReceiverSettings, deadline_s: float) -> BodyLimits:
    return BodyLimits(settings.max_body_bytes, deadline_s, settings.max_inflation_ratio, settings.body_min_bytes_per_s)
