-- A part under this size is written as one file in place of two for each column: an insert of 1,000 errors (36 MB) made
-- 220 files, each with its fsync, and cost the engine 250 us a row; as one file 115 (docs/decisions/0012-stored.md).
-- Parts are merged when eight of a size have come together, not five: a day's rows are merged five times, not seven.
ALTER TABLE event_rows MODIFY SETTING min_bytes_for_wide_part = 536870912, merge_selector_base = 8;
