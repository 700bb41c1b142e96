"""Refuses unknown `AXONPUSH_*` variables: a misspelt one would silently leave its setting at the default."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from ops.runtime.environment.names import SETTINGS

PREFIX: Final = "AXONPUSH_"
BAD_USAGE: Final = 2
# In a shared env file: read by the servers' configuration files, Compose and Kubernetes, not by our programs.
DEPLOYMENT: Final = frozenset(
    {
        *(
            f"AXONPUSH_NATS_{role}_PASSWORD"
            for role in ("RECEIVER", "WORKER", "CONSOLE", "ALERTS", "OPERATOR", "SYS", "ROUTES")
        ),
        *(f"AXONPUSH_CLICKHOUSE_{role}_PASSWORD" for role in ("WORKER", "READER", "CONSOLE", "ALERTS", "OPERATOR")),
        *(f"AXONPUSH_NATS_{name}" for name in ("SERVER_NAME", "LISTEN", "MONITOR", "STORE_DIR", "MAX_FILE_STORE")),
        *("AXONPUSH_NATS_CLUSTER_LISTEN", "AXONPUSH_NATS_ROUTES"),
        *("AXONPUSH_CLICKHOUSE_SHARD", "AXONPUSH_CLICKHOUSE_REPLICA", "AXONPUSH_CLICKHOUSE_CLUSTER_SECRET"),
        *("AXONPUSH_VERSION", "AXONPUSH_CERTIFICATES", "AXONPUSH_HAPROXY_USER", "AXONPUSH_GRAFANA_PASSWORD"),
        *(f"AXONPUSH_{name}_PORT" for name in ("HTTP", "HTTPS", "PUBLISHED", "CLICKHOUSE", "PROMETHEUS", "GRAFANA")),
    }
)
# Read by tests and benchmarks; `axonpush up` sets the last one for its children.
DEVELOPMENT: Final = frozenset(
    {
        *("AXONPUSH_TEST_DOCKER", "AXONPUSH_REQUIRE_CLIENTS", "AXONPUSH_WRITE_CLIENTS_TABLE", "AXONPUSH_HAPROXY"),
        *("AXONPUSH_FUZZ_PYTHON", "AXONPUSH_FUZZ_TWINS", "AXONPUSH_STARTED_BY_UP"),
    }
)
# Read by the axonpush packages that send events, which an application may run beside our programs.
SENDERS: Final = frozenset(
    f"AXONPUSH_{name}"
    for name in (
        *("API_KEY", "BASE_URL", "CHANNEL_ID", "ENVIRONMENT", "FAIL_OPEN", "MAX_RETRIES", "TENANT_ID", "TIMEOUT"),
        *("CONTENT_CAPTURE_MODE", "REDACT_KEYS", "MAX_CONTENT_LENGTH"),
    )
)
# Read by commands that ask the console.
COMMANDS: Final = frozenset({"AXONPUSH_AUTH_TOKEN"})
# Settings of older versions, and why they are gone.
REMOVED: Final = {
    "AXONPUSH_WORKER_DRY_RUN": "removed: such a worker consumed live messages and stored no rows of them",
}
KNOWN: Final = frozenset(SETTINGS) | DEPLOYMENT | DEVELOPMENT | SENDERS | COMMANDS
# Kubernetes sets these for each service whose name begins with `axonpush`.
_SERVICE_LINK: Final = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp)://")


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Names of unknown AXONPUSH_* variables. Upper and lower case are the same, as for settings."""
    return sorted(
        name
        for name, value in environment.items()
        if name.upper().startswith(PREFIX)
        and name.upper() not in KNOWN
        and not _is_service_link(name.upper(), value, environment)
    )


def explanation(names: list[str]) -> str:
    """All of them in one text, each with the most similar setting. Values are never shown: they may be secrets."""
    listed = ", ".join(_with_nearest(name) for name in names)
    return (
        f"settings are invalid: expected AXONPUSH_* variables that axonpush-ingest knows, found {listed}. "
        "Correct or unset them; docs/settings.md lists all"
    )


def check_variables() -> None:
    """Ends the process with 2 if its environment has unknown AXONPUSH_* variables."""
    if names := unknown_variables(os.environ):
        print(f"axonpush: {explanation(names)}", file=sys.stderr)
        sys.exit(BAD_USAGE)


def _with_nearest(name: str) -> str:
    if why := REMOVED.get(name.upper()):
        return f"{name} ({why})"
    # Without the prefix, which makes every two names similar.
    candidates = [setting.removeprefix(PREFIX) for setting in SETTINGS]
    nearest = get_close_matches(name.upper().removeprefix(PREFIX), candidates, n=1)
    return f"{name} (did you mean {PREFIX}{nearest[0]}?)" if nearest else f"{name} (no setting has a similar name)"


def _is_service_link(name: str, value: str, environment: Mapping[str, str]) -> bool:
    if "KUBERNETES_SERVICE_HOST" not in environment:
        return False
    return bool(_SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_ADDRESS.match(value)))
