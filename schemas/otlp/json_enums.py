"""Maps names of OTLP enums to numbers. OTLP/JSON forbids names, but some exporters send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _named(prefix: str, numbers: Mapping[str, int]) -> dict[str, int]:
    """Each name with its prefix, as in protobuf's JSON, and without, as Fluent Bit and others write it."""
    return {f"{prefix}_{name}": number for name, number in numbers.items()} | dict(numbers)


_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_LEVELS: Final = ((1, "TRACE"), (5, "DEBUG"), (9, "INFO"), (13, "WARN"), (17, "ERROR"), (21, "FATAL"))

KINDS: Final = _named("SPAN_KIND", {name: number for number, name in enumerate(_KINDS)})
STATUSES: Final = _named("STATUS_CODE", {name: number for number, name in enumerate(("UNSET", "OK", "ERROR"))})
SEVERITIES: Final = _named(
    "SEVERITY_NUMBER",
    {f"{name}{step or ''}": base + (step or 1) - 1 for base, name in _LEVELS for step in (0, 2, 3, 4)}
    | {"UNSPECIFIED": 0},
)
