-- A part below this size is written as one file, not as two for each column, because each file costs an fsync. A merge
-- waits for eight parts of one size, not five, so rows are merged less often. Numbers: docs/decisions/0012-stored.md.
ALTER TABLE {{stored.event_rows}}{{on_cluster}} MODIFY SETTING min_bytes_for_wide_part = 536870912, merge_selector_base = 8;
