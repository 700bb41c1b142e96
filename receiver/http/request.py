"""The request, decoded once from the ASGI scope. body.py reads the body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver.http.budget import network_of
from receiver.short_cache import ShortCache
from schemas.registry import Key

if TYPE_CHECKING:
    from receiver.admission.quotas import Charge
    from receiver.http.budget import Share

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

# In the order of Sentry's Relay, the most specific proxy first. The first address in a list is the client's.
_FORWARDED = ("cf-connecting-ip", "x-vercel-forwarded-for", "x-sentry-forwarded-for", "x-forwarded-for")
# Headers that may hold a key: all their values are read.
_WITH_KEYS: Final = frozenset(
    {"authorization", "x-sentry-auth", "x-api-key", "x-axonpush-api-key", "x-public-token", "x-axonpush-channel"}
)
# A sender's headers are the same in every request, except for the length.
_DECODED: Final = ShortCache[dict[str, str]]()


@dataclass(slots=True)
class Request:
    """One HTTP request. Header names are lower case, values Latin-1 text; of repeated headers the first counts. They
    must not be changed. `Content-Length` is not among them, see declared_length.

    `environment` and `resolved_via` are set when the key is known, and are sent with every answer. `route` is the name
    of the endpoint. `charge` counts the request for its quotas, None without quotas. `share` is its body's share of the
    receiver's memory, while the body is read. `key` is the request's key if it is known. `is_begun`: reading its body
    has begun; `is_read`: no more of it will come; `inflated_bytes`: inflated bytes so far, also of a refused body. For
    counting refusals: `channel_text` stands in the place of the channel, `refused_key` is a known key that was revoked.
    """

    method: str
    path: str
    query_string: bytes
    headers: dict[str, str]
    client_ip: str
    receive: Receive
    declared: int | None = None
    environment: str = ""
    resolved_via: str = ""
    route: str = ""
    charge: Charge | None = None
    share: Share | None = None
    key: Key | None = None
    refused_key: Key | None = None
    channel_text: str = ""
    is_begun: bool = False
    is_read: bool = False
    inflated_bytes: int = 0

    @classmethod
    def from_scope(cls, scope: Mapping[str, Any], receive: Receive) -> Request:
        """Accepts any scope that a server may pass; never raises."""
        declared, other_headers = None, []
        for pair in scope.get("headers") or ():
            if pair[0] != b"content-length":
                other_headers.append(pair)
            elif declared is None:
                declared = pair[1]
        client = scope.get("client")
        return cls(
            scope["method"],
            scope["path"],
            scope.get("query_string", b""),
            _decode_headers(tuple(other_headers)),
            client[0] if client else "",
            receive,
            int(declared) if declared and declared.isdigit() and len(declared) <= 19 else None,
        )

    def count_inflated(self, size_bytes: int) -> None:
        """Counts the inflated bytes so far, for the quotas of bytes."""
        self.inflated_bytes = max(self.inflated_bytes, size_bytes)
        if self.charge is not None:
            self.charge.count_bytes(self.inflated_bytes)

    def end(self, *, is_our_fault: bool) -> None:
        """Ends the request: frees its memory, and tells its quotas whether it counts."""
        if self.share is not None:
            self.share.end()
            self.share = None
        if self.charge is not None:
            self.charge.end(is_our_fault=is_our_fault)

    def sender_ip(self, *, trust_forwarded: bool) -> str:
        """The sender's address; forwarding headers count only behind a proxy, because anyone can send them."""
        if trust_forwarded:
            for name in _FORWARDED:
                first = self.headers.get(name, "").split(",", 1)[0].strip()
                if first:
                    return first
        return self.client_ip

    def network(self, *, trust_forwarded: bool) -> str:
        """The sender's address as it is counted: for IPv6 the /64."""
        return network_of(self.sender_ip(trust_forwarded=trust_forwarded))

    def has_body(self) -> bool:
        """Whether bytes of the body may still come."""
        return not self.is_read and bool(self.declared or "transfer-encoding" in self.headers)

    def declared_length(self) -> int | None:
        """`Content-Length`, None when it is absent (chunked) or no number of 63 bits."""
        return self.declared


def _all_of(name: str, pairs: tuple[tuple[bytes, bytes], ...]) -> str:
    """Every different value of a header, as one (RFC 9110, 5.3): two keys are seen as two, and refused."""
    values = [value.decode("latin-1") for given, value in pairs if given.decode("latin-1").lower() == name]
    return ", ".join(dict.fromkeys(values))


def _decode_headers(pairs: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    headers = _DECODED.get(pairs)
    if headers is None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reversed(pairs)}
        for name in _WITH_KEYS.intersection(headers):
            headers[name] = _all_of(name, pairs)
        _DECODED.put(pairs, headers)
    return headers
