-- Numbers that were sent as text or as doubles, and the names that other conventions give to messages of model calls.
-- Workers already rename token counts, models and operations (workers/normalise/gen_ai.py). Messages can be long, so each
-- query reads them from the attributes. Changing a default or an alias changes no stored row: stored rows show a new alias
-- at once, and a new default after a replay.
ALTER TABLE {{each.event_rows}}{{on_cluster}} MODIFY COLUMN http_status_code UInt16 DEFAULT accurateCastOrDefault(arrayFirst(v -> v != 0, [
                            toFloat64(attributes_int['http.response.status_code']), toFloat64(attributes_int['http.status_code']),
                            attributes_double['http.response.status_code'], attributes_double['http.status_code'],
                            toFloat64OrZero(trimBoth(attributes_string['http.response.status_code'])), toFloat64OrZero(trimBoth(attributes_string['http.status_code']))
                        ]), 'UInt16');

-- One name for each operation, whatever a library calls it.
ALTER TABLE {{each.event_rows}}{{on_cluster}} MODIFY COLUMN gen_ai_operation LowCardinality(String) DEFAULT transform(
                            if(attributes_string['gen_ai.operation.name'] != '', attributes_string['gen_ai.operation.name'], attributes_string['llm.request.type']),
                            ['responses', 'message', 'messages', 'completion', 'embedding', 'embed', 'embed_many', 'generate_text', 'stream_text', 'generate_object', 'stream_object'],
                            ['chat', 'chat', 'chat', 'text_completion', 'embeddings', 'embeddings', 'embeddings', 'generate_content', 'generate_content', 'generate_content', 'generate_content']
                        );

ALTER TABLE {{each.event_rows}}{{on_cluster}} MODIFY COLUMN gen_ai_input_messages String ALIAS arrayFirst(v -> v != '', [
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
                        ]);

ALTER TABLE {{each.event_rows}}{{on_cluster}} MODIFY COLUMN gen_ai_output_messages String ALIAS arrayFirst(v -> v != '', [
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
                        ]);

ALTER TABLE {{each.event_rows}}{{on_cluster}} MODIFY COLUMN gen_ai_system_instructions String ALIAS arrayFirst(v -> v != '', [
                            attributes_string['gen_ai.system_instructions'],
                            arrayFirst(v -> v != '', arrayMap(
                                e -> if(JSONType(e, 'attributes', 'gen_ai.system_instructions') = 'String', JSONExtractString(e, 'attributes', 'gen_ai.system_instructions'), JSONExtractRaw(e, 'attributes', 'gen_ai.system_instructions')),
                                arrayFilter(e -> JSONExtractString(e, 'name') = 'gen_ai.client.inference.operation.details', if(position(span_events, 'gen_ai.') > 0, JSONExtractArrayRaw(span_events), []))
                            ))
                        ]);

ALTER TABLE {{each.event_rows}}{{on_cluster}} MODIFY COLUMN gen_ai_tool_arguments String ALIAS arrayFirst(v -> v != '', [attributes_string['gen_ai.tool.call.arguments'], attributes_string['gen_ai.tool.input'], attributes_string['ai.toolCall.args'], attributes_string['ai.toolCall.input'], attributes_string['tool.parameters']]);

ALTER TABLE {{each.event_rows}}{{on_cluster}} MODIFY COLUMN gen_ai_tool_result String ALIAS arrayFirst(v -> v != '', [attributes_string['gen_ai.tool.call.result'], attributes_string['gen_ai.tool.output'], attributes_string['ai.toolCall.result'], attributes_string['ai.toolCall.output'], if(attributes_string['openinference.span.kind'] = 'TOOL', attributes_string['output.value'], '')]);

-- Errors of all senders: Sentry's, native ones, and spans and logs of OpenTelemetry with an exception. `title` is the title
-- of an error: the name of a span or log does not say what failed.
ALTER TABLE {{each.event_rows}}{{on_cluster}} ADD COLUMN IF NOT EXISTS is_error Bool ALIAS event_type = 'agent.error' OR (group_hash != '' AND item_type IN ('otlp_span', 'otlp_log', 'native'));

ALTER TABLE {{each.event_rows}}{{on_cluster}} ADD COLUMN IF NOT EXISTS title String ALIAS if(
    item_type IN ('otlp_span', 'otlp_log') AND group_hash != '' AND (exception_type != '' OR exception_message != ''),
    substringUTF8(arrayStringConcat(arrayFilter(part -> part != '', [exception_type, splitByChar('\n', trimBoth(exception_message))[1]]), ': '), 1, 256),
    name
);

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
    gen_ai_input_messages, gen_ai_output_messages, gen_ai_system_instructions, gen_ai_tool_arguments, gen_ai_tool_result,
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
