//! The tables of the cache in SQLite. Times are milliseconds since 1970.

/// What brings the tables to this version. Steps that were released are never changed.
///
/// Entries are in a rowid table with the envelope last, so that what is decided by the other columns reads no
/// overflow page. Of each subject the log keeps the last bump only.
pub(super) const STEPS: &[&str] = &["
CREATE TABLE cache_head (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    log_id BLOB NOT NULL,
    seq BIGINT NOT NULL
);
INSERT INTO cache_head (id, log_id, seq) VALUES (1, randomblob(16), 0);
CREATE TABLE cache_bump (
    subject BLOB NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL UNIQUE,
    at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE TABLE cache_entry (
    digest BLOB NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    content BLOB NOT NULL,
    owned BOOLEAN NOT NULL,
    as_of BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    subjects BLOB NOT NULL,
    envelope BLOB NOT NULL
);
CREATE INDEX cache_entry_keep_until ON cache_entry (keep_until);
CREATE TABLE cache_subject (
    subject BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (subject, digest)
) WITHOUT ROWID;
CREATE TABLE cache_owner (
    digest BLOB NOT NULL,
    owner BLOB NOT NULL,
    as_of BIGINT NOT NULL,
    PRIMARY KEY (digest, owner)
) WITHOUT ROWID;
CREATE INDEX cache_owner_owner ON cache_owner (owner, digest);
CREATE TABLE cache_lease (
    digest BLOB NOT NULL PRIMARY KEY,
    token BLOB NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE TABLE cache_hot (
    digest BLOB NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    content BLOB NOT NULL,
    hits BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    bytes BIGINT NOT NULL
) WITHOUT ROWID;
"];

diesel::table! {
    cache_head (id) {
        id -> Integer,
        log_id -> Binary,
        seq -> BigInt,
    }
}

diesel::table! {
    cache_bump (subject) {
        subject -> Binary,
        seq -> BigInt,
        at -> BigInt,
    }
}

diesel::table! {
    cache_entry (digest) {
        digest -> Binary,
        namespace -> Text,
        content -> Binary,
        owned -> Bool,
        as_of -> BigInt,
        expires_at -> BigInt,
        keep_until -> BigInt,
        subjects -> Binary,
        envelope -> Binary,
    }
}

diesel::table! {
    cache_subject (subject, digest) {
        subject -> Binary,
        digest -> Binary,
    }
}

diesel::table! {
    cache_owner (digest, owner) {
        digest -> Binary,
        owner -> Binary,
        as_of -> BigInt,
    }
}

diesel::table! {
    cache_lease (digest) {
        digest -> Binary,
        token -> Binary,
        expires_at -> BigInt,
    }
}

diesel::table! {
    cache_hot (digest) {
        digest -> Binary,
        namespace -> Text,
        content -> Binary,
        hits -> BigInt,
        cost -> BigInt,
        bytes -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(cache_entry, cache_subject);
