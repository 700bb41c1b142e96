-- Runs of monitored jobs, one row for each run. A run has a check-in that opened it, one that closed it, or both. Runs are
-- computed from the check-ins by each query, so late, repeated and replayed check-ins give the same runs in any order.
-- `closed_at` is NULL while a run is open. A run that was expected and did not happen has no row.
--
-- Check-ins with an id belong to the run with that id. Its first state other than in_progress closes it. A closing
-- check-in without an id closes the last run that is still open, as a closing bracket does. `level` is the number of runs
-- that are open then: the n-th opening of a level belongs to the next closing of that level. A closing check-in while no
-- run is open (level 0) is a whole run: such jobs report only their end.
CREATE OR REPLACE VIEW {{name.check_ins}}{{on_cluster}} AS
SELECT
    organisation,
    channel_id,
    environment,
    monitor,
    max(own_id) AS check_in_id,
    if(max(ends), argMax(end_status, ends), 'in_progress') AS status,
    multiIf(
        max(starts), minIf(started_at, starts),
        max(said_ns) > 0, max(ended_at) - toIntervalNanosecond(max(said_ns)),
        max(ended_at)
    ) AS opened_at,
    if(max(ends), toNullable(max(ended_at)), NULL) AS closed_at,
    if(
        max(said_ns) > 0 OR NOT max(ends), max(said_ns),
        toUInt64(greatest(0, toUnixTimestamp64Nano(max(ended_at)) - toUnixTimestamp64Nano(opened_at)))
    ) AS duration_ns,
    max(found_trace_id) AS trace_id,
    argMax(found_release, found_release != '') AS release,
    argMax(config, length(config)) AS monitor_config,
    arraySort(groupUniqArrayArray(states)) AS event_ids
FROM
(
    SELECT
        *,
        countIf(step = 1) OVER (
            PARTITION BY organisation, channel_id, environment, monitor, level
            ORDER BY at, first_seq, first_item, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS opening
    FROM
    (
        SELECT *, multiIf(step = 1, depth - lowest, step = -1, depth + 1 - lowest, 0) AS level
        FROM
        (
            SELECT
                *,
                least(0, min(depth) OVER (
                    PARTITION BY organisation, channel_id, environment, monitor
                    ORDER BY at, first_seq, first_item, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                )) AS lowest
            FROM
            (
                SELECT
                    *,
                    multiIf(NOT ends, 1, own_id = '', -1, 0) AS step,
                    if(ends, ended_at, started_at) AS at,
                    sum(step) OVER (
                        PARTITION BY organisation, channel_id, environment, monitor
                        ORDER BY at, first_seq, first_item, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
                    ) AS depth
                FROM
                (
                    -- All check-ins with one id, or one check-in that has no id.
                    SELECT
                        organisation,
                        channel_id,
                        environment,
                        monitor,
                        own_id,
                        one,
                        max(NOT is_closing) AS starts,
                        max(is_closing) AS ends,
                        minIf(timestamp, NOT is_closing) AS started_at,
                        minIf(timestamp, is_closing) AS ended_at,
                        argMinIf(said_status, place, is_closing) AS end_status,
                        argMinIf(said_duration_ns, place, is_closing) AS said_ns,
                        min(source_seq) AS first_seq,
                        min(source_item) AS first_item,
                        max(said_trace_id) AS found_trace_id,
                        argMax(said_release, (said_release != '', place)) AS found_release,
                        argMax(said_config, (length(said_config) > 0, place)) AS config,
                        groupUniqArray(event_id) AS states
                    FROM
                    (
                        SELECT
                            organisation, channel_id, environment, name AS monitor, timestamp, source_seq, source_item,
                            event_id, status AS said_status, duration_ns AS said_duration_ns,
                            trace_id AS said_trace_id, release AS said_release,
                            JSONExtractString(metadata, 'checkInId') AS own_id,
                            if(own_id = '', toString(event_id), own_id) AS one,
                            status != 'in_progress' AS is_closing,
                            (timestamp, source_seq, source_item) AS place,
                            mapApply(
                                (k, v) -> (substring(k, length('monitor.') + 1), v),
                                mapFilter(
                                    (k, v) -> startsWith(k, 'monitor.'),
                                    CAST(mapConcat(
                                        attributes_string,
                                        mapApply((k, v) -> (k, toString(v)), attributes_int),
                                        mapApply((k, v) -> (k, toString(v)), attributes_double),
                                        mapApply((k, v) -> (k, toString(v)), attributes_bool)
                                    ), 'Map(String, String)')
                                )
                            ) AS said_config
                        FROM {{name.event_rows}} FINAL
                        WHERE item_type = 'check_in'
                    )
                    GROUP BY organisation, channel_id, environment, monitor, own_id, one
                )
            )
        )
    )
)
GROUP BY organisation, channel_id, environment, monitor, level, if(level = 0, 0, opening), if(level = 0, one, '');
