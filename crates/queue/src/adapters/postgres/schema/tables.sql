CREATE SEQUENCE queue_job_id;
CREATE SEQUENCE queue_session_id;
CREATE SEQUENCE queue_flow_id;
CREATE SEQUENCE queue_token;
CREATE TABLE queue_job (
    id bigint PRIMARY KEY,
    lane bigint NOT NULL,
    sort_key bigint NOT NULL,
    run_at bigint NOT NULL,
    due_at bigint NOT NULL,
    created_at bigint NOT NULL,
    claimed_at bigint,
    deadline bigint,
    cancel_at bigint,
    finished_at bigint,
    timeout_us bigint,
    limit_key bigint,
    session bigint,
    claim_token bigint,
    flow bigint,
    waits_for bigint,
    cost double precision NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    snoozes integer NOT NULL DEFAULT 0,
    max_attempts integer,
    state smallint NOT NULL,
    priority smallint NOT NULL,
    job_type text NOT NULL,
    worker_type text NOT NULL,
    tenant text,
    limit_name text,
    unique_key text,
    payload text NOT NULL,
    progress text,
    errors text
) WITH (fillfactor = 85);
CREATE INDEX queue_job_ready ON queue_job (worker_type, lane, sort_key, id) WHERE state = 0;
CREATE INDEX queue_job_due ON queue_job (run_at, id) WHERE state = 2;
CREATE INDEX queue_job_waiting ON queue_job (waits_for) WHERE state = 3;
CREATE INDEX queue_job_parked ON queue_job (limit_key, sort_key, id) WHERE state = 4;
CREATE INDEX queue_job_placed ON queue_job (session, sort_key, id) WHERE state = 5;
CREATE INDEX queue_job_held ON queue_job (session, id) WHERE session IS NOT NULL;
CREATE INDEX queue_job_flow ON queue_job (flow, id) WHERE flow IS NOT NULL;
CREATE UNIQUE INDEX queue_job_unique ON queue_job (unique_key) WHERE unique_key IS NOT NULL;

-- Ended jobs, out of the way of the live ones: appended, read by id, and pruned in the order of their ends.
CREATE TABLE queue_history (LIKE queue_job INCLUDING DEFAULTS, result text, PRIMARY KEY (id));
CREATE INDEX queue_history_finished ON queue_history USING brin (finished_at) WITH (autosummarize = on);
CREATE INDEX queue_history_dead ON queue_history (job_type, finished_at) WHERE state IN (8, 9);
CREATE INDEX queue_history_flow ON queue_history (flow, id) WHERE flow IS NOT NULL;
CREATE VIEW queue_every AS SELECT *, NULL::text AS result FROM queue_job UNION ALL SELECT * FROM queue_history;

CREATE TABLE queue_session (
    id bigint PRIMARY KEY,
    worker text NOT NULL,
    types text[] NOT NULL,
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
-- What others wait for: gone once they need not wait any more.
CREATE TABLE queue_flow (id bigint PRIMARY KEY, pending bigint NOT NULL, on_failure bigint NOT NULL) WITH (fillfactor = 50);
