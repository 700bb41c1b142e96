"""Attributes of one row in four typed maps, as the table keeps them. Which there are is decided elsewhere."""

from __future__ import annotations

import re
from typing import Any, Final

from schemas.tolerant_json import dumps_text
from workers.normalise.scalars import FROM_TEXT, number, whole
from workers.normalise.size_limits import ranked

MAX_ATTRIBUTES: Final = 1_000
MAX_KEY_LENGTH: Final = 200
ATTRIBUTES_DROPPED: Final = "attributes_dropped"
ATTRIBUTES_INVALID: Final = "attributes_invalid"
RESOURCE_TRUNCATED: Final = "resource_truncated"

ATTRIBUTE_COLUMNS: Final = ("attributes_string", "attributes_int", "attributes_double", "attributes_bool")

# What columns of the table read from a resource; no other attribute is kept in place of one of these.
_RESOURCE_KEYS: Final = frozenset(
    {
        *("service.name", "service.namespace", "service.version", "service.instance.id", "host.name", "k8s.pod.name"),
        *("deployment.environment.name", "deployment.environment", "telemetry.sdk.name", "telemetry.sdk.version"),
        "telemetry.sdk.language",
    }
)
shared_rank: Final = ranked(_RESOURCE_KEYS.__contains__, lambda key: key.startswith(("service.", "telemetry.")))
# What columns read from a record, by the beginnings of names: kept however many other attributes come first.
_KEPT: Final = re.compile(
    r"gen_ai\.(?!prompt\.|completion\.)|llm\.(?!\w+_messages\.|prompts?\.|completions?\.)|ai\.|traceloop\.|openinference\."
    r"|exception\.|error\.|user\.|user_agent\.|enduser\.|session\.|http\.(?!\w+\.headers?\.)|url\.|db\.|messaging\."
    r"|rpc\.(?!.*metadata)|server\.address$|client\.address$|sentry\.|service\.|event\.name$|logger\.name$|release$"
    r"|environment$|transaction$|agent\.name$|tool\.name$|embedding\."
)
# More of them than any sender has.
MAX_KEPT: Final = 300

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_REPAIR_KEY_LENGTH: Final = 64

Maps = tuple[dict[str, str], dict[str, int], dict[str, float], dict[str, bool]]


class Attributes:
    """The four maps. A key is in one of them only and the first value wins; past MAX_ATTRIBUTES keys are counted."""

    __slots__ = ("bools", "doubles", "dropped", "ints", "keys", "most", "strings")

    def __init__(self) -> None:
        self.strings: dict[str, str] = {}
        self.ints: dict[str, int] = {}
        self.doubles: dict[str, float] = {}
        self.bools: dict[str, bool] = {}
        self.keys: set[str] = set()
        self.dropped = 0
        self.most = MAX_ATTRIBUTES

    def maps(self) -> Maps:
        """In the order of ATTRIBUTE_COLUMNS."""
        return self.strings, self.ints, self.doubles, self.bools

    def put(self, key: str, value: Any) -> None:
        """A JSON value under its own type: objects, lists and integers beyond 64 bits as text; null is no value."""
        keys = self.keys
        if value is None or key in keys or not key:
            return
        if len(keys) >= self.most or len(key) > MAX_KEY_LENGTH:
            self._put_beyond_limit(key, value)
            return
        keys.add(key)
        kind = value.__class__
        if kind is str:
            self.strings[key] = value
        elif kind is bool:
            self.bools[key] = value
        elif kind is float:
            self.doubles[key] = value
        elif kind is int and _INT64_MIN <= value <= _INT64_MAX:
            self.ints[key] = value
        else:
            self.strings[key] = dumps_text(value)

    def replace(self, key: str, text: str) -> None:
        """Another text for a string attribute that is there; '' removes it."""
        if text:
            self.strings[key] = text
        else:
            del self.strings[key]
            self.keys.discard(key)

    def put_texts(self, texts: dict[str, str]) -> None:
        """Many strings at once, under keys that are no longer than MAX_KEY_LENGTH."""
        if self.keys or len(texts) > MAX_ATTRIBUTES:
            self.put_all("", texts)
            return
        self.strings.update(texts)
        self.keys.update(texts)

    def put_all(self, prefix: str, values: dict[str, Any]) -> None:
        """Each value of an object under prefix + its key."""
        for key, value in values.items():
            self.put(prefix + key, value)

    def put_typed(self, cells: Any, repairs: list[str]) -> None:
        """Sentry attributes, `{key: {"value": v, "type": t}}`; a value that is not of its type is dropped and named.

        A bare value, or one without a type, is taken as what it is.
        """
        if cells.__class__ is not dict:
            if cells is not None:
                repairs.append(ATTRIBUTES_INVALID)
            return
        strings, keys = self.strings, self.keys
        for key, cell in cells.items():
            if cell.__class__ is not dict:
                self.put(key, cell)
                continue
            value, kind = cell.get("value"), cell.get("type")
            # nearly all of them; the rest of this loop would be three times slower
            if (
                kind == "string"
                and value.__class__ is str
                and 0 < len(key) <= MAX_KEY_LENGTH
                and len(keys) < MAX_ATTRIBUTES
            ):
                if key not in keys:
                    keys.add(key)
                    strings[key] = value
            elif value is not None:
                self._put_checked(key, value if kind is None else _checked(value, kind, key, repairs), repairs)

    def _put_checked(self, key: str, value: Any, repairs: list[str]) -> None:
        if value is None:
            repairs.append(f"attribute_type:{key[:_REPAIR_KEY_LENGTH]}")
        else:
            self.put(key, value)

    def text(self, key: str) -> str:
        """The string or integer attribute `key` as text, else ''."""
        value = self.strings.get(key)
        if value is not None:
            return value
        number = self.ints.get(key)
        return "" if number is None else str(number)

    def number(self, key: str) -> int | None:
        """The whole number under `key`, in whatever form it was sent; None if there is none."""
        number = self.ints.get(key)
        return number if number is not None else whole(self.doubles.get(key, self.strings.get(key)))

    def close(self, repairs: list[str]) -> None:
        """Name it if attributes were dropped."""
        if self.dropped:
            repairs.append(ATTRIBUTES_DROPPED)

    def _put_beyond_limit(self, key: str, value: Any) -> None:
        key = key[:MAX_KEY_LENGTH]
        if len(self.keys) < self.most:
            self.put(key, value)
        elif len(self.keys) < MAX_ATTRIBUTES + MAX_KEPT and key not in self.keys and _KEPT.match(key):
            self.most = MAX_ATTRIBUTES + MAX_KEPT
            self.put(key, value)
            self.most = MAX_ATTRIBUTES
        else:
            self.dropped += 1


def _checked(value: Any, kind: Any, key: str, repairs: list[str]) -> Any:
    """The value as its declared type has it, None if it does not match. A number in text is read, and named."""
    given = value.__class__
    if given is str and kind in ("integer", "double") and (read := _from_text(value, kind)) is not None:
        repairs.append(f"{FROM_TEXT}:{key[:_REPAIR_KEY_LENGTH]}")
        return read
    if kind == "string":
        return value if given is str else None
    if kind == "boolean":
        return value if given is bool else None
    if kind == "integer":
        return _integer(value)
    if kind == "double":
        return float(value) if given is int or given is float else None
    if kind == "array":
        return value if given is list and not any(part.__class__ in (dict, list) for part in value) else None
    return None


def _from_text(value: str, kind: str) -> int | float | None:
    parsed = number(value)
    if kind == "double":
        return None if parsed is None else float(parsed)
    return _integer(parsed)


def _integer(value: Any) -> int | None:
    """Writers without an integer type send 3.0 for 3."""
    if value.__class__ is float and value.is_integer():
        value = int(value)
    return value if value.__class__ is int and _INT64_MIN <= value <= _INT64_MAX else None
