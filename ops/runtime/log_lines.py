"""Formats log lines: one format, keys masked, repeated lines limited; a log call never raises."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Literal

import structlog
from prometheus_client import Counter

from ops.runtime.output import Output, protected
from schemas.key_masking import mask_keys_in

# In each interval at most this many lines of one kind are written. The next line says how many were left out.
LINES: Final = 5
INTERVAL_S: Final = 30.0
MAX_KINDS: Final = 1024
_LIMITED: Final = frozenset({"warning", "error", "critical", "exception"})
# These fields and the event name define a kind. Fields that senders control are not among them.
_ABOUT: Final = ("level", "worker", "table", "durable", "stream", "stage", "logger")

LEFT_OUT: Final = Counter("axonpush_log_lines_left_out", "log lines left out because of too many of one kind")


class Limiter:
    """A structlog processor that writes at most LINES warnings and errors of one kind in INTERVAL_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # kind -> (end of its interval, lines written in it, lines left out)
        self._kinds: OrderedDict[tuple[str, ...], tuple[float, int, int]] = OrderedDict()

    def __call__(self, _logger: Any, method: str, event: Any) -> Any:
        """Returns the event, with `left_out` if lines before it were left out; raises DropEvent."""
        if method not in _LIMITED:
            return event
        kind = (str(event.get("event"))[:100], *(str(event.get(name, "")) for name in _ABOUT))
        left_out = self.left_out_before(kind)
        if left_out is None:
            raise structlog.DropEvent
        if left_out:
            event["left_out"] = left_out
        return event

    def left_out_before(self, kind: tuple[str, ...]) -> int | None:
        """Counts a line of `kind`. Returns how many lines before it were left out, or None if it is left out too."""
        now_s = self._clock()
        ends_s, lines, left_out = self._kinds.pop(kind, (now_s + INTERVAL_S, 0, 0))
        if now_s >= ends_s:
            ends_s, lines = now_s + INTERVAL_S, 0
        if lines >= LINES:
            self._kinds[kind] = (ends_s, lines, left_out + 1)
            LEFT_OUT.inc()
            return None
        self._kinds[kind] = (ends_s, lines + 1, 0)
        while len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)
        return left_out


def mask_line(_logger: Any, _method: str, line: Any) -> Any:
    """The last structlog processor: replaces keys by asterisks, also where a log call quotes a sender's text."""
    return mask_keys_in(line)


class _MaskingFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats and masks log lines of libraries, which use the standard logging module."""

    def format(self, record: logging.LogRecord) -> str:
        return mask_keys_in(super().format(record))


class _Handler(logging.Handler):
    """Writes lines of the standard logging module to an Output; counts lines that cannot be formatted."""

    def __init__(self, output: Output, limiter: Limiter) -> None:
        super().__init__()
        self._output = output
        self._limiter = limiter

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # The unformatted message: the arguments may be anything.
            kind = (str(record.msg)[:100], record.name, record.levelname)
            if record.levelno >= logging.WARNING and self._limiter.left_out_before(kind) is None:
                return
            self._output.write(self.format(record) + "\n")
        except Exception:
            self._output.lose()


def configure(level_name: str, log_format: Literal["json", "console"]) -> None:
    """Configures structured logs on stderr, including the standard logging module. After this no log call raises."""
    level = logging.getLevelNamesMapping()[level_name.upper()]
    console = log_format == "console"
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    output = protected(sys.stderr)
    output.note = _lost_line(shared, renderer)
    limiter = Limiter()
    handler = _Handler(output, limiter)
    handler.setFormatter(
        _MaskingFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[handler], level=level, force=True)
    first: list[Any] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, limiter]
    structlog.configure(
        processors=[*first, *shared[1:], renderer, mask_line],
        wrapper_class=_never_raising(structlog.make_filtering_bound_logger(level), output),
        logger_factory=structlog.WriteLoggerFactory(output),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


def _never_raising(logger_class: type[Any], output: Output) -> type[Any]:
    """A bound logger that counts a line it cannot format instead of raising."""

    class NeverRaising(logger_class):  # type: ignore[misc]
        def _proxy_to_logger(self, *arguments: Any, **event: Any) -> Any:
            try:
                return super()._proxy_to_logger(*arguments, **event)
            except Exception:
                output.lose()
                return None

    return NeverRaising


def _lost_line(shared: list[Any], renderer: Any) -> Callable[[int], str]:
    def line(lines: int) -> str:
        event: Any = {"event": "log_lines_lost", "lines": lines}
        with contextlib.suppress(Exception):
            for processor in (*shared, renderer):
                event = processor(None, "warning", event)
            return str(event)
        return f'{{"event": "log_lines_lost", "lines": {lines}}}'

    return line
