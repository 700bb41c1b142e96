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
    version      UInt64,
    -- which message of which worker it is about: when that one is processed again, what is said here no longer holds
    stage        LowCardinality(String) DEFAULT '',
    item_index   UInt32 DEFAULT 0,
    origin_seq   UInt64 ALIAS bitShiftRight(version, 20),
    generation   UInt32 ALIAS toUInt32(bitAnd(version, 1048575))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(minute)
ORDER BY (organisation, channel_id, minute, key_id, item_type, outcome, reason, source_id);

-- What the workers have taken out of the streams: the left side of the reconciliation. `units` counts what a message
-- should become. A message of ITEMS has an entry only where it counts other than one, or was replayed.
CREATE TABLE IF NOT EXISTS taken_rows
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
ENGINE = ReplacingMergeTree(generation)
PARTITION BY toDate(minute)
ORDER BY (organisation, channel_id, minute, stage, origin_seq, item_index);

-- Accepted is counted from the rows themselves, so it cannot disagree with them. The rest is what the last processing
-- of each message has said: a replay may have made rows of what was refused before.
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
    LEFT ANY JOIN
    (
        SELECT organisation, channel_id, minute, stage, origin_seq, item_index, generation AS newest
        FROM taken_rows FINAL WHERE generation > 0
    ) AS replayed USING (organisation, channel_id, minute, stage, origin_seq, item_index)
    WHERE generation >= newest
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
    version       UInt64,
    item_index    UInt32 DEFAULT 0,
    generation    UInt32 DEFAULT 0
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(received_at)
ORDER BY (organisation, channel_id, stage, received_at, dead_id);

-- A letter is gone from here as soon as its message was processed again without dying.
CREATE OR REPLACE VIEW dead_letters AS
SELECT dead_id, organisation, channel_id, key_id, stage, item_type, reason, error, received_at,
       origin_stream, origin_seq, dead_seq, deliveries, headers, body
FROM dead_letter_rows FINAL
LEFT ANY JOIN
(
    SELECT organisation, channel_id, stage, origin_seq, item_index, max(generation) AS newest
    FROM taken_rows WHERE generation > 0 GROUP BY ALL
) AS replayed USING (organisation, channel_id, stage, origin_seq, item_index)
WHERE generation >= newest;
