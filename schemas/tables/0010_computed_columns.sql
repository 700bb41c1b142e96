-- Columns that are computed when they are read stand in the view alone. As columns of the table their expressions were
-- analysed by every insert three times, for the table and for each of its materialized views: 24 of the 50 ms that an
-- insert costs, however few its rows are (docs/decisions/0041-cheaper-inserts.md). The view has the same names and types.
ALTER TABLE {{each.event_rows}}{{on_cluster}} MODIFY COLUMN gen_ai_model LowCardinality(String) DEFAULT arrayFirst(v -> v != '', [
    attributes_string['gen_ai.response.model'], attributes_string['llm.response.model'], attributes_string['ai.response.model'],
    attributes_string['gen_ai.request.model'], attributes_string['llm.request.model'], attributes_string['llm.model_name'], attributes_string['ai.model.id']
]);

CREATE OR REPLACE VIEW {{name.events}}{{on_cluster}} AS
SELECT
    event_id, organisation, channel_id, key_id, environment, event_type, item_type,
    timestamp, received_at, observed_at, original_timestamp_ns,
    trace_id, span_id, parent_span_id, trace_state, trace_flags, span_kind, span_op, status, status_message, duration_ns,
    severity_number, severity_text, name, body,
    CAST(if(
        item_type IN ('otlp_span', 'otlp_log') AND group_hash != '' AND (exception_type != '' OR exception_message != ''),
        substringUTF8(arrayStringConcat(arrayFilter(part -> part != '', [exception_type, splitByChar('\n', trimBoth(exception_message))[1]]), ': '), 1, 256),
        name
), 'String') AS title,
    CAST(event_type = 'agent.error' OR (group_hash != '' AND item_type IN ('otlp_span', 'otlp_log', 'native')), 'Bool') AS is_error,
    service_name,
    CAST(stored.resource['service.namespace'], 'LowCardinality(String)') AS service_namespace,
    service_version,
    CAST(stored.resource['service.instance.id'], 'String') AS service_instance_id,
    deployment_environment, host_name,
    CAST(stored.resource['k8s.pod.name'], 'LowCardinality(String)') AS k8s_pod_name,
    release, sdk_name, sdk_version, platform,
    exception_type, exception_message, exception_stacktrace,
    CAST(attributes_string['error.type'], 'LowCardinality(String)') AS error_type,
    user_id, user_email, user_name, session_id, http_method, http_status_code, http_route, url,
    CAST(if(attributes_string['url.path'] != '', attributes_string['url.path'], splitByChar('?', attributes_string['http.target'])[1]), 'String') AS url_path,
    CAST(if(attributes_string['server.address'] != '', attributes_string['server.address'], attributes_string[if(span_kind = 'server', 'net.host.name', 'net.peer.name')]), 'String') AS server_address,
    CAST(if(attributes_string['user_agent.original'] != '', attributes_string['user_agent.original'], attributes_string['http.user_agent']), 'String') AS user_agent,
    db_system,
    CAST(if(attributes_string['db.namespace'] != '', attributes_string['db.namespace'], attributes_string['db.name']), 'LowCardinality(String)') AS db_namespace,
    CAST(if(attributes_string['db.operation.name'] != '', attributes_string['db.operation.name'], attributes_string['db.operation']), 'LowCardinality(String)') AS db_operation,
    CAST(arrayFirst(v -> v != '', [attributes_string['db.collection.name'], attributes_string['db.sql.table'], attributes_string['db.mongodb.collection'], attributes_string['db.cassandra.table']]), 'String') AS db_collection,
    CAST(if(attributes_string['db.query.text'] != '', attributes_string['db.query.text'], attributes_string['db.statement']), 'String') AS db_query,
    CAST(attributes_string['messaging.system'], 'LowCardinality(String)') AS messaging_system,
    CAST(if(attributes_string['messaging.destination.name'] != '', attributes_string['messaging.destination.name'], attributes_string['messaging.destination']), 'String') AS messaging_destination,
    CAST(if(attributes_string['rpc.system.name'] != '', attributes_string['rpc.system.name'], attributes_string['rpc.system']), 'LowCardinality(String)') AS rpc_system,
    CAST(attributes_string['rpc.method'], 'String') AS rpc_method,
    gen_ai_operation, gen_ai_provider, gen_ai_model,
    CAST(arrayFirst(v -> v != '', [attributes_string['gen_ai.request.model'], attributes_string['llm.request.model'], attributes_string['llm.model_name'], attributes_string['ai.model.id']]), 'LowCardinality(String)') AS gen_ai_request_model,
    CAST(arrayFirst(v -> v != '', [attributes_string['gen_ai.response.model'], attributes_string['llm.response.model'], attributes_string['ai.response.model']]), 'LowCardinality(String)') AS gen_ai_response_model,
    gen_ai_agent,
    CAST(attributes_string['gen_ai.agent.id'], 'String') AS gen_ai_agent_id,
    CAST(attributes_string['gen_ai.agent.version'], 'LowCardinality(String)') AS gen_ai_agent_version,
    CAST(if(attributes_string['gen_ai.workflow.name'] != '', attributes_string['gen_ai.workflow.name'], attributes_string['traceloop.workflow.name']), 'LowCardinality(String)') AS gen_ai_workflow,
    gen_ai_conversation_id,
    gen_ai_tool,
    CAST(attributes_string['gen_ai.tool.type'], 'LowCardinality(String)') AS gen_ai_tool_type,
    CAST(arrayFirst(v -> v != '', [attributes_string['gen_ai.tool.call.id'], attributes_string['tool_call.id'], attributes_string['ai.toolCall.id']]), 'String') AS gen_ai_tool_call_id,
    gen_ai_input_tokens, gen_ai_output_tokens,
    CAST(greatest(0, arrayFirst(v -> v != 0, [
        attributes_int['gen_ai.usage.cache_read.input_tokens'], attributes_int['gen_ai.usage.cache_read_input_tokens'],
        attributes_int['llm.token_count.prompt_details.cache_read'], attributes_int['ai.usage.cachedInputTokens']
    ])), 'UInt64') AS gen_ai_cache_read_tokens,
    CAST(greatest(0, arrayFirst(v -> v != 0, [
        attributes_int['gen_ai.usage.cache_creation.input_tokens'], attributes_int['gen_ai.usage.cache_creation_input_tokens'],
        attributes_int['llm.token_count.prompt_details.cache_write']
    ])), 'UInt64') AS gen_ai_cache_creation_tokens,
    CAST(greatest(0, arrayFirst(v -> v != 0, [
        attributes_int['gen_ai.usage.reasoning.output_tokens'], attributes_int['gen_ai.usage.reasoning_tokens'],
        attributes_int['llm.token_count.completion_details.reasoning'], attributes_int['ai.usage.reasoningTokens']
    ])), 'UInt64') AS gen_ai_reasoning_tokens,
    CAST(if(attributes_double['gen_ai.response.time_to_first_chunk'] != 0, attributes_double['gen_ai.response.time_to_first_chunk'], attributes_double['ai.response.msToFirstChunk'] / 1000), 'Float64') AS gen_ai_time_to_first_chunk_s,
    CAST(if(attributes_string['gen_ai.response.finish_reasons'] != '', JSONExtract(attributes_string['gen_ai.response.finish_reasons'], 'Array(String)'), arrayFilter(v -> v != '', [attributes_string['llm.response.finish_reason'], attributes_string['ai.response.finishReason']])), 'Array(String)') AS gen_ai_finish_reasons,
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
    CAST(mapConcat(
        attributes_string,
        mapApply((k, v) -> (k, toString(v)), attributes_int),
        mapApply((k, v) -> (k, toString(v)), attributes_double),
        mapApply((k, v) -> (k, toString(v)), attributes_bool)
    ), 'Map(String, String)') AS attributes,
    attributes_string, attributes_int, attributes_double, attributes_bool,
    CAST(stored.resource, 'Map(String, String)') AS resource,
    scope_name, scope_version, scope_attributes, schema_url, span_events, span_links,
    dropped_attributes_count, dropped_events_count, dropped_links_count,
    CAST(metadata, 'JSON') AS metadata, payload, repairs, source_seq, source_item, source_ordinal, version
FROM {{name.event_rows}} AS stored FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- No row is rewritten: nothing was stored of these.
ALTER TABLE {{each.event_rows}}{{on_cluster}}
    DROP COLUMN IF EXISTS service_namespace,
    DROP COLUMN IF EXISTS service_instance_id,
    DROP COLUMN IF EXISTS k8s_pod_name,
    DROP COLUMN IF EXISTS error_type,
    DROP COLUMN IF EXISTS url_path,
    DROP COLUMN IF EXISTS server_address,
    DROP COLUMN IF EXISTS user_agent,
    DROP COLUMN IF EXISTS db_namespace,
    DROP COLUMN IF EXISTS db_operation,
    DROP COLUMN IF EXISTS db_collection,
    DROP COLUMN IF EXISTS db_query,
    DROP COLUMN IF EXISTS messaging_system,
    DROP COLUMN IF EXISTS messaging_destination,
    DROP COLUMN IF EXISTS rpc_system,
    DROP COLUMN IF EXISTS rpc_method,
    DROP COLUMN IF EXISTS gen_ai_request_model,
    DROP COLUMN IF EXISTS gen_ai_response_model,
    DROP COLUMN IF EXISTS gen_ai_agent_id,
    DROP COLUMN IF EXISTS gen_ai_agent_version,
    DROP COLUMN IF EXISTS gen_ai_workflow,
    DROP COLUMN IF EXISTS gen_ai_tool_type,
    DROP COLUMN IF EXISTS gen_ai_tool_call_id,
    DROP COLUMN IF EXISTS gen_ai_cache_read_tokens,
    DROP COLUMN IF EXISTS gen_ai_cache_creation_tokens,
    DROP COLUMN IF EXISTS gen_ai_reasoning_tokens,
    DROP COLUMN IF EXISTS gen_ai_time_to_first_chunk_s,
    DROP COLUMN IF EXISTS gen_ai_finish_reasons,
    DROP COLUMN IF EXISTS gen_ai_input_messages,
    DROP COLUMN IF EXISTS gen_ai_output_messages,
    DROP COLUMN IF EXISTS gen_ai_system_instructions,
    DROP COLUMN IF EXISTS gen_ai_tool_arguments,
    DROP COLUMN IF EXISTS gen_ai_tool_result,
    DROP COLUMN IF EXISTS is_error,
    DROP COLUMN IF EXISTS title;
