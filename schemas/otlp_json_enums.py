"""Names of OTLP's enums, which OTLP/JSON forbids and some exporters send: name to number."""

from __future__ import annotations

from typing import Final

KINDS: Final = {
    f"SPAN_KIND_{name}": number
    for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
STATUSES: Final = {f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))}
SEVERITIES: Final = {
    f"SEVERITY_NUMBER_{name}{step or ''}": base + (step or 1) - 1
    for base, name in ((1, "TRACE"), (5, "DEBUG"), (9, "INFO"), (13, "WARN"), (17, "ERROR"), (21, "FATAL"))
    for step in (0, 2, 3, 4)
} | {"SEVERITY_NUMBER_UNSPECIFIED": 0}
