-- So many jobs of each key are not held any more: as many parked ones are in line again.
CREATE FUNCTION queue_release(keys bigint[]) RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    freed record;
BEGIN
    FOR freed IN SELECT f.key, count(*) AS places FROM unnest(keys) AS f (key) GROUP BY f.key ORDER BY f.key LOOP
        UPDATE queue_limit SET running = greatest(running - freed.places, 0) WHERE key = freed.key;
        -- A later statement: what was parked while this one waited for the row is seen.
        UPDATE queue_job SET state = 0 WHERE id = ANY (ARRAY(
            SELECT id FROM queue_job WHERE state = 4 AND limit_key = freed.key
            ORDER BY sort_key, id LIMIT freed.places FOR UPDATE SKIP LOCKED));
    END LOOP;
END
$$;

-- Members of flows have ended, each named as often as members of it did: what waits for a flow without pending members is in
-- line.
CREATE FUNCTION queue_count(flows bigint[]) RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    present CONSTANT bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    counted record;
    open_members bigint;
BEGIN
    -- In one order, so that settlements do not lock each other out.
    FOR counted IN SELECT f.id, count(*) AS members FROM unnest(flows) AS f (id) GROUP BY f.id ORDER BY f.id LOOP
        UPDATE queue_flow SET pending = pending - counted.members WHERE id = counted.id
            RETURNING pending INTO open_members;
        IF FOUND AND open_members <= 0 THEN
            DELETE FROM queue_flow WHERE id = counted.id;
            UPDATE queue_job
                SET state = CASE WHEN run_at > present THEN 2 ELSE 0 END,
                    run_at = greatest(run_at, present), due_at = greatest(due_at, present)
                WHERE waits_for = counted.id AND state = 3;
        END IF;
    END LOOP;
END
$$;

-- Completes jobs whose lease is the present one. The jobs of the n-th claim are the next counts[n] of jobs; bodies are their
-- results. Answers the jobs it completed, each with the token it was held by, and (0, n): n of them may have made others ready.
CREATE FUNCTION queue_complete(sessions bigint[], tokens bigint[], counts integer[], jobs bigint[], bodies text[])
RETURNS TABLE (id bigint, claim_token bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    upto integer := 0;
    done bigint[];
    their_keys bigint[];
    their_flows bigint[];
    keys bigint[] := '{}';
    flows bigint[] := '{}';
BEGIN
    FOR at IN 1 .. cardinality(tokens) LOOP
        WITH ended AS (
            DELETE FROM queue_job WHERE id = ANY (jobs[upto + 1 : upto + counts[at]])
                AND state IN (1, 5) AND session = sessions[at] AND claim_token = tokens[at]
            RETURNING *
        ), kept AS (
            INSERT INTO queue_history (id, lane, sort_key, run_at, due_at, created_at, deadline, cancel_at, finished_at,
                    timeout_us, limit_key, claim_token, flow, waits_for, cost, failures, crashes, snoozes, max_attempts, state,
                    priority, job_type, worker_type, tenant, limit_name, unique_key, payload, progress, errors, result)
                SELECT e.id, e.lane, e.sort_key, e.run_at, e.due_at, e.created_at, e.deadline, e.cancel_at, present,
                    e.timeout_us, e.limit_key, e.claim_token, e.flow, e.waits_for, e.cost, e.failures, e.crashes, e.snoozes,
                    e.max_attempts, 6, e.priority, e.job_type, e.worker_type, e.tenant, e.limit_name, e.unique_key, e.payload,
                    e.progress, e.errors, r.body
                FROM ended e JOIN unnest(jobs[upto + 1 : upto + counts[at]], bodies[upto + 1 : upto + counts[at]])
                    AS r (job, body) ON r.job = e.id
        )
        SELECT array_agg(e.id), array_agg(e.limit_key) FILTER (WHERE e.limit_key IS NOT NULL),
            array_agg(e.flow) FILTER (WHERE e.flow IS NOT NULL)
            INTO done, their_keys, their_flows FROM ended e;
        RETURN QUERY SELECT d.job, tokens[at] FROM unnest(done) AS d (job);
        keys := keys || their_keys;
        flows := flows || their_flows;
        upto := upto + counts[at];
    END LOOP;
    IF cardinality(keys) > 0 THEN
        PERFORM queue_release(keys);
    END IF;
    IF cardinality(flows) > 0 THEN
        PERFORM queue_count(flows);
    END IF;
    RETURN QUERY SELECT 0::bigint, (cardinality(keys) + cardinality(flows))::bigint;
END
$$;

-- Forgets what ended long ago; flows are those of members that had not completed.
CREATE FUNCTION queue_prune(finished_until bigint, dead_until bigint, budget integer, OUT forgotten bigint, OUT flows bigint[])
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
BEGIN
    WITH old AS (
        DELETE FROM queue_history WHERE id = ANY (ARRAY(
            SELECT id FROM queue_history
            WHERE finished_at <= greatest(finished_until, dead_until)
                AND finished_at <= CASE WHEN state IN (8, 9) THEN dead_until ELSE finished_until END
            LIMIT budget FOR UPDATE SKIP LOCKED))
        RETURNING flow, state
    )
    SELECT count(*), coalesce(array_agg(old.flow) FILTER (WHERE old.flow IS NOT NULL AND old.state <> 6), '{}') INTO forgotten, flows FROM old;
END
$$;
