"""Events as Sentry's Relay normalises them (wheel `sentry-relay`), beside our rows; and why they may differ.

Compared: level, timestamp, exceptions in their order, user, tags, fingerprint, message.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sentry_relay.processing import StoreNormalizer

from tests.unit.normalised import NOW_NS
from tests.unit.workers.normalise.sentry.test_event import row
from workers.normalise.sentry.payload.exceptions import read_exceptions
from workers.normalise.sentry.payload.grouping import (
    MAX_FINGERPRINT_LENGTH,
    MAX_FINGERPRINT_PARTS,
    read_fingerprint,
)
from workers.normalise.sentry.payload.message import read_message
from workers.normalise.sentry.payload.tags import read_tags

NOW_S: Final = NOW_NS // 10**9
DAY_S: Final = 86_400
USER: Final = {"id": "user.id", "username": "user.name", "email": "user.email", "ip_address": "client.address"}
# Facts that Relay copies into tags and that we keep where they were: an attribute, the resource.
LIFTED: Final = frozenset({"server_name", "site", "device.class", "user", "app.device", "os.rooted"})
# Tags of these names would say something else than the column.
DERIVED: Final = frozenset({"release", "dist", "environment", "user", "filename", "function"})


def of_relay(event: dict[str, Any]) -> dict[str, Any]:
    """What Relay makes of an event that was received at NOW_S."""
    normalizer = StoreNormalizer(
        project_id=42,
        client_ip="203.0.113.9",
        protocol_version="7",
        is_renormalize=False,
        remove_other=False,
        normalize_user_agent=False,
        received_at="2026-11-21T14:46:06Z",
        max_secs_in_past=30 * DAY_S,
        max_secs_in_future=60,
    )
    made = normalizer.normalize_event(json.loads(json.dumps(event)))
    exceptions = (made.get("exception") or {}).get("values") or []
    user = made.get("user") or {}
    return {
        "level": made.get("level"),
        "timestamp": made.get("timestamp"),
        "exceptions": [(one.get("type") or "", one.get("value") or "") for one in exceptions if one],
        "user": {name: user[name] for name in USER if user.get(name)},
        "tags": {key: value for key, value in filter(None, made.get("tags") or []) if value and key not in LIFTED},
        "fingerprint": made.get("fingerprint") or [],
        "message": (made.get("logentry") or {}).get("formatted") or "",
    }


def of_ours(event: dict[str, Any]) -> dict[str, Any]:
    """The same facts of our row."""
    stored = row(json.dumps(event).encode())
    strings = stored["attributes_string"]
    tags = read_tags(event.get("tags"), [])
    return {
        "level": stored["severity_text"],
        "timestamp": stored["timestamp"] / 1e9,
        "exceptions": [(one.type, one.value) for one in read_exceptions(event, [])],
        "user": {name: strings[key] for name, key in USER.items() if strings.get(key)},
        "tags": {key: value for key, value in tags.items() if value and key not in DERIVED},
        "fingerprint": read_fingerprint(event.get("fingerprint"), []),
        "message": read_message(event).text,
    }


class Difference(NamedTuple):
    """One fact of one event that came out differently."""

    fact: str
    event: dict[str, Any]
    relay: Any
    ours: Any


def differences(event: dict[str, Any]) -> list[Difference]:
    """Every fact that differs."""
    relay, ours = of_relay(event), of_ours(event)
    return [Difference(fact, event, relay[fact], ours[fact]) for fact in relay if not _equal(relay[fact], ours[fact])]


def _equal(relay: Any, ours: Any) -> bool:
    if isinstance(relay, float) and isinstance(ours, float):
        return abs(relay - ours) < 1e-5  # Relay keeps a float's microseconds
    return bool(relay == ours)


def _scalars(value: Any) -> list[Any]:
    """Every scalar in some JSON."""
    if isinstance(value, dict):
        return [scalar for one in value.values() for scalar in _scalars(one)]
    if isinstance(value, list):
        return [scalar for one in value for scalar in _scalars(one)]
    return [value]


def _holds(event: dict[str, Any], member: str, *kinds: type) -> bool:
    """Whether a member, or something in it, is of one of these kinds."""
    value = event.get(member)
    return any(type(one) in kinds for one in [value, *_scalars(value), *_inside(value)])


def _inside(value: Any) -> list[Any]:
    nested = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [part for one in nested for part in (one, *_inside(one))]


# Why a fact may differ: (name, facts, what must be true of the difference). A difference that no line explains is ours.
Explains = Callable[[Difference], bool]
EXPLAINED: Final[tuple[tuple[str, str, Explains], ...]] = (
    ("the wheel resolves no address: the server does that before", "user", lambda d: _without(d, "ip_address")),
    ("we keep what is no object as the user's id", "user", lambda d: not isinstance(d.event.get("user"), dict)),
    ("we keep numbers, Relay only whole ones and only as ids", "user", lambda d: _holds(d.event, "user", int, float)),
    ("we keep what is no text as text", "user", lambda d: _holds(d.event, "user", bool, list, dict)),
    ("we read levels in any case, and Python's numbers", "level", lambda d: d.relay == "error"),
    ("Relay cuts the fraction of a number, we keep it", "tags", lambda d: _holds(d.event, "tags", float)),
    ("Relay drops tags that are lists or objects, we keep JSON", "tags", lambda d: _holds(d.event, "tags", list, dict)),
    ("Relay writes JSON's true, we Python's True", "message", lambda d: "true" in json.dumps(d.event).lower()),
    ("we fill in null as nothing, Relay leaves the place", "message", lambda d: "null" in json.dumps(d.event)),
    ("we read a message in any of its places", "message", lambda d: not d.relay),
    ("we keep an exception that is no object", "exceptions", lambda d: not d.relay),
    ("we keep types that are no text as text", "exceptions", lambda d: _holds(d.event, "exception", bool, int, float)),
    ("we keep types that are lists or objects", "exceptions", lambda d: _holds(d.event, "exception", list, dict)),
    ("Relay cuts the fraction of a number, we keep it", "fingerprint", lambda d: _holds(d.event, "fingerprint", float)),
    ("we cut a long fingerprint, and name the cut", "fingerprint", lambda d: _is_cut(d.relay, d.ours)),
)


def explanation(difference: Difference) -> str:
    """The first line that explains a difference, '' for none."""
    return next((name for name, fact, is_so in EXPLAINED if fact == difference.fact and is_so(difference)), "")


def _is_cut(parts: list[str], ours: list[str]) -> bool:
    """Whether ours is Relay's with fewer and shorter parts."""
    return [part[:MAX_FINGERPRINT_LENGTH] for part in parts[:MAX_FINGERPRINT_PARTS]] == ours


def _without(difference: Difference, name: str) -> bool:
    relay, ours = dict(difference.relay), dict(difference.ours)
    relay.pop(name, None)
    ours.pop(name, None)
    return bool(relay == ours)
