"""What is installed: are these packages ours, and is the embedded ClickHouse engine there?"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Final

from ops.runtime.failures import Failed

PACKAGES: Final = ("schemas", "receiver", "workers", "ops")
DISTRIBUTION: Final = "axonpush-ingest"
ENGINE: Final = "chdb"


def check_packages() -> None:
    """Raises Failed when another distribution has overwritten one of our packages.

    Their names are short ones that others use too: `ops` exists on the package index, and pip installs one over the
    other without a word.
    """
    for name in PACKAGES:
        if getattr(import_module(name), "DISTRIBUTION", None) != DISTRIBUTION:
            raise Failed(
                f"package {name}: expected the one of {DISTRIBUTION}, found another distribution's in its place; "
                f"install {DISTRIBUTION} alone, with `pipx install {DISTRIBUTION}` or `uv tool install {DISTRIBUTION}`"
            )


def check_engine() -> None:
    """Raises Failed when `axonpush up` would need the embedded ClickHouse engine and it is not installed."""
    if find_spec(ENGINE) is None:
        raise Failed(
            f"expected the embedded ClickHouse engine (package {ENGINE}), found none; "
            f"install it with `pip install '{DISTRIBUTION}[embedded]'`, or set AXONPUSH_CLICKHOUSE_URL to a server"
        )
