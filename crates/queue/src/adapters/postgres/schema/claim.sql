-- Takes up jobs of routes that nobody shares. The last row is no job (its id is 0): its state is 0 if all went well, 1 if the
-- session has ended, 2 if a route is shared and nothing was done; its run_at is when the next job is due, or -1.
CREATE FUNCTION queue_claim(for_session bigint, free integer, turn integer) RETURNS SETOF queue_job
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    present CONSTANT bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    kinds text[];
    kind text;
    token bigint;
    remaining integer := free;
    taken integer;
    note queue_job;
BEGIN
    note.id := 0; note.lane := 0; note.sort_key := 0; note.run_at := -1; note.due_at := 0; note.created_at := 0;
    note.cost := 1; note.failures := 0; note.crashes := 0; note.snoozes := 0; note.state := 0; note.priority := 0;
    note.job_type := ''; note.worker_type := ''; note.payload := '';
    -- Until this transaction ends, nobody declares the session dead.
    SELECT types INTO kinds FROM queue_session WHERE id = for_session AND NOT fenced FOR KEY SHARE;
    IF NOT FOUND THEN
        note.state := 1;
        RETURN NEXT note;
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM queue_route WHERE worker_type = ANY (kinds) AND fair) THEN
        note.state := 2;
        RETURN NEXT note;
        RETURN;
    END IF;
    UPDATE queue_job SET state = 0 WHERE id = ANY (ARRAY(
        SELECT id FROM queue_job WHERE state = 2 AND run_at <= present
        ORDER BY run_at, id LIMIT 1000 FOR UPDATE SKIP LOCKED));
    token := nextval('queue_token');
    RETURN QUERY UPDATE queue_job SET state = 1, claim_token = token, claimed_at = present
        WHERE id = ANY (ARRAY(
            SELECT id FROM queue_job WHERE session = for_session AND state = 5
            ORDER BY sort_key, id LIMIT remaining FOR UPDATE SKIP LOCKED))
        RETURNING *;
    GET DIAGNOSTICS taken = ROW_COUNT;
    remaining := remaining - taken;
    FOR at IN 0 .. cardinality(kinds) - 1 LOOP
        EXIT WHEN remaining <= 0;
        kind := kinds[1 + (at + turn) % cardinality(kinds)];
        CONTINUE WHEN EXISTS (SELECT FROM queue_route WHERE worker_type = kind AND paused);
        -- A limited job of a route that became shared meanwhile is left to those who count.
        RETURN QUERY UPDATE queue_job
            SET state = 1, session = for_session, claim_token = token, claimed_at = present
            WHERE id = ANY (ARRAY(
                SELECT id FROM queue_job
                WHERE worker_type = kind AND lane = 0 AND state = 0 AND limit_key IS NULL
                ORDER BY sort_key, id LIMIT remaining FOR UPDATE SKIP LOCKED))
            RETURNING *;
        GET DIAGNOSTICS taken = ROW_COUNT;
        remaining := remaining - taken;
    END LOOP;
    IF remaining > 0 THEN
        SELECT run_at INTO note.run_at FROM queue_job
            WHERE state = 2 AND worker_type = ANY (kinds) ORDER BY run_at LIMIT 1;
        note.run_at := coalesce(note.run_at - present, -1);
    END IF;
    RETURN NEXT note;
END
$$;
