"""How a process that serves until a signal starts and ends: settings, logs, the limit of open files, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import structlog
import uvloop
from pydantic import ValidationError

from ops.runtime.failures import Failed
from ops.runtime.logs import configure_logging
from ops.runtime.process.file_limit import raise_file_limit
from ops.runtime.process.start_errors import BAD_USAGE, FAILED, settings_text
from ops.runtime.settings import Settings

OwnSettings = TypeVar("OwnSettings", bound=Settings)

log = structlog.get_logger()


def run_process(
    command: str,
    read_settings: Callable[[], OwnSettings],
    run: Callable[[OwnSettings], Coroutine[Any, Any, None]],
    address: Callable[[OwnSettings], Mapping[str, object]] = lambda _settings: {},
) -> None:
    """Runs `axonpush COMMAND` in this process. Exit codes: 0 stopped, 1 failed, 2 bad settings.

    `address` says where it should have listened; that is logged when it failed.
    """
    try:
        settings = read_settings()
    except ValidationError as error:
        sys.stderr.write(f"axonpush {command}: {settings_text(error)}\n")
        sys.exit(BAD_USAGE)
    configure_logging(settings)
    raise_file_limit()
    try:
        uvloop.run(run(settings))
    except (Failed, OSError) as error:
        log.error(f"{command}_failed", error=str(error), **address(settings))
        sys.exit(FAILED)
