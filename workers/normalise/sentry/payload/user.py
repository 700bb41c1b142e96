"""The user of a Sentry payload as attributes, and the one text that identifies a user. Requests are not read here."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from workers.normalise.attributes import Attributes
from workers.normalise.scalars import as_dict, as_text

# Sentry SDK settings, `infer_ip`.
AUTO: Final = "auto"
LEGACY: Final = "legacy"
NEVER: Final = "never"

USER_INVALID: Final = "user_invalid"
IP_INVALID: Final = "user_ip_invalid"

AUTO_IP: Final = "{{auto}}"
# Attributes that hold an address of the sender's side, and in which SDKs write the placeholder.
ADDRESS_KEYS: Final = ("client.address", "user.ip_address", "user.ip", "http.client_ip", "source.address")
# SDKs of these platforms sent no address and meant the sender's, before there was a setting for it.
_AUTO_IP_PLATFORMS: Final = frozenset({"javascript", "cocoa", "objc"})

# A tenth of the time that the ipaddress module takes.
_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4: Final = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}", re.ASCII)

# Megabytes of digits keep the ipaddress module busy, once for each of a list of sessions that share them.
_MAX_ADDRESS: Final = 100
# OpenTelemetry semantic conventions, user.* (name is the login name there) and geo.*.
_NAMES: Final = {"id": "user.id", "username": "user.name", "name": "user.full_name", "email": "user.email"}
_GEO_NAMES: Final = {
    "country_code": "geo.country.iso_code",
    "region": "geo.region.name",
    "city": "geo.locality.name",
}


def read_user(payload: dict[str, Any], sender_ip: str, attributes: Attributes, repairs: list[str]) -> str:
    """Put the user's attributes; answer id, else user name, e-mail or address: the first there is, else ''."""
    value = payload.get("user")
    if value is None:
        value = payload.get("sentry.interfaces.User")
    if value is not None and value.__class__ is not dict:
        repairs.append(USER_INVALID)
        value = {"id": value} if value.__class__ in (str, int) and value != "" else None
    user = as_dict(value)
    address = _address(payload, user, sender_ip, repairs)
    if address:
        attributes.put("client.address", address)
    if user:
        _put(user, attributes)
    text = attributes.text
    return as_text(user.get("id")) or text("user.name") or text("user.email") or address


def _put(user: dict[str, Any], attributes: Attributes) -> None:
    for key, value in user.items():
        name = _NAMES.get(key)
        if name is not None:
            if value is not None:
                attributes.put(name, as_text(value))
        elif key == "geo":
            for part, content in as_dict(value).items():
                attributes.put(_GEO_NAMES.get(part) or f"geo.{part}", content)
        elif key == "data" and value.__class__ is dict:
            attributes.put_all("user.", value)
        elif key != "ip_address":
            attributes.put(f"user.{key}", value)


def _address(payload: dict[str, Any], user: dict[str, Any], sender_ip: str, repairs: list[str]) -> str:
    """The address sent, else what the SDK lets us infer (Sentry SDK settings, infer_ip)."""
    rule = infer_ip(as_dict(as_dict(payload.get("sdk")).get("settings")).get("infer_ip"))
    given = as_text(user.get("ip_address")).strip()
    if given and given != AUTO_IP:
        return _valid(given, repairs)
    if rule == NEVER:
        return ""
    remote = as_text(as_dict(as_dict(payload.get("request")).get("env")).get("REMOTE_ADDR")).strip()
    if remote and remote != AUTO_IP and not given:
        return _valid(remote, repairs)
    is_meant = rule == AUTO or as_text(payload.get("platform")) in _AUTO_IP_PLATFORMS
    return sender_ip if AUTO_IP in (given, remote) or is_meant else ""


def infer_ip(setting: Any) -> str:
    """The rule of an SDK's `infer_ip`: LEGACY where there is none, NEVER for a word that nobody knows."""
    if setting is None:
        return LEGACY
    return setting if setting in (AUTO, LEGACY) else NEVER


def resolve_auto_address(attributes: Attributes, sender_ip: str) -> None:
    """The sender's address in the place of `{{auto}}`; the attribute goes where `sender_ip` is ''."""
    strings = attributes.strings
    for key in ADDRESS_KEYS:
        if key in strings and strings[key].strip() == AUTO_IP:
            attributes.replace(key, sender_ip)


def _valid(text: str, repairs: list[str]) -> str:
    if len(text) > _MAX_ADDRESS:
        repairs.append(IP_INVALID)
        return ""
    if _IPV4.fullmatch(text):
        return text
    try:
        ipaddress.ip_address(text)
    except ValueError:
        repairs.append(IP_INVALID)
        return ""
    return text
