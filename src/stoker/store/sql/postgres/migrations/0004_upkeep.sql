-- What happens to jobs without anybody running them: they fall due, expire, are cancelled, and begun anew.

CREATE FUNCTION stoker.end_new(which bigint[], new_state text, new_fault text, expired_only boolean) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
-- End jobs that have not begun; the ids of those that were still new.
DECLARE
  moment timestamptz := stoker.now();
  gates text[];
  ids text[];
BEGIN
  SELECT array_agg(DISTINCT j.gate) INTO gates FROM unnest(which) w JOIN stoker.jobs j ON j.seq = w WHERE j.gate IS NOT NULL;
  IF gates IS NOT NULL THEN
    PERFORM stoker.lock_keys('gate', gates);
  END IF;
  WITH locked AS MATERIALIZED (
    SELECT j.seq FROM unnest(which) w JOIN stoker.jobs j ON j.seq = w
    WHERE j.state = 'new' AND (NOT expired_only OR j.expires <= moment) ORDER BY j.seq FOR UPDATE OF j
  ), gone AS (
    DELETE FROM stoker.jobs j USING locked l WHERE j.seq = l.seq AND j.state = 'new' RETURNING j.*
  ), kept AS (
    INSERT INTO stoker.ended (seq, id, command, state, waits, priority, attempt, fence, round, created, updated, run_at,
                              expires, started, finished, "user", gate, gate_limit, unique_key, tags, overrides,
                              progress, fault, output, input)
    SELECT g.seq, g.id, g.command, new_state, g.waits, g.priority, g.attempt, g.fence, g.round, g.created, moment,
           g.run_at, g.expires, g.started, moment, g."user", g.gate, g.gate_limit, g.unique_key, g.tags, g.overrides,
           g.progress, new_fault, NULL, g.input
    FROM gone g
  )
  SELECT array_agg(g.id), array_agg(DISTINCT g.gate) FILTER (WHERE g.gate IS NOT NULL) INTO ids, gates FROM gone g;
  IF gates IS NOT NULL AND stoker.release(gates) > 0 THEN
    PERFORM stoker.wake('jobs');
  END IF;
  IF ids IS NOT NULL THEN
    PERFORM stoker.wake('news');
  END IF;
  RETURN QUERY SELECT unnest(ids);
END
$$;

CREATE FUNCTION stoker.cancel(of_id text, reason text, new_fault text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
-- A job that has not begun ends at once; a running one's owner is told, and the first reason stays.
DECLARE
  there record;
BEGIN
  LOOP
    SELECT j.seq, j.state INTO there FROM stoker.jobs j WHERE j.id = of_id;
    EXIT WHEN NOT FOUND;
    IF there.state = 'new' THEN
      PERFORM FROM stoker.end_new(ARRAY[there.seq], 'cancelled', new_fault, false);
    ELSE
      UPDATE stoker.jobs j SET cancel = coalesce(j.cancel, reason), updated = stoker.now()
      WHERE j.seq = there.seq AND j.state = 'running';
      IF FOUND THEN
        PERFORM stoker.wake('orders');
      END IF;
    END IF;
    -- else it changed its state meanwhile: look again
    EXIT WHEN FOUND;
  END LOOP;
END
$$;

CREATE FUNCTION stoker.retry(of_id text) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
-- An ended job begins anew, in its old place. NULL, or why not: 'unknown', 'state …', 'taken …'.
DECLARE
  moment timestamptz := stoker.now();
  old record;
  there record;
BEGIN
  SELECT j.state INTO old FROM stoker.jobs j WHERE j.id = of_id;
  IF FOUND THEN
    RETURN 'state ' || old.state;
  END IF;
  SELECT e.unique_key, e.gate INTO old FROM stoker.ended e WHERE e.id = of_id LIMIT 1;
  IF NOT FOUND THEN
    RETURN 'unknown';
  END IF;
  PERFORM stoker.lock_keys('unique', ARRAY[old.unique_key]);
  PERFORM stoker.lock_keys('gate', ARRAY[old.gate]);
  IF old.unique_key IS NOT NULL THEN
    SELECT u.job INTO there FROM stoker.unique_keys u LEFT JOIN stoker.jobs j ON j.id = u.job
    WHERE u.key = old.unique_key AND (u.until > moment OR (u.until IS NULL AND j.id IS NOT NULL));
    IF FOUND AND there.job <> of_id THEN
      RETURN 'taken ' || there.job;
    ELSIF NOT FOUND THEN
      INSERT INTO stoker.unique_keys AS u (key, job, until) VALUES (old.unique_key, of_id, NULL)
      ON CONFLICT (key) DO UPDATE SET job = excluded.job, until = excluded.until;
    END IF;
  END IF;
  WITH gone AS (DELETE FROM stoker.ended e WHERE e.id = of_id RETURNING e.*)
  INSERT INTO stoker.jobs (seq, id, command, state, waits, priority, attempt, fence, round, created, updated, run_at,
                           "user", gate, gate_limit, unique_key, tags, overrides, input)
  SELECT g.seq, g.id, g.command, 'new', CASE WHEN g.gate IS NULL THEN 'slot' ELSE 'key' END, g.priority, 0, g.fence,
         g.round + 1, g.created, moment, moment, g."user", g.gate, g.gate_limit, g.unique_key, g.tags, g.overrides,
         g.input
  FROM gone g;
  IF NOT FOUND THEN
    RETURN 'state new';
  END IF;
  IF old.gate IS NULL OR stoker.release(ARRAY[old.gate]) > 0 THEN
    PERFORM stoker.wake('jobs');
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION stoker.promote(most integer) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
-- Make due jobs ready; when the next one is due.
DECLARE
  moment timestamptz := stoker.now();
  due bigint[];
  gates text[];
BEGIN
  SELECT array_agg(d.seq), array_agg(DISTINCT d.gate) FILTER (WHERE d.gate IS NOT NULL) INTO due, gates
  FROM (SELECT j.seq, j.gate FROM stoker.jobs j WHERE j.state = 'new' AND j.waits = 'time' AND j.run_at <= moment
        ORDER BY j.run_at LIMIT most) d;
  IF due IS NOT NULL THEN
    IF gates IS NOT NULL THEN
      PERFORM stoker.lock_keys('gate', gates);
    END IF;
    -- every node does this at the same moment: none waits for another
    WITH locked AS MATERIALIZED (
      SELECT j.seq FROM unnest(due) d JOIN stoker.jobs j ON j.seq = d
      WHERE j.state = 'new' AND j.waits = 'time' AND j.run_at <= moment ORDER BY j.seq FOR NO KEY UPDATE OF j SKIP LOCKED
    )
    UPDATE stoker.jobs j SET waits = CASE WHEN j.gate IS NULL THEN 'slot' ELSE 'key' END, updated = moment
    FROM locked l WHERE j.seq = l.seq;
    IF FOUND THEN
      PERFORM stoker.release(gates), stoker.wake('jobs');
    END IF;
  END IF;
  RETURN (SELECT j.run_at FROM stoker.jobs j WHERE j.state = 'new' AND j.waits = 'time' ORDER BY j.run_at LIMIT 1);
END
$$;
