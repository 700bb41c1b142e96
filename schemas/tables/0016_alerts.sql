-- What `axonpush alerts` found and whom it told: docs/alerts.md. The state that decides is in the broker's bucket `alerts`;
-- these rows are for people. Firings and messages are deleted after 90 days; of each rule one state stays, also of a deleted one.
CREATE TABLE IF NOT EXISTS {{stored.alert_firing_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    rule_id      UInt64,
    firing_id    String,
    row_version  UInt64,
    -- issue, metric or monitor
    kind         LowCardinality(String),
    rule_name    String,
    channel_id   UInt64,
    -- firing or resolved
    status       LowCardinality(String),
    severity     LowCardinality(String),
    about        String,
    title        String,
    message      String,
    path         String,
    value        Nullable(Float64),
    fired_at     DateTime64(9, 'UTC'),
    -- JSON, as it is sent.
    details      String
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, rule_id, fired_at, firing_id)
TTL toDateTime(fired_at) + INTERVAL 90 DAY{{settings}};

{{distributed.alert_firing_rows}};

CREATE OR REPLACE VIEW {{name.alert_firings}}{{on_cluster}} AS
SELECT organisation, rule_id, firing_id, kind, rule_name, channel_id, status, severity, about, title, message, path, value,
       fired_at, details
FROM {{name.alert_firing_rows}} FINAL;

-- Messages, one row for each change of one. `row_version` is the number of the change.
CREATE TABLE IF NOT EXISTS {{stored.alert_delivery_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    rule_id      UInt64,
    delivery_id  String,
    row_version  UInt64,
    firing_id    String,
    rule_kind    LowCardinality(String),
    rule_name    String,
    title        String,
    -- webhook, slack or email, and to whom; never a whole address of a webhook.
    type         LowCardinality(String),
    target       String,
    -- pending, delivered or failed
    status       LowCardinality(String),
    attempts     UInt32,
    answer       String,
    created_at   DateTime64(9, 'UTC'),
    last_at      DateTime64(9, 'UTC'),
    next_at      DateTime64(9, 'UTC'),
    is_test      Bool DEFAULT false
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, rule_id, created_at, delivery_id)
TTL toDateTime(created_at) + INTERVAL 90 DAY{{settings}};

{{distributed.alert_delivery_rows}};

CREATE OR REPLACE VIEW {{name.alert_deliveries}}{{on_cluster}} AS
SELECT organisation, rule_id, delivery_id, row_version, firing_id, rule_kind, rule_name, title, type, target, status, attempts, answer,
       created_at, last_at, next_at, is_test
FROM {{name.alert_delivery_rows}} FINAL;

-- How each rule is: written when it changes, and now and then.
CREATE TABLE IF NOT EXISTS {{stored.alert_state_rows}}{{on_cluster}}
(
    organisation  LowCardinality(String),
    rule_id       UInt64,
    row_version   UInt64,
    -- ok, firing, warning or error
    status        LowCardinality(String),
    since         DateTime64(9, 'UTC'),
    evaluated_at  DateTime64(9, 'UTC'),
    last_fired_at DateTime64(9, 'UTC'),
    error         String,
    value         Nullable(Float64)
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, rule_id){{settings}};

{{distributed.alert_state_rows}};

CREATE OR REPLACE VIEW {{name.alert_states}}{{on_cluster}} AS
SELECT organisation, rule_id, status, since, evaluated_at, last_fired_at, error, value
FROM {{name.alert_state_rows}} FINAL;

-- Which issues had errors since a moment: rows arrive in this order, so a part is looked at or not.
ALTER TABLE {{stored.error_rows}}{{on_cluster}} ADD INDEX IF NOT EXISTS index_received_at received_at TYPE minmax GRANULARITY 1;
