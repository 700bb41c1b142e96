"""What a browser sends for a page without naming its origin. There is no password here that would keep a page out."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

_FOREIGN: Final = ("cross-site", "same-site")


def objection(host: str, fetch_site: str, origins: frozenset[str]) -> str:
    """Why a request without `Origin` may be a page's, '' if it is none.

    A page can have an image fetched from here (Fetch Metadata, Sec-Fetch-Site, tells), and it can read answers once
    its own name points to this machine (DNS rebinding: `Host` is that name).
    """
    if fetch_site in _FOREIGN:
        return f"A page of another site may not query here (Sec-Fetch-Site: {fetch_site})"
    if not is_own_name(host, origins):
        return (
            f"Host {host} is not allowed: name the server by its address, or start it with --allow-origin http://{host}"
        )
    return ""


def is_own_name(host: str, origins: frozenset[str]) -> bool:
    """Whether a `Host` may be this server: an address, a name without dots, this machine's, an allowed origin's.

    Only who runs the network can make such a name point here; any other name may be a stranger's.
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
