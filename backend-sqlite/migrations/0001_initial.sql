-- Version 1. Forward only: a released migration is never edited, a change is a new file.
--
-- Ids are text to the outside. Inside, every user and item has a small integer, unique in the file, so that
-- the ratings and their two indexes stay small. The namespace is part of every key all the same.
--
-- SQLite's pages carry no checksums: every row carries one over all its columns (see checksum.rs).

-- Parameters that shape what is stored, such as the Bayesian prior.
CREATE TABLE parameters (
    name     TEXT PRIMARY KEY,
    value    ANY NOT NULL,
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE namespaces (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    ratings   INTEGER NOT NULL DEFAULT 0,   -- pairs with a current rating
    withdrawn INTEGER NOT NULL DEFAULT 0,   -- pairs whose rating was withdrawn
    releases  INTEGER NOT NULL DEFAULT 0,
    checksum  INTEGER NOT NULL
) STRICT;

-- Users (kind 0) and items (kind 1), with the statistics of their ratings. Who they are and what their
-- statistics are is checked apart: the one is read without the other, and statistics are written often.
CREATE TABLE entities (
    id           INTEGER PRIMARY KEY,
    ns           INTEGER NOT NULL,
    kind         INTEGER NOT NULL CHECK (kind IN (0, 1)),
    key          TEXT NOT NULL,
    hash         INTEGER NOT NULL,              -- stable hash of the key, sign bit flipped to keep its order
    hidden       INTEGER NOT NULL DEFAULT 0,
    checksum     INTEGER NOT NULL,              -- of the columns above
    rating_count INTEGER NOT NULL DEFAULT 0,    -- current ratings
    rating_stats BLOB,                          -- extractor state, NULL if there never was a rating
    stats_checksum INTEGER NOT NULL             -- of the id and the statistics
) STRICT;
-- The hash follows from the key: the index is unique in (ns, kind, key), and covers scans by shard.
CREATE UNIQUE INDEX entities_by_key ON entities (ns, kind, key, hash);
CREATE INDEX entities_hidden ON entities (ns, kind, key) WHERE hidden = 1;

-- The current event of each pair.
CREATE TABLE ratings (
    ns             INTEGER NOT NULL,
    user           INTEGER NOT NULL,
    item           INTEGER NOT NULL,
    value          INTEGER,                     -- micro-units, NULL if withdrawn
    rated_at       INTEGER NOT NULL,            -- UTC milliseconds
    first_rated_at INTEGER NOT NULL,            -- earliest event time ever put for the pair
    event_id       BLOB NOT NULL,               -- 16 bytes, big-endian
    checksum       INTEGER NOT NULL,
    PRIMARY KEY (ns, user, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX ratings_by_user_time ON ratings (ns, user, rated_at);
CREATE INDEX ratings_by_item_time ON ratings (ns, item, rated_at);

-- Counts of distinct values, only of entities with more of them than their statistics hold.
CREATE TABLE value_counts (
    entity   INTEGER NOT NULL,
    value    INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (entity, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE feature_groups (
    id       INTEGER PRIMARY KEY,
    ns       INTEGER NOT NULL,
    name     TEXT NOT NULL,
    kind     INTEGER NOT NULL CHECK (kind IN (0, 1)),
    version  INTEGER NOT NULL,
    columns  INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (ns, name)
) STRICT;

CREATE TABLE feature_columns (
    grp      INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name     TEXT NOT NULL,
    type     TEXT NOT NULL,
    dim      INTEGER NOT NULL DEFAULT 0,        -- values of a vector
    checksum INTEGER NOT NULL,
    PRIMARY KEY (grp, position)
) STRICT, WITHOUT ROWID;

-- Rows of custom groups. Not WITHOUT ROWID: rows may be large.
CREATE TABLE feature_rows (
    grp          INTEGER NOT NULL,
    entity       INTEGER NOT NULL,
    event_time   INTEGER NOT NULL,
    content_hash BLOB NOT NULL,                 -- 16 bytes
    content      BLOB NOT NULL,                 -- encoded row, deletions included
    checksum     INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX feature_rows_by_entity ON feature_rows (entity, grp);

CREATE TABLE releases (
    id         INTEGER PRIMARY KEY,
    ns         INTEGER NOT NULL,
    name       TEXT NOT NULL,
    kind       INTEGER NOT NULL CHECK (kind IN (0, 1)),
    measure    TEXT NOT NULL,
    k          INTEGER NOT NULL,
    min_common INTEGER NOT NULL,
    shrinkage  REAL NOT NULL,
    created_at INTEGER NOT NULL,
    sealed     INTEGER NOT NULL DEFAULT 0,
    promotion  INTEGER,                         -- the greatest of a kind is the current release
    lists      INTEGER NOT NULL DEFAULT 0,
    neighbours INTEGER NOT NULL DEFAULT 0,
    checksum   INTEGER NOT NULL,
    UNIQUE (ns, name)
) STRICT;

-- A list is a blob of (entity i64, similarity f64, common u32), little-endian, the most similar first.
CREATE TABLE neighbour_lists (
    release    INTEGER NOT NULL,
    entity     INTEGER NOT NULL,
    neighbours BLOB NOT NULL,
    checksum   INTEGER NOT NULL,
    PRIMARY KEY (release, entity)
) STRICT;

CREATE TABLE popular (
    release  INTEGER NOT NULL,
    rank     INTEGER NOT NULL,
    entity   INTEGER NOT NULL,
    ratings  INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (release, rank)
) STRICT, WITHOUT ROWID;

CREATE TABLE tombstones (
    ns           INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    hash         BLOB NOT NULL,                 -- keyed hash of the id, 16 bytes
    erased_at    INTEGER NOT NULL,
    barred_until INTEGER NOT NULL,
    checksum     INTEGER NOT NULL,
    PRIMARY KEY (ns, kind, hash)
) STRICT, WITHOUT ROWID;
