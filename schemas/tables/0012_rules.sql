-- Alert rules as tools described them; a change writes the whole row again. `body` is the JSON of the rule, checked when it
-- was stored. `row_version` is the time of the change.
CREATE TABLE IF NOT EXISTS {{stored.alert_rule_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    rule_id      UInt64,
    row_version  UInt64,
    -- issue or metric
    kind         LowCardinality(String),
    channels     Array(UInt64),
    name         String,
    body         String,
    created_at   DateTime64(9, 'UTC'),
    changed_at   DateTime64(9, 'UTC'),
    -- The id of a token, never the token.
    created_by   String,
    changed_by   String,
    is_deleted   Bool DEFAULT false
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, rule_id){{settings}};

{{distributed.alert_rule_rows}};

CREATE OR REPLACE VIEW {{name.alert_rules}}{{on_cluster}} AS
SELECT organisation, rule_id, kind, channels, name, body, created_at, changed_at, created_by, changed_by
FROM {{name.alert_rule_rows}} FINAL
WHERE NOT is_deleted;

-- Whose an issue is; the last row counts. Empty: nobody's.
CREATE TABLE IF NOT EXISTS {{stored.issue_assignments}}{{on_cluster}}
(
    organisation  LowCardinality(String),
    channel_id    UInt64,
    issue_id      UInt64,
    row_version   UInt64,
    assigned_at   DateTime64(9, 'UTC'),
    assigned_to   String,
    changed_by    String,
    changed_by_name String DEFAULT ''
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, channel_id, issue_id){{settings}};

{{distributed.issue_assignments}};

-- A day that is over becomes one part, within hours: FINAL then has nothing to merge there, and a list of issues reads it
-- at a fifth of the cost.
ALTER TABLE {{stored.error_rows}}{{on_cluster}} MODIFY SETTING min_age_to_force_merge_seconds = 7200, min_age_to_force_merge_on_partition_only = 1;

-- Issues that are back after a release resolved them, by an error of that release or of one that was made after it. A view
-- of its own, because lists look for it too (console/issues/find.py).
CREATE OR REPLACE VIEW {{name.issue_returns}}{{on_cluster}} AS
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
SETTINGS do_not_merge_across_partitions_select_final = 1;

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
{{global}}LEFT ANY JOIN {{name.issue_returns}} AS back USING (organisation, channel_id, issue_id)
SETTINGS do_not_merge_across_partitions_select_final = 1;
