-- What did not become a row, one entry per message and reason. `source_id` makes a redelivery the same entry.
CREATE TABLE IF NOT EXISTS outcome_rows
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
    version      UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(minute)
ORDER BY (organisation, channel_id, minute, key_id, item_type, outcome, reason, source_id);

-- Accepted is counted from the rows themselves, so it cannot disagree with them.
CREATE OR REPLACE VIEW outcomes AS
SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, quantity
FROM
(
    SELECT toStartOfMinute(toDateTime(received_at, 'UTC')) AS minute, organisation, channel_id, key_id, item_type,
           'accepted' AS outcome, '' AS reason, count() AS quantity
    FROM event_rows FINAL
    GROUP BY minute, organisation, channel_id, key_id, item_type
    UNION ALL
    SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, sum(quantity) AS quantity
    FROM outcome_rows FINAL
    GROUP BY minute, organisation, channel_id, key_id, item_type, outcome, reason
);

CREATE TABLE IF NOT EXISTS dead_letter_rows
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
    version       UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(received_at)
ORDER BY (organisation, channel_id, stage, received_at, dead_id);

CREATE OR REPLACE VIEW dead_letters AS
SELECT dead_id, organisation, channel_id, key_id, stage, item_type, reason, error, received_at,
       origin_stream, origin_seq, dead_seq, deliveries, headers, body
FROM dead_letter_rows FINAL;
