-- A day becomes one part six hours after its last row, in place of two. Rows that come late to a day that is over have it merged
-- whole again: now at most four times a day, in place of twelve (docs/decisions/0092-the-last-merge.md).
ALTER TABLE {{stored.event_rows}}{{on_cluster}} MODIFY SETTING min_age_to_force_merge_seconds = 21600;

-- Traces, and calls of models inside of others, that go on over midnight (UTC): docs/decisions/0091-over-midnight.md.
--
-- Each view below reads a day together with the days beside it, as parts of a UNION ALL: a condition on `day` then reaches the
-- partitions of each part.

-- Traces: one row for each, on the day of its first row. Rows of the next day belong to it; a trace that has rows on the day
-- before is a row of that day. `root` is the first span without a parent, else the first span, else the first row.
CREATE OR REPLACE VIEW {{name.traces}}{{on_cluster}} AS
SELECT organisation, day, trace_id, first_at AS started_at, fromUnixTimestamp64Nano(last_ns, 'UTC') AS ended_at,
       round((last_ns - toUnixTimestamp64Nano(first_at)) / 1e6, 3) AS duration_ms,
       root.4 AS root_service, root.5 AS root_name,
       span_count AS spans, failed_span_count AS failed_spans, error_count AS errors, log_count AS logs,
       all_services AS services, all_channels AS channels
FROM
(
    SELECT organisation, day, trace_id, min(part_first_at) AS first_at, max(part_last_ns) AS last_ns, min(part_root) AS root,
           sum(part_spans) AS span_count, sum(part_failed_spans) AS failed_span_count, sum(part_errors) AS error_count,
           sum(part_logs) AS log_count, arraySort(groupUniqArrayArray(part_services)) AS all_services,
           arraySort(groupUniqArrayArray(part_channels)) AS all_channels
    FROM
    (
        SELECT organisation, toDate(timestamp) AS day, trace_id, 0 AS place, min(timestamp) AS part_first_at,
               max(toUnixTimestamp64Nano(timestamp) + if(event_type = 'app.span', toInt64(least(duration_ns, 2592000000000000)), 0)) AS part_last_ns,
               min((event_type != 'app.span', parent_span_id != '', timestamp, toString(service_name), name)) AS part_root,
               countIf(event_type = 'app.span') AS part_spans, countIf(event_type = 'app.span' AND status = 'error') AS part_failed_spans,
               countIf(is_error) AS part_errors, countIf(event_type = 'app.log') AS part_logs,
               groupUniqArrayIf(service_name, service_name != '') AS part_services, groupUniqArray(channel_id) AS part_channels
        FROM {{name.event_rows}} FINAL
        WHERE trace_id != ''
        GROUP BY organisation, day, trace_id
        UNION ALL
        -- The next day.
        SELECT organisation, toDate(timestamp) - 1 AS day, trace_id, 1 AS place, min(timestamp) AS part_first_at,
               max(toUnixTimestamp64Nano(timestamp) + if(event_type = 'app.span', toInt64(least(duration_ns, 2592000000000000)), 0)) AS part_last_ns,
               min((event_type != 'app.span', parent_span_id != '', timestamp, toString(service_name), name)) AS part_root,
               countIf(event_type = 'app.span') AS part_spans, countIf(event_type = 'app.span' AND status = 'error') AS part_failed_spans,
               countIf(is_error) AS part_errors, countIf(event_type = 'app.log') AS part_logs,
               groupUniqArrayIf(service_name, service_name != '') AS part_services, groupUniqArray(channel_id) AS part_channels
        FROM {{name.event_rows}} FINAL
        WHERE trace_id != ''
        GROUP BY organisation, day, trace_id
        UNION ALL
        -- The day before: only whether the trace has rows there.
        SELECT organisation, toDate(timestamp) + 1 AS day, trace_id, -1 AS place, min(timestamp) AS part_first_at,
               toInt64(0) AS part_last_ns, (true, true, part_first_at, '', '') AS part_root, 0 AS part_spans, 0 AS part_failed_spans,
               0 AS part_errors, 0 AS part_logs, CAST([], 'Array(String)') AS part_services, CAST([], 'Array(UInt64)') AS part_channels
        FROM {{name.event_rows}} FINAL
        WHERE trace_id != ''
        GROUP BY organisation, day, trace_id
    )
    GROUP BY organisation, day, trace_id
    HAVING min(place) = 0
)
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- What models cost, by day: as before, and a call is also not counted on its day if the call inside of it, or the span between both,
-- is on the day beside it. Spans of the days beside a day say what is around what; their calls are not counted there.
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
                            SELECT organisation, channel_id, day, trace_id,
                                   arrayJoin(multiIf(
                                       NOT is_call, [(own_id, arrayResize(own_call, 0), false, parent_span_id)],
                                       is_outermost, [(own_id, own_call, false, '')],
                                       [(own_id, own_call, false, ''), (parent_span_id, arrayResize(own_call, 0), true, '')]
                                   )) AS place
                            FROM
                            (
                                SELECT organisation, channel_id, toDate(timestamp) AS day, trace_id, parent_span_id,
                                       gen_ai_operation IN ('chat', 'text_completion', 'generate_content', 'embeddings') AND event_type != 'app.log' AS is_call,
                                       parent_span_id = '' OR gen_ai_input_tokens + gen_ai_output_tokens = 0 AS is_outermost,
                                       if(span_id = '', toString(event_id), span_id) AS own_id,
                                       [(toString(gen_ai_provider), toString(gen_ai_model), gen_ai_input_tokens, gen_ai_output_tokens)] AS own_call
                                FROM {{name.event_rows}} FINAL
                                WHERE is_call OR (gen_ai_operation = '' AND parent_span_id != '' AND trace_id {{global}}IN
                                (
                                    SELECT trace_id FROM {{name.event_rows}}
                                    WHERE gen_ai_operation IN ('chat', 'text_completion', 'generate_content', 'embeddings') AND trace_id != ''
                                ))
                                UNION ALL
                                SELECT organisation, channel_id, toDate(timestamp) - 1 AS day, trace_id, parent_span_id,
                                       gen_ai_operation IN ('chat', 'text_completion', 'generate_content', 'embeddings') AND event_type != 'app.log' AS is_call,
                                       parent_span_id = '' OR gen_ai_input_tokens + gen_ai_output_tokens = 0 AS is_outermost,
                                       if(span_id = '', toString(event_id), span_id) AS own_id,
                                       arrayResize([(toString(gen_ai_provider), toString(gen_ai_model), gen_ai_input_tokens, gen_ai_output_tokens)], 0) AS own_call
                                FROM {{name.event_rows}} FINAL
                                WHERE is_call OR (gen_ai_operation = '' AND parent_span_id != '' AND trace_id {{global}}IN
                                (
                                    SELECT trace_id FROM {{name.event_rows}}
                                    WHERE gen_ai_operation IN ('chat', 'text_completion', 'generate_content', 'embeddings') AND trace_id != ''
                                ))
                                UNION ALL
                                SELECT organisation, channel_id, toDate(timestamp) + 1 AS day, trace_id, parent_span_id,
                                       gen_ai_operation IN ('chat', 'text_completion', 'generate_content', 'embeddings') AND event_type != 'app.log' AS is_call,
                                       parent_span_id = '' OR gen_ai_input_tokens + gen_ai_output_tokens = 0 AS is_outermost,
                                       if(span_id = '', toString(event_id), span_id) AS own_id,
                                       arrayResize([(toString(gen_ai_provider), toString(gen_ai_model), gen_ai_input_tokens, gen_ai_output_tokens)], 0) AS own_call
                                FROM {{name.event_rows}} FINAL
                                WHERE is_call OR (gen_ai_operation = '' AND parent_span_id != '' AND trace_id {{global}}IN
                                (
                                    SELECT trace_id FROM {{name.event_rows}}
                                    WHERE gen_ai_operation IN ('chat', 'text_completion', 'generate_content', 'embeddings') AND trace_id != ''
                                ))
                            )
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
