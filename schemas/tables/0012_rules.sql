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
