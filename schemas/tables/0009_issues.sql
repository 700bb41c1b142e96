-- Errors without their texts: what lists of issues count. One row for each error of `event_rows`, with the same identity
-- and version, so that a replayed row replaces the old one, also in another group. No text of a sender is here.
-- `issue_id` is the first 63 bits of a hash of organisation, channel and group: no counter, the same after a replay.
CREATE TABLE IF NOT EXISTS {{stored.error_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    channel_id   UInt64,
    event_id     UUID,
    version      UInt64,
    item_type    LowCardinality(String),
    timestamp    DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at  DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    issue_id     UInt64,
    environment  LowCardinality(String),
    release      LowCardinality(String),
    severity_number UInt8,
    -- 0: no user.
    user_hash    UInt64,
    -- For the removal of what a replay has made outdated.
    source_seq   UInt64,
    source_item  UInt32,
    -- The shard of its row of `event_rows`, on a cluster: rows that replace each other must be on one.
    shard_hash   UInt64
)
ENGINE = {{replicated}}ReplacingMergeTree(version)
PARTITION BY toDate(timestamp)
ORDER BY (organisation, channel_id, timestamp, item_type, event_id){{settings}};

{{distributed.error_rows}};

CREATE MATERIALIZED VIEW IF NOT EXISTS {{name.errors_from_events}}{{on_cluster}} TO {{stored.error_rows}} AS
SELECT organisation, channel_id, event_id, version, item_type, timestamp, received_at,
       bitShiftRight(sipHash64(organisation, channel_id, group_hash), 1) AS issue_id,
       environment, release, severity_number,
       if(user_id = '', 0, sipHash64(user_id)) AS user_hash, source_seq, source_item,
       cityHash64(if(trace_id = '', toString(event_id), trace_id)) AS shard_hash
FROM {{stored.event_rows}}
WHERE event_type = 'agent.error' OR (group_hash != '' AND item_type IN ('otlp_span', 'otlp_log', 'native'));

-- What people did with an issue, one row for each change; the last one is its state. `status` is unresolved, resolved or
-- archived. `resolved_in` is the release that resolves it, if one does; `release_after` is set then: releases made after
-- it have the solution too.
CREATE TABLE IF NOT EXISTS {{stored.issue_changes}}{{on_cluster}}
(
    organisation  LowCardinality(String),
    channel_id    UInt64,
    issue_id      UInt64,
    changed_at    DateTime64(9, 'UTC'),
    change_id     UUID,
    status        LowCardinality(String),
    resolved_in   String DEFAULT '',
    release_after DateTime64(9, 'UTC') DEFAULT toDateTime64(0, 9, 'UTC'),
    -- Who: the id and name of a token, never the token.
    changed_by    String,
    changed_by_name String DEFAULT ''
)
ENGINE = {{replicated}}ReplacingMergeTree
ORDER BY (organisation, channel_id, issue_id, changed_at, change_id){{settings}};

{{distributed.issue_changes}};

-- Releases as tools described them; a change writes the whole row again. `row_version` is the time of the change.
CREATE TABLE IF NOT EXISTS {{stored.release_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    release      String,
    row_version  UInt64,
    channels     Array(UInt64),
    created_at   DateTime64(9, 'UTC'),
    -- 1970: not yet.
    started_at   DateTime64(9, 'UTC'),
    released_at  DateTime64(9, 'UTC'),
    url          String,
    ref          String,
    status       LowCardinality(String),
    -- JSON, as it is answered.
    refs         String,
    commits      String,
    created_by   String,
    is_deleted   Bool
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, release){{settings}};

{{distributed.release_rows}};

CREATE TABLE IF NOT EXISTS {{stored.deploy_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    release      String,
    deploy_id    UInt64,
    row_version  UInt64,
    created_at   DateTime64(9, 'UTC'),
    environment  String,
    name         String,
    url          String,
    started_at   DateTime64(9, 'UTC'),
    finished_at  DateTime64(9, 'UTC')
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, release, deploy_id){{settings}};

{{distributed.deploy_rows}};

-- When each release was made: as a tool said, else its first error.
CREATE OR REPLACE VIEW {{name.release_dates}}{{on_cluster}} AS
SELECT organisation, release, min(at) AS made_at
FROM
(
    SELECT organisation, release, created_at AS at FROM {{name.release_rows}} FINAL WHERE NOT is_deleted
    UNION ALL
    SELECT organisation, toString(release) AS release, min(timestamp) AS at
    FROM {{name.error_rows}} WHERE release != '' GROUP BY organisation, release
)
GROUP BY organisation, release;

CREATE OR REPLACE VIEW {{name.issue_states}}{{on_cluster}} AS
SELECT organisation, channel_id, issue_id, last.3 AS last_status, last.4 AS resolved_in, last.5 AS release_after, last.1 AS changed_at
FROM
(
    SELECT organisation, channel_id, issue_id, max((changed_at, change_id, status, resolved_in, release_after)) AS last
    FROM {{name.issue_changes}} FINAL
    GROUP BY organisation, channel_id, issue_id
);

-- Issues: groups of errors, with what people did with them. An error that arrives after an issue was resolved makes it
-- unresolved again (`is_regressed`): computed here, so no job has to run. If it was resolved in a release, an error counts
-- only if it is of this release, or of one that was made after it.
CREATE OR REPLACE VIEW {{name.issues}}{{on_cluster}} AS
SELECT organisation, channel_id, issue_id, times, users, first_seen, last_seen, first_release, last_release,
       last_event_id, changed_at, resolved_in, release_after,
       last_status = 'resolved' AND if(release_after = toDateTime64(0, 9, 'UTC'), last_received_at > changed_at, is_back) AS is_regressed,
       if(last_status = '' OR is_regressed, 'unresolved', last_status) AS status
FROM
(
    SELECT organisation, channel_id, issue_id, count() AS times, uniqExactIf(user_hash, user_hash != 0) AS users,
           min(timestamp) AS first_seen, max(timestamp) AS last_seen, max(received_at) AS last_received_at,
           argMin(release, place) AS first_release, argMax(release, place) AS last_release,
           argMax(event_id, place) AS last_event_id
    FROM
    (
        -- One number is compared six times as fast as the pair of time and id.
        SELECT *, bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(timestamp)), 64), toUInt128(cityHash64(event_id))) AS place
        FROM {{name.error_rows}} FINAL
    )
    GROUP BY organisation, channel_id, issue_id
) AS groups
{{global}}LEFT ANY JOIN {{name.issue_states}} AS states USING (organisation, channel_id, issue_id)
{{global}}LEFT ANY JOIN
(
    SELECT organisation, channel_id, issue_id, true AS is_back
    FROM
    (
        SELECT organisation, channel_id, issue_id, release, max(received_at) AS received_at
        FROM {{name.error_rows}} FINAL
        WHERE (organisation, channel_id, issue_id) {{global}}IN
        (
            SELECT organisation, channel_id, issue_id FROM {{name.issue_states}}
            WHERE release_after != toDateTime64(0, 9, 'UTC')
        )
        GROUP BY organisation, channel_id, issue_id, release
    ) AS errors
    {{global}}INNER JOIN {{name.issue_states}} AS states USING (organisation, channel_id, issue_id)
    {{global}}LEFT ANY JOIN
    (
        -- Nothing is read where no issue is resolved by a release.
        SELECT organisation, release, made_at FROM {{name.release_dates}}
        WHERE organisation {{global}}IN
        (
            SELECT organisation FROM {{name.issue_states}} WHERE release_after != toDateTime64(0, 9, 'UTC')
        )
    ) AS dates USING (organisation, release)
    WHERE errors.received_at > states.changed_at
      AND errors.release != '' AND (errors.release = states.resolved_in OR dates.made_at > states.release_after)
    GROUP BY organisation, channel_id, issue_id
) AS back USING (organisation, channel_id, issue_id)
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Sessions by release. A session is several rows, one for each of its updates: it crashed if one of them says so.
-- Aggregates count sessions of a minute.
CREATE OR REPLACE VIEW {{name.release_sessions}}{{on_cluster}} AS
SELECT organisation, release, groupUniqArray(channel_id) AS channels,
       uniqExactIf(sid, item_type = 'session') + sumIf(all_of_them, item_type = 'sessions') AS sessions,
       uniqExactIf(sid, item_type = 'session' AND has_crashed) + sumIf(crashed_of_them, item_type = 'sessions') AS crashed_sessions,
       uniqExactIf(user_id, user_id != '') AS users, uniqExactIf(user_id, user_id != '' AND has_crashed) AS crashed_users,
       min(timestamp) AS first_session, max(timestamp) AS last_session
FROM
(
    SELECT organisation, channel_id, toString(release) AS release, item_type, timestamp, user_id,
           attributes_string['session.id'] AS sid,
           attributes_int['session.crashed'] AS crashed_of_them,
           attributes_int['session.exited'] + attributes_int['session.errored'] + attributes_int['session.abnormal'] + attributes_int['session.unhandled'] + crashed_of_them AS all_of_them,
           if(item_type = 'session', status = 'crashed', attributes_int['session.crashed'] > 0) AS has_crashed
    FROM {{name.event_rows}} FINAL
    WHERE item_type IN ('session', 'sessions') AND release != ''
)
GROUP BY organisation, release
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Releases: what tools said, and what the errors and sessions of each say.
CREATE OR REPLACE VIEW {{name.releases}}{{on_cluster}} AS
SELECT organisation, release AS version, arraySort(arrayDistinct(arrayConcat(channels_said, channels_seen))) AS channels,
       if(is_described, made_at, least(if(errors > 0, first_event, toDateTime64('2200-01-01', 9, 'UTC')), if(sessions > 0, first_session, toDateTime64('2200-01-01', 9, 'UTC')))) AS created_at,
       started_at, released_at, url, ref, if(said_status = '', 'open', said_status) AS status, refs, commits, created_by,
       errors, first_event, last_event, new_issues, sessions, crashed_sessions, users, crashed_users,
       if(sessions = 0, NULL, 1 - crashed_sessions / sessions) AS crash_free_sessions,
       if(users = 0, NULL, 1 - crashed_users / users) AS crash_free_users
FROM
(
    SELECT organisation, release, groupUniqArrayArray(of_channels) AS channels_seen, sum(of_errors) AS errors,
           minIf(began_at, of_errors > 0) AS first_event, maxIf(ended_at, of_errors > 0) AS last_event,
           sum(of_issues) AS new_issues, sum(of_sessions) AS sessions, sum(of_crashed) AS crashed_sessions,
           sum(of_users) AS users, sum(of_crashed_users) AS crashed_users, minIf(began_at, of_sessions > 0) AS first_session
    FROM
    (
        SELECT organisation, toString(release) AS release, [channel_id] AS of_channels, count() AS of_errors,
               min(timestamp) AS began_at, max(timestamp) AS ended_at, 0 AS of_issues,
               0 AS of_sessions, 0 AS of_crashed, 0 AS of_users, 0 AS of_crashed_users
        FROM {{name.error_rows}} FINAL WHERE release != '' GROUP BY organisation, release, channel_id
        UNION ALL
        SELECT organisation, toString(first_release) AS release, [channel_id] AS of_channels, 0 AS of_errors,
               toDateTime64(0, 9, 'UTC') AS began_at, toDateTime64(0, 9, 'UTC') AS ended_at, count() AS of_issues,
               0 AS of_sessions, 0 AS of_crashed, 0 AS of_users, 0 AS of_crashed_users
        FROM
        (
            SELECT organisation, channel_id, issue_id,
                   argMin(release, bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(timestamp)), 64), toUInt128(cityHash64(event_id)))) AS first_release
            FROM {{name.error_rows}} FINAL GROUP BY organisation, channel_id, issue_id
        )
        WHERE first_release != '' GROUP BY organisation, first_release, channel_id
        UNION ALL
        SELECT organisation, release, channels AS of_channels, 0 AS of_errors,
               first_session AS began_at, toDateTime64(0, 9, 'UTC') AS ended_at, 0 AS of_issues,
               sessions AS of_sessions, crashed_sessions AS of_crashed, users AS of_users, crashed_users AS of_crashed_users
        FROM {{name.release_sessions}}
        UNION ALL
        SELECT organisation, release, channels AS of_channels, 0 AS of_errors,
               toDateTime64(0, 9, 'UTC') AS began_at, toDateTime64(0, 9, 'UTC') AS ended_at, 0 AS of_issues,
               0 AS of_sessions, 0 AS of_crashed, 0 AS of_users, 0 AS of_crashed_users
        FROM {{name.release_rows}} FINAL WHERE NOT is_deleted
    )
    GROUP BY organisation, release
) AS seen
{{global}}LEFT ANY JOIN
(
    SELECT organisation, release, channels AS channels_said, created_at AS made_at, started_at, released_at, url, ref,
           status AS said_status, refs, commits, created_by, is_deleted, true AS is_described
    FROM {{name.release_rows}} FINAL
) AS described USING (organisation, release)
WHERE NOT is_deleted
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Errors that are older than this table.
INSERT INTO {{name.error_rows}} (organisation, channel_id, event_id, version, item_type, timestamp, received_at, issue_id,
                        environment, release, severity_number, user_hash, source_seq, source_item, shard_hash)
SELECT organisation, channel_id, event_id, version, item_type, timestamp, received_at,
       bitShiftRight(sipHash64(organisation, channel_id, group_hash), 1), environment, release, severity_number,
       if(user_id = '', 0, sipHash64(user_id)), source_seq, source_item,
       cityHash64(if(trace_id = '', toString(event_id), trace_id))
FROM {{name.event_rows}}
WHERE event_type = 'agent.error' OR (group_hash != '' AND item_type IN ('otlp_span', 'otlp_log', 'native'))
SETTINGS max_partitions_per_insert_block = 0;
