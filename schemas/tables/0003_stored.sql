-- What ClickHouse itself has stored of each message, as a set of places in it: a redelivery adds nothing to a set, and a
-- row that another body has replaced meanwhile is still counted for the body it came from.
CREATE TABLE IF NOT EXISTS stored_rows
(
    minute       DateTime('UTC'),
    organisation LowCardinality(String),
    channel_id   UInt64,
    source_seq   UInt64,
    source_item  UInt32,
    generation   UInt32,
    ordinals     AggregateFunction(groupBitmap, UInt32)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(minute)
ORDER BY (organisation, channel_id, minute, source_seq, source_item, generation);

CREATE MATERIALIZED VIEW IF NOT EXISTS stored_from_events TO stored_rows AS
SELECT toStartOfMinute(toDateTime(received_at, 'UTC')) AS minute, organisation, channel_id, source_seq, source_item,
       toUInt32(bitAnd(version, 1048575)) AS generation, groupBitmapState(source_ordinal) AS ordinals
FROM event_rows
GROUP BY minute, organisation, channel_id, source_seq, source_item, generation;

-- Of each message the set that holds: of its last processing, if that made rows at all.
CREATE OR REPLACE VIEW stored_messages AS
SELECT minute, organisation, channel_id, source_seq, source_item, generation, ordinals
FROM
(
    SELECT minute, organisation, channel_id, source_seq, source_item, generation,
           groupBitmapMergeState(ordinals) AS ordinals
    FROM stored_rows
    GROUP BY minute, organisation, channel_id, source_seq, source_item, generation
) AS stored
LEFT ANY JOIN
(
    SELECT organisation, channel_id, minute, origin_seq AS source_seq, item_index AS source_item,
           max(taken_rows.generation) AS newest
    FROM taken_rows WHERE generation > 0 AND stage != 'unpack'
    GROUP BY organisation, channel_id, minute, source_seq, source_item
) AS replayed USING (organisation, channel_id, minute, source_seq, source_item)
WHERE generation >= newest
ORDER BY generation DESC
LIMIT 1 BY organisation, channel_id, minute, source_seq, source_item;
