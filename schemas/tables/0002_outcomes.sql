-- Records that did not become a row: one entry for each message and reason. A redelivery makes the same `source_id`, so
-- it replaces the entry.
CREATE TABLE IF NOT EXISTS {{stored.outcome_rows}}{{on_cluster}}
(
    minute       DateTime('UTC'),
    organisation LowCardinality(String),
    channel_id   UInt64,
    key_id       LowCardinality(String),
    item_type    LowCardinality(String),
    outcome      LowCardinality(String),
    reason       LowCardinality(String),
    source_id    UUID,
    quantity     UInt64,
    version      UInt64,
    -- The message, and the worker (stage) that processed it. A later processing of that message makes this entry invalid.
    stage        LowCardinality(String) DEFAULT '',
    item_index   UInt32 DEFAULT 0,
    origin_seq   UInt64 ALIAS bitShiftRight(version, 20),
    generation   UInt32 ALIAS toUInt32(bitAnd(version, 1048575))
)
ENGINE = {{replicated}}ReplacingMergeTree(version)
PARTITION BY toDate(minute)
ORDER BY (organisation, channel_id, minute, key_id, item_type, outcome, reason, source_id){{settings}};

{{distributed.outcome_rows}};

-- Messages that workers consumed: the left side of the reconciliation. `units` is how many rows and outcomes a message
-- must produce. A message of ITEMS has an entry only if that number is not one, or if it was replayed.
CREATE TABLE IF NOT EXISTS {{stored.taken_rows}}{{on_cluster}}
(
    minute       DateTime('UTC'),
    organisation LowCardinality(String),
    channel_id   UInt64,
    stage        LowCardinality(String),
    origin_seq   UInt64,
    item_index   UInt32,
    generation   UInt32,
    units        UInt64
)
ENGINE = {{replicated}}ReplacingMergeTree(generation)
PARTITION BY toDate(minute)
ORDER BY (organisation, channel_id, minute, stage, origin_seq, item_index){{settings}};

{{distributed.taken_rows}};

-- `accepted` is counted from the rows, so it always equals them. All other outcomes are those of the last processing of
-- each message: a replay can make rows of records that were refused before.
CREATE OR REPLACE VIEW {{name.outcomes}}{{on_cluster}} AS
SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, quantity
FROM
(
    SELECT toStartOfMinute(toDateTime(received_at, 'UTC')) AS minute, organisation, channel_id, key_id, item_type,
           'accepted' AS outcome, '' AS reason, count() AS quantity
    FROM {{name.event_rows}} FINAL
    GROUP BY minute, organisation, channel_id, key_id, item_type
    UNION ALL
    SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, sum(quantity) AS quantity
    FROM {{name.outcome_rows}} FINAL
    {{global}}LEFT ANY JOIN
    (
        SELECT organisation, channel_id, minute, stage, origin_seq, item_index, generation AS newest
        FROM {{name.taken_rows}} FINAL WHERE generation > 0
    ) AS replayed USING (organisation, channel_id, minute, stage, origin_seq, item_index)
    WHERE generation >= newest
    GROUP BY minute, organisation, channel_id, key_id, item_type, outcome, reason
);

CREATE TABLE IF NOT EXISTS {{stored.dead_letter_rows}}{{on_cluster}}
(
    organisation  LowCardinality(String),
    channel_id    UInt64,
    key_id        LowCardinality(String),
    dead_id       UUID,
    stage         LowCardinality(String),
    item_type     LowCardinality(String),
    reason        LowCardinality(String),
    error         String,
    received_at   DateTime64(9, 'UTC'),
    origin_stream LowCardinality(String),
    origin_seq    UInt64,
    dead_seq      UInt64,
    deliveries    UInt32,
    headers       Map(String, String),
    body          String CODEC(ZSTD(3)),
    version       UInt64,
    item_index    UInt32 DEFAULT 0,
    generation    UInt32 DEFAULT 0
)
ENGINE = {{replicated}}ReplacingMergeTree(version)
PARTITION BY toDate(received_at)
ORDER BY (organisation, channel_id, stage, received_at, dead_id){{settings}};

{{distributed.dead_letter_rows}};

-- A dead letter is not shown after its message was processed again with success.
CREATE OR REPLACE VIEW {{name.dead_letters}}{{on_cluster}} AS
SELECT dead_id, organisation, channel_id, key_id, stage, item_type, reason, error, received_at,
       origin_stream, origin_seq, dead_seq, deliveries, headers, body
FROM {{name.dead_letter_rows}} FINAL
{{global}}LEFT ANY JOIN
(
    SELECT organisation, channel_id, stage, origin_seq, item_index, max(generation) AS newest
    FROM {{name.taken_rows}} WHERE generation > 0 GROUP BY ALL
) AS replayed USING (organisation, channel_id, stage, origin_seq, item_index)
WHERE generation >= newest;
