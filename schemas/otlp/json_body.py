"""Parses OTLP/JSON bodies: resources and scopes. json_records parses records, json_text the JSON text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final

import orjson

from schemas.compiled import readers as compiled
from schemas.compiled.readers import JsonScope
from schemas.otlp.json_any_values import attributes
from schemas.otlp.json_records import log, span
from schemas.otlp.json_text import count_objects, mend, parse_json
from schemas.otlp.json_values import (
    Members,
    WrongShape,
    items,
    kind_of,
    members,
    object_members,
    string,
)
from schemas.otlp.protobuf_body import ReadRecords
from schemas.otlp.protobuf_values import BodyTally
from schemas.otlp.record_blocks import LOGS as READ_LOGS
from schemas.otlp.record_blocks import SPANS as READ_SPANS
from schemas.otlp.records import (
    EMPTY_LOG,
    EMPTY_RESOURCE,
    EMPTY_SCOPE,
    EMPTY_SPAN,
    FREE_PARTS,
    INVALID_UTF8,
    LOGS,
    MALFORMED_RECORD,
    MALFORMED_RESOURCE,
    MAX_PARTS,
    OBJECT_BYTES,
    TRACES,
    Allowance,
    Attributes,
    ExportRequest,
    Malformed,
    OtlpError,
    Record,
    Resource,
    ScopeRecords,
    Signal,
    legacy_refusal,
    legacy_warning,
    settled,
)

_REQUEST: Final = members(TRACES.resources, LOGS.resources, "resourceMetrics")
_RESOURCE: Final = members("resource", TRACES.scopes, LOGS.scopes, "schemaUrl", TRACES.legacy, LOGS.legacy)
_SCOPE: Final = members("scope", TRACES.records, LOGS.records, "schemaUrl")
_SHARED: Final = members("name", "version", "attributes", "droppedAttributesCount")

_EMPTY: Final[dict[str, Any]] = {}
_SIGNAL_PATHS: Final = {TRACES.resources: TRACES.path, LOGS.resources: LOGS.path, "resourceMetrics": "/v1/metrics"}
# Maximum resources of another signal that are counted one by one.
MAX_OTHERS: Final = 1_000

ReadRecord = Callable[[Any, list[str]], Record]


def read(body: bytes, signal: Signal, read_records: ReadRecords | None = None) -> ExportRequest:
    """Parses a request. An empty list of resources is valid, a missing one is not. Raises OtlpError.

    `read_records` parses plain records, as protobuf messages, in place of the usual function.
    """
    objects = body.count(b"{")
    if compiled.text and objects <= _most_objects(len(body)):
        with suppress(orjson.JSONDecodeError):
            if plain := compiled.text(body, signal is LOGS):
                pieces, scopes = plain
                document = orjson.loads(b"".join(pieces))
                parsed = [(messages, [(index, orjson.loads(text)) for index, text in odd]) for messages, odd in scopes]
                return _read(_JsonReader(signal, len(body), False, parsed, read_records), document)
    try:
        document, unmended = parse_json(body)
    except ValueError as error:
        actual = f"{len(body)} bytes that are not JSON ({error})" if body else "no bytes at all"
        raise OtlpError(f"expected OTLP/JSON, an object with {signal.resources}, found {actual}") from error
    if not isinstance(document, dict):
        raise OtlpError(f"expected an object with {signal.resources}, found {kind_of(document)} at the top")
    reader = _JsonReader(signal, len(body), unmended, [])
    # Every part of a record is an object. Braces are counted in C; objects are only counted if the braces exceed the
    # limit.
    if objects > _most_objects(len(body)):
        reader.allowance.add_objects(count_objects(document), _count_empty(document, signal))
    return _read(reader, document)


def _most_objects(size_bytes: int) -> int:
    return min(MAX_PARTS, FREE_PARTS + size_bytes // OBJECT_BYTES)


def _count_empty(document: dict[str, Any], signal: Signal) -> int:
    """How many resources, scopes and records are empty objects, if the document has the shape of a request."""
    count = 0
    level = [document]
    for member in (signal.resources, signal.scopes, signal.records):
        lists = [objects for block in level if (objects := block.get(member)).__class__ is list]
        count += sum(objects.count(_EMPTY) for objects in lists)
        level = [block for objects in lists for block in objects if block and block.__class__ is dict]
    return count


def _read(reader: _JsonReader, document: dict[str, Any]) -> ExportRequest:
    signal = reader.signal
    document = object_members(document, _REQUEST, "the request", [])
    if signal.resources not in document:
        raise OtlpError(_missing(document, signal))
    try:
        resources = items(document, signal.resources)
    except WrongShape as error:
        raise OtlpError(f"{error}; send an OTLP {signal.name} export request") from error
    reader.allowance.add_blocks(len(resources), resources.count(_EMPTY))
    parsed = [EMPTY_RESOURCE if raw == _EMPTY else reader.resource(raw) for raw in resources]
    return ExportRequest(parsed + _of_others(document, signal), reader.warnings, reader.allowance.empty)


def _of_others(document: dict[str, Any], signal: Signal) -> list[Resource]:
    """One refused record for each resource of another signal in the body; their content is not parsed."""
    refused = []
    for member, path in _SIGNAL_PATHS.items():
        resources = document.get(member)
        if member != signal.resources and resources.__class__ is list and resources:
            error = WrongShape(f"expected {signal.resources} alone, found {member} too; send it to {path}")
            refused += [Resource({}, "", (), [_refused_scope(error)])] * min(len(resources), MAX_OTHERS)
    return refused


def _missing(document: dict[str, Any], signal: Signal) -> str:
    """The error text for a request without its required member."""
    other = LOGS if signal is TRACES else TRACES
    names = ", ".join(sorted(map(repr, document))[:5])[:200] or "no members"
    advice = f"this is a {other.name} export: send it to {other.path}" if other.resources in document else ""
    return f"expected {signal.resources} in the request, found {names}; {advice or 'send an empty list for nothing'}"


class _JsonReader:
    """Parses one request: which record function, whether strings need repair, which warnings to give."""

    def __init__(
        self,
        signal: Signal,
        size_bytes: int,
        unmended: bool,
        plain: list[JsonScope],
        read_records: ReadRecords | None = None,
    ) -> None:
        self.signal = signal
        self.other = LOGS if signal is TRACES else TRACES
        self.unmended = unmended
        self.plain = plain
        self.warnings: list[str] = []
        self.allowance = Allowance(size_bytes)
        self.empty: Record = EMPTY_SPAN if signal is TRACES else EMPTY_LOG
        self.read_record: ReadRecord = span if signal is TRACES else log
        self.read_plain: ReadRecords = read_records or (READ_SPANS if signal is TRACES else READ_LOGS)

    def resource(self, raw: object) -> Resource:
        """Parses ResourceSpans or ResourceLogs. Anything else counts as one refused record."""
        flaws: list[str] = []
        if raw is None:
            return Resource({}, "", (), [_null_scope(self.signal.resources)])
        try:
            block = object_members(raw, _RESOURCE, self.signal.resources, flaws)
            scopes, legacy = items(block, self.signal.scopes), items(block, self.signal.legacy)
            _check_known(block, _RESOURCE, self.signal.scopes)
        except WrongShape as error:
            return Resource({}, "", (), [_refused_scope(error)])
        self.allowance.add_blocks(len(scopes) + len(legacy), scopes.count(_EMPTY))
        try:
            resource = object_members(self.mended(block.get("resource"), flaws), _SHARED, "resource", flaws)
            resource_attributes = attributes(resource.get("attributes"), flaws)
            url = string(self.mended({"schemaUrl": block.get("schemaUrl")}, flaws), "schemaUrl")
        except WrongShape as error:
            return Resource({}, "", (), [self.scope(scope, _refuse(error)) for scope in (*scopes, *legacy)])
        read = self.read_record
        parsed = [EMPTY_SCOPE if scope == _EMPTY else self.scope(scope, read) for scope in scopes]
        if self.signal.legacy in block:
            parsed += self.legacy(legacy, any(scope.records for scope in parsed))
        parsed += _of_other(block, self.signal.scopes, (self.other.scopes, self.other.legacy))
        return Resource(resource_attributes, url, settled(flaws), parsed)

    def legacy(self, blocks: list[Any], is_repeated: bool) -> list[ScopeRecords]:
        """The scopes of the level that OTLP 0.15 renamed; refused if there are records in the new level too."""
        refusal = legacy_refusal(self.signal)
        if not is_repeated:
            self.warnings = [legacy_warning(self.signal)]
        read = (lambda _raw, _flaws: refusal) if is_repeated else self.read_record
        return [self.scope(_renamed(block, self.signal), read) for block in blocks]

    def scope(self, raw: object, read_record: ReadRecord) -> ScopeRecords:
        """Parses ScopeSpans or ScopeLogs."""
        flaws: list[str] = []
        name = version = url = ""
        scope_attributes: Attributes = {}
        if raw is None:
            return _null_scope(self.signal.scopes)
        try:
            block = object_members(raw, _SCOPE, self.signal.scopes, flaws)
            _check_known(block, _SCOPE, self.signal.records)
            records = self.sent(block)
        except WrongShape as error:
            return _refused_scope(error)
        try:
            scope = object_members(self.mended(block.get("scope"), flaws), _SHARED, "scope", flaws)
            name, version, scope_attributes = (
                string(scope, "name"),
                string(scope, "version"),
                attributes(scope.get("attributes"), flaws),
            )
            url = string(self.mended({"schemaUrl": block.get("schemaUrl")}, flaws), "schemaUrl")
        except WrongShape as error:
            read_record = _refuse(error)
        parsed = self.records(records, read_record)
        for lost in _of_other(block, self.signal.records, (self.other.records,)):
            parsed = [*parsed, *lost.records]
        return ScopeRecords(name, version, scope_attributes, url, settled(flaws), parsed)

    def sent(self, block: dict[str, Any]) -> JsonScope:
        """The records of a scope, as messages with some in JSON, or all in JSON. Raises WrongShape."""
        records = block.get(self.signal.records)
        if self.plain and records.__class__ is int:
            messages, odd = self.plain[records]
            self.allowance.add_records(len(messages), sum(raw == _EMPTY for _, raw in odd))
            return messages, odd
        raw = items(block, self.signal.records)
        self.allowance.add_records(len(raw), raw.count(_EMPTY))
        return [], list(enumerate(raw))

    def records(self, sent: JsonScope, read_record: ReadRecord) -> Sequence[Record]:
        """The records of a scope."""
        messages, odd = sent
        if messages and read_record is not self.read_record:
            return [self.record(None, read_record)] * len(messages)
        empty = self.empty if read_record is self.read_record else None
        careful = {
            index: empty if empty is not None and not raw and raw == _EMPTY else self.record(raw, read_record)
            for index, raw in odd
        }
        if not messages:
            return list(careful.values())
        return self.read_plain(messages, BodyTally(self.allowance), careful)

    def record(self, raw: object, read_record: ReadRecord) -> Record:
        """One record, or why it is refused."""
        if raw.__class__ is not dict and read_record is self.read_record:
            return _no_object(self.signal.records, kind_of(raw))
        flaws: list[str] = []
        try:
            return read_record(self.mended(raw, flaws), flaws)
        except WrongShape as error:
            return Malformed(MALFORMED_RECORD, str(error))

    def mended(self, raw: Any, flaws: list[str]) -> Any:
        """`raw` with repaired strings, if the text needs that."""
        if not self.unmended:
            return raw
        value, changed = mend(raw)
        if changed:
            flaws.append(INVALID_UTF8)
        return value


@cache
def _no_object(member: str, kind: str) -> Malformed:
    """One object for all records of a kind: there may be 200,000 of them."""
    return Malformed(MALFORMED_RECORD, f"expected an object in {member}, found {kind}")


@cache
def _null_scope(member: str) -> ScopeRecords:
    return _refused_scope(WrongShape(f"expected an object in {member}, found null"))


def _of_other(block: dict[str, Any], member: str, others: tuple[str, ...]) -> list[ScopeRecords]:
    """One refused record for each list of the other signal that stands beside or in place of `member`."""
    return [
        _refused_scope(WrongShape(f"expected {member} alone, found {other} too; send it to the other signal's path"))
        for other in others
        if block.get(other)
    ]


def _check_known(block: dict[str, Any], known: Members, member: str) -> None:
    """Raises WrongShape for a level that has no list but other members, because they would be ignored."""
    if member in block or block.keys() <= known.names:
        return
    lost = [name for name, value in block.items() if name not in known.names and value]
    if lost:
        raise WrongShape(f"expected a list in {member}, found {', '.join(sorted(map(repr, lost))[:3])[:100]}")


def _renamed(block: Any, signal: Signal) -> Any:
    """An InstrumentationLibrarySpans or -Logs as the ScopeSpans or ScopeLogs that replaced it."""
    if block.__class__ is not dict:
        return block
    block = dict(block)
    for library in ("instrumentationLibrary", "instrumentation_library"):
        if library in block:
            block["scope"] = block.pop(library)
    if signal.legacy_records != signal.records and signal.legacy_records in block:
        block[signal.records] = block.pop(signal.legacy_records)
    return block


def _refused_scope(error: WrongShape) -> ScopeRecords:
    return ScopeRecords("", "", {}, "", (), [Malformed(MALFORMED_RESOURCE, str(error))])


def _refuse(error: WrongShape) -> ReadRecord:
    refusal = Malformed(MALFORMED_RESOURCE, f"its resource or scope is malformed: {error}")
    return lambda _raw, _flaws: refusal
