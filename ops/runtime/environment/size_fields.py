"""The type of settings in bytes, which take a size with a unit as options of the command line do."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator

from ops.runtime.environment.sizes import parse_size

_PLAIN: Final = re.compile(r"-?\d+")


def _of_variable(value: object) -> object:
    """A plain number is checked by pydantic, which says what is wrong with it. The text may be a secret: not shown."""
    if not isinstance(value, str) or _PLAIN.fullmatch(value.strip()):
        return value
    try:
        return parse_size(value)
    except ValueError:
        raise ValueError(f"expected a size like 512MiB or 10GB, found other text ({len(value)} characters)") from None


# A setting in bytes that also takes a size with a unit.
SizeBytes = Annotated[int, BeforeValidator(_of_variable)]
