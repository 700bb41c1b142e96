"""Refuses requests of web pages that a browser sends without `Origin`. Requests of pages need no password here."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

_FOREIGN: Final = ("cross-site", "same-site")


def refusal_reason(host: str, fetch_site: str, origins: frozenset[str]) -> str:
    """Why a request without `Origin` may come from a foreign web page; empty if it does not.

    A page can load an image from here (the browser then sends Sec-Fetch-Site), and it can read answers if its own host
    name resolves to this machine (DNS rebinding: `Host` is that name).
    """
    if fetch_site in _FOREIGN:
        return f"A page of another site may not query here (Sec-Fetch-Site: {fetch_site})"
    if not is_own_name(host, origins):
        return (
            f"Host {host} is not allowed: name the server by its address, or start it with --allow-origin http://{host}"
        )
    return ""


def is_own_name(host: str, origins: frozenset[str]) -> bool:
    """Whether `Host` is a name of this server: an address, a name without dots, this machine's, or an allowed origin's.

    Only the operator of the network can make such a name resolve to this machine; any other name may be an attacker's.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if "." not in name or name.endswith(".localhost") or name == socket.gethostname().lower():
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return "*" in origins or any(urlsplit(origin).hostname == name for origin in origins)
