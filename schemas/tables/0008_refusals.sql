-- Refused requests are outcomes too: `refused`, by key where one is known, else by class of address (`sender`).
ALTER TABLE {{each.outcome_rows}}{{on_cluster}} ADD COLUMN IF NOT EXISTS sender LowCardinality(String) DEFAULT '';

-- As before, with `sender`, and without `used`, which counts requests and not records.
CREATE OR REPLACE VIEW {{name.outcomes}}{{on_cluster}} AS
SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, quantity, sender
FROM
(
    SELECT toStartOfMinute(toDateTime(received_at, 'UTC')) AS minute, organisation, channel_id, key_id, item_type,
           'accepted' AS outcome, '' AS reason, count() AS quantity, '' AS sender
    FROM {{name.event_rows}} FINAL
    GROUP BY minute, organisation, channel_id, key_id, item_type
    UNION ALL
    SELECT minute, organisation, channel_id, key_id, item_type, outcome, reason, sum(quantity) AS quantity, sender
    FROM {{name.outcome_rows}} FINAL
    {{global}}LEFT ANY JOIN
    (
        SELECT organisation, channel_id, minute, stage, origin_seq, item_index, generation AS newest
        FROM {{name.taken_rows}} FINAL WHERE generation > 0
    ) AS replayed USING (organisation, channel_id, minute, stage, origin_seq, item_index)
    WHERE generation >= newest AND outcome != 'used'
    GROUP BY minute, organisation, channel_id, key_id, item_type, outcome, reason, sender
);

-- Which keys are in use: requests that were stored, by minute. Counted by the receivers.
CREATE OR REPLACE VIEW {{name.key_use}}{{on_cluster}} AS
SELECT minute, organisation, key_id, sum(quantity) AS requests
FROM {{name.outcome_rows}} FINAL
WHERE outcome = 'used'
GROUP BY minute, organisation, key_id;
