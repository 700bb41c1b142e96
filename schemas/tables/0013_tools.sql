-- Views with the columns of the tables that OpenTelemetry's ClickHouse exporter makes, and views for what people ask most.
-- They read `event_rows` and not `events`, so that a condition on a trace, a time or a service reaches its indexes, and a
-- query does not analyse the expressions of columns that it does not use.
--
-- `optimize_move_to_prewhere_if_final` moves conditions on columns of the sort key only, which are the same in every version
-- of a row, so the answer stays exact: the other columns are read where these conditions hold.
--
-- Timestamp is the column itself: as `DateTime64(9)` without a time zone it would be computed, and no index would be used.
CREATE OR REPLACE VIEW {{name.otel_traces}}{{on_cluster}} AS
SELECT
    timestamp AS Timestamp,
    trace_id AS TraceId,
    span_id AS SpanId,
    parent_span_id AS ParentSpanId,
    trace_state AS TraceState,
    CAST(name, 'LowCardinality(String)') AS SpanName,
    CAST(transform(toString(span_kind), ['server', 'client', 'producer', 'consumer', 'internal'], ['Server', 'Client', 'Producer', 'Consumer', 'Internal'], 'Unspecified'), 'LowCardinality(String)') AS SpanKind,
    service_name AS ServiceName,
    CAST(resource, 'Map(LowCardinality(String), String)') AS ResourceAttributes,
    CAST(scope_name, 'String') AS ScopeName,
    CAST(scope_version, 'String') AS ScopeVersion,
    CAST(mapConcat(
        attributes_string,
        mapApply((k, v) -> (k, toString(v)), attributes_int),
        mapApply((k, v) -> (k, toString(v)), attributes_double),
        mapApply((k, v) -> (k, toString(v)), attributes_bool)
    ), 'Map(LowCardinality(String), String)') AS SpanAttributes,
    duration_ns AS Duration,
    CAST(transform(toString(status), ['ok', 'error'], ['Ok', 'Error'], 'Unset'), 'LowCardinality(String)') AS StatusCode,
    status_message AS StatusMessage,
    arrayMap(e -> fromUnixTimestamp64Nano(JSONExtractInt(e, 'timeUnixNano'), 'UTC'), JSONExtractArrayRaw(span_events)) AS `Events.Timestamp`,
    CAST(arrayMap(e -> JSONExtractString(e, 'name'), JSONExtractArrayRaw(span_events)), 'Array(LowCardinality(String))') AS `Events.Name`,
    arrayMap(e -> CAST(arrayMap(pair -> (pair.1, if(startsWith(pair.2, '"'), JSONExtractString(pair.2), pair.2)), JSONExtractKeysAndValuesRaw(e, 'attributes')), 'Map(LowCardinality(String), String)'), JSONExtractArrayRaw(span_events)) AS `Events.Attributes`,
    arrayMap(e -> JSONExtractString(e, 'traceId'), JSONExtractArrayRaw(span_links)) AS `Links.TraceId`,
    arrayMap(e -> JSONExtractString(e, 'spanId'), JSONExtractArrayRaw(span_links)) AS `Links.SpanId`,
    arrayMap(e -> JSONExtractString(e, 'traceState'), JSONExtractArrayRaw(span_links)) AS `Links.TraceState`,
    arrayMap(e -> CAST(arrayMap(pair -> (pair.1, if(startsWith(pair.2, '"'), JSONExtractString(pair.2), pair.2)), JSONExtractKeysAndValuesRaw(e, 'attributes')), 'Map(LowCardinality(String), String)'), JSONExtractArrayRaw(span_links)) AS `Links.Attributes`
FROM {{name.event_rows}} FINAL
WHERE event_type = 'app.span'
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- Logs and errors, so that errors stand in their traces. Files and dumps are no logs. The exception of an error is among
-- its attributes, as OpenTelemetry names them.
CREATE OR REPLACE VIEW {{name.otel_logs}}{{on_cluster}} AS
SELECT
    timestamp AS Timestamp,
    toDateTime(timestamp) AS TimestampTime,
    trace_id AS TraceId,
    span_id AS SpanId,
    toUInt8(bitAnd(trace_flags, 255)) AS TraceFlags,
    severity_text AS SeverityText,
    severity_number AS SeverityNumber,
    service_name AS ServiceName,
    if(item_type = 'minidump' OR body = '', name, body) AS Body,
    schema_url AS ResourceSchemaUrl,
    CAST(resource, 'Map(LowCardinality(String), String)') AS ResourceAttributes,
    CAST('', 'LowCardinality(String)') AS ScopeSchemaUrl,
    CAST(scope_name, 'String') AS ScopeName,
    scope_version AS ScopeVersion,
    scope_attributes AS ScopeAttributes,
    CAST(mapConcat(
        mapUpdate(
            CAST(mapFilter((k, v) -> v != '', map('exception.type', exception_type, 'exception.message', exception_message, 'exception.stacktrace', exception_stacktrace)), 'Map(LowCardinality(String), String)'),
            attributes_string
        ),
        mapApply((k, v) -> (k, toString(v)), attributes_int),
        mapApply((k, v) -> (k, toString(v)), attributes_double),
        mapApply((k, v) -> (k, toString(v)), attributes_bool)
    ), 'Map(LowCardinality(String), String)') AS LogAttributes,
    if(item_type = 'otlp_log', name, '') AS EventName
FROM {{name.event_rows}} FINAL
WHERE event_type IN ('app.log', 'agent.error') AND item_type != 'attachment'
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- When each trace began and ended: tools ask it first, and then for the spans in that time. The last second is whole.
CREATE OR REPLACE VIEW {{name.otel_traces_trace_id_ts}}{{on_cluster}} AS
SELECT trace_id AS TraceId, toDateTime(min(first_at)) AS Start, toDateTime(max(last_at)) + 1 AS End
FROM {{name.trace_bounds}}
GROUP BY trace_id;

-- Jobs that send check-ins: one row for each, with its last run.
CREATE OR REPLACE VIEW {{name.monitors}}{{on_cluster}} AS
SELECT organisation, channel_id, environment, monitor,
       argMax(status, opened_at) AS last_status, max(opened_at) AS last_opened_at, max(closed_at) AS last_closed_at,
       maxIf(closed_at, status = 'ok') AS last_ok_at,
       count() AS runs, countIf(status = 'ok') AS ok_runs, countIf(status = 'in_progress') AS open_runs,
       countIf(status NOT IN ('ok', 'in_progress')) AS failed_runs,
       round(quantileExactIf(0.5)(duration_ns, isNotNull(closed_at)) / 1e6, 1) AS p50_ms, round(max(duration_ns) / 1e6, 1) AS longest_ms,
       argMax(monitor_config, (notEmpty(monitor_config), opened_at)) AS monitor_config
FROM {{name.check_ins}}
GROUP BY organisation, channel_id, environment, monitor
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- Traces: one row for each, and for each day on which it has rows. `day` and `trace_id` reach the partitions and the index.
CREATE OR REPLACE VIEW {{name.traces}}{{on_cluster}} AS
SELECT organisation, day, trace_id, first_at AS started_at, fromUnixTimestamp64Nano(end_ns, 'UTC') AS ended_at,
       round((end_ns - toUnixTimestamp64Nano(first_at)) / 1e6, 3) AS duration_ms,
       root_service, root_name, spans, failed_spans, errors, logs, services, channels
FROM
(
    SELECT organisation, toDate(timestamp) AS day, trace_id, min(timestamp) AS first_at,
           max(toUnixTimestamp64Nano(timestamp) + if(event_type = 'app.span', toInt64(least(duration_ns, 2592000000000000)), 0)) AS end_ns,
           argMin(service_name, (event_type != 'app.span', parent_span_id != '', timestamp)) AS root_service,
           argMin(name, (event_type != 'app.span', parent_span_id != '', timestamp)) AS root_name,
           countIf(event_type = 'app.span') AS spans, countIf(event_type = 'app.span' AND status = 'error') AS failed_spans,
           countIf(is_error) AS errors, countIf(event_type = 'app.log') AS logs,
           arraySort(groupUniqArrayIf(service_name, service_name != '')) AS services, arraySort(groupUniqArray(channel_id)) AS channels
    FROM {{name.event_rows}} FINAL
    WHERE trace_id != ''
    GROUP BY organisation, day, trace_id
)
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- Services by day: how much each sends, how much of it failed, and how long its requests took.
CREATE OR REPLACE VIEW {{name.services}}{{on_cluster}} AS
SELECT organisation, channel_id, toDate(timestamp) AS day, service_name, environment,
       countIf(event_type = 'app.span') AS spans,
       countIf(item_type = 'transaction' OR span_kind = 'server') AS requests,
       countIf((item_type = 'transaction' OR span_kind = 'server') AND status = 'error') AS failed_requests,
       countIf(is_error) AS errors, countIf(event_type = 'app.log') AS logs,
       round(quantileExactIf(0.5)(duration_ns, item_type = 'transaction' OR span_kind = 'server') / 1e6, 1) AS p50_ms,
       round(quantileExactIf(0.95)(duration_ns, item_type = 'transaction' OR span_kind = 'server') / 1e6, 1) AS p95_ms,
       arraySort(groupUniqArrayIf(release, release != '')) AS releases, min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM {{name.event_rows}} FINAL
WHERE service_name != ''
GROUP BY organisation, channel_id, day, service_name, environment
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- Operations by day: spans of one name in one service.
CREATE OR REPLACE VIEW {{name.operations}}{{on_cluster}} AS
SELECT organisation, channel_id, toDate(timestamp) AS day, service_name, name,
       count() AS spans, countIf(status = 'error') AS failed,
       round(quantileExact(0.5)(duration_ns) / 1e6, 1) AS p50_ms, round(quantileExact(0.95)(duration_ns) / 1e6, 1) AS p95_ms,
       round(quantileExact(0.99)(duration_ns) / 1e6, 1) AS p99_ms, round(sum(toFloat64(duration_ns)) / 1e6, 1) AS total_ms
FROM {{name.event_rows}} FINAL
WHERE event_type = 'app.span'
GROUP BY organisation, channel_id, day, service_name, name
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- What a million tokens of a model cost, in dollars. An operator adds rows; the newest of a model counts.
CREATE TABLE IF NOT EXISTS {{stored.model_prices}}{{on_cluster}}
(
    model        String,
    input_price  Float64,
    output_price Float64,
    updated_at   DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = {{replicated}}ReplacingMergeTree(updated_at)
ORDER BY (model){{settings}};

{{distributed.model_prices}};

INSERT INTO {{name.model_prices}} (model, input_price, output_price, updated_at)
SELECT model, input_price, output_price, toDateTime64('2026-01-01', 3, 'UTC')
FROM values('model String, input_price Float64, output_price Float64', ('gpt-4o-mini', 0.15, 0.60), ('gpt-4o', 2.50, 10.00), ('text-embedding-3-small', 0.02, 0));

-- What models cost, by day. Only the innermost of nested calls counts, also with one span of another kind between, as in
-- docs/cookbook.md. Each call, and each other span of its trace, goes to the group of its own id; a call with tokens also
-- goes to the group of its parent's id, which tells that this one is around a call. Then the same for spans between.
-- `dollars` is NULL for a model without a price; a price of `m` is also one of `m-2025-01-31`.
CREATE OR REPLACE VIEW {{name.model_costs}}{{on_cluster}} AS
SELECT organisation, channel_id, day, provider, model, calls, input_tokens, output_tokens,
       if(exact.is_known OR family.is_known,
          round((input_tokens * if(exact.is_known, exact.input_price, family.input_price)
                 + output_tokens * if(exact.is_known, exact.output_price, family.output_price)) / 1e6, 6), NULL) AS dollars
FROM
(
    SELECT organisation, channel_id, day, call.1 AS provider, call.2 AS model, count() AS calls,
           sum(call.3) AS input_tokens, sum(call.4) AS output_tokens,
           replaceRegexpOne(model, '-([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})$', '') AS model_family
    FROM
    (
        SELECT organisation, channel_id, day, arrayJoin(calls_here) AS call
        FROM
        (
            SELECT organisation, channel_id, day, trace_id, span, groupArrayArray(own_calls) AS calls_here, max(is_around) AS is_outer
            FROM
            (
                SELECT organisation, channel_id, day, trace_id, place.1 AS span, place.2 AS own_calls, place.3 AS is_around
                FROM
                (
                    SELECT organisation, channel_id, day, trace_id, span,
                           arrayJoin(arrayConcat(
                               [(span, calls_of_span, is_around_call)],
                               if(is_around_call AND span_above != '', [(span_above, arrayResize(calls_of_span, 0), true)], [])
                           )) AS place
                    FROM
                    (
                        SELECT organisation, channel_id, day, trace_id, place.1 AS span, groupArrayArray(place.2) AS calls_of_span,
                               max(place.3) AS is_around_call, max(place.4) AS span_above
                        FROM
                        (
                            SELECT organisation, channel_id, toDate(timestamp) AS day, trace_id,
                                   gen_ai_operation IN ('chat', 'text_completion', 'generate_content', 'embeddings') AND event_type != 'app.log' AS is_call,
                                   if(span_id = '', toString(event_id), span_id) AS own_id,
                                   [(toString(gen_ai_provider), toString(gen_ai_model), gen_ai_input_tokens, gen_ai_output_tokens)] AS own_call,
                                   arrayJoin(multiIf(
                                       NOT is_call, [(own_id, arrayResize(own_call, 0), false, parent_span_id)],
                                       parent_span_id = '' OR gen_ai_input_tokens + gen_ai_output_tokens = 0, [(own_id, own_call, false, '')],
                                       [(own_id, own_call, false, ''), (parent_span_id, arrayResize(own_call, 0), true, '')]
                                   )) AS place
                            FROM {{name.event_rows}} FINAL
                            WHERE is_call OR (gen_ai_operation = '' AND parent_span_id != '' AND trace_id {{global}}IN
                            (
                                SELECT trace_id FROM {{name.event_rows}}
                                WHERE gen_ai_operation IN ('chat', 'text_completion', 'generate_content', 'embeddings') AND trace_id != ''
                            ))
                        )
                        GROUP BY organisation, channel_id, day, trace_id, span
                    )
                )
            )
            GROUP BY organisation, channel_id, day, trace_id, span
        )
        WHERE NOT is_outer
    )
    GROUP BY organisation, channel_id, day, provider, model
) AS costs
{{global}}LEFT ANY JOIN
(
    SELECT model AS exact_model, input_price, output_price, true AS is_known FROM {{name.model_prices}} FINAL
) AS exact ON costs.model = exact.exact_model
{{global}}LEFT ANY JOIN
(
    SELECT model AS family_model, input_price, output_price, true AS is_known FROM {{name.model_prices}} FINAL
) AS family ON costs.model_family = family.family_model
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
