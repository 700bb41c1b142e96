"""The records of an OTLP body, the same for both encodings, and the limits of a body."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

# Values nested deeper than MAX_DEPTH are kept as JSON text; anything in that text deeper than HARD_DEPTH becomes CUT.
# Real telemetry has three or four levels; protobuf's own C decoder stops at 50.
MAX_DEPTH: Final = 32
HARD_DEPTH: Final = 48
CUT: Final = "…"

# Limits of one body. Two bytes on the wire can be an object, so these limit the seconds that a hostile body costs
# (docs/decisions/0019-cost-of-a-message.md). Real exporters stay far below: the collector batches 8192 records, and
# SDKs cut a record at 128 attributes.
MAX_RECORDS: Final = 200_000
# Resources and scopes together.
MAX_BLOCKS: Final = 100_000
# Events, links, items of lists and maps, and attributes that are more than a key and a scalar.
MAX_PARTS: Final = 1_000_000
# Limits per byte: a record with content takes 12 bytes, a resource or scope with a record more than 64, an item of a
# list of numbers 4. A hundred bytes of gzip can be 200,000 records of two bytes.
FREE_RECORDS: Final = 1_000
RECORD_BYTES: Final = 12
FREE_BLOCKS: Final = 1_000
BLOCK_BYTES: Final = 64
FREE_PARTS: Final = 20_000
PART_BYTES: Final = 4
# An OTLP/JSON object takes more bytes.
OBJECT_BYTES: Final = 8

# Flaws: repairs made while parsing, named in the row.
BYTES_BUFFER: Final = "bytes_buffer"
BYTES_UNREADABLE: Final = "bytes_unreadable"
DOUBLE_NULL: Final = "double_null"
DUPLICATE_ATTRIBUTE: Final = "duplicate_attribute"
ENUM_NAME: Final = "enum_name"
ENUM_UNKNOWN: Final = "enum_unknown"
INTEGER_AS_DOUBLE: Final = "integer_as_double"
INVALID_UTF8: Final = "invalid_utf8"
NESTING_CUT: Final = "nesting_cut"
NULL_DROPPED: Final = "null_dropped"
NUMBER_UNREADABLE: Final = "number_unreadable"
SNAKE_CASE: Final = "snake_case"
STRING_INDEX: Final = "string_index_ignored"

# Reasons for refusing a record while parsing.
MALFORMED_RECORD: Final = "malformed_record"
MALFORMED_RESOURCE: Final = "malformed_resource"


class OtlpError(ValueError):
    """The whole body cannot be decoded: the sender gets a 400."""


class TooMany(OtlpError):
    """The body exceeds a limit; other errors in it do not matter then."""


class NonFinite(float):
    """NaN or an infinity. A separate class, because orjson writes a plain NaN as null but asks about subclasses."""

    __slots__ = ()


# str | int (64 bits, signed) | float | NonFinite | bool | None | bytes | list of Value | dict of str to Value.
Value = Any
Attributes = dict[str, Value]
Flaws = tuple[str, ...]


class OtlpSpan(NamedTuple):
    """One span. Ids are lower-case hex as sent, not checked yet; times are ns since 1970, 0 = missing.

    `events` and `links` are JSON objects with OTLP/JSON member names, without empty members, attributes as an object.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    trace_state: str
    flags: int
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    dropped_attributes: int
    events: list[dict[str, Value]]
    dropped_events: int
    links: list[dict[str, Value]]
    dropped_links: int
    status_code: int
    status_message: str
    flaws: Flaws


class LogRecord(NamedTuple):
    """One log record. Ids are lower-case hex as sent, not checked yet; times are ns since 1970, 0 = missing."""

    time_ns: int
    observed_ns: int
    severity_number: int
    severity_text: str
    body: Value
    event_name: str
    attributes: Attributes
    dropped_attributes: int
    flags: int
    trace_id: str
    span_id: str
    flaws: Flaws


class Malformed(NamedTuple):
    """A refused record: a reason for grouping, and what was expected and found."""

    reason: str
    detail: str


Record = OtlpSpan | LogRecord | Malformed

# A record without content: one object for all of them, so that a body full of them costs next to nothing.
EMPTY_SPAN: Final = OtlpSpan("", "", "", "", 0, "", 0, 0, 0, {}, 0, [], 0, [], 0, 0, "", ())
EMPTY_LOG: Final = LogRecord(0, 0, 0, "", None, "", {}, 0, 0, "", "", ())


class ScopeRecords(NamedTuple):
    """The records of one instrumentation scope in the order sent. `flaws` apply to each of them."""

    name: str
    version: str
    attributes: Attributes
    schema_url: str
    flaws: Flaws
    records: Sequence[Record]


class Resource(NamedTuple):
    """One resource and its scopes. `flaws` apply to every record in it."""

    attributes: Attributes
    schema_url: str
    flaws: Flaws
    scopes: list[ScopeRecords]


EMPTY_SCOPE: Final = ScopeRecords("", "", {}, "", (), ())
EMPTY_RESOURCE: Final = Resource({}, "", (), [])


@dataclass(slots=True)
class ExportRequest:
    """One export request. `warnings` describe problems in what was accepted or ignored.

    `empty` counts its records that are EMPTY_SPAN or EMPTY_LOG.
    """

    resources: list[Resource] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    empty: int = 0

    def records(self) -> list[Record]:
        """All records of the request, in order."""
        return list(self.each())

    def each(self) -> Iterator[Record]:
        """The same as an iterator: records are created only on demand."""
        return (record for resource in self.resources for scope in resource.scopes for record in scope.records)

    def count(self) -> int:
        """The number of records."""
        return sum(len(scope.records) for resource in self.resources for scope in resource.scopes)


@dataclass(frozen=True, slots=True)
class Signal:
    """The differences between the two kinds of export request: names of their levels, and their path."""

    name: str
    resources: str
    scopes: str
    records: str
    path: str
    legacy: str
    # The former name of its records.
    legacy_records: str


TRACES: Final = Signal(
    "traces", "resourceSpans", "scopeSpans", "spans", "/v1/traces", "instrumentationLibrarySpans", "spans"
)
LOGS: Final = Signal(
    "logs", "resourceLogs", "scopeLogs", "logRecords", "/v1/logs", "instrumentationLibraryLogs", "logs"
)


@dataclass(slots=True)
class Allowance:
    """What was parsed of one body of `size_bytes` so far, compared with the limits of a body.

    `empty` counts records without content, `empty_blocks` such resources and scopes: they cost next to nothing.
    """

    size_bytes: int
    records: int = 0
    blocks: int = 0
    parts: int = 0
    empty: int = 0
    empty_blocks: int = 0

    def add_records(self, count: int, empty: int = 0) -> None:
        """Counts records, `empty` of them without content. Raises TooMany above MAX_RECORDS, or the limit per byte."""
        self.records += count
        self.empty += empty
        if self.records > MAX_RECORDS:
            raise _too_many(MAX_RECORDS, "records")
        most = FREE_RECORDS + self.size_bytes // RECORD_BYTES
        if self.records - self.empty > most:
            raise _too_dense(most, "records", self.size_bytes)

    def add_blocks(self, count: int, empty: int = 0) -> None:
        """Counts resources or scopes. Raises TooMany above MAX_BLOCKS, or the limit per byte."""
        self.blocks += count
        self.empty_blocks += empty
        if self.blocks > MAX_BLOCKS:
            raise _too_many(MAX_BLOCKS, "resources and scopes")
        most = FREE_BLOCKS + self.size_bytes // BLOCK_BYTES
        if self.blocks - self.empty_blocks > most:
            raise _too_dense(most, "resources and scopes", self.size_bytes)

    def add_objects(self, count: int, empty: int) -> None:
        """Counts all objects of a JSON body, `empty` of them records, scopes or resources without content. Raises
        TooMany.
        """
        if count > MAX_PARTS:
            raise _too_many(MAX_PARTS, _PARTS)
        most = FREE_PARTS + self.size_bytes // OBJECT_BYTES
        if count - empty > most:
            raise _too_dense(most, _PARTS, self.size_bytes)

    def add_parts(self, count: int) -> None:
        """Counts parts of records. Raises TooMany above MAX_PARTS, or the limit per byte."""
        self.parts += count
        if self.parts > MAX_PARTS:
            raise _too_many(MAX_PARTS, _PARTS)
        most = FREE_PARTS + self.size_bytes // PART_BYTES
        if self.parts > most:
            raise _too_dense(most, _PARTS, self.size_bytes)


_PARTS: Final = "events, links, list items and structured attributes"


def _too_many(most: int, what: str) -> TooMany:
    return TooMany(f"expected at most {most} {what} in one request, found more; send smaller batches")


def _too_dense(most: int, what: str, size_bytes: int) -> TooMany:
    return TooMany(
        f"expected at most {most} {what} in one request of {size_bytes} bytes, found more; send records with content"
    )


def legacy_warning(signal: Signal) -> str:
    """The warning about levels that OTLP 0.15 renamed and 1.0 removed. Their records are accepted."""
    return f"{signal.legacy} is no longer part of OTLP; it was read all the same: send {signal.scopes}"


def legacy_refusal(signal: Signal) -> Malformed:
    """Why records of the old level are refused beside the new one: senders write the same records into both."""
    return Malformed(
        MALFORMED_RESOURCE,
        f"expected records in {signal.scopes} or in {signal.legacy}, found both: the latter were refused",
    )


def settled(flaws: list[str]) -> Flaws:
    """Each flaw once, in an order that does not depend on the encoding."""
    return tuple(sorted(set(flaws)))


def span_event_json(time_ns: int, name: str, attributes: Attributes, dropped: int) -> dict[str, Value]:
    """A span event as JSON: no empty members, always in this order, so that equal events are equal text."""
    members = {"timeUnixNano": time_ns, "name": name, "attributes": attributes, "droppedAttributesCount": dropped}
    return {member: value for member, value in members.items() if value}


def link(ids: tuple[str, str], trace_state: str, attributes: Attributes, dropped: int, flags: int) -> dict[str, Value]:
    """A span link as JSON: no empty members, always in this order. `ids` are trace and span id."""
    members = {
        "traceId": ids[0],
        "spanId": ids[1],
        "traceState": trace_state,
        "attributes": attributes,
        "droppedAttributesCount": dropped,
        "flags": flags,
    }
    return {member: value for member, value in members.items() if value}


def bound_depth(container: list[Value] | dict[str, Value], depth: int, flaws: list[str]) -> Value:
    """`container`, or its JSON text if it is the first one that is nested too deep."""
    if depth != MAX_DEPTH + 1:
        return container
    flaws.append(NESTING_CUT)
    return json_text(container)


def json_text(value: Value) -> str:
    """Compact JSON. Bytes and non-finite doubles take their OTLP/JSON form, which differs from plain strings."""
    return orjson.dumps(value, default=_otlp_json).decode()


def _otlp_json(value: object) -> object:
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, NonFinite):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - NaN alone differs
    raise TypeError(f"expected an attribute value, found {type(value).__name__}")
