"""Lists of what statements may use: functions, table functions, engines, formats, settings, system tables.

Anything not listed is refused, including what a newer engine adds. tests/live/ops/local/test_clickhouse_http_rights.py
asks the engine for everything it has and fails for a name that is in no list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final


def names(text: str) -> frozenset[str]:
    """Splits a text into words."""
    return frozenset(text.split())


# Function categories of system.functions that only compute. All are allowed except REFUSED_FUNCTIONS.
FUNCTION_CATEGORIES: Final = frozenset(
    {
        "Aggregate Functions", "Arithmetic", "Arrays", "Bit", "Bitmap", "Comparison", "Conditional", "Dates and Times",
        "Distance", "Encoding", "Encryption", "Financial", "Geo", "Geo Polygon", "Hash", "IP Address", "JSON",
        "Logical",
        "Map", "Mathematical", "Null", "NumericIndexedVector", "QBit", "Random Number", "Rounding", "String",
        "String Replacement", "String Search", "String Splitting", "Time Series", "Time Window", "Tuple",
        "Type Conversion", "URL", "UUID",
    }
)  # fmt: skip
# Functions of the category "Other", and names that the grammar creates and system.functions does not list.
FUNCTIONS: Final = names(
    """
    MACNumToString MACStringToNum MACStringToOUI authenticatedUser bar blockNumber blockSerializedSize blockSize
    byteSize colorOKLABToSRGB colorOKLCHToSRGB colorSRGBToOKLAB colorSRGBToOKLCH connectionId countDigits
    currentDatabase currentProfiles currentQueryID currentRoles currentSchemas currentUser defaultProfiles
    defaultRoles defaultValueOfArgumentType defaultValueOfTypeName digits displayName dumpColumnStructure
    enabledProfiles enabledRoles errorCodeToName finalizeAggregation flipCoordinates formatQuery
    formatQueryOrNull formatQuerySingleLine formatQuerySingleLineOrNull formatReadableDecimalSize
    formatReadableQuantity formatReadableSize formatReadableTimeDelta getSetting getSettingOrDefault
    getSizeOfEnumType getSubcolumn highlightQuery hostName FQDN icebergBucket icebergTruncate identity ignore
    indexHint initialQueryID initialQueryStartTime initializeAggregation isConstant isDecimalOverflow
    lowCardinalityIndices lowCardinalityKeys materialize minSampleSizeContinuous minSampleSizeConversion
    neighbor normalizeQuery normalizeQueryKeepNames normalizedQueryHash normalizedQueryHashKeepNames
    parseISO8601Duration parseReadableSize parseReadableSizeOrNull parseReadableSizeOrZero parseTimeDelta
    partitionId pgGetUserById pgTableIsVisible queryID revision rowNumberInAllBlocks rowNumberInBlock
    runningAccumulate runningConcurrency runningDifference runningDifferenceStartingWithFirstValue serverUUID
    shardCount shardNum sleep sleepEachRow tcpPort throwIf toColumnTypeName toTypeName tokenizeQuery transform
    uptime variantElement variantType version visibleWidth nested caseWithExpression _CAST lambda grouping
    exists untuple columns
    """
)
# Their first argument names a format, and formats may read files: they may be called with one of FORMATS.
REFUSED_FUNCTIONS: Final = frozenset({"formatRow", "formatRowNoNewline"})
# Refused for readers: one call may take minutes or gigabytes, and the engine checks limits only between calls. Of the
# geography categories, these are all but the ones below.
UNSTOPPABLE_CATEGORIES: Final = frozenset({"Geo", "Geo Polygon"})
CHEAP_GEO_FUNCTIONS: Final = names(
    """
    greatCircleDistance greatCircleAngle geoDistance pointInEllipses geohashEncode geohashDecode geoToH3 h3ToGeo
    h3GetResolution h3IsValid h3ToParent h3ToString stringToH3
    """
)
UNSTOPPABLE_FUNCTIONS: Final = names(
    """
    arrayFold editDistance editDistanceUTF8 damerauLevenshteinDistance arrayLevenshteinDistance
    arrayLevenshteinDistanceWeighted jaroSimilarity jaroWinklerSimilarity
    """
)
# Suffixes that turn an aggregate function into another one.
COMBINATORS: Final = (
    "SimpleState", "MergeState", "OrDefault", "OrNull", "Distinct", "Resample", "ForEach", "ArgMin", "ArgMax", "Array",
    "State", "Merge", "Map", "Null", "If",
)  # fmt: skip

# Allowed codecs, statistics and kinds of indexes.
CODECS: Final = names(
    "AES_128_GCM_SIV AES_256_GCM_SIV ALP Default Delta DoubleDelta FPC GCD Gorilla LZ4 LZ4HC NONE T64 ZSTD ZXC"
)
STATISTICS: Final = names("basic countmin minmax tdigest uniq")
INDEX_TYPES: Final = names(
    "bloom_filter hypothesis minmax ngrambf_v1 set sparse_grams text tokenbf_v1 vector_similarity"
)

TABLE_FUNCTIONS: Final = frozenset(
    {
        "numbers",
        "numbers_mt",
        "zeros",
        "zeros_mt",
        "primes",
        "values",
        "view",
        "generate_series",
        "generateSeries",
        "input",
        "SQLStandardValues",
    }
)
TABLE_ENGINES: Final = frozenset(
    {
        "MergeTree", "ReplacingMergeTree", "SummingMergeTree", "AggregatingMergeTree", "CollapsingMergeTree",
        "VersionedCollapsingMergeTree", "CoalescingMergeTree", "Memory", "Null", "Log", "TinyLog", "StripeLog", "Set",
    }
)  # fmt: skip
DATABASE_ENGINES: Final = frozenset({"Atomic", "Memory"})
# The only disk that BACKUP may write to and RESTORE may read from: folder `backups` of the data directory.
BACKUP_DISK: Final = "backups"
BACKUP_SETTINGS: Final = frozenset(
    {
        "allow_different_database_def", "allow_different_table_def", "allow_non_empty_tables", "async", "base_backup",
        "check_parts", "compression_level", "compression_method", "create_database", "create_table", "id",
        "structure_only",
    }
)  # fmt: skip

# Formats that read no schema, template or file. Lower-case names.
FORMATS: Final = names(
    """
    arrow arrowstream bsoneachrow csv csvwithnames csvwithnamesandtypes form geojson hash hivetext json
    jsonasobject jsonasstring jsoncolumns jsoncolumnswithmetadata jsoncompact jsoncompactcolumns
    jsoncompacteachrow jsoncompacteachrowwithnames jsoncompacteachrowwithnamesandtypes
    jsoncompacteachrowwithprogress jsoncompactstrings jsoncompactstringseachrow
    jsoncompactstringseachrowwithnames jsoncompactstringseachrowwithnamesandtypes
    jsoncompactstringseachrowwithprogress jsoneachrow jsoneachrowwithprogress jsonl jsonlines jsonobjecteachrow
    jsonstrings jsonstringseachrow jsonstringseachrowwithprogress lineasstring lineasstringwithnames
    lineasstringwithnamesandtypes markdown md msgpack native ndjson null orc parquet pretty prettycompact
    prettycompactmonoblock prettycompactnoescapes prettycompactnoescapesmonoblock prettyjsoneachrow
    prettyjsonlines prettymonoblock prettyndjson prettynoescapes prettynoescapesmonoblock prettyspace
    prettyspacemonoblock prettyspacenoescapes prettyspacenoescapesmonoblock prometheus raw rawblob rawwithnames
    rawwithnamesandtypes rowbinary rowbinarywithdefaults rowbinarywithnames rowbinarywithnamesandtypes
    rowbinarywithnamesandtypesanddefaults sqlinsert tabseparated tabseparatedraw tabseparatedrawwithnames
    tabseparatedrawwithnamesandtypes tabseparatedwithnames tabseparatedwithnamesandtypes tskv tsv tsvraw
    tsvrawwithnames tsvrawwithnamesandtypes tsvwithnames tsvwithnamesandtypes values vertical xml
    """
)

# Settings that affect the result or how it is computed. None takes a path, an address or an expression.
_SETTING_FAMILIES: Final = re.compile(
    r"(output_format|input_format|format_csv|format_tsv|format_json|format_binary|format_custom|optimize|join|date_time"
    r"|cast|query_plan|join_runtime|output_format_native|group_by|distinct|use_skip_indexes|use_index"
    r"|max_bytes_in|max_rows_in|max_bytes_before|max_rows_to|max_bytes_to)_\w+"
)
SETTINGS: Final = names(
    """
    aggregate_functions_null_for_empty allow_experimental_analyzer allow_experimental_dynamic_type
    allow_experimental_json_type allow_experimental_variant_type allow_suspicious_low_cardinality_types
    any_join_distinct_right_table_keys asterisk_include_alias_columns asterisk_include_materialized_columns
    bool_false_representation bool_true_representation compile_aggregate_expressions compile_expressions
    count_distinct_implementation data_type_default_nullable describe_compact_output describe_include_subcolumns
    do_not_merge_across_partitions_select_final empty_result_for_aggregation_by_empty_set enable_analyzer
    enable_dynamic_type enable_json_type enable_named_columns_in_function_tuple
    enable_optimize_predicate_expression enable_positional_arguments enable_time_time64_type
    enable_unaligned_array_join enable_variant_type exact_rows_before_limit except_default_mode extremes final
    force_index_by_date force_primary_key format_regexp_escaping_rule
    function_json_value_return_type_allow_complex function_json_value_return_type_allow_nullable
    group_by_overflow_mode group_by_use_nulls intersect_default_mode
    join_algorithm join_use_nulls limit load_balancing log_comment log_queries
    low_cardinality_allow_in_native_format max_block_size max_bytes_for_lazy_final max_execution_time
    max_expanded_ast_elements
    max_ast_depth max_ast_elements max_final_threads max_insert_block_size max_memory_usage max_parser_depth
    max_query_size max_read_buffer_size max_result_bytes max_result_rows max_rows_for_lazy_final max_subquery_depth
    max_temporary_columns max_threads min_chunk_bytes_for_parallel_parsing min_compress_block_size
    min_filtered_ratio_for_lazy_final
    min_insert_block_size_bytes min_insert_block_size_rows offset output_format_native_write_json_as_string
    prefer_column_name_to_alias prefer_localhost_replica priority read_overflow_mode regexp_max_matches_per_row
    result_overflow_mode select_sequential_consistency send_logs_level session_timezone
    short_circuit_function_evaluation show_table_uuid_in_table_create_query_if_not_nil sort_overflow_mode
    distinct_overflow_mode join_overflow_mode set_overflow_mode timeout_overflow_mode totals_mode
    transform_null_in union_default_mode use_uncompressed_cache use_variant_as_common_type validate_polygons
    """
)
# Further settings for users who may write.
WRITING_SETTINGS: Final = names(
    """
    allow_nondeterministic_mutations alter_sync distributed_foreground_insert insert_deduplicate
    insert_deduplication_token insert_null_as_default insert_quorum insert_quorum_timeout
    lightweight_deletes_sync materialize_ttl_after_modify max_insert_threads max_partitions_per_insert_block
    mutations_sync optimize_on_insert parallel_view_processing throw_on_max_partitions_per_insert_block
    validate_experimental_and_suspicious_types_inside_nested_types allow_suspicious_types_in_order_by
    insert_distributed_sync distributed_ddl_task_timeout
    """
)
# Exceptions from the families above: settings that refer to files, templates, hosts or expressions.
_REFUSED_SETTINGS: Final = re.compile(
    r"path|file|schema_source|output_format_schema|_url|uri|interpret_expressions|deduce_templates"
)
REFUSED_SETTINGS_BUT: Final = frozenset({"output_format_avro_rows_in_file", "optimize_count_from_files"})

# A reader's limits: maximum and default per query, as in users.d.
READER_BOUNDS: Final = {
    "max_block_size": 65_536,
    "max_execution_time": 300,
    "max_result_rows": 1_000_000,
    "max_rows_to_read": 10_000_000_000,
}
READER_DEFAULTS: Final = {
    "max_execution_time": "60",
    "max_result_rows": "1000000",
    "result_overflow_mode": "break",
    "max_rows_to_read": "10000000000",
    # The engine limits what GROUP BY and DISTINCT write to disk, so that broker and inserts have space. It does not
    # limit what sorting and joining write, so these stay in memory.
    "max_temporary_data_on_disk_size_for_query": str(512 << 20),
    "min_free_disk_space_for_temporary_data": str(1 << 30),
    "max_bytes_ratio_before_external_sort": "0",
    "max_bytes_ratio_before_external_join": "0",
    # FINAL looks first for the rows that a question names, then reads only what may replace them; if they are in more
    # five minutes of channels than this, it reads as without it. docs/decisions/0090-questions-by-id.md
    "query_plan_optimize_lazy_final": "1",
    "max_rows_for_lazy_final": "16",
}
# Algorithms that join in memory. Others write to disk without a limit.
READERS_JOINS: Final = frozenset({"default", "direct", "hash", "parallel_hash", "full_sorting_merge"})
# Users who may write may also set when a query uses the disk.
_SPILLING: Final = "max_bytes_before_"

# Tables of database `system` that stay; the others are removed from the engine when it starts.
READERS_SYSTEM_TABLES: Final = names(
    """
    aggregate_function_combinators collations columns contributors data_type_families database_engines databases
    data_skipping_indices formats functions keywords licenses merge_tree_settings numbers numbers_mt one primes
    settings table_engines table_functions tables time_zones zeros zeros_mt build_options tokenizers
    current_roles enabled_roles dictionary_layouts dictionary_sources codecs
    """
)
OPERATORS_SYSTEM_TABLES: Final = names(
    """
    asynchronous_metrics backups clusters detached_parts detached_tables disks errors events merges metrics
    mutations parts parts_columns processes projections replicas storage_policies user_processes warnings
    constraints view_refreshes
    """
)

# What programs that read lists of issues see of the operator's tables, and which rows of each: in which parts errors of
# a day are (schemas/issues/day_counts.py).
PROGRAMS_SYSTEM_TABLES: Final = {"parts": "table = 'error_rows'"}

# Columns with file paths, by table of `system`. Only the operator may use them, or `*` of these tables.
HIDDEN_COLUMNS: Final = {
    "databases": ("data_path", "metadata_path"),
    "tables": ("data_paths", "metadata_path"),
    "parts": ("path",),
}


def hiding_filters(shown: Mapping[str, str]) -> str:
    """`additional_table_filters` that hide rows of the operator's `system` tables from other users.

    `shown`: which rows of a table stay; of all others none.
    """
    filters = dict.fromkeys(sorted(OPERATORS_SYSTEM_TABLES), "0") | dict(shown)
    quoted = {name: rows.replace("'", "\\'") for name, rows in filters.items()}
    return "{" + ", ".join(f"'system.{name}': '{rows}'" for name, rows in quoted.items()) + "}"


def is_setting(name: str, *, writes: bool) -> bool:
    """Whether a query may set this setting."""
    if name in SETTINGS or (writes and name in WRITING_SETTINGS):
        return True
    if _SETTING_FAMILIES.fullmatch(name) is None or (not writes and name.startswith(_SPILLING)):
        return False
    return _REFUSED_SETTINGS.search(name) is None or name in REFUSED_SETTINGS_BUT


def is_in_memory(join_algorithm: str | None) -> bool:
    """Whether all algorithms in a value of `join_algorithm` join in memory."""
    return {algorithm.strip() for algorithm in (join_algorithm or "").split(",")} <= READERS_JOINS


def is_unstoppable(name: str, categories: str) -> bool:
    """Whether one call of this function may take minutes."""
    of_geography = categories in UNSTOPPABLE_CATEGORIES and name not in CHEAP_GEO_FUNCTIONS
    return of_geography or name in UNSTOPPABLE_FUNCTIONS
