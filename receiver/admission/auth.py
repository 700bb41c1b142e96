"""The step that admits a request: who sends, into which channel, as which environment, and not too much of it.

The endpoints find the key in a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from receiver import metrics
from receiver.admission.quotas import QuotaExceeded, Quotas
from receiver.admission.refusal_budget import COUNTED, RefusalBudget, TooManyRefusals
from receiver.admission.refusals import RefusalCounter
from receiver.admission.registry import Registry, RegistryUnavailable
from receiver.http.answers import Refused
from receiver.http.request import Request
from schemas.credentials import Credential, is_key_placeholder
from schemas.identifiers import MAX_CHANNEL_ID, SLUG_EXPECTED, is_slug
from schemas.registry import Channel, Key, key_hash

VIA_KEY: Final = "api-key"
VIA_HEADER: Final = "header"
ENVIRONMENT_HEADER: Final = "x-axonpush-environment"
CHANNEL_IN_PATH: Final = "channel in the path"
RETRY_AFTER_S: Final = 2

# What browsers say of requests made by a page of another host, also if the page withholds the Referer, as an <img> can.
_OTHER_SITES: Final = frozenset({"cross-site", "same-site"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True)
class Grant:
    """A request that may go in: who sends, into which channel, as which environment."""

    key: Key
    channel: Channel
    environment: str
    environment_from_event: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets requests in, before any of their bodies is read."""

    registry: Registry
    quotas: Quotas
    refusals: RefusalCounter
    refusal_budget: RefusalBudget
    trust_forwarded: bool

    async def admit(
        self, request: Request, credential: Credential | None, channel_text: str, where: str = CHANNEL_IN_PATH
    ) -> Grant:
        """The order of the checks: key, environment, channel number, channel, organisation, origin, quotas.

        `channel_text` is what stands `where` a channel number belongs. Without one, the only channel of a key that is
        limited to one. Raises Refused (400, 401, 403, 404, 429, 503).
        """
        request.channel_text = channel_text
        key = request.key = await find_key(self.registry, credential, request)
        grant = await self._grant(request, key, channel_text, where)
        self._take_quota(request, key, grant.environment, grant.channel.id)
        return grant

    async def admit_key(self, request: Request, credential: Credential | None) -> Key:
        """The same for a request whose channel stands in its body: `grant_channel` follows when that was read.

        Raises Refused (400, 401, 403, 429, 503).
        """
        key = request.key = await find_key(self.registry, credential, request)
        environment, _ = resolve_environment(request, key)
        check_origin(request, key)
        self._take_quota(request, key, environment, only_channel(key) or 0)
        return key

    async def grant_channel(self, request: Request, credential: Credential, channel_text: str, where: str) -> Grant:
        """The channel of a request whose key was admitted; the key is looked up again, it may be revoked by now.

        Raises Refused (400, 401, 403, 404, 503).
        """
        request.channel_text = channel_text
        key = request.key = await find_key(self.registry, credential, request)
        return await self._grant(request, key, channel_text, where)

    def count_refusal(self, request: Request, refused: Refused) -> None:
        """A request ended without being stored: `outcomes` names it, and too many of one sender are refused unread."""
        if refused.status in COUNTED:
            network = request.network(trust_forwarded=self.trust_forwarded)
            self.refusal_budget.add(request.key, request.route, network, request.inflated_bytes)
        if not refused.is_counted:
            self.refusals.add_refused(request, refused, trust_forwarded=self.trust_forwarded)

    async def _grant(self, request: Request, key: Key, channel_text: str, where: str) -> Grant:
        environment, from_event = resolve_environment(request, key)
        number = None if channel_text else only_channel(key)
        channel = await find_channel(self.registry, key, number or channel_id(channel_text, where))
        check_open(channel)
        check_origin(request, key)
        return Grant(key, channel, environment, from_event)

    def _take_quota(self, request: Request, key: Key, environment: str, channel_number: int) -> None:
        """Counts one request of `key`, and what has come of its body already.

        Raises Refused (429), which is counted for that channel.
        """
        try:
            if not self.refusal_budget.is_empty:
                network = request.network(trust_forwarded=self.trust_forwarded)
                self.refusal_budget.check(key, request.route, network)
            request.charge = self.quotas.take(key)
        except (QuotaExceeded, TooManyRefusals) as error:
            metrics.QUOTA_REFUSED.labels(error.reason).inc()
            self.refusals.add(key, environment, channel_number, request.route, error.reason)
            error.is_counted = True
            raise
        request.count_inflated(request.inflated_bytes)


async def find_key(registry: Registry, credential: Credential | None, request: Request) -> Key:
    """The known key of a request. Raises Refused (401, 503); the text itself is never repeated."""
    secret = credential.key if credential else ""
    try:
        key = await registry.key(key_hash(secret)) if secret else None
    except RegistryUnavailable as error:
        raise _registry_away() from error
    if key is None or key.revoked:
        request.refused_key = key
        actual, reason = (
            ("a revoked one", "revoked_key")
            if key
            else ("an unknown one", "unknown_key")
            if secret
            else ("none", "no_key")
        )
        if is_key_placeholder(secret):
            actual = "what the Web API shows in its place, because it does not know the text; `keys mint` shows it once"
        detail = f"key: expected one made by `axonpush keys mint`, found {actual}; check the DSN or X-API-Key"
        raise Refused(401, detail, reason=reason)
    return key


def only_channel(key: Key) -> int | None:
    """The channel of a key that is limited to one; None for others."""
    return key.channels[0] if key.channels is not None and len(key.channels) == 1 else None


def channel_id(text: str, where: str) -> int:
    """The channel number in `text`; `where` names its place in the error. Raises Refused (400)."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0
    if not 1 <= number <= MAX_CHANNEL_ID:
        raise Refused(
            400, f"{where}: expected a channel number from 1 to 2^63-1, found {text[:40]!a}", reason="channel"
        )
    return number


async def find_channel(registry: Registry, key: Key, number: int) -> Channel:
    """The channel, if `key` may send into it. Raises Refused (403, 404, 503)."""
    try:
        channel = await registry.channel(number)
    except RegistryUnavailable as error:
        raise _registry_away() from error
    if channel is None:
        detail = f"channel: expected one made by `axonpush channels create`, found {number}, which is none"
        raise Refused(404, detail, reason="no_such_channel")
    if channel.organisation != key.organisation:
        raise Refused(403, f"channel: {number} belongs to another organisation than the key", reason="foreign_channel")
    if key.channels is not None and number not in key.channels:
        raise Refused(403, f"channel: this key may not send to channel {number}", reason="other_channel")
    return channel


def check_open(channel: Channel) -> None:
    """Refuses (403) a channel that was archived."""
    if channel.archived_at:
        detail = f"channel: {channel.id} is archived; `axonpush channels unarchive {channel.id}` opens it"
        raise Refused(403, detail, reason="archived_channel")


def resolve_environment(request: Request, key: Key) -> tuple[str, bool]:
    """(environment, whether the event may name another one). Notes on the request what was resolved, for the answer.

    The header counts only for keys that allow it. Raises Refused (400) for one that is no slug.
    """
    request.environment, request.resolved_via = key.environment, VIA_KEY
    if not key.allow_environment_override:
        return key.environment, False
    asked = request.headers.get(ENVIRONMENT_HEADER, "").strip()
    if not asked:
        return key.environment, True
    if not is_slug(asked):
        raise Refused(400, f"X-Axonpush-Environment: expected {SLUG_EXPECTED}, found {asked[:70]!a}")
    request.environment, request.resolved_via = asked, VIA_HEADER
    return asked, False


def check_origin(request: Request, key: Key) -> None:
    """Refuses (403) pages the key is not meant for. Senders that are no browser name no origin and pass."""
    if key.origins is None:
        return
    text = request.headers.get("origin") or request.headers.get("referer", "")
    if not text:
        if request.headers.get("sec-fetch-site", "") in _OTHER_SITES and "*" not in key.origins:
            raise Refused(
                403,
                "origin: this key may only be used by named origins; expected Origin or Referer, found neither",
                reason="origin",
            )
        return
    sender_origin = _origin(text)
    if sender_origin is None or not any(_allows(allowed, sender_origin) for allowed in key.origins):
        raise Refused(
            403, f"origin: the key does not allow {text[:100]!a}; see `axonpush keys mint --origin`", reason="origin"
        )


def _origin(text: str) -> tuple[str, str, int | None] | None:
    """(scheme, host, port), None for what is no web origin."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def _allows(allowed: str, sender_origin: tuple[str, str, int | None]) -> bool:
    """`*` is any; `https://*.example.com` is any name below it; else scheme, host and port must be equal."""
    if allowed == "*":
        return True
    expected = _origin(allowed if "://" in allowed else f"{sender_origin[0]}://{allowed}")
    if expected is None or expected[0] != sender_origin[0] or expected[2] != sender_origin[2]:
        return False
    host = expected[1]
    return sender_origin[1].endswith(host[1:]) if host.startswith("*.") else sender_origin[1] == host


def _registry_away() -> Refused:
    return Refused(503, "the registry cannot be read at the moment; send the same again", retry_after_s=RETRY_AFTER_S)
