"""Who sent it: release, environment, dist, server, SDK and platform, validated and put into the resource map."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from workers.normalise.scalars import as_text

RELEASE_INVALID: Final = "release_invalid"
ENVIRONMENT_INVALID: Final = "environment_invalid"
DIST_INVALID: Final = "dist_invalid"

MAX_RELEASE_BYTES: Final = 200
MAX_ENVIRONMENT_BYTES: Final = 64
_MAX_NAME: Final = 256

_NOT_ALLOWED: Final = re.compile(r"[/\\\x00-\x1f\x7f]")
_DIST: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SDK_CLIENT: Final = re.compile(r"\s*([^\s/]+)(?:[\s/]+(\S+))?")


def release_of(value: Any, repairs: list[str]) -> str:
    """A release as Sentry accepts it, else '' and named: 200 bytes, no slashes or control characters, not 'latest'."""
    text = _name(value, MAX_RELEASE_BYTES, (".", "..", "latest"))
    if text is None:
        repairs.append(RELEASE_INVALID)
    return text or ""


def environment_of(value: Any, repairs: list[str]) -> str:
    """An environment as Sentry accepts it, else '' and named: 64 bytes, no slashes, not 'none'."""
    text = _name(value, MAX_ENVIRONMENT_BYTES, (".", "..", "none"))
    if text is None:
        repairs.append(ENVIRONMENT_INVALID)
    return text or ""


def dist_of(value: Any, repairs: list[str]) -> str:
    """A distribution of a release, else '' and named."""
    text = _name(value, 64, ())
    if text is None or (text and not _DIST.fullmatch(text)):
        repairs.append(DIST_INVALID)
        return ""
    return text


def _name(value: Any, limit_bytes: int, forbidden: tuple[str, ...]) -> str | None:
    """The trimmed text of a scalar, '' if there is none, None if it is not allowed."""
    if value.__class__ in (dict, list):
        return None
    text = value if value.__class__ is str else as_text(value)
    return _allowed(text, limit_bytes, forbidden) if len(text) <= 2 * limit_bytes else None


@lru_cache(1024)  # an application has one release and one environment at a time
def _allowed(text: str, limit_bytes: int, forbidden: tuple[str, ...]) -> str | None:
    text = text.strip()
    is_refused = len(text.encode()) > limit_bytes or _NOT_ALLOWED.search(text) or text.lower() in forbidden
    return None if is_refused else text


def sdk_of(payload_sdk: Any, envelope_sdk: Any, client: str) -> tuple[str, str]:
    """(name, version) of the SDK: from the payload, else the envelope's header, else `sentry_client` (name/version)."""
    for value in (payload_sdk, envelope_sdk):
        if value.__class__ is dict:
            name = as_text(value.get("name"))
            if name:
                return name[:_MAX_NAME], as_text(value.get("version"))[:_MAX_NAME]
    match = _SDK_CLIENT.match(client)
    return (match[1][:_MAX_NAME], (match[2] or "")[:_MAX_NAME]) if match else ("", "")


def build_resource(
    *,
    service: str = "",
    release: str = "",
    environment: str = "",
    server_name: str = "",
    sdk: tuple[str, str] = ("", ""),
) -> dict[str, str]:
    """The resource map under OpenTelemetry's names; the table computes release, host_name and others from it."""
    values = {
        "service.name": service,
        "service.version": release,
        "deployment.environment.name": environment,
        "host.name": server_name[:_MAX_NAME],
        "telemetry.sdk.name": sdk[0],
        "telemetry.sdk.version": sdk[1],
    }
    return {key: value for key, value in values.items() if value}
