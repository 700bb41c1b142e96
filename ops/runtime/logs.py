"""How every process logs: structured lines on stderr, libraries included, without keys."""

from __future__ import annotations

from ops.runtime.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Structured logs on stderr, stdlib loggers included; no log call, and no write to stdout or stderr, raises."""
    from ops.runtime import log_lines, output  # noqa: PLC0415 (commands that end at once need neither)

    output.protect_output()
    log_lines.configure(settings.log_level, settings.log_format)
