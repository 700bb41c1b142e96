"""What makes two events the same: fingerprint, group hash and title. Nothing is looked up or remembered."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

from workers.normalise.exceptions import Raised, headline
from workers.normalise.message import Message
from workers.normalise.scalars import as_text, first_line

FINGERPRINT_INVALID: Final = "fingerprint_invalid"

UNLABELED: Final = "<unlabeled event>"
MAX_TITLE_LENGTH: Final = 256
MAX_FINGERPRINT_PARTS: Final = 64
MAX_FINGERPRINT_LENGTH: Final = 1_000

_DEFAULT: Final = re.compile(r"\{\{\s*default\s*\}\}")
# What differs from event to event in one and the same message: ids, addresses, numbers.
_VARIABLE: Final = re.compile(
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b0x[0-9a-fA-F]+\b|\b(?=[a-f]*\d)[0-9a-f]{16,}\b|\d+(?:\.\d+)*"
)
# Names that a runtime makes up anew on each start, such as Foo$$Lambda$14/0x000801 and $Proxy12.
_GENERATED: Final = re.compile(r"\$\$Lambda[\w$/.]*|\$Proxy\d+|0x[0-9a-fA-F]+")


def title(thrown: Raised | None, message: Message) -> str:
    """'ValueError: bad thing' of the thrown exception, else the first line of the message."""
    if thrown is not None:
        return first_line(headline(thrown), MAX_TITLE_LENGTH) or UNLABELED
    return first_line(message.text, MAX_TITLE_LENGTH) or UNLABELED


def read_fingerprint(value: Any, repairs: list[str]) -> list[str]:
    """The SDK's fingerprint, `{{ default }}` included, as text; [] if there is none or it is not a list of scalars."""
    if value is None:
        return []
    if value.__class__ is not list or any(part.__class__ in (dict, list) for part in value):
        repairs.append(FINGERPRINT_INVALID)
        return []
    return [as_text(part)[:MAX_FINGERPRINT_LENGTH] for part in value[:MAX_FINGERPRINT_PARTS] if part is not None]


def group_hash(fingerprint: list[str], identity: list[str], message: Message) -> str:
    """32 hex digits to GROUP BY: the fingerprint if the SDK sent one, with `{{ default }}` standing for our own.

    Our own is the exceptions' types and in-app frames (`identity`), else the message's template without its numbers.
    """
    default = _digest(_default_parts(identity, message))
    if not fingerprint or (len(fingerprint) == 1 and _DEFAULT.fullmatch(fingerprint[0])):
        return default
    return _digest(["fingerprint", *(_DEFAULT.sub(default, part) for part in fingerprint)])


def _default_parts(identity: list[str], message: Message) -> list[str]:
    if not identity:
        return ["message", _VARIABLE.sub("#", message.template or message.text)]
    if "|" not in "".join(identity):
        return ["exception", *(_VARIABLE.sub("#", part) for part in identity)]
    # A recursion of any depth is one and the same error.
    parts = [part for index, part in enumerate(identity) if index == 0 or part != identity[index - 1]]
    return ["exception", *parts]


def _digest(parts: list[str]) -> str:
    text = "\n".join(parts)
    if "$" in text or "0x" in text:
        text = _GENERATED.sub("#", text)
    return blake2b(text.encode(), digest_size=16).hexdigest()
