-- Hands in jobs inside whatever transaction calls it: with that they are there, or are not. Answers in the order of the batch.
CREATE FUNCTION queue_enqueue(batch json) RETURNS TABLE (job bigint, created boolean)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    present CONSTANT bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    new record;
    due bigint;
BEGIN
    FOR new IN SELECT * FROM json_to_recordset(batch) AS b (
        job_type text, worker_type text, lane bigint, priority smallint, sort_key bigint, sorted_at bigint, tenant text,
        limit_name text, limit_key bigint, cost double precision, payload text, run_at bigint, deadline bigint,
        max_attempts integer, timeout_us bigint, unique_key text)
    LOOP
        -- Only the first of a route writes: a transaction that stays open holds up nobody.
        IF (new.lane <> 0 OR new.limit_key IS NOT NULL)
            AND NOT EXISTS (SELECT FROM queue_route r WHERE r.worker_type = new.worker_type AND r.fair) THEN
            INSERT INTO queue_route (worker_type, fair) VALUES (new.worker_type, true)
                ON CONFLICT (worker_type) DO UPDATE SET fair = true;
        END IF;
        due := greatest(coalesce(new.run_at, present), present);
        job := nextval('queue_job_id');
        -- The place in line was worked out on the caller's clock: it is moved to the server's.
        INSERT INTO queue_job (id, job_type, worker_type, lane, state, priority, sort_key, tenant, limit_name, limit_key,
                cost, payload, run_at, due_at, created_at, deadline, max_attempts, timeout_us, unique_key)
            VALUES (job, new.job_type, new.worker_type, new.lane, CASE WHEN due > present THEN 2 ELSE 0 END, new.priority,
                least(new.sort_key + CASE WHEN new.run_at IS NULL THEN present - new.sorted_at ELSE 0 END, new.deadline),
                new.tenant, new.limit_name, new.limit_key, new.cost, new.payload, due, due, present, new.deadline,
                new.max_attempts, new.timeout_us, new.unique_key)
            ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING;
        created := FOUND;
        IF NOT created THEN
            SELECT q.id INTO job FROM queue_job q WHERE q.unique_key = new.unique_key AND q.unique_key IS NOT NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
    -- Told when the transaction commits.
    PERFORM pg_notify('wavequill_queue', 'ready');
END
$$;
