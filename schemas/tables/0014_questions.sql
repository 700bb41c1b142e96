-- What a question costs: docs/decisions/0076-what-a-question-reads.md.
--
-- Indexes for what people ask by: one user, one group of errors, one value of an attribute as `attributes['key'] = 'value'`
-- writes it. The last one indexes the expression that the view `events` has for `attributes`: the engine finds it only while
-- both are the same, word for word.
ALTER TABLE {{stored.event_rows}}{{on_cluster}}
    ADD INDEX IF NOT EXISTS index_user_id user_id TYPE bloom_filter(0.001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS index_group_hash group_hash TYPE bloom_filter(0.001) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS index_attributes mapValues(CAST(mapConcat(attributes_string, CAST(attributes_int, 'Map(LowCardinality(String), String)'), CAST(attributes_double, 'Map(LowCardinality(String), String)'), CAST(attributes_bool, 'Map(LowCardinality(String), String)')), 'Map(String, String)')) TYPE bloom_filter(0.01) GRANULARITY 1;

-- For rows that are stored already. It runs in the background; until then these rows are read as before.
ALTER TABLE {{stored.event_rows}}{{on_cluster}}
    MATERIALIZE INDEX index_user_id, MATERIALIZE INDEX index_group_hash, MATERIALIZE INDEX index_attributes;

-- A day to which nothing was added for two hours becomes one part. FINAL has nothing to merge there, and a question costs what it
-- costs without FINAL. Days of more than 150 GB stay in several parts (max_bytes_to_merge_at_max_space_in_pool).
ALTER TABLE {{stored.event_rows}}{{on_cluster}} MODIFY SETTING min_age_to_force_merge_seconds = 7200, min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1;

-- As before, with two changes. `attributes` needs no function for each key. Conditions on columns of the sort key, which are the
-- same in all versions of a row, are tried first, and the other columns are read where they hold.
CREATE OR REPLACE VIEW {{name.events}}{{on_cluster}} AS
SELECT
    event_id, organisation, channel_id, key_id, environment, event_type, item_type,
    timestamp, received_at, observed_at, original_timestamp_ns,
    trace_id, span_id, parent_span_id, trace_state, trace_flags, span_kind, span_op, status, status_message, duration_ns,
    severity_number, severity_text, name, body, title, is_error,
    service_name, service_namespace, service_version, service_instance_id, deployment_environment, host_name, k8s_pod_name,
    release, sdk_name, sdk_version, platform,
    exception_type, exception_message, exception_stacktrace, error_type,
    user_id, user_email, user_name, session_id, http_method, http_status_code, http_route, url, url_path, server_address,
    user_agent, db_system, db_namespace, db_operation, db_collection, db_query,
    messaging_system, messaging_destination, rpc_system, rpc_method,
    gen_ai_operation, gen_ai_provider, gen_ai_model, gen_ai_request_model, gen_ai_response_model,
    gen_ai_agent, gen_ai_agent_id, gen_ai_agent_version, gen_ai_workflow, gen_ai_conversation_id,
    gen_ai_tool, gen_ai_tool_type, gen_ai_tool_call_id,
    gen_ai_input_tokens, gen_ai_output_tokens, gen_ai_cache_read_tokens, gen_ai_cache_creation_tokens,
    gen_ai_reasoning_tokens, gen_ai_time_to_first_chunk_s, gen_ai_finish_reasons,
    CAST(arrayFirst(v -> v != '', [
        attributes_string['gen_ai.input.messages'], attributes_string['gen_ai.request.messages'], attributes_string['gen_ai.prompt'],
        replaceOne(concat('[', arrayStringConcat(arrayMap(
        i -> concat('{"role":', toJSONString(attributes_string[concat('gen_ai.prompt.', toString(i), '.role')]), ',"content":', toJSONString(attributes_string[concat('gen_ai.prompt.', toString(i), '.content')]), '}'),
        arraySort(arrayDistinct(arrayMap(k -> toUInt32OrZero(splitByChar('.', toString(k))[3]), arrayFilter(k -> match(k, '^gen_ai\\.prompt\\.[0-9]+\\.'), mapKeys(attributes_string)))))
    ), ','), ']'), '[]', ''),
        replaceOne(concat('[', arrayStringConcat(arrayMap(
        i -> concat('{"role":', toJSONString(attributes_string[concat('llm.input_messages.', toString(i), '.message.role')]), ',"content":', toJSONString(attributes_string[concat('llm.input_messages.', toString(i), '.message.content')]), '}'),
        arraySort(arrayDistinct(arrayMap(k -> toUInt32OrZero(splitByChar('.', toString(k))[3]), arrayFilter(k -> match(k, '^llm\\.input_messages\\.[0-9]+\\.'), mapKeys(attributes_string)))))
    ), ','), ']'), '[]', ''),
        arrayFirst(v -> v != '', arrayMap(
        e -> if(JSONType(e, 'attributes', 'gen_ai.input.messages') = 'String', JSONExtractString(e, 'attributes', 'gen_ai.input.messages'), JSONExtractRaw(e, 'attributes', 'gen_ai.input.messages')),
        arrayFilter(e -> JSONExtractString(e, 'name') = 'gen_ai.client.inference.operation.details', if(position(span_events, 'gen_ai.') > 0, JSONExtractArrayRaw(span_events), []))
    )),
        arrayFirst(v -> v != '', arrayMap(
        e -> if(JSONType(e, 'attributes', 'gen_ai.prompt') = 'String', JSONExtractString(e, 'attributes', 'gen_ai.prompt'), JSONExtractRaw(e, 'attributes', 'gen_ai.prompt')),
        arrayFilter(e -> JSONExtractString(e, 'name') = 'gen_ai.content.prompt', if(position(span_events, 'gen_ai.') > 0, JSONExtractArrayRaw(span_events), []))
    )),
        replaceOne(concat('[', arrayStringConcat(arrayMap(
        e -> concat('{"role":"', splitByChar('.', JSONExtractString(e, 'name'))[2], '","content":', if(JSONExtractRaw(e, 'attributes', 'content') = '', 'null', JSONExtractRaw(e, 'attributes', 'content')), '}'),
        arrayFilter(e -> match(JSONExtractString(e, 'name'), '^gen_ai\\.(system|user|assistant|tool)\\.message$'), if(position(span_events, 'gen_ai.') > 0, JSONExtractArrayRaw(span_events), []))
    ), ','), ']'), '[]', ''),
        attributes_string['input.value'], attributes_string['traceloop.entity.input'], attributes_string['ai.prompt.messages'], attributes_string['ai.prompt']
    ]), 'String') AS gen_ai_input_messages,
    CAST(arrayFirst(v -> v != '', [
        attributes_string['gen_ai.output.messages'], attributes_string['gen_ai.response.text'], attributes_string['gen_ai.completion'],
        replaceOne(concat('[', arrayStringConcat(arrayMap(
        i -> concat('{"role":', toJSONString(attributes_string[concat('gen_ai.completion.', toString(i), '.role')]), ',"content":', toJSONString(attributes_string[concat('gen_ai.completion.', toString(i), '.content')]), '}'),
        arraySort(arrayDistinct(arrayMap(k -> toUInt32OrZero(splitByChar('.', toString(k))[3]), arrayFilter(k -> match(k, '^gen_ai\\.completion\\.[0-9]+\\.'), mapKeys(attributes_string)))))
    ), ','), ']'), '[]', ''),
        replaceOne(concat('[', arrayStringConcat(arrayMap(
        i -> concat('{"role":', toJSONString(attributes_string[concat('llm.output_messages.', toString(i), '.message.role')]), ',"content":', toJSONString(attributes_string[concat('llm.output_messages.', toString(i), '.message.content')]), '}'),
        arraySort(arrayDistinct(arrayMap(k -> toUInt32OrZero(splitByChar('.', toString(k))[3]), arrayFilter(k -> match(k, '^llm\\.output_messages\\.[0-9]+\\.'), mapKeys(attributes_string)))))
    ), ','), ']'), '[]', ''),
        arrayFirst(v -> v != '', arrayMap(
        e -> if(JSONType(e, 'attributes', 'gen_ai.output.messages') = 'String', JSONExtractString(e, 'attributes', 'gen_ai.output.messages'), JSONExtractRaw(e, 'attributes', 'gen_ai.output.messages')),
        arrayFilter(e -> JSONExtractString(e, 'name') = 'gen_ai.client.inference.operation.details', if(position(span_events, 'gen_ai.') > 0, JSONExtractArrayRaw(span_events), []))
    )),
        arrayFirst(v -> v != '', arrayMap(
        e -> if(JSONType(e, 'attributes', 'gen_ai.completion') = 'String', JSONExtractString(e, 'attributes', 'gen_ai.completion'), JSONExtractRaw(e, 'attributes', 'gen_ai.completion')),
        arrayFilter(e -> JSONExtractString(e, 'name') = 'gen_ai.content.completion', if(position(span_events, 'gen_ai.') > 0, JSONExtractArrayRaw(span_events), []))
    )),
        replaceOne(concat('[', arrayStringConcat(arrayMap(
        e -> concat('{"role":"', 'assistant', '","content":', if(if(JSONHas(e, 'attributes', 'message'), JSONExtractRaw(e, 'attributes', 'message'), JSONExtractRaw(e, 'attributes', 'content')) = '', 'null', if(JSONHas(e, 'attributes', 'message'), JSONExtractRaw(e, 'attributes', 'message'), JSONExtractRaw(e, 'attributes', 'content'))), '}'),
        arrayFilter(e -> JSONExtractString(e, 'name') = 'gen_ai.choice', if(position(span_events, 'gen_ai.') > 0, JSONExtractArrayRaw(span_events), []))
    ), ','), ']'), '[]', ''),
        attributes_string['output.value'], attributes_string['traceloop.entity.output'], attributes_string['ai.response.text'],
        attributes_string['gen_ai.response.tool_calls'], attributes_string['ai.response.toolCalls'], attributes_string['ai.response.object']
    ]), 'String') AS gen_ai_output_messages,
    CAST(arrayFirst(v -> v != '', [
        attributes_string['gen_ai.system_instructions'],
        arrayFirst(v -> v != '', arrayMap(
        e -> if(JSONType(e, 'attributes', 'gen_ai.system_instructions') = 'String', JSONExtractString(e, 'attributes', 'gen_ai.system_instructions'), JSONExtractRaw(e, 'attributes', 'gen_ai.system_instructions')),
        arrayFilter(e -> JSONExtractString(e, 'name') = 'gen_ai.client.inference.operation.details', if(position(span_events, 'gen_ai.') > 0, JSONExtractArrayRaw(span_events), []))
    ))
    ]), 'String') AS gen_ai_system_instructions,
    CAST(arrayFirst(v -> v != '', [attributes_string['gen_ai.tool.call.arguments'], attributes_string['gen_ai.tool.input'], attributes_string['ai.toolCall.args'], attributes_string['ai.toolCall.input'], attributes_string['tool.parameters']]), 'String') AS gen_ai_tool_arguments,
    CAST(arrayFirst(v -> v != '', [attributes_string['gen_ai.tool.call.result'], attributes_string['gen_ai.tool.output'], attributes_string['ai.toolCall.result'], attributes_string['ai.toolCall.output'], if(attributes_string['openinference.span.kind'] = 'TOOL', attributes_string['output.value'], '')]), 'String') AS gen_ai_tool_result,
    fingerprint, group_hash,
    CAST(mapConcat(attributes_string, CAST(attributes_int, 'Map(LowCardinality(String), String)'), CAST(attributes_double, 'Map(LowCardinality(String), String)'), CAST(attributes_bool, 'Map(LowCardinality(String), String)')), 'Map(String, String)') AS attributes,
    attributes_string, attributes_int, attributes_double, attributes_bool,
    CAST(resource, 'Map(String, String)') AS resource,
    scope_name, scope_version, scope_attributes, schema_url, span_events, span_links,
    dropped_attributes_count, dropped_events_count, dropped_links_count,
    CAST(metadata, 'JSON') AS metadata, payload, repairs, source_seq, source_item, source_ordinal, version
FROM {{name.event_rows}} FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- As before: the conditions of a reader, and the item type, are tried first.
CREATE OR REPLACE VIEW {{name.check_ins}}{{on_cluster}} AS
SELECT
    organisation,
    channel_id,
    environment,
    monitor,
    max(own_id) AS check_in_id,
    if(max(ends), argMax(end_status, ends), 'in_progress') AS status,
    multiIf(
        max(starts), minIf(started_at, starts),
        max(said_ns) > 0, max(ended_at) - toIntervalNanosecond(max(said_ns)),
        max(ended_at)
    ) AS opened_at,
    if(max(ends), toNullable(max(ended_at)), NULL) AS closed_at,
    if(
        max(said_ns) > 0 OR NOT max(ends), max(said_ns),
        toUInt64(greatest(0, toUnixTimestamp64Nano(max(ended_at)) - toUnixTimestamp64Nano(opened_at)))
    ) AS duration_ns,
    max(found_trace_id) AS trace_id,
    argMax(found_release, found_release != '') AS release,
    argMax(config, length(config)) AS monitor_config,
    arraySort(groupUniqArrayArray(states)) AS event_ids
FROM
(
    SELECT
        *,
        countIf(step = 1) OVER (
            PARTITION BY organisation, channel_id, environment, monitor, level
            ORDER BY at, first_seq, first_item, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS opening
    FROM
    (
        SELECT *, multiIf(step = 1, depth - lowest, step = -1, depth + 1 - lowest, 0) AS level
        FROM
        (
            SELECT
                *,
                least(0, min(depth) OVER (
                    PARTITION BY organisation, channel_id, environment, monitor
                    ORDER BY at, first_seq, first_item, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                )) AS lowest
            FROM
            (
                SELECT
                    *,
                    multiIf(NOT ends, 1, own_id = '', -1, 0) AS step,
                    if(ends, ended_at, started_at) AS at,
                    sum(step) OVER (
                        PARTITION BY organisation, channel_id, environment, monitor
                        ORDER BY at, first_seq, first_item, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
                    ) AS depth
                FROM
                (
                    -- All check-ins with one id, or one check-in that has no id.
                    SELECT
                        organisation,
                        channel_id,
                        environment,
                        monitor,
                        own_id,
                        one,
                        max(NOT is_closing) AS starts,
                        max(is_closing) AS ends,
                        minIf(timestamp, NOT is_closing) AS started_at,
                        minIf(timestamp, is_closing) AS ended_at,
                        argMinIf(said_status, place, is_closing) AS end_status,
                        argMinIf(said_duration_ns, place, is_closing) AS said_ns,
                        min(source_seq) AS first_seq,
                        min(source_item) AS first_item,
                        max(said_trace_id) AS found_trace_id,
                        argMax(said_release, (said_release != '', place)) AS found_release,
                        argMax(said_config, (length(said_config) > 0, place)) AS config,
                        groupUniqArray(event_id) AS states
                    FROM
                    (
                        SELECT
                            organisation, channel_id, environment, name AS monitor, timestamp, source_seq, source_item,
                            event_id, status AS said_status, duration_ns AS said_duration_ns,
                            trace_id AS said_trace_id, release AS said_release,
                            JSONExtractString(metadata, 'checkInId') AS own_id,
                            if(own_id = '', toString(event_id), own_id) AS one,
                            status != 'in_progress' AS is_closing,
                            (timestamp, source_seq, source_item) AS place,
                            mapApply(
                                (k, v) -> (substring(k, length('monitor.') + 1), v),
                                mapFilter(
                                    (k, v) -> startsWith(k, 'monitor.'),
                                    CAST(mapConcat(
                                        attributes_string,
                                        mapApply((k, v) -> (k, toString(v)), attributes_int),
                                        mapApply((k, v) -> (k, toString(v)), attributes_double),
                                        mapApply((k, v) -> (k, toString(v)), attributes_bool)
                                    ), 'Map(String, String)')
                                )
                            ) AS said_config
                        FROM {{name.event_rows}} FINAL
                        WHERE item_type = 'check_in'
                    )
                    GROUP BY organisation, channel_id, environment, monitor, own_id, one
                )
            )
        )
    )
)
GROUP BY organisation, channel_id, environment, monitor, level, if(level = 0, 0, opening), if(level = 0, one, '')
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;

-- As before, with these settings.
CREATE OR REPLACE VIEW {{name.outcomes}}{{on_cluster}} AS
SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, quantity, sender
FROM
(
    SELECT toStartOfMinute(toDateTime(received_at, 'UTC')) AS minute, organisation, channel_id, key_id, item_type,
           'accepted' AS outcome, '' AS reason, count() AS quantity, '' AS sender
    FROM {{name.event_rows}} FINAL
    GROUP BY minute, organisation, channel_id, key_id, item_type
    UNION ALL
    SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, sum(quantity) AS quantity, sender
    FROM {{name.outcome_rows}} FINAL
    {{global}}LEFT ANY JOIN
    (
        SELECT organisation, channel_id, minute, stage, origin_seq, item_index, generation AS newest
        FROM {{name.taken_rows}} FINAL WHERE generation > 0
    ) AS replayed USING (organisation, channel_id, minute, stage, origin_seq, item_index)
    WHERE generation >= newest AND outcome != 'used'
    GROUP BY minute, organisation, channel_id, key_id, item_type, outcome, reason, sender
)
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1;
