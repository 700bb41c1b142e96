"""Parses OTLP protobuf bodies to records. protobuf_records parses records, protobuf_wire the wire format.

Records are parsed separately, so a broken record costs one record, where Google's classes would refuse the body. Tags
are written as on the wire: field number * 8 + wire type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from schemas.otlp.protobuf_messages import ScopeMessage
from schemas.otlp.protobuf_values import NO_BYTES, BodyTally, Notes, attributes, text_field
from schemas.otlp.protobuf_wire import LENGTH, WireError, collect
from schemas.otlp.record_blocks import LOGS as READ_LOGS
from schemas.otlp.record_blocks import SPANS as READ_SPANS
from schemas.otlp.records import (
    EMPTY_RESOURCE,
    EMPTY_SCOPE,
    MALFORMED_RESOURCE,
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

_LEGACY_SCOPES: Final = 1000 * 8 + LENGTH
# The one field of a request; the fields of a resource or scope: itself, its records, the URL of its schema.
_RESOURCES: Final = 0x0A
_CHILDREN: Final = 0x12
_IGNORED: Final = "that OTLP does not have there: they were ignored"
_BLOCK_FIELDS: Final = frozenset({0x0A, _CHILDREN, 0x1A})
_parse_scope = ScopeMessage.FromString


class ReadRecords(Protocol):
    """Parses the messages of a scope's records; also gets what was seen of their body so far. Those in `given` were
    parsed already, and have no bytes among the messages.
    """

    def __call__(
        self, messages: Sequence[bytes], seen: BodyTally, given: Mapping[int, Record] | None = None
    ) -> Sequence[Record]: ...


def read(
    body: bytes, signal: Signal, most: int | None = None, read_records: ReadRecords | None = None
) -> ExportRequest:
    """Parses an Export{Traces,Logs}ServiceRequest. Zero bytes are the empty request. Raises OtlpError.

    With `most`, parses at most so many resources, scopes per resource and records per scope: enough to recognise a
    body. `read_records` parses the records in place of the usual function.
    """
    reader = _ProtobufReader(signal, len(body), most, read_records)
    try:
        sent = collect(body)
        if sent and _RESOURCES not in sent:
            raise WireError(f"{len(body)} bytes without a single resource")
        raw_resources = sent.get(_RESOURCES, [])[:most]
        reader.seen.allowance.add_blocks(len(raw_resources), raw_resources.count(b""))
        resources = [reader.resource(collect(raw)) if raw else EMPTY_RESOURCE for raw in raw_resources]
    except WireError as error:
        hint = "; it looks like JSON: send Content-Type: application/json" if body.lstrip()[:1] in (b"{", b"[") else ""
        message = f"expected an OTLP {signal.name} export request in protobuf, found {error}{hint}"
        raise OtlpError(message) from error
    request = ExportRequest(resources, reader.warnings, reader.seen.allowance.empty)
    if request.count() and all(isinstance(record, Malformed) for record in request.each()):
        raise OtlpError(f"expected an OTLP {signal.name} export request in protobuf, found nothing that decodes")
    return request


class _ProtobufReader:
    """Parses one request: which record function, the attributes seen so far, which warnings to give."""

    def __init__(self, signal: Signal, size_bytes: int, most: int | None, read_records: ReadRecords | None) -> None:
        self.signal = signal
        self.most = most
        self.warnings: list[str] = []
        self.seen = BodyTally(Allowance(size_bytes))
        self.read_records = read_records or (READ_SPANS if signal is TRACES else READ_LOGS)

    def resource(self, sent: dict[int, list[bytes]]) -> Resource:
        """Parses ResourceSpans or ResourceLogs: 1 resource, 2 scopes, 3 schema_url. Raises WireError."""
        flaws = Notes(self.seen.allowance)
        resource_attributes: Attributes = {}
        read_records = self.read_records
        url = text_field(sent.get(0x1A, NO_BYTES)[-1], flaws)
        try:
            resource_attributes = attributes(collect(b"".join(sent.get(0x0A, ()))).get(0x0A, []), flaws)
        except WireError as error:
            read_records = _refuse(f"its resource holds {error}")
        blocks = sent.get(0x12, [])[: self.most]
        self.seen.allowance.add_blocks(len(blocks), blocks.count(b""))
        scopes = [self.scope(raw, read_records) if raw else EMPTY_SCOPE for raw in blocks]
        if not blocks and sent.keys() - _BLOCK_FIELDS - {_LEGACY_SCOPES}:
            self.warn_of_unknown(self.signal.scopes)
        if _LEGACY_SCOPES in sent:
            scopes += self.legacy(sent[_LEGACY_SCOPES][: self.most], read_records, scopes)
        return Resource(resource_attributes, url, settled(flaws), scopes)

    def warn_of_unknown(self, member: str) -> None:
        """Fields in place of a level's list: a later OTLP may have them, so they are no error, but said."""
        if not any(warning.endswith(_IGNORED) for warning in self.warnings):
            self.warnings = [*self.warnings, f"expected {member}, found fields {_IGNORED}"]

    def legacy(self, blocks: list[bytes], read_records: ReadRecords, scopes: list[ScopeRecords]) -> list[ScopeRecords]:
        """The scopes of the level that OTLP 0.15 renamed, with equal fields; refused beside the new level."""
        self.seen.allowance.add_blocks(len(blocks), blocks.count(b""))
        if any(scope.records for scope in scopes):
            refusal = legacy_refusal(self.signal)
            return [self.scope(raw, _Refused(refusal)) for raw in blocks]
        self.warnings = [*self.warnings, legacy_warning(self.signal)]
        return [self.scope(raw, read_records) if raw else EMPTY_SCOPE for raw in blocks]

    def scope(self, raw: bytes, read_records: ReadRecords) -> ScopeRecords:
        """Parses ScopeSpans or ScopeLogs: 1 scope, 2 records, 3 schema_url. Raises WireError."""
        seen = self.seen
        flaws = Notes(seen.allowance)
        name = version = ""
        scope_attributes: Attributes = {}
        parts, records, schema_url = _split(raw)
        url = text_field(schema_url, flaws)
        try:
            scope = collect(b"".join(parts))
            name, version = (
                text_field(scope.get(0x0A, NO_BYTES)[-1], flaws),
                text_field(scope.get(0x12, NO_BYTES)[-1], flaws),
            )
            scope_attributes = attributes(scope.get(0x1A, []), flaws)
        except WireError as error:
            read_records = _refuse(f"its scope holds {error}")
        if not records and collect(raw).keys() - _BLOCK_FIELDS:
            self.warn_of_unknown(self.signal.records)
        records = records[: self.most]
        seen.allowance.add_records(len(records), 0 if all(records) else list(records).count(b""))
        return ScopeRecords(name, version, scope_attributes, url, settled(flaws), read_records(records, seen))


def _split(raw: bytes) -> tuple[Sequence[bytes], Sequence[bytes], bytes]:
    """The fields of a ScopeSpans or ScopeLogs, by Google's parser, which is faster than `collect`. Raises WireError."""
    try:
        sent = _parse_scope(raw)
    except DecodeError:
        sent = collect(raw)
        return sent.get(0x0A, []), sent.get(0x12, []), sent.get(0x1A, NO_BYTES)[-1]
    return sent.scope, sent.records, sent.schema_url


def _refuse(detail: str) -> ReadRecords:
    return _Refused(Malformed(MALFORMED_RESOURCE, detail))


@dataclass(frozen=True, slots=True)
class _Refused:
    """Reads nothing: every record of a scope is refused for one reason."""

    refusal: Malformed

    def __call__(
        self, messages: Sequence[bytes], seen: BodyTally, given: Mapping[int, Record] | None = None
    ) -> Sequence[Record]:
        return [self.refusal] * len(messages)
