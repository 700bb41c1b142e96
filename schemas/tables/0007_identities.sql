-- Which rows a message has made, by the identity of a row (what makes two rows one): the day of its timestamp in the upper
-- 16 bits, 48 bits of a hash below. A row that is gone though no newer body has the same identity is missing, or its day
-- has expired (docs/decisions/0033-missing-rows.md). ops/status/vanished_rows.py computes the same number.
ALTER TABLE {{each.stored_rows}}{{on_cluster}} ADD COLUMN IF NOT EXISTS identities AggregateFunction(groupUniqArray, UInt64);

ALTER TABLE {{name.stored_from_events}}{{on_cluster}} MODIFY QUERY
SELECT toStartOfMinute(toDateTime(received_at, 'UTC')) AS minute, organisation, channel_id, source_seq, source_item,
       toUInt32(bitAnd(version, 1048575)) AS generation, groupBitmapState(source_ordinal) AS ordinals,
       groupUniqArrayState(bitOr(bitShiftLeft(toUInt64(toUInt16(toDate(timestamp))), 48), bitShiftRight(sipHash64(item_type, timestamp, event_id), 16))) AS identities
FROM {{stored.event_rows}}
GROUP BY minute, organisation, channel_id, source_seq, source_item, generation;
