CREATE TABLE IF NOT EXISTS {{stored.event_rows}}{{on_cluster}}
(
    organisation        LowCardinality(String),
    channel_id          UInt64,
    key_id              LowCardinality(String),
    environment         LowCardinality(String),
    event_id            UUID,
    version             UInt64,
    event_type          LowCardinality(String),
    item_type           LowCardinality(String),
    timestamp           DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at         DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    observed_at         DateTime64(9, 'UTC') DEFAULT received_at CODEC(Delta, ZSTD(1)),
    -- The sender's time in nanoseconds, if `timestamp` was moved into the range of partitions; 0 = not moved.
    original_timestamp_ns UInt64 DEFAULT 0,
    source_seq          UInt64 DEFAULT 0,
    source_item         UInt32 DEFAULT 0,
    source_ordinal      UInt32 DEFAULT 0,

    trace_id            String DEFAULT '',
    span_id             String DEFAULT '',
    parent_span_id      String DEFAULT '',
    trace_state         String DEFAULT '',
    trace_flags         UInt32 DEFAULT 0,
    span_kind           LowCardinality(String) DEFAULT '',
    span_op             LowCardinality(String) DEFAULT '',
    status              LowCardinality(String) DEFAULT '',
    status_message      String DEFAULT '',
    duration_ns         UInt64 DEFAULT 0 CODEC(T64, ZSTD(1)),

    severity_number     UInt8 DEFAULT 0,
    severity_text       LowCardinality(String) DEFAULT '',
    name                String DEFAULT '',
    body                String DEFAULT '' CODEC(ZSTD(1)),

    attributes_string   Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    attributes_int      Map(LowCardinality(String), Int64) CODEC(ZSTD(1)),
    attributes_double   Map(LowCardinality(String), Float64) CODEC(ZSTD(1)),
    attributes_bool     Map(LowCardinality(String), Bool) CODEC(ZSTD(1)),
    resource            Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    scope_name          LowCardinality(String) DEFAULT '',
    scope_version       LowCardinality(String) DEFAULT '',
    scope_attributes    Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    schema_url          LowCardinality(String) DEFAULT '',
    span_events         String DEFAULT '' CODEC(ZSTD(3)),
    span_links          String DEFAULT '' CODEC(ZSTD(3)),
    dropped_attributes_count UInt32 DEFAULT 0,
    dropped_events_count UInt32 DEFAULT 0,
    dropped_links_count UInt32 DEFAULT 0,

    -- Columns of the semantic conventions. ClickHouse computes them from the maps: the current name of an attribute first,
    -- then its older names, then those of OpenLLMetry (llm.*, traceloop.*), OpenInference (llm.*) and the AI SDK (ai.*).
    service_name        LowCardinality(String) DEFAULT resource['service.name'],
    service_namespace   LowCardinality(String) ALIAS resource['service.namespace'],
    service_version     LowCardinality(String) DEFAULT resource['service.version'],
    service_instance_id String ALIAS resource['service.instance.id'],
    deployment_environment LowCardinality(String) DEFAULT if(resource['deployment.environment.name'] != '', resource['deployment.environment.name'], resource['deployment.environment']),
    host_name           LowCardinality(String) DEFAULT resource['host.name'],
    k8s_pod_name        LowCardinality(String) ALIAS resource['k8s.pod.name'],
    release             LowCardinality(String) DEFAULT service_version,
    sdk_name            LowCardinality(String) DEFAULT resource['telemetry.sdk.name'],
    sdk_version         LowCardinality(String) DEFAULT resource['telemetry.sdk.version'],
    platform            LowCardinality(String) DEFAULT resource['telemetry.sdk.language'],
    exception_type      String DEFAULT attributes_string['exception.type'],
    exception_message   String DEFAULT attributes_string['exception.message'] CODEC(ZSTD(1)),
    exception_stacktrace String DEFAULT attributes_string['exception.stacktrace'] CODEC(ZSTD(3)),
    error_type          LowCardinality(String) ALIAS attributes_string['error.type'],
    user_id             String DEFAULT if(attributes_string['user.id'] != '', attributes_string['user.id'], attributes_string['enduser.id']),
    user_email          String DEFAULT attributes_string['user.email'],
    user_name           String DEFAULT attributes_string['user.name'],
    session_id          String DEFAULT attributes_string['session.id'],
    http_method         LowCardinality(String) DEFAULT if(attributes_string['http.request.method'] != '', attributes_string['http.request.method'], attributes_string['http.method']),
    http_status_code    UInt16 DEFAULT accurateCastOrDefault(arrayFirst(v -> v != 0, [
                            attributes_int['http.response.status_code'], attributes_int['http.status_code'],
                            toInt64OrZero(attributes_string['http.response.status_code']), toInt64OrZero(attributes_string['http.status_code'])
                        ]), 'UInt16'),
    http_route          String DEFAULT attributes_string['http.route'],
    url                 String DEFAULT if(attributes_string['url.full'] != '', attributes_string['url.full'], attributes_string['http.url']),
    url_path            String ALIAS if(attributes_string['url.path'] != '', attributes_string['url.path'], splitByChar('?', attributes_string['http.target'])[1]),
    server_address      String ALIAS if(attributes_string['server.address'] != '', attributes_string['server.address'], attributes_string[if(span_kind = 'server', 'net.host.name', 'net.peer.name')]),
    user_agent          String ALIAS if(attributes_string['user_agent.original'] != '', attributes_string['user_agent.original'], attributes_string['http.user_agent']),
    db_system           LowCardinality(String) DEFAULT if(attributes_string['db.system.name'] != '', attributes_string['db.system.name'], attributes_string['db.system']),
    db_namespace        LowCardinality(String) ALIAS if(attributes_string['db.namespace'] != '', attributes_string['db.namespace'], attributes_string['db.name']),
    db_operation        LowCardinality(String) ALIAS if(attributes_string['db.operation.name'] != '', attributes_string['db.operation.name'], attributes_string['db.operation']),
    db_collection       String ALIAS arrayFirst(v -> v != '', [attributes_string['db.collection.name'], attributes_string['db.sql.table'], attributes_string['db.mongodb.collection'], attributes_string['db.cassandra.table']]),
    db_query            String ALIAS if(attributes_string['db.query.text'] != '', attributes_string['db.query.text'], attributes_string['db.statement']),
    messaging_system    LowCardinality(String) ALIAS attributes_string['messaging.system'],
    messaging_destination String ALIAS if(attributes_string['messaging.destination.name'] != '', attributes_string['messaging.destination.name'], attributes_string['messaging.destination']),
    rpc_system          LowCardinality(String) ALIAS if(attributes_string['rpc.system.name'] != '', attributes_string['rpc.system.name'], attributes_string['rpc.system']),
    rpc_method          String ALIAS attributes_string['rpc.method'],
    gen_ai_operation    LowCardinality(String) DEFAULT if(attributes_string['gen_ai.operation.name'] != '', attributes_string['gen_ai.operation.name'], transform(attributes_string['llm.request.type'], ['completion', 'embedding'], ['text_completion', 'embeddings'])),
    gen_ai_provider     LowCardinality(String) DEFAULT arrayFirst(v -> v != '', [attributes_string['gen_ai.provider.name'], lower(attributes_string['gen_ai.system']), attributes_string['llm.provider'], attributes_string['llm.system'], attributes_string['ai.model.provider']]),
    gen_ai_request_model LowCardinality(String) ALIAS arrayFirst(v -> v != '', [attributes_string['gen_ai.request.model'], attributes_string['llm.request.model'], attributes_string['llm.model_name'], attributes_string['ai.model.id']]),
    gen_ai_response_model LowCardinality(String) ALIAS arrayFirst(v -> v != '', [attributes_string['gen_ai.response.model'], attributes_string['llm.response.model'], attributes_string['ai.response.model']]),
    gen_ai_model        LowCardinality(String) DEFAULT if(gen_ai_response_model != '', gen_ai_response_model, gen_ai_request_model),
    gen_ai_agent        LowCardinality(String) DEFAULT arrayFirst(v -> v != '', [attributes_string['gen_ai.agent.name'], attributes_string['agent.name'], attributes_string['agent_name'], if(attributes_string['traceloop.span.kind'] = 'agent', attributes_string['traceloop.entity.name'], '')]),
    gen_ai_agent_id     String ALIAS attributes_string['gen_ai.agent.id'],
    gen_ai_agent_version LowCardinality(String) ALIAS attributes_string['gen_ai.agent.version'],
    gen_ai_workflow     LowCardinality(String) ALIAS if(attributes_string['gen_ai.workflow.name'] != '', attributes_string['gen_ai.workflow.name'], attributes_string['traceloop.workflow.name']),
    gen_ai_conversation_id String DEFAULT attributes_string['gen_ai.conversation.id'],
    gen_ai_tool         LowCardinality(String) DEFAULT arrayFirst(v -> v != '', [attributes_string['gen_ai.tool.name'], attributes_string['tool.name'], attributes_string['ai.toolCall.name'], if(attributes_string['traceloop.span.kind'] = 'tool', attributes_string['traceloop.entity.name'], '')]),
    gen_ai_tool_type    LowCardinality(String) ALIAS attributes_string['gen_ai.tool.type'],
    gen_ai_tool_call_id String ALIAS arrayFirst(v -> v != '', [attributes_string['gen_ai.tool.call.id'], attributes_string['tool_call.id'], attributes_string['ai.toolCall.id']]),
    gen_ai_input_tokens UInt64 DEFAULT greatest(0, arrayFirst(v -> v != 0, [
                            attributes_int['gen_ai.usage.input_tokens'], attributes_int['gen_ai.usage.prompt_tokens'],
                            attributes_int['llm.usage.prompt_tokens'], attributes_int['llm.token_count.prompt'],
                            attributes_int['ai.usage.inputTokens'], attributes_int['ai.usage.promptTokens']
                        ])),
    gen_ai_output_tokens UInt64 DEFAULT greatest(0, arrayFirst(v -> v != 0, [
                            attributes_int['gen_ai.usage.output_tokens'], attributes_int['gen_ai.usage.completion_tokens'],
                            attributes_int['llm.usage.completion_tokens'], attributes_int['llm.token_count.completion'],
                            attributes_int['ai.usage.outputTokens'], attributes_int['ai.usage.completionTokens']
                        ])),
    gen_ai_cache_read_tokens UInt64 ALIAS greatest(0, arrayFirst(v -> v != 0, [
                            attributes_int['gen_ai.usage.cache_read.input_tokens'], attributes_int['gen_ai.usage.cache_read_input_tokens'],
                            attributes_int['llm.token_count.prompt_details.cache_read'], attributes_int['ai.usage.cachedInputTokens']
                        ])),
    gen_ai_cache_creation_tokens UInt64 ALIAS greatest(0, arrayFirst(v -> v != 0, [
                            attributes_int['gen_ai.usage.cache_creation.input_tokens'], attributes_int['gen_ai.usage.cache_creation_input_tokens'],
                            attributes_int['llm.token_count.prompt_details.cache_write']
                        ])),
    gen_ai_reasoning_tokens UInt64 ALIAS greatest(0, arrayFirst(v -> v != 0, [
                            attributes_int['gen_ai.usage.reasoning.output_tokens'], attributes_int['gen_ai.usage.reasoning_tokens'],
                            attributes_int['llm.token_count.completion_details.reasoning'], attributes_int['ai.usage.reasoningTokens']
                        ])),
    gen_ai_time_to_first_chunk_s Float64 ALIAS if(attributes_double['gen_ai.response.time_to_first_chunk'] != 0, attributes_double['gen_ai.response.time_to_first_chunk'], attributes_double['ai.response.msToFirstChunk'] / 1000),
    gen_ai_finish_reasons Array(String) ALIAS if(attributes_string['gen_ai.response.finish_reasons'] != '', JSONExtract(attributes_string['gen_ai.response.finish_reasons'], 'Array(String)'), arrayFilter(v -> v != '', [attributes_string['llm.response.finish_reason'], attributes_string['ai.response.finishReason']])),
    -- Messages can be long. They are read from the attributes by each query and are not stored twice.
    gen_ai_input_messages String ALIAS arrayFirst(v -> v != '', [attributes_string['gen_ai.input.messages'], attributes_string['gen_ai.prompt'], attributes_string['input.value'], attributes_string['traceloop.entity.input'], attributes_string['ai.prompt.messages'], attributes_string['ai.prompt']]),
    gen_ai_output_messages String ALIAS arrayFirst(v -> v != '', [attributes_string['gen_ai.output.messages'], attributes_string['gen_ai.completion'], attributes_string['output.value'], attributes_string['traceloop.entity.output'], attributes_string['ai.response.text']]),
    gen_ai_system_instructions String ALIAS attributes_string['gen_ai.system_instructions'],
    gen_ai_tool_arguments String ALIAS if(attributes_string['gen_ai.tool.call.arguments'] != '', attributes_string['gen_ai.tool.call.arguments'], attributes_string['ai.toolCall.args']),
    gen_ai_tool_result  String ALIAS if(attributes_string['gen_ai.tool.call.result'] != '', attributes_string['gen_ai.tool.call.result'], attributes_string['ai.toolCall.result']),

    -- Grouping: the fingerprint that the SDK sent, and one stable hash for GROUP BY.
    fingerprint         Array(String),
    group_hash          String DEFAULT '',

    metadata            String DEFAULT '{}',
    payload             String DEFAULT '' CODEC(ZSTD(3)),
    repairs             Array(LowCardinality(String)),

    -- The key begins with a number for the day, which is the same in a whole partition: so no granule of one day has keys
    -- between those of another, and FINAL looks at one day for what may replace a row. The day itself would be used for
    -- conditions on `timestamp` in place of the five minutes. Tables that were made before have no day in their key, and
    -- stay as they are (docs/decisions/0090-questions-by-id.md).
    -- Rows are inserted nearly in the order of their bodies, so this index finds rows of replayed bodies quickly.
    INDEX index_source_seq source_seq TYPE minmax GRANULARITY 1,
    INDEX index_event_id event_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX index_trace_id trace_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX index_attribute_keys mapKeys(attributes_string) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX index_attribute_values mapValues(attributes_string) TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{replicated}}ReplacingMergeTree(version)
PARTITION BY toDate(timestamp)
PRIMARY KEY (intHash32(toDate(timestamp)), organisation, channel_id, toStartOfFiveMinutes(timestamp))
ORDER BY (intHash32(toDate(timestamp)), organisation, channel_id, toStartOfFiveMinutes(timestamp), item_type, timestamp, event_id)
SETTINGS {{first_setting}}index_granularity = 8192, ttl_only_drop_parts = 1;

{{distributed.event_rows}};

CREATE TABLE IF NOT EXISTS {{stored.trace_bounds}}{{on_cluster}}
(
    organisation LowCardinality(String),
    trace_id     String,
    first_at     SimpleAggregateFunction(min, DateTime64(9, 'UTC')),
    last_at      SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
)
ENGINE = {{replicated}}AggregatingMergeTree
ORDER BY (organisation, trace_id){{settings}};

{{distributed.trace_bounds}};

-- min and max are idempotent: a replayed row does not change them. A sum would count it again.
CREATE MATERIALIZED VIEW IF NOT EXISTS {{name.trace_bounds_from_events}}{{on_cluster}} TO {{stored.trace_bounds}} AS
SELECT organisation, trace_id, min(timestamp) AS first_at, max(timestamp) AS last_at
FROM {{stored.event_rows}}
WHERE trace_id != ''
GROUP BY organisation, trace_id;

CREATE OR REPLACE VIEW {{name.events}}{{on_cluster}} AS
SELECT
    event_id, organisation, channel_id, key_id, environment, event_type, item_type,
    timestamp, received_at, observed_at, original_timestamp_ns,
    trace_id, span_id, parent_span_id, trace_state, trace_flags, span_kind, span_op, status, status_message, duration_ns,
    severity_number, severity_text, name, body,
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
