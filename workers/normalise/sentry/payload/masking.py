"""Texts without what differs each time one and the same thing happens: ids, numbers, addresses."""

from __future__ import annotations

import re
from typing import Final

# What Sentry looks at of a message, too: the first two lines that are not blank. More is a dump of something.
MAX_LINES: Final = 2
MAX_LENGTH: Final = 2_000

_MASK: Final = "#"
# In the order of preference. A letter or digit beside a match would make it a part of a word; `_` and `-` do not.
_ADDRESS: Final = r"""
      (?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,64}+(?:\.[\w-]{1,64}+)+                         # e-mail
    | """
_OTHERS: Final = r"""
      (?<=[\w/])\?[\w.~%\[\]-]{1,100}=[^\s'")>]*                                        # query of a URL
    | (?<![A-Za-z0-9])(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},?[ ](?=\d|[A-Z][a-z]{2}[ ]\d)  # day before a date
    | (?<![A-Za-z0-9])(?:
          [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}                          # UUID
        | 0[xX][0-9a-fA-F]+                                                             # address
        | (?:[0-9a-fA-F]{1,4}:){3,7}(?::?[0-9a-fA-F]{1,4})                              # IPv6, MAC
        | (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}(?=[ ]\d)        # month of a date
        | (?=(?:[A-Za-z]{0,64}\d){2})(?=\d{0,64}[A-Za-z])[A-Za-z0-9]{6,}                # id of letters and digits
      )(?![A-Za-z0-9])
    | (?:(?<![\w.)\]-])-)?\d+(?:[.,]\d+)*                                               # number
    """
_VARIABLE: Final = re.compile(_ADDRESS + _OTHERS, re.VERBOSE | re.ASCII)
# At the start of every word an address would be looked for, and few texts have one.
_WITHOUT_ADDRESS: Final = re.compile(_OTHERS, re.VERBOSE | re.ASCII)
# Names that a runtime or a compiler makes up anew: Foo$$Lambda$14/0x000801, $Proxy12, Bean$$SpringCGLIB$$0,
# lambda$run$3, GeneratedMethodAccessor81, and the hash at the end of a Rust symbol.
_GENERATED: Final = re.compile(
    r"\$\$[A-Z]\w*(?:[$/.][\w$/.]*)?|\$Proxy\d+|(?<=lambda\$)\w*\$\d+|(?<=Accessor)\d+|::h[0-9a-f]{16}\b|0x[0-9a-fA-F]+"
)


def masked(text: str) -> str:
    """The text's beginning with `#` for whatever is likely to be another next time."""
    lines = [line for line in text[: MAX_LENGTH * 2].splitlines() if line.strip()][:MAX_LINES]
    beginning = "\n".join(lines)[:MAX_LENGTH]
    return (_VARIABLE if "@" in beginning else _WITHOUT_ADDRESS).sub(_MASK, beginning)


def without_generated(name: str) -> str:
    """A function's or module's name without the parts that another run or build changes."""
    return _GENERATED.sub(_MASK, name) if "$" in name or "0x" in name or "::h" in name or "Accessor" in name else name
