"""What is kept of the address of a sender whose key is not known: enough to find a network, not a person."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

IPV4_BITS: Final = 24
IPV6_BITS: Final = 48
UNKNOWN: Final = "unknown"
_MAX_ADDRESS_LENGTH: Final = 64


@lru_cache(maxsize=4096)
def address_class(address: str) -> str:
    """`loopback`, `private`, else the /24 of an IPv4 address and the /48 of an IPv6 one; `unknown` for other text."""
    try:
        parsed = ipaddress.ip_address(address[:_MAX_ADDRESS_LENGTH].partition("%")[0].strip("[]"))
    except ValueError:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback:
        return "loopback"
    if parsed.is_private or parsed.is_link_local:
        return "private"
    bits = IPV4_BITS if parsed.version == 4 else IPV6_BITS
    return str(ipaddress.ip_network((parsed, bits), strict=False))
