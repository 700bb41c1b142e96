"""Which addresses a webhook may reach. Whoever may write rules names them, so private networks are closed by default.

The check is at the socket: whatever a name resolves to, now or at the next try, no connection goes elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from console.alerts.settings import IpNetwork

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# Addresses of IPv6 in which one of IPv4 is hidden: NAT64 (well-known and local) and 6to4.
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
# Formally public, or of an older meaning: hosts of clouds that tell secrets, and what is for one site only.
_NEVER: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "100.100.100.200/32", "fec0::/10", "3fff::/20"),
    )
)


class AddressRefused(OSError):
    """A connection that is not allowed."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"expected a public address, found {address}: AXONPUSH_ALERTS_ALLOWED_NETWORKS of `axonpush alerts` "
            "allows private networks"
        )


def is_allowed(text: str, allowed: Sequence[IpNetwork]) -> bool:
    """Whether a connection to this numeric address is allowed."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = _hidden_ipv4(address)
    if inner is not None:
        return is_allowed(str(inner), allowed)
    if any(address.version == network.version and address in network for network in allowed):
        return True
    is_special = (
        address.is_multicast
        or address.is_reserved
        or any(address.version == network.version and address in network for network in _NEVER)
    )
    return address.is_global and not is_special


def _hidden_ipv4(address: IpAddress) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _COMPATIBLE and int(address) > 0xFFFF:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


class CheckedSockets:
    """Makes the sockets of an HTTP client: only for addresses that are allowed."""

    def __init__(self, allowed: Sequence[IpNetwork]) -> None:
        self._allowed = allowed

    def __call__(self, info: Any) -> socket.socket:
        """For one address of `getaddrinfo`. Raises AddressRefused."""
        family, kind, protocol, _, address = info
        if family not in (socket.AF_INET, socket.AF_INET6) or not is_allowed(str(address[0]), self._allowed):
            raise AddressRefused(str(address[0]))
        built = socket.socket(family, kind, protocol)
        built.setblocking(False)
        return built
