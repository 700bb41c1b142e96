"""Chooses free ports of this machine."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from ops.runtime.failures import Failed


def choose(wanted: dict[str, tuple[str, int]]) -> dict[str, int]:
    """Chooses a port per option (`--port`: host and port; 0 means any free port). Raises Failed for a used port."""
    with ExitStack() as listeners:  # all stay bound until all are chosen, so that no two options get the same port
        return {option: _bind(listeners, option, *address) for option, address in wanted.items()}


def _bind(listeners: ExitStack, option: str, host: str, port: int) -> int:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = listeners.enter_context(socket.socket(family, kind, protocol))
        # SO_REUSEADDR, as servers do: connections of a stopped server do not block its port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)
    except OSError as error:
        raise Failed(_explain(option, host, port, error)) from error
    return int(listener.getsockname()[1])


def _explain(option: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        actual = "another program listening there"
    elif error.errno == errno.EACCES:
        actual = "no right to use it (ports below 1024 need the administrator)"
    else:
        actual = str(error)
    return f"expected port {port} of {host} to be free, found: {actual}. Give {option} another number, or 0 for any."
