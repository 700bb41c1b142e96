"""Ports of this machine: is one free, and which one shall it be."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from ops.runtime.failures import Failed


def choose(wanted: dict[str, tuple[str, int]]) -> dict[str, int]:
    """A port for each option (`--port`: host and port; port 0 is any free one). Raises Failed for one that is taken."""
    with ExitStack() as held:  # all are held until all are chosen, so that no two get the same one
        return {option: _bind(held, option, *address) for option, address in wanted.items()}


def _bind(held: ExitStack, option: str, host: str, port: int) -> int:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = held.enter_context(socket.socket(family, kind, protocol))
        # As servers do: connections of a server that has just stopped do not keep its port taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)
    except OSError as error:
        raise Failed(_explain(option, host, port, error)) from error
    return int(listener.getsockname()[1])


def _explain(option: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        found = "another program listens there"
    elif error.errno == errno.EACCES:
        found = "this user may not (ports below 1024 are the administrator's)"
    else:
        found = str(error)
    return f"expected port {port} of {host} to be free, found: {found}. Give {option} another number, or 0 for any."
