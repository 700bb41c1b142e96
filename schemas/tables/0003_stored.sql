-- The rows that were stored for each message, as a set of their ordinals in it. A redelivery adds nothing to the set. A
-- row that another body replaced later is still counted for its first body.
CREATE TABLE IF NOT EXISTS {{stored.stored_rows}}{{on_cluster}}
(
    minute       DateTime('UTC'),
    organisation LowCardinality(String),
    channel_id   UInt64,
    source_seq   UInt64,
    source_item  UInt32,
    generation   UInt32,
    ordinals     AggregateFunction(groupBitmap, UInt32)
)
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY toDate(minute)
ORDER BY (organisation, channel_id, minute, source_seq, source_item, generation){{settings}};

{{distributed.stored_rows}};

CREATE MATERIALIZED VIEW IF NOT EXISTS {{name.stored_from_events}}{{on_cluster}} TO {{stored.stored_rows}} AS
SELECT toStartOfMinute(toDateTime(received_at, 'UTC')) AS minute, organisation, channel_id, source_seq, source_item,
       toUInt32(bitAnd(version, 1048575)) AS generation, groupBitmapState(source_ordinal) AS ordinals
FROM {{stored.event_rows}}
GROUP BY minute, organisation, channel_id, source_seq, source_item, generation;

-- For each message, the set of its last processing, or nothing if that made no rows.
CREATE OR REPLACE VIEW {{name.stored_messages}}{{on_cluster}} AS
SELECT minute, organisation, channel_id, source_seq, source_item, generation, ordinals
FROM
(
    SELECT minute, organisation, channel_id, source_seq, source_item, generation,
           groupBitmapMergeState(ordinals) AS ordinals
    FROM {{name.stored_rows}}
    GROUP BY minute, organisation, channel_id, source_seq, source_item, generation
) AS stored
{{global}}LEFT ANY JOIN
(
    SELECT organisation, channel_id, minute, origin_seq AS source_seq, item_index AS source_item,
           max(taken_rows.generation) AS newest
    FROM {{name.taken_rows}} WHERE generation > 0 AND stage != 'unpack'
    GROUP BY organisation, channel_id, minute, source_seq, source_item
) AS replayed USING (organisation, channel_id, minute, source_seq, source_item)
WHERE generation >= newest
ORDER BY generation DESC
LIMIT 1 BY organisation, channel_id, minute, source_seq, source_item;
