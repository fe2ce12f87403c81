//! The tables of the cache in PostgreSQL. Times are milliseconds since 1970.

/// What brings the tables to this version. Steps that were released are never changed.
///
/// Envelopes are compressed already: kept outside the row as they are, they cost those nothing who do not ask for
/// them. Of each subject the log keeps the last bump only.
pub(super) const STEPS: &[&str] = &["
CREATE TABLE cache_head (
    id integer PRIMARY KEY CHECK (id = 1),
    log_id bytea NOT NULL,
    seq bigint NOT NULL
);
INSERT INTO cache_head (id, log_id, seq) VALUES (1, decode(replace(gen_random_uuid()::text, '-', ''), 'hex'), 0);
CREATE TABLE cache_bump (
    subject bytea PRIMARY KEY,
    seq bigint NOT NULL UNIQUE,
    at bigint NOT NULL
);
CREATE INDEX cache_bump_at ON cache_bump (at);
CREATE TABLE cache_entry (
    digest bytea PRIMARY KEY,
    namespace text NOT NULL,
    content bytea NOT NULL,
    owned boolean NOT NULL,
    as_of bigint NOT NULL,
    expires_at bigint NOT NULL,
    keep_until bigint NOT NULL,
    subjects bytea[] NOT NULL,
    envelope bytea NOT NULL
);
ALTER TABLE cache_entry ALTER COLUMN envelope SET STORAGE EXTERNAL;
CREATE INDEX cache_entry_keep_until ON cache_entry (keep_until);
CREATE TABLE cache_subject (
    subject bytea NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (subject, digest)
);
CREATE TABLE cache_owner (
    digest bytea NOT NULL,
    owner bytea NOT NULL,
    as_of bigint NOT NULL,
    PRIMARY KEY (digest, owner)
);
CREATE INDEX cache_owner_owner ON cache_owner (owner, digest);
CREATE TABLE cache_lease (
    digest bytea PRIMARY KEY,
    token bytea NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX cache_lease_expires_at ON cache_lease (expires_at);
CREATE TABLE cache_hot (
    digest bytea PRIMARY KEY,
    namespace text NOT NULL,
    content bytea NOT NULL,
    hits bigint NOT NULL,
    cost bigint NOT NULL,
    bytes bigint NOT NULL
);
"];
