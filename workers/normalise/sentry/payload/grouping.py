"""What makes two events the same: fingerprint, group hash and title. Nothing is looked up or remembered."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

from workers.normalise.scalars import as_list, as_text, first_line
from workers.normalise.sentry.payload.exceptions import Raised, label
from workers.normalise.sentry.payload.masking import masked, without_generated
from workers.normalise.sentry.payload.message import EventMessage

FINGERPRINT_INVALID: Final = "fingerprint_invalid"
FINGERPRINT_CUT: Final = "fingerprint_cut"

UNLABELED: Final = "<unlabeled event>"
MAX_TITLE_LENGTH: Final = 256
MAX_FINGERPRINT_PARTS: Final = 64
MAX_FINGERPRINT_LENGTH: Final = 1_000

# Generated names are looked for in so much of what identifies an event; the rest counts as it is.
MAX_SEARCHED_LENGTH: Final = 256 * 1024

_DEFAULT: Final = re.compile(r"\{\{\s{0,100}+default\s{0,100}+\}\}")


def title(thrown: Raised | None, message: EventMessage) -> str:
    """'ValueError: bad thing' of the exception an event is about, else the first line of the message."""
    if thrown is not None:
        return first_line(label(thrown), MAX_TITLE_LENGTH) or UNLABELED
    return first_line(message.text, MAX_TITLE_LENGTH) or UNLABELED


def read_fingerprint(value: Any, repairs: list[str]) -> list[str]:
    """The SDK's fingerprint as text, `{{ default }}` as it stands; [] if there is none or it is no list.

    Parts that are lists or objects are left out, as Relay does, and named.
    """
    if value is None:
        return []
    if value.__class__ is not list:
        repairs.append(FINGERPRINT_INVALID)
        return []
    parts = [part for part in as_list(value)[:MAX_FINGERPRINT_PARTS] if part.__class__ not in (dict, list)]
    if len(parts) < min(len(value), MAX_FINGERPRINT_PARTS):
        repairs.append(FINGERPRINT_INVALID)
    texts = [as_text(part) for part in parts if part is not None]
    if len(value) > MAX_FINGERPRINT_PARTS or any(len(text) > MAX_FINGERPRINT_LENGTH for text in texts):
        repairs.append(FINGERPRINT_CUT)
    return [text[:MAX_FINGERPRINT_LENGTH] for text in texts]


def expand_fingerprint(fingerprint: list[str], identity: list[str], message: EventMessage) -> list[str]:
    """The fingerprint with our own hash in the place of `{{ default }}`."""
    if not any(_DEFAULT.search(part) for part in fingerprint):
        return fingerprint
    default = _default_hash(identity, message)
    return [_DEFAULT.sub(default, part) for part in fingerprint]


def group_hash(fingerprint: list[str], identity: list[str], message: EventMessage) -> str:
    """32 hex digits to GROUP BY: the fingerprint if the SDK sent one, with `{{ default }}` standing for our own.

    Our own is the exceptions' types and in-app frames (`identity`), else the message's template, masked.
    """
    if not fingerprint or (len(fingerprint) == 1 and _DEFAULT.fullmatch(fingerprint[0])):
        return _default_hash(identity, message)
    return _digest(["fingerprint", *expand_fingerprint(fingerprint, identity, message)])


def _default_hash(identity: list[str], message: EventMessage) -> str:
    text = "\n".join(_default_parts(identity, message))
    return _digest([without_generated(text[:MAX_SEARCHED_LENGTH]) + text[MAX_SEARCHED_LENGTH:]])


def _default_parts(identity: list[str], message: EventMessage) -> list[str]:
    if not identity:
        return ["message", masked(message.template or message.text)]
    return ["exception", *identity]


def _digest(parts: list[str]) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
