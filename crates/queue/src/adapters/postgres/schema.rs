//! The tables. A step is never changed once it was released: changes are new steps.

/// The steps, oldest first. Instants are microseconds since 1970, on the server's clock.
pub(super) const STEPS: &[&str] = &[r"
CREATE SEQUENCE queue_job_id;
CREATE SEQUENCE queue_session_id;
CREATE SEQUENCE queue_token;
CREATE TABLE queue_job (
    id bigint PRIMARY KEY,
    job_type text NOT NULL,
    worker_type text NOT NULL,
    lane bigint NOT NULL,
    state bigint NOT NULL,
    priority bigint NOT NULL,
    sort_key bigint NOT NULL,
    tenant text,
    limit_name text,
    limit_key bigint,
    cost double precision NOT NULL,
    payload text NOT NULL,
    run_at bigint NOT NULL,
    due_at bigint NOT NULL,
    created_at bigint NOT NULL,
    claimed_at bigint,
    deadline bigint,
    cancel_at bigint,
    finished_at bigint,
    failures bigint NOT NULL,
    crashes bigint NOT NULL,
    snoozes bigint NOT NULL,
    max_attempts bigint,
    timeout_us bigint,
    errors text,
    session bigint,
    claim_token bigint,
    progress text,
    unique_key text
) WITH (fillfactor = 85);
CREATE INDEX queue_job_ready ON queue_job (worker_type, lane, sort_key, id) WHERE state = 0;
CREATE INDEX queue_job_due ON queue_job (run_at, id) WHERE state = 2;
CREATE INDEX queue_job_parked ON queue_job (limit_key, sort_key, id) WHERE state = 4;
CREATE INDEX queue_job_held ON queue_job (session, id) WHERE session IS NOT NULL;
CREATE UNIQUE INDEX queue_job_unique ON queue_job (unique_key) WHERE unique_key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX queue_job_finished ON queue_job (finished_at) WHERE state IN (6, 7);
CREATE INDEX queue_job_dead ON queue_job (finished_at) WHERE state IN (8, 9);
CREATE TABLE queue_result (job bigint PRIMARY KEY, body text NOT NULL);
CREATE TABLE queue_session (
    id bigint PRIMARY KEY,
    worker text NOT NULL,
    types text NOT NULL,
    capacity bigint NOT NULL,
    expires_at bigint NOT NULL,
    fenced boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE TABLE queue_route (
    worker_type text PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    fair boolean NOT NULL DEFAULT false
);
CREATE TABLE queue_limit (
    key bigint PRIMARY KEY,
    name text NOT NULL,
    max_running bigint,
    step_us bigint,
    burst bigint,
    running bigint NOT NULL,
    tat bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE queue_weight (lane bigint PRIMARY KEY, tenant text NOT NULL, weight double precision NOT NULL);
CREATE TABLE queue_unique (key text PRIMARY KEY, until bigint NOT NULL, job bigint NOT NULL);
"];
