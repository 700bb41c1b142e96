"""OTLP bodies to rows: the walk over resources, scopes and records. One span is in otlp_span, one log in otlp_log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from schemas.blocks.rows import MixedRows, RowBlock, Rows
from schemas.encodings import CorruptBody, TooLarge, UnsupportedEncoding, inflate
from schemas.headers import Origin
from schemas.key_masking import mask_keys
from schemas.otlp.columns import SpanColumns
from schemas.otlp.http_bodies import Encoding, OtlpError, media_type, read_logs, read_traces
from schemas.otlp.record_blocks import RecordBlock, RecordBlocks
from schemas.otlp.records import (
    EMPTY_LOG,
    EMPTY_RESOURCE,
    EMPTY_SCOPE,
    EMPTY_SPAN,
    STRING_INDEX,
    ExportRequest,
    Flaws,
    Malformed,
    Record,
    Resource,
    ScopeRecords,
)
from schemas.rows import APP_LOG, APP_SPAN, Row
from workers.normalise import gen_ai
from workers.normalise.attributes import RESOURCE_TRUNCATED
from workers.normalise.otlp import log, log_blocks, plain_spans, span, span_blocks
from workers.normalise.otlp.header_filter import filter_record_headers, filter_shared, maps_of
from workers.normalise.otlp.values import (
    MAX_RECORD_LENGTH,
    ORIGIN_COLUMNS,
    SCOPE_COLUMNS,
    TRUNCATED,
    Shared,
    fit_shared,
    hashed,
    origin_part,
    shared_limits,
    size_of,
    text_map,
    window,
)
from workers.normalise.size_limits import cut_names
from workers.normalise.verdict import Invalid, Verdict

LOG_COLUMNS: Final[tuple[str, ...]] = ORIGIN_COLUMNS + log.COLUMNS + SCOPE_COLUMNS
SPAN_COLUMNS: Final[tuple[str, ...]] = ORIGIN_COLUMNS + span.COLUMNS + SCOPE_COLUMNS

MAX_BODY_BYTES: Final = 6_000_000
RETENTION_DAYS: Final = 30
UNKNOWN_SERVICE: Final = "unknown_service"
# Log records that say nothing, not even a time, are rows all the same, but only so many of a body: 200,000 of them are
# 163 bytes on the wire.
MAX_EMPTY_RECORDS: Final = 100
EMPTY_RECORD: Final = "empty_record"

_EMPTY: Final = (EMPTY_RECORD, f"expected at most {MAX_EMPTY_RECORDS} records without any content, found more")
# The place of `repairs` in a row, counted from its end.
_REPAIRS: Final = -len(SCOPE_COLUMNS) - 1
_CUT_WARNING: Final = (
    f"{{}} {{}}(s) had more than {MAX_RECORD_LENGTH} characters and were cut, their long values only ({{}})"
)
_RESOURCE_WARNING: Final = "long resource or scope attributes were cut, for every record is stored with a copy of them"
_STRING_INDEX_WARNING: Final = "string table references (keyStrindex, stringValueStrindex) are for profiles: ignored"


def normalise_spans(
    origin: Origin,
    body: bytes,
    *,
    retention_days: int = RETENTION_DAYS,
    max_body_bytes: int = MAX_BODY_BYTES,
    inflated: bytes | None = None,
) -> Verdict:
    """One row (SPAN_COLUMNS) per span of an ExportTraceServiceRequest, as it came over HTTP. Raises Invalid.

    A span without a valid trace and span id is refused; anything else is repaired, and the repair named in the row.
    """
    inflated = _inflated(origin, body, max_body_bytes) if inflated is None else inflated
    times = window(origin, retention_days)
    request = _request(origin, inflated, partial(read_traces, read_spans=span_blocks.reader(origin, times)))
    head = origin_part(origin, APP_SPAN, "otlp_span")
    shared = Shared(head, (), hashed("otlp.span", origin.channel_id), times)
    return _Walk("span", shared, span.row, span_blocks.row_block).verdict(request)


def normalise_logs(
    origin: Origin,
    body: bytes,
    *,
    retention_days: int = RETENTION_DAYS,
    max_body_bytes: int = MAX_BODY_BYTES,
    inflated: bytes | None = None,
) -> Verdict:
    """One row (LOG_COLUMNS) per record of an ExportLogsServiceRequest, as it came over HTTP. Raises Invalid.

    Only a record of the wrong shape is refused; anything else is repaired, and the repair named in the row.
    """
    inflated = _inflated(origin, body, max_body_bytes) if inflated is None else inflated
    times, prefix = window(origin, retention_days), log_blocks.prefix_of(origin)
    request = _request(origin, inflated, partial(read_logs, read_records=log_blocks.reader(times, prefix)))
    head = origin_part(origin, APP_LOG, "otlp_log")
    identity = hashed("otlp.log", origin.channel_id, origin.origin_id)
    row_block = partial(log_blocks.row_block, prefix=prefix)
    return _Walk("log record", Shared(head, (), identity, times), log.row, row_block).verdict(request)


def _inflated(origin: Origin, body: bytes, max_body_bytes: int) -> bytes:
    try:
        return inflate(body, origin.content_encoding or "identity", max_body_bytes)
    except (CorruptBody, TooLarge, UnsupportedEncoding) as error:
        raise Invalid(str(error)) from error


def _request(origin: Origin, inflated: bytes, read: Callable[[bytes, Encoding], ExportRequest]) -> ExportRequest:
    encoding = media_type(origin.content_type)
    if encoding is None:
        raise Invalid(
            f"expected Content-Type application/json or application/x-protobuf, found {origin.content_type!r}"
        )
    try:
        return read(mask_keys(inflated), encoding)
    except OtlpError as error:
        raise Invalid(str(error)) from error


class _Walk:
    """One walk over one request: rows and refusals, with each record's place among all records of the body."""

    def __init__(
        self,
        noun: str,
        shared: Shared,
        row: Callable[[Any, int, Shared, Flaws], Row],
        row_block: Callable[[RecordBlock, int, Shared], RowBlock],
    ) -> None:
        self.noun = noun
        self.shared = shared
        self.row = row
        self.row_block = row_block
        self.ordinal = 0
        self.result = Verdict()
        self.flaws: set[str] = set()
        self.cut = 0
        self.cut_names = ""
        # A record without content, and why it is refused.
        self.bare: tuple[Record | None, str, str] = (EMPTY_SPAN, *span.WITHOUT_TRACE_ID)

    def verdict(self, request: ExportRequest) -> Verdict:
        """The verdict on the whole request."""
        if request.empty > MAX_EMPTY_RECORDS and self.row is log.row:
            self.bare = (EMPTY_LOG, *_EMPTY)
        limits = _limits(request)
        for index, resource in enumerate(request.resources):
            first = self.ordinal
            if resource is EMPTY_RESOURCE:
                continue
            filter_shared(resource.attributes)
            attributes, cut = fit_shared(resource.attributes, next(limits))
            texts = text_map(attributes)
            flaws = resource.flaws + cut
            for scope in resource.scopes:
                if scope is EMPTY_SCOPE:
                    continue
                tail, scope_flaws = _scope_part(resource, scope, texts, next(limits))
                self.scope(scope, self.shared._replace(tail=tail), flaws + scope_flaws, (index, first))
        self.result.accepted = len(self.result.rows)
        self.result.warning = "; ".join(request.warnings + self.warnings())
        return self.result

    def warnings(self) -> list[str]:
        """What was cut or ignored, in sentences."""
        warnings = []
        if self.cut:
            warnings.append(_CUT_WARNING.format(self.cut, self.noun, self.cut_names))
        if RESOURCE_TRUNCATED in self.flaws:
            warnings.append(_RESOURCE_WARNING)
        if STRING_INDEX in self.flaws:
            warnings.append(_STRING_INDEX_WARNING)
        return warnings

    def note_cut(self, row: Row) -> None:
        """Counts a row that was cut, and keeps what was cut of the first."""
        repairs: Any = row[_REPAIRS]
        if repairs and TRUNCATED in repairs:
            self.cut += 1
            self.cut_names = self.cut_names or ", ".join(cut_names(repairs))

    def scope(self, scope: ScopeRecords, shared: Shared, flaws: Flaws, position: tuple[int, int]) -> None:
        """The records of one scope; `position` is the index of the resource, and the ordinal of its first record."""
        self.flaws.update(flaws)
        pieces = scope.records.pieces if isinstance(scope.records, RecordBlocks) else (scope.records,)
        for records in pieces:
            if isinstance(records, RecordBlock) and not flaws:
                self.block(records, shared, position)
            else:
                self.plain_or_each(records, shared, flaws, position)
            self.ordinal += len(records)

    def block(self, records: RecordBlock, shared: Shared, position: tuple[int, int]) -> None:
        """A block of usual records, and with it the rows of the others."""
        block = self.row_block(records, self.ordinal, shared)
        if records.odd:
            shared = _prepared(list(records.odd.values()), shared)
            odd = ((self.ordinal + index, record) for index, record in records.odd.items())
            self.each(odd, block.others, shared, (), position)
        if not isinstance(self.result.rows, MixedRows):
            self.result.rows = MixedRows([self.result.rows] if self.result.rows else [])
        self.result.rows.add_block(block)

    def plain_or_each(self, records: Sequence[Record], shared: Shared, flaws: Flaws, position: tuple[int, int]) -> None:
        """Records that are in no block: together if all are plain spans, else one by one."""
        shared = _prepared(records, shared)
        if isinstance(records, SpanColumns) and not flaws:
            plain = plain_spans.rows(records, self.ordinal, shared)
            if plain is not None:
                self.result.rows.extend(plain)
                return
        self.each(enumerate(records, self.ordinal), self.result.rows, shared, flaws, position)

    def each(
        self,
        records: Iterable[tuple[int, Record]],
        rows: Rows,
        shared: Shared,
        flaws: Flaws,
        position: tuple[int, int],
    ) -> None:
        """Appends one row for each record, or refuses it; a record comes with its ordinal."""
        row = self.row
        bare, bare_reason, bare_detail = self.bare
        unseen = 0
        for ordinal, record in records:
            if record is bare:
                if bare_reason in self.result.more:
                    unseen += 1
                else:
                    self.refuse(ordinal, bare_reason, bare_detail, position)
                continue
            if isinstance(record, Malformed):
                self.refuse(ordinal, record.reason, record.detail, position)
                continue
            try:
                record_row = row(record, ordinal, shared, flaws)
            except span.Unidentified as error:
                reason, detail = error.args
                self.refuse(ordinal, reason, detail, position)
            else:
                rows.append(record_row)
                if record.flaws:
                    self.flaws.update(record.flaws)
                self.note_cut(record_row)
        if unseen:
            self.result.more[bare_reason] += unseen

    def refuse(self, ordinal: int, reason: str, detail: str, position: tuple[int, int]) -> None:
        """One record. Where it stands is put into words only where it is to be described."""
        if self.result.describes(reason):
            detail = f"{self.noun} {ordinal - position[1]} of resource {position[0]}: {detail}"
            self.result.refuse(ordinal, reason, detail)
        else:
            self.result.more[reason] += 1


def _prepared(records: Sequence[Record], shared: Shared) -> Shared:
    """Filters the headers of some records, and says whether they are about calls of models: one look at their keys."""
    maps = maps_of(records)
    keys: set[str] = set().union(*maps)
    filter_record_headers(records, maps, keys)
    return shared._replace(has_model_calls=True) if gen_ai.is_model_call(keys) else shared


def _limits(request: ExportRequest) -> Iterator[int]:
    """The limit of each resource, followed by those of its scopes, empty ones left out."""
    blocks: list[tuple[int, int]] = []
    for resource in request.resources:
        if resource is EMPTY_RESOURCE:
            continue
        scopes = [scope for scope in resource.scopes if scope is not EMPTY_SCOPE]
        counts = [len(scope.records) for scope in scopes]
        blocks.append((size_of(resource.attributes), sum(counts)))
        blocks += [(size_of(scope.attributes), count) for scope, count in zip(scopes, counts, strict=True)]
    return iter(shared_limits(blocks))


def _scope_part(
    resource: Resource, scope: ScopeRecords, shared: dict[str, str], limit: int
) -> tuple[tuple[object, ...], Flaws]:
    """(the values of SCOPE_COLUMNS, flaws). `shared` is the resource as text, `limit` the bytes the scope may have."""
    filter_shared(scope.attributes)
    attributes, cut = fit_shared(scope.attributes, limit)
    values = (
        shared,
        shared.get("service.name") or UNKNOWN_SERVICE,
        scope.name,
        scope.version,
        text_map(attributes),
        scope.schema_url or resource.schema_url,
    )
    return values, scope.flaws + cut
