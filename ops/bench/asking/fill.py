"""Makes millions of rows of seven days inside the engine: spans, logs, errors, with doubled and replaced ones.

Nothing is sent: statements compute rows from numbers. Values repeat as they do in real traffic: ids are unlike each
other, services and routes are few, texts are made of few words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

DAYS: Final = 7
ROWS_OF_TRACE: Final = 10
ROWS_OF_BODY: Final = 300
# One row of so many is an error, one of so many is doubled, replayed, or replaced by other content.
ERROR_EVERY: Final = 50
DOUBLED_EVERY: Final = 40
REPLACED_EVERY: Final = 1_000
ISSUES: Final = 2_000
USERS: Final = 20_000
# More than a worker inserts at once, so that filling takes minutes.
ROWS_OF_INSERT: Final = 250_000

# `n` is the number of a row; `again` is 0 in its first version, 1 and 3 in a replayed one, 2 in one that replaces it.
_ROWS: Final = """
SELECT
    'default' AS organisation,
    multiIf(trace % 20 < 14, 1, trace % 20 < 17, 2, trace % 20 < 19, 3, 4) AS channel_id,
    'key' AS key_id, if(trace % 10 = 0, 'staging', 'production') AS environment,
    toUUID(UUIDNumToString(murmurHash3_128(n))) AS event_id,
    bitShiftLeft(toUInt64(intDiv(n, {rows_of_body}) + 1), 20) + {again} AS version,
    multiIf(is_failure, 'agent.error', is_log, 'app.log', 'app.span') AS event_type,
    multiIf(is_failure, 'event', is_log, 'otlp_log', 'otlp_span') AS item_type,
    fromUnixTimestamp64Nano(
        toInt64({start_ns}) + toInt64(n) * {step_ns} + toInt64(noise % 50000000), 'UTC') AS timestamp,
    timestamp + toIntervalMillisecond(200 + noise % 900) AS received_at,
    intDiv(n, {rows_of_body}) + 1 AS source_seq, n % {rows_of_body} AS source_ordinal,
    lower(hex(murmurHash3_128(if({again} = 2, trace + 1000000000, trace), 'trace'))) AS trace_id,
    lower(hex(sipHash64(n))) AS span_id,
    if(n % {rows_of_trace} = 0, '', lower(hex(sipHash64(trace * {rows_of_trace})))) AS parent_span_id,
    multiIf(
        event_type != 'app.span', '', n % {rows_of_trace} = 0, 'server', n % 3 = 0, 'client', 'internal') AS span_kind,
    multiIf(event_type != 'app.span', '', noise % 97 = 0, 'error', 'ok') AS status,
    if(event_type = 'app.span', 200000 + noise % 90000000, 0) AS duration_ns,
    multiIf(is_failure, 17, is_log, [9, 9, 9, 13, 17][1 + noise % 5], 0) AS severity_number,
    multiIf(is_failure, 'error', is_log, ['info', 'info', 'info', 'warn', 'error'][1 + noise % 5], '') AS severity_text,
    if({again} = 2, 'replaced', multiIf(
        is_failure, concat('Failure', toString(issue), ': expected a price, found nothing'),
        is_log, '',
        concat(['GET', 'POST', 'SELECT', 'render'][1 + noise % 4], ' /api/', toString(noise % 60)))) AS name,
    if(is_log, concat('order ', toString(order), ' was ', ['packed', 'paid', 'sent', 'refused'][1 + noise % 4], ' in ',
        toString(noise % 4000), ' ms'), '') AS body,
    map('http.request.method', ['GET', 'POST'][1 + noise % 2], 'http.route', concat('/api/', toString(noise % 60)),
        'url.path', concat('/api/', toString(noise % 60), '/', toString(order)), 'user.id', user,
        'order.id', toString(if({again} = 2, order + 1000000000, order)),
        'server.address', concat('10.0.0.', toString(noise % 40)),
        'thread.name', concat('worker-', toString(noise % 16)),
        'feature.flag', ['on', 'off'][1 + noise % 2]) AS attributes_string,
    map('http.response.status_code', [200, 200, 200, 404, 500][1 + noise % 5],
        'cart.items', toInt64(noise % 9)) AS attributes_int,
    map('cart.value', toFloat64(noise % 30000) / 100) AS attributes_double,
    map('cache.hit', noise % 2 = 0) AS attributes_bool,
    map('service.name', concat('service-', toString(service)),
        'service.version', concat('1.', toString(intDiv(n, {release_rows}))),
        'deployment.environment.name', environment, 'host.name', concat('host-', toString(noise % 40)),
        'telemetry.sdk.name', 'opentelemetry', 'telemetry.sdk.language', 'python') AS resource,
    if(is_failure, concat('Failure', toString(issue)), '') AS exception_type,
    if(is_failure, 'expected a price, found nothing', '') AS exception_message,
    multiIf(NOT is_failure, '', {again} = 2, hex(sipHash64(toString(issue), 'moved')),
        hex(sipHash64(toString(issue)))) AS group_hash,
    if(is_failure, concat('{{"event_id":"', hex(noise), '","frames":["', arrayStringConcat(arrayMap(
        i -> concat('app/', toString(sipHash64(issue, i) % 900), '.py line ', toString((noise + i) % 700)),
        range(20)), '","'), '"]}}'), '') AS payload
FROM
(
    SELECT number AS n, intDiv(number, {rows_of_trace}) AS trace, sipHash64(number, 'noise') AS noise,
           number % {error_every} = 7 AS is_failure, number % 10 IN (3, 6, 9) AS is_log,
           intDiv(number, 30) AS order, toString(sipHash64(intDiv(number, 30)) % {users}) AS user,
           -- The first of the issues are the most frequent.
           toUInt64({issues} * pow((noise % 1000003) / 1000003, 3)) AS issue,
           (trace % 4) * 3 + number % 3 AS service
    FROM numbers({first}, {count})
    WHERE {condition}
)"""
_COLUMNS: Final = (
    "organisation, channel_id, key_id, environment, event_id, version, event_type, item_type, timestamp, received_at,"
    " source_seq, source_ordinal, trace_id, span_id, parent_span_id, span_kind, status, duration_ns, severity_number,"
    " severity_text,"
    " name, body, attributes_string, attributes_int, attributes_double, attributes_bool, resource, exception_type,"
    " exception_message, group_hash, payload"
)


@dataclass(frozen=True, slots=True)
class Filling:
    """So many rows, without doubles, in the seven days before `end_s` (seconds since 1970)."""

    rows: int
    end_s: int

    @property
    def step_ns(self) -> int:
        """Nanoseconds between two rows."""
        return DAYS * 86_400 * 10**9 // self.rows

    def statements(self) -> Iterator[str]:
        """Inserts in the order of time, with doubles and replaced rows of each day after the day."""
        of_day = -(-self.rows // DAYS)
        for day in range(DAYS):
            first, end = day * of_day, min(self.rows, (day + 1) * of_day)
            for start in range(first, end, ROWS_OF_INSERT):
                yield self._insert(start, min(ROWS_OF_INSERT, end - start), 0, "1")
            yield self._insert(first, end - first, 0, f"number % {DOUBLED_EVERY} = 11")
            yield self._insert(first, end - first, 1, f"number % {DOUBLED_EVERY} = 31")
            yield self._insert(first, end - first, 2, f"number % {REPLACED_EVERY} IN (507, 509, 511)")

    def replay(self) -> str:
        """One hour of the third day once more, after that day had become one part."""
        of_hour = self.rows // (DAYS * 24)
        return self._insert(self.rows * 5 // (2 * DAYS), of_hour, 3, "1")

    def _insert(self, first: int, count: int, again: int, condition: str) -> str:
        rows = _ROWS.format(
            first=first,
            count=count,
            again=again,
            condition=condition,
            start_ns=self.end_s * 10**9 - self.rows * self.step_ns,
            step_ns=self.step_ns,
            rows_of_trace=ROWS_OF_TRACE,
            rows_of_body=ROWS_OF_BODY,
            error_every=ERROR_EVERY,
            release_rows=max(1, self.rows // 20),
            issues=ISSUES,
            users=USERS,
        )
        return f"INSERT INTO event_rows ({_COLUMNS}) SETTINGS max_partitions_per_insert_block = 0 {rows}"
