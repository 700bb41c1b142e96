-- Messages and tools of model calls, which are computed when they are read, stand in the view alone. As columns of the
-- table their expressions, 8 kB of SQL, were analysed by every insert three times, for the table and for each of its
-- materialized views: 8 to 17 of the 50 ms that an insert costs, however few its rows are
-- (docs/decisions/0041-cheaper-inserts.md). The view has the same names and types.
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
    CAST(mapConcat(
        attributes_string,
        mapApply((k, v) -> (k, toString(v)), attributes_int),
        mapApply((k, v) -> (k, toString(v)), attributes_double),
        mapApply((k, v) -> (k, toString(v)), attributes_bool)
    ), 'Map(String, String)') AS attributes,
    attributes_string, attributes_int, attributes_double, attributes_bool,
    CAST(resource, 'Map(String, String)') AS resource,
    scope_name, scope_version, scope_attributes, schema_url, span_events, span_links,
    dropped_attributes_count, dropped_events_count, dropped_links_count,
    CAST(metadata, 'JSON') AS metadata, payload, repairs, source_seq, source_item, source_ordinal, version
FROM {{name.event_rows}} FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- No row is rewritten: nothing was stored of these.
ALTER TABLE {{each.event_rows}}{{on_cluster}}
    DROP COLUMN IF EXISTS gen_ai_input_messages,
    DROP COLUMN IF EXISTS gen_ai_output_messages,
    DROP COLUMN IF EXISTS gen_ai_system_instructions,
    DROP COLUMN IF EXISTS gen_ai_tool_arguments,
    DROP COLUMN IF EXISTS gen_ai_tool_result;
