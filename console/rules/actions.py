"""Whom a rule tells: actions of a request, checked. Addresses and secrets of webhooks are kept apart from the rule.

A webhook's address is often a password itself. The rule has a shortened one; the whole address and the secret that
signs are entries of the broker's bucket `alert_secrets`, which the console may write and only `axonpush alerts` reads.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from console.api.errors import ApiError
from console.rules.issue_conditions import found_name

WEBHOOK, SLACK, EMAIL = "webhook", "slack", "email"
TYPES: Final = (WEBHOOK, SLACK, EMAIL)
_OURS: Final = "axonpush.actions."
# Names of actions of Sentry that can be done here.
_IDS: Final[Mapping[str, str]] = {
    "sentry.mail.actions.NotifyEmailAction": EMAIL,
    **{f"{_OURS}{kind}": kind for kind in TYPES},
}
_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"'\\()\[\]]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
MAX_URL: Final = 2_000
MAX_ADDRESSES: Final = 20
MAX_REPLACED: Final = 5
# What a request does not decide: an address and a secret are kept apart, the rest is ours.
_NOT_SAID: Final = frozenset({"secret", "secretSet", "url", "urlDigest", "uuid", "to", "replaces"})
_SECRET_CHARACTERS: Final = (16, 200)
_SECRET_BYTES: Final = 32
_KNOWN: Final = (
    "webhook ({'type': 'webhook', 'url': 'https://…'}), slack ({'type': 'slack', 'url': 'https://hooks.slack.com/…'}), "
    "email ({'type': 'email', 'to': ['a@example.com']}, or sentry.mail.actions.NotifyEmailAction)"
)


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a stored rule. `labels`: the triggers of a metric rule that have it; empty: all."""

    uuid: str
    kind: str
    target: str
    to: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    # Uuids that it had with other addresses: their messages that wait are its own.
    replaces: tuple[str, ...] = ()
    # Of a whole address: two actions with the same one are one receiver.
    digest: str = ""

    @property
    def receiver(self) -> str:
        """The same for two actions that tell the same receiver. A shortened address is no proof of that."""
        return self.target if self.kind == EMAIL else self.digest or self.uuid

    def is_of(self, uuid: str) -> bool:
        """Whether messages of this uuid are sent by it."""
        return uuid == self.uuid or uuid in self.replaces


@dataclass(slots=True)
class ActionReader:
    """Reads the actions of one request. `kept`: those of the stored rule by uuid; what is not said again stays."""

    new_id: Callable[[], UUID]
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # What to store in the bucket, by name: `<uuid>.url`, `<uuid>.key`.
    stored: dict[str, str] = field(default_factory=dict)
    # Secrets to show once, by uuid.
    shown_once: dict[str, str] = field(default_factory=dict)

    def read(self, parts: Sequence[Mapping[str, Any]], shown: str) -> list[dict[str, Any]]:
        """The actions as the rule keeps them. Raises ApiError 400."""
        return [self._one(part, f"{shown}[{index}]") for index, part in enumerate(parts)]

    def _one(self, part: Mapping[str, Any], shown: str) -> dict[str, Any]:
        kind = kind_of(part)
        if kind is None:
            raise ApiError(400, f"{shown}: expected an action that can be done here: {_KNOWN}; {found_name(part)}")
        before = self.kept.get(str(part.get("uuid")))
        if before is not None and kind_of(before) != kind:
            before = None
        said = {name: value for name, value in part.items() if name not in _NOT_SAID}
        if kind == EMAIL:
            uuid = str(part["uuid"]) if before else self.new_id().hex
            return {"id": f"{_OURS}{kind}", **said, "type": kind, "uuid": uuid} | _addresses(part, shown)
        replaces = list(before.get("replaces") or []) if before else []
        is_kept = before is not None and part.get("url") in (None, "", before.get("url"))
        if before is not None and not is_kept:
            replaces = [*replaces, str(part["uuid"])][-MAX_REPLACED:]
        uuid = str(part["uuid"]) if is_kept else self.new_id().hex
        action = {"id": f"{_OURS}{kind}", **said, "type": kind, "uuid": uuid}
        if replaces:
            action["replaces"] = replaces
        return action | self._addressed(part, kind, uuid, before if is_kept else None, shown)

    def _addressed(
        self, part: Mapping[str, Any], kind: str, uuid: str, before: Mapping[str, Any] | None, shown: str
    ) -> dict[str, Any]:
        """`before`: with this address. Another one has another uuid, so no rule has it before it is stored."""
        if before is not None:
            address = {name: str(before[name]) for name in ("url", "urlDigest") if name in before}
        else:
            self.stored[f"{uuid}.url"] = checked = read_url(part.get("url"), f"{shown}.url")
            address = {"url": short_url(checked, kind), "urlDigest": _digest(checked)}
        if kind == SLACK:
            return address
        key = self._key(part, is_kept=before is not None, shown=shown)
        if key:
            self.stored[f"{uuid}.key"] = self.shown_once[uuid] = key
        return {**address, "secretSet": True}

    def _key(self, part: Mapping[str, Any], *, is_kept: bool, shown: str) -> str:
        value = part.get("secret")
        if value is None or value == "":
            return "" if is_kept else secrets.token_urlsafe(_SECRET_BYTES)
        least, most = _SECRET_CHARACTERS
        if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
            raise ApiError(400, f"{shown}.secret: expected a text of {least} to {most} characters, found another value")
        return value


def kind_of(part: Mapping[str, Any]) -> str | None:
    """What an action does; None if it cannot be done here."""
    kind = part.get("type")
    if isinstance(kind, str) and kind in TYPES:
        return kind
    return _IDS.get(str(part.get("id"))) or _IDS.get(str(kind))


def read_url(value: Any, shown: str) -> str:
    """An address for requests. Raises ApiError 400, and never quotes it: it may be a password."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_URL:
        raise ApiError(400, f"{shown}: expected an address of 1 to {MAX_URL} characters, found another value")
    if any(not letter.isprintable() or letter.isspace() for letter in value):
        raise ApiError(400, f"{shown}: expected an address without blanks, found one with some")
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ApiError(400, f"{shown}: expected https://host/path, found another form") from None
    if parts.scheme not in ("http", "https") or not has_host or "\\" in value:
        raise ApiError(400, f"{shown}: expected https://host/path, found another form")
    try:
        str(parts.hostname).encode("idna")
    except UnicodeError:
        raise ApiError(400, f"{shown}: expected a host name, found labels that no name can have") from None
    if "@" in parts.netloc:
        raise ApiError(400, f"{shown}: expected an address without user and password, found one with them")
    return value


def short_url(url: str, kind: str) -> str:
    """What lists show of an address: nothing that could be a password."""
    parts = urlsplit(url)
    if kind == SLACK:
        return f"{parts.scheme}://{parts.netloc}/…"
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?…' if parts.query or parts.fragment else ''}"


def _digest(url: str) -> str:
    """Enough to tell two addresses apart, and too little to find one that nobody can guess."""
    return hashlib.sha256(f"address of an alert\0{url}".encode()).hexdigest()[:16]


def _addresses(part: Mapping[str, Any], shown: str) -> dict[str, Any]:
    """Receivers of an e-mail; none: those of the settings of `axonpush alerts`."""
    value = part.get("to")
    if value is None:
        named = str(part.get("targetIdentifier") or "")
        return {"to": [named] if _ADDRESS.fullmatch(named) else []}
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or len(listed) > MAX_ADDRESSES:
        raise ApiError(400, f"{shown}.to: expected a list of at most {MAX_ADDRESSES} addresses, found another value")
    for address in listed:
        if not is_address(address):
            raise ApiError(400, f"{shown}.to: expected addresses like a@example.com, found {str(address)[:60]!r}")
    return {"to": list(dict.fromkeys(listed))}


def is_address(value: Any) -> bool:
    """Whether this is an address of e-mail."""
    # `=?` begins a coded word, which mail clients read as other letters, line breaks among them.
    return isinstance(value, str) and len(value) <= 254 and "=?" not in value and bool(_ADDRESS.fullmatch(value))


def stored_action(part: Mapping[str, Any], labels: tuple[str, ...] = ()) -> Action:
    """An action of a stored rule. Raises ApiError 400 for one of an older version that cannot be done."""
    kind, uuid = kind_of(part), str(part.get("uuid") or "")
    if kind == EMAIL and not uuid:  # of a version that kept actions as they came
        uuid = "email"
    if kind is None or not uuid:
        raise ApiError(400, f"actions: expected an action that can be done here: {_KNOWN}; {found_name(part)}")
    listed = part.get("to") if kind == EMAIL else None
    to = tuple(str(address) for address in listed) if isinstance(listed, list) else ()
    target = (", ".join(to) or "the addresses of the settings") if kind == EMAIL else str(part.get("url") or "")
    earlier = part.get("replaces")
    replaces = tuple(str(before) for before in earlier) if isinstance(earlier, list) else ()
    return Action(uuid, kind, target, to, labels, replaces, str(part.get("urlDigest") or ""))


def actions_of(rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The actions of a stored rule of any kind."""
    of_triggers = (action for trigger in rule.get("triggers", ()) for action in trigger["actions"])
    return [*rule.get("actions", ()), *of_triggers]
