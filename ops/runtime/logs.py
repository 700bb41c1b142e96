"""Configures logging for every process: structured lines on stderr, including libraries, without keys."""

from __future__ import annotations

from ops.runtime.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Configures structured logs on stderr. No log call, and no write to stdout or stderr, raises after this."""
    from ops.runtime import log_lines, output  # noqa: PLC0415 (commands that end at once need neither)

    output.protect_output()
    log_lines.configure(settings.log_level, settings.log_format)
