CREATE TABLE IF NOT EXISTS event_rows
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
    -- nanoseconds as sent, where the partition range made us move `timestamp`; 0 = not moved
    original_timestamp_ns UInt64 DEFAULT 0,
    source_seq          UInt64 DEFAULT 0,
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

    -- Semantic-convention columns: computed from the maps here, in the engine, new name first, old name second.
    service_name        LowCardinality(String) DEFAULT resource['service.name'],
    service_version     LowCardinality(String) DEFAULT resource['service.version'],
    host_name           LowCardinality(String) DEFAULT resource['host.name'],
    release             LowCardinality(String) DEFAULT service_version,
    sdk_name            LowCardinality(String) DEFAULT resource['telemetry.sdk.name'],
    sdk_version         LowCardinality(String) DEFAULT resource['telemetry.sdk.version'],
    platform            LowCardinality(String) DEFAULT resource['telemetry.sdk.language'],
    exception_type      String DEFAULT attributes_string['exception.type'],
    exception_message   String DEFAULT attributes_string['exception.message'] CODEC(ZSTD(1)),
    exception_stacktrace String DEFAULT attributes_string['exception.stacktrace'] CODEC(ZSTD(3)),
    user_id             String DEFAULT if(attributes_string['user.id'] != '', attributes_string['user.id'], attributes_string['enduser.id']),
    user_email          String DEFAULT attributes_string['user.email'],
    user_name           String DEFAULT attributes_string['user.name'],
    session_id          String DEFAULT attributes_string['session.id'],
    http_method         LowCardinality(String) DEFAULT if(attributes_string['http.request.method'] != '', attributes_string['http.request.method'], attributes_string['http.method']),
    http_status_code    UInt16 DEFAULT toUInt16(if(mapContains(attributes_int, 'http.response.status_code'), attributes_int['http.response.status_code'], attributes_int['http.status_code'])),
    http_route          String DEFAULT attributes_string['http.route'],
    url                 String DEFAULT if(attributes_string['url.full'] != '', attributes_string['url.full'], attributes_string['http.url']),
    db_system           LowCardinality(String) DEFAULT if(attributes_string['db.system.name'] != '', attributes_string['db.system.name'], attributes_string['db.system']),
    gen_ai_operation    LowCardinality(String) DEFAULT attributes_string['gen_ai.operation.name'],
    gen_ai_provider     LowCardinality(String) DEFAULT if(attributes_string['gen_ai.provider.name'] != '', attributes_string['gen_ai.provider.name'], attributes_string['gen_ai.system']),
    gen_ai_model        LowCardinality(String) DEFAULT if(attributes_string['gen_ai.response.model'] != '', attributes_string['gen_ai.response.model'], attributes_string['gen_ai.request.model']),
    gen_ai_agent        LowCardinality(String) DEFAULT attributes_string['gen_ai.agent.name'],
    gen_ai_conversation_id String DEFAULT attributes_string['gen_ai.conversation.id'],
    gen_ai_tool         LowCardinality(String) DEFAULT attributes_string['gen_ai.tool.name'],
    gen_ai_input_tokens UInt64 DEFAULT greatest(0, if(mapContains(attributes_int, 'gen_ai.usage.input_tokens'), attributes_int['gen_ai.usage.input_tokens'], attributes_int['gen_ai.usage.prompt_tokens'])),
    gen_ai_output_tokens UInt64 DEFAULT greatest(0, if(mapContains(attributes_int, 'gen_ai.usage.output_tokens'), attributes_int['gen_ai.usage.output_tokens'], attributes_int['gen_ai.usage.completion_tokens'])),

    -- Grouping: what the SDK sent, and one stable hash to GROUP BY.
    fingerprint         Array(String),
    group_hash          String DEFAULT '',

    metadata            String DEFAULT '{}',
    payload             String DEFAULT '' CODEC(ZSTD(3)),
    repairs             Array(LowCardinality(String)),

    INDEX index_event_id event_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX index_trace_id trace_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX index_attribute_keys mapKeys(attributes_string) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX index_attribute_values mapValues(attributes_string) TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(timestamp)
PRIMARY KEY (organisation, channel_id, toStartOfFiveMinutes(timestamp))
ORDER BY (organisation, channel_id, toStartOfFiveMinutes(timestamp), item_type, timestamp, event_id)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS trace_bounds
(
    organisation LowCardinality(String),
    trace_id     String,
    first_at     SimpleAggregateFunction(min, DateTime64(9, 'UTC')),
    last_at      SimpleAggregateFunction(max, DateTime64(9, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (organisation, trace_id);

-- min and max are idempotent: a replayed row leaves them as they were. A sum would drift.
CREATE MATERIALIZED VIEW IF NOT EXISTS trace_bounds_from_events TO trace_bounds AS
SELECT organisation, trace_id, min(timestamp) AS first_at, max(timestamp) AS last_at
FROM event_rows
WHERE trace_id != ''
GROUP BY organisation, trace_id;

CREATE OR REPLACE VIEW events AS
SELECT
    event_id, organisation, channel_id, key_id, environment, event_type, item_type,
    timestamp, received_at, observed_at, original_timestamp_ns,
    trace_id, span_id, parent_span_id, trace_state, trace_flags, span_kind, span_op, status, status_message, duration_ns,
    severity_number, severity_text, name, body,
    service_name, service_version, host_name, release, sdk_name, sdk_version, platform,
    exception_type, exception_message, exception_stacktrace,
    user_id, user_email, user_name, session_id, http_method, http_status_code, http_route, url, db_system,
    gen_ai_operation, gen_ai_provider, gen_ai_model, gen_ai_agent, gen_ai_conversation_id, gen_ai_tool,
    gen_ai_input_tokens, gen_ai_output_tokens,
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
    CAST(metadata, 'JSON') AS metadata, payload, repairs, source_seq, source_ordinal, version
FROM event_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
