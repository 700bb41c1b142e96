-- Errors of days that are over, counted: one row for each issue, environment, release and level of a day, so that lists of
-- issues do not read the errors again. The janitor writes them (ops/janitor/issue_counts.py); it can make them again.
-- A counting ends with one row without organisation. Its `parts_hash` says which rows of `error_rows` were counted: as soon
-- as that day has other ones (late errors, a replay, a deletion), its counts are not read any more.
CREATE TABLE IF NOT EXISTS {{stored.issue_day_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    channel_id   UInt64,
    issue_id     UInt64,
    day          Date,
    -- When it was counted, in nanoseconds since 1970.
    counting_id  UInt64,
    parts_hash   UInt64,
    environment  LowCardinality(String),
    release      LowCardinality(String),
    severity_number UInt8,
    times        UInt64,
    -- Hashes, without 0 (no user). They are kept because the users of several days are counted once.
    users        Array(UInt64),
    first_seen   DateTime64(9, 'UTC'),
    last_seen    DateTime64(9, 'UTC'),
    last_received_at DateTime64(9, 'UTC'),
    -- Time and id of the first and of the last error as one number.
    first_key    UInt128,
    last_key     UInt128,
    last_event_id UUID
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (organisation, channel_id, issue_id, day, counting_id, environment, release, severity_number)
SETTINGS {{first_setting}}index_granularity = 256;

{{distributed.issue_day_rows}};
