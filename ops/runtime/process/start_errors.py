"""What a program says when it cannot start: expected, found, what to do. No traceback, no text of a library."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from pydantic import ValidationError

# Exit codes of every program.
FAILED: Final = 1
BAD_USAGE: Final = 2

_EXPECTED: Final[Mapping[str, str]] = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than_equal": "{le} or less",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "missing": "a value",
}
# Only numbers are shown: any other text may be a secret that was put into the wrong variable.
_NUMBER: Final = re.compile(r"-?[0-9.]{1,20}")


def settings_text(error: ValidationError) -> str:
    """All wrong settings in one sentence each."""
    return "settings are invalid: " + "; ".join(
        _setting(detail) for detail in error.errors(include_url=False, include_context=True)
    )


def _setting(detail: Any) -> str:
    name = f"AXONPUSH_{str(detail['loc'][-1]).upper()}" if detail["loc"] else "AXONPUSH_*"
    kind, context = detail["type"], detail.get("ctx", {})
    template = _EXPECTED.get(kind)
    if template is None:  # a check of ours, whose text says expected and found
        return f"{name}: {str(detail['msg']).removeprefix('Value error, ')}"
    given = str(detail.get("input", ""))
    actual = given if _NUMBER.fullmatch(given) else "no value" if not given else f"other text ({len(given)} characters)"
    expected = template.format(**{key: _short(value) for key, value in context.items()})
    return f"{name}: expected {expected}, found {actual}. Correct or unset it; docs/settings.md describes it"


def _short(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def serve_metrics(port: int, variable: str, host: str = "0.0.0.0") -> None:
    """Serves /metrics in a thread. Raises Failed if the port cannot be had."""
    from prometheus_client import start_http_server  # noqa: PLC0415 (only where metrics are served)

    try:
        start_http_server(port, host)
    except OSError as error:
        raise port_failure(error, port, variable) from error


def port_failure(error: OSError, port: int, variable: str) -> Failed:
    """Why nothing can listen on a port."""
    if error.errno == errno.EADDRINUSE:
        return Failed(
            f"expected port {port} to be free, found it taken: stop its owner, or set {variable} to another port"
        )
    if error.errno == errno.EACCES:
        return Failed(
            f"expected to be allowed to listen on port {port}, found no permission: set {variable} to a port above 1023"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Failed(
            f"expected an address of this machine for port {port}, found none: correct the host beside {variable}"
        )
    return Failed(f"cannot listen on port {port} ({error.strerror or error}): set {variable}")
