//! The tables. A step is never changed once it was released: changes are new steps.

/// The steps, oldest first.
pub(super) const STEPS: &[&str] = &[r"
CREATE TABLE queue_job (
    id INTEGER PRIMARY KEY,
    job_type TEXT NOT NULL,
    worker_type TEXT NOT NULL,
    lane INTEGER NOT NULL,
    state INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    sort_key INTEGER NOT NULL,
    tenant TEXT,
    limit_name TEXT,
    limit_key INTEGER,
    cost REAL NOT NULL,
    payload TEXT NOT NULL,
    run_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    claimed_at INTEGER,
    deadline INTEGER,
    cancel_at INTEGER,
    finished_at INTEGER,
    failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    snoozes INTEGER NOT NULL,
    max_attempts INTEGER,
    timeout_us INTEGER,
    errors TEXT,
    session INTEGER,
    claim_token INTEGER,
    progress TEXT,
    unique_key TEXT,
    flow INTEGER,
    waits_for INTEGER
) STRICT;
CREATE INDEX queue_job_ready ON queue_job (worker_type, lane, sort_key, id) WHERE state = 0;
CREATE INDEX queue_job_due ON queue_job (run_at, id) WHERE state = 2;
CREATE INDEX queue_job_waiting ON queue_job (waits_for) WHERE state = 3;
CREATE INDEX queue_job_flow ON queue_job (flow, id) WHERE flow IS NOT NULL;
CREATE INDEX queue_job_parked ON queue_job (limit_key, sort_key, id) WHERE state = 4;
CREATE INDEX queue_job_held ON queue_job (session, id) WHERE session IS NOT NULL;
CREATE UNIQUE INDEX queue_job_unique ON queue_job (unique_key) WHERE unique_key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX queue_job_finished ON queue_job (finished_at) WHERE state IN (6, 7);
CREATE INDEX queue_job_dead ON queue_job (finished_at) WHERE state IN (8, 9);
CREATE TABLE queue_result (job INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE queue_session (
    id INTEGER PRIMARY KEY,
    worker TEXT NOT NULL,
    types TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    beats INTEGER NOT NULL,
    fenced INTEGER NOT NULL,
    owner INTEGER
) STRICT;
CREATE TABLE queue_route (
    worker_type TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0,
    fair INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE queue_limit (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    max_running INTEGER,
    step_us INTEGER,
    burst INTEGER,
    running INTEGER NOT NULL,
    tat INTEGER NOT NULL
) STRICT;
CREATE TABLE queue_weight (lane INTEGER PRIMARY KEY, tenant TEXT NOT NULL, weight REAL NOT NULL) STRICT;
CREATE TABLE queue_unique (key TEXT PRIMARY KEY, until INTEGER NOT NULL, job INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE queue_flow (id INTEGER PRIMARY KEY, pending INTEGER NOT NULL, on_failure INTEGER NOT NULL) STRICT;
CREATE TABLE queue_sequence (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    job INTEGER NOT NULL,
    token INTEGER NOT NULL,
    session INTEGER NOT NULL,
    flow INTEGER NOT NULL
) STRICT;
INSERT INTO queue_sequence VALUES (1, 0, 0, 0, 0);
"];
