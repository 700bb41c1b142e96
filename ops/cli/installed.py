"""Checks the installation: that our packages were not overwritten, and that the embedded engine is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Final

from ops.runtime.failures import Failed

PACKAGES: Final = ("schemas", "receiver", "workers", "console", "ops")
DISTRIBUTION: Final = "axonpush-ingest"
ENGINE: Final = "chdb"


def check_packages() -> None:
    """Raises Failed when another distribution has overwritten one of our packages.

    Our package names are short and others use them too: `ops` exists on the package index, and pip overwrites files
    without a warning.
    """
    for name in PACKAGES:
        if getattr(import_module(name), "DISTRIBUTION", None) != DISTRIBUTION:
            raise Failed(
                f"package {name}: expected the package of {DISTRIBUTION}, found one of another distribution; "
                f"install {DISTRIBUTION} alone, with `pipx install {DISTRIBUTION}` or `uv tool install {DISTRIBUTION}`"
            )


def check_engine() -> None:
    """Raises Failed when `axonpush up` needs the embedded ClickHouse engine and it is not installed."""
    if find_spec(ENGINE) is None:
        raise Failed(
            f"expected the embedded ClickHouse engine (package {ENGINE}), found none; "
            f"install it with `pip install '{DISTRIBUTION}[embedded]'`, or set AXONPUSH_CLICKHOUSE_URL to a server"
        )
