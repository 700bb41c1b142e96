-- Uploaded artifacts: bundles of source maps, files of a release, mappings, debug files. The bytes are in the object store
-- of the broker, and an index for workers beside them; these tables are for questions. A change writes the whole row again.
CREATE TABLE IF NOT EXISTS {{stored.artifact_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    artifact     String,
    row_version  UInt64,
    sha1         String,
    kind         LowCardinality(String),
    release      String,
    dist         String,
    -- Empty: of every channel.
    channels     Array(UInt64),
    label        String,
    debug_id     String,
    size_bytes   UInt64,
    files        UInt32,
    -- SHA-1 of each chunk.
    chunks       Array(String),
    uploaded_at  DateTime64(9, 'UTC'),
    -- The id of a token, never the token.
    uploaded_by  String,
    is_deleted   Bool DEFAULT false
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, artifact){{settings}};

{{distributed.artifact_rows}};

-- The files of each artifact: where one was served, what it is called by debug ids, which source map it names.
CREATE TABLE IF NOT EXISTS {{stored.artifact_file_rows}}{{on_cluster}}
(
    organisation LowCardinality(String),
    artifact     String,
    path         String,
    row_version  UInt64,
    url          String,
    kind         LowCardinality(String),
    debug_id     String,
    source_map   String,
    size_bytes   UInt64,
    INDEX by_debug_id debug_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{replicated}}ReplacingMergeTree(row_version)
ORDER BY (organisation, artifact, path){{settings}};

{{distributed.artifact_file_rows}};

CREATE OR REPLACE VIEW {{name.artifacts}}{{on_cluster}} AS
SELECT organisation, artifact, sha1, kind, release, dist, channels, label, debug_id, size_bytes, files, chunks,
       uploaded_at, uploaded_by
FROM {{name.artifact_rows}} FINAL
WHERE NOT is_deleted;

CREATE OR REPLACE VIEW {{name.artifact_files}}{{on_cluster}} AS
SELECT organisation, artifact, path, url, kind, debug_id, source_map, size_bytes
FROM {{name.artifact_file_rows}} FINAL
WHERE (organisation, artifact) {{global}}IN (SELECT organisation, artifact FROM {{name.artifacts}});
