-- Claiming, reporting and settling attempts.

CREATE FUNCTION stoker.claim(
  new_owner text, lease float8, commands text[], rooms integer[], limits integer[], intervals float8[], total integer,
  OUT seq bigint, OUT id text, OUT command text, OUT input bytea, OUT attempt integer, OUT fence bigint,
  OUT "user" text, OUT tags text[], OUT overrides text, OUT created timestamptz, OUT gate text, OUT round integer,
  OUT priority integer
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_sort = off SET jit = off
AS $$
-- Take ready jobs, the highest priority first, then in order of submission. The line is cut to ``total`` by hand, so that
-- no plan can take more. ``limits`` and ``intervals`` are NULL when no command has one.
DECLARE
  moment timestamptz := stoker.now();
  line bigint[];
BEGIN
  IF limits IS NOT NULL THEN
    PERFORM stoker.lock_keys('limit', (SELECT array_agg(q.c) FROM unnest(commands, limits) q (c, l) WHERE q.l IS NOT NULL));
    SELECT array_agg(CASE WHEN q.l IS NULL THEN q.r ELSE least(q.r, q.l -
             (SELECT count(*)::integer FROM stoker.jobs j WHERE j.command = q.c AND j.state = 'running')) END ORDER BY q.n)
    INTO rooms FROM unnest(commands, rooms, limits) WITH ORDINALITY q (c, r, l, n);
  END IF;
  IF intervals IS NOT NULL THEN
    INSERT INTO stoker.rates AS x (command, next)
    SELECT q.c, '-infinity' FROM unnest(commands, intervals) q (c, i) WHERE q.i IS NOT NULL ORDER BY q.c
    ON CONFLICT DO NOTHING;
    PERFORM FROM stoker.rates x
    WHERE x.command IN (SELECT q.c FROM unnest(commands, intervals) q (c, i) WHERE q.i IS NOT NULL)
    ORDER BY x.command FOR UPDATE;
    SELECT array_agg(CASE WHEN q.i IS NULL THEN q.r WHEN x.next > moment THEN 0 ELSE least(q.r, 1) END ORDER BY q.n)
    INTO rooms FROM unnest(commands, rooms, intervals) WITH ORDINALITY q (c, r, i, n)
    LEFT JOIN stoker.rates x ON x.command = q.c;
  END IF;

  WITH quota AS MATERIALIZED (
    SELECT q.c, least(q.r, total) AS r FROM unnest(commands, rooms) q (c, r)
    WHERE q.r > 0 AND NOT EXISTS (SELECT FROM stoker.pauses p WHERE p.name = ANY (ARRAY['*', q.c, split_part(q.c, '.', 1)]))
  ), found AS MATERIALIZED (
    SELECT f.seq, f.priority FROM quota CROSS JOIN LATERAL (
      SELECT j.seq, j.priority FROM stoker.jobs j
      WHERE j.command = quota.c AND j.state = 'new' AND j.waits = 'slot' AND (j.expires IS NULL OR j.expires > moment)
      ORDER BY j.priority DESC, j.seq LIMIT quota.r FOR NO KEY UPDATE SKIP LOCKED) f
  )
  SELECT array_agg(f.seq ORDER BY f.priority DESC, f.seq) INTO line FROM found f;
  IF cardinality(line) > total THEN
    -- somebody else may have passed by what was held here for a moment
    PERFORM stoker.wake('jobs');
  END IF;

  RETURN QUERY
    UPDATE stoker.jobs j
    SET state = 'running', attempt = j.attempt + 1, fence = j.fence + 1, owner = new_owner,
        lease_until = moment + make_interval(secs => lease), started = moment, updated = moment, progress = NULL
    FROM unnest(line[1:total]) l
    WHERE j.seq = l
    RETURNING j.seq, j.id, j.command, j.input, j.attempt, j.fence, j."user", j.tags, j.overrides, j.created, j.gate,
              j.round, j.priority;

  IF intervals IS NOT NULL THEN
    UPDATE stoker.rates x SET next = moment + make_interval(secs => q.i)
    FROM unnest(commands, intervals) q (c, i)
    WHERE x.command = q.c AND q.i IS NOT NULL
      AND EXISTS (SELECT FROM unnest(line[1:total]) l JOIN stoker.jobs j ON j.seq = l WHERE j.command = q.c);
  END IF;
END
$$;

CREATE FUNCTION stoker.settle(
  seqs bigint[], fences bigint[], states text[], attempts integer[], run_ats timestamptz[], outputs bytea[],
  faults text[]
) RETURNS SETOF integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
-- Write endings whose fence is still the job's newest; the places in the arrays of those that were. No pair of seq and
-- fence may come twice.
--
-- Here and below a job is found by its seq and nothing else: "IS NOT DISTINCT FROM" keeps the planner from the partial
-- index of running jobs, which looks cheap to it when a million wait (measured: a settle of 165 jobs took 84 ms, not 4).
DECLARE
  moment timestamptz := stoker.now();
  gates text[];
  mine integer[];
  free text[];
  ready boolean;
BEGIN
  -- keys before rows: everybody who needs both takes them in this order; most stores have no job with a key at all
  IF EXISTS (SELECT FROM stoker.jobs j WHERE j.gate IS NOT NULL) THEN
    SELECT array_agg(DISTINCT j.gate) INTO gates FROM unnest(seqs) s JOIN stoker.jobs j ON j.seq = s WHERE j.gate IS NOT NULL;
    IF gates IS NOT NULL THEN
      PERFORM stoker.lock_keys('gate', gates);
    END IF;
  END IF;

  WITH given AS (
    SELECT * FROM unnest(seqs, fences, states, attempts, run_ats, outputs, faults) WITH ORDINALITY
      AS g (seq, fence, state, attempt, run_at, output, fault, n)
  ), locked AS MATERIALIZED (
    -- what is to go on must not be cancelled meanwhile; what ends is decided by its own DELETE
    SELECT g.*, j.cancel IS NULL AS again
    FROM given g JOIN stoker.jobs j ON j.seq = g.seq
    WHERE g.state = 'new' AND j.fence = g.fence AND j.state IS NOT DISTINCT FROM 'running'
    ORDER BY j.seq FOR UPDATE OF j
  ), back AS (
    -- it has had its slot, so it expires no more
    UPDATE stoker.jobs j
    SET state = 'new', waits = CASE WHEN l.run_at > moment THEN 'time' ELSE 'slot' END, run_at = l.run_at,
        fault = l.fault, attempt = l.attempt, updated = moment, expires = NULL, owner = NULL, lease_until = NULL
    FROM locked l WHERE j.seq = l.seq AND l.again
    RETURNING j.waits, j.run_at, j.gate, l.n
  ), gone AS (
    -- once somebody asked to cancel it, it ends so
    DELETE FROM stoker.jobs j
    USING (SELECT g.* FROM given g WHERE g.state <> 'new'
           UNION ALL SELECT l.seq, l.fence, l.state, l.attempt, l.run_at, l.output, l.fault, l.n FROM locked l
           WHERE NOT l.again) l
    WHERE j.seq = l.seq AND j.fence = l.fence AND j.state IS NOT DISTINCT FROM 'running'
    RETURNING j.seq, j.id, j.command, j.waits, j.priority, l.attempt, j.fence, j.round, j.created, j.run_at, j.expires,
              j.started, j."user", j.gate, j.gate_limit, j.unique_key, j.tags, j.overrides, j.progress, j.input,
              j.cancel, l.state, l.output, l.fault, l.n
  ), kept AS (
    INSERT INTO stoker.ended (seq, id, command, state, waits, priority, attempt, fence, round, created, updated, run_at,
                              expires, started, finished, "user", gate, gate_limit, unique_key, tags, overrides,
                              progress, fault, output, input)
    SELECT g.seq, g.id, g.command, CASE WHEN g.cancel IS NULL THEN g.state ELSE 'cancelled' END, g.waits, g.priority,
           g.attempt, g.fence, g.round, g.created, moment, g.run_at, g.expires, g.started, moment, g."user", g.gate,
           g.gate_limit, g.unique_key, g.tags, g.overrides, g.progress,
           CASE WHEN g.cancel IS NULL THEN g.fault
                ELSE json_build_object('type', 'Cancelled', 'message', g.cancel, 'traceback', NULL)::text END,
           CASE WHEN g.cancel IS NULL THEN g.output END, g.input
    FROM gone g
  )
  SELECT array_agg(x.n::integer), array_agg(DISTINCT x.gate) FILTER (WHERE x.gate IS NOT NULL AND x.free),
         coalesce(bool_or(x.ready), false)
  INTO mine, free, ready
  FROM (SELECT g.n, g.gate, true AS free, false AS ready FROM gone g
        UNION ALL SELECT b.n, b.gate, b.run_at > moment, b.waits = 'slot' FROM back b) x;

  IF free IS NOT NULL THEN
    ready := stoker.release(free) > 0 OR ready;
  END IF;
  IF ready THEN
    PERFORM stoker.wake('jobs');
  END IF;
  IF mine IS NOT NULL THEN
    PERFORM stoker.wake('news');
  END IF;
  RETURN QUERY SELECT unnest(mine);
END
$$;

CREATE FUNCTION stoker.report(
  seqs bigint[], fences bigint[], progresses text[], owners integer[], kinds text[], ats timestamptz[], datas bytea[]
) RETURNS SETOF integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
-- Progress and events of running attempts; the places in ``seqs`` of those that still run. ``owners`` says to which place
-- each event belongs. The rows are locked before an event gets its number, and until the commit: see the table.
DECLARE
  moment timestamptz := stoker.now();
  mine integer[];
BEGIN
  WITH locked AS MATERIALIZED (
    SELECT j.seq, j.attempt, g.n::integer, g.progress
    FROM unnest(seqs, fences, progresses) WITH ORDINALITY AS g (seq, fence, progress, n)
    JOIN stoker.jobs j ON j.seq = g.seq
    WHERE j.fence = g.fence AND j.state IS NOT DISTINCT FROM 'running'
    ORDER BY j.seq FOR NO KEY UPDATE OF j
  ), newest AS (
    UPDATE stoker.jobs j SET progress = l.progress, updated = moment
    FROM locked l WHERE j.seq = l.seq AND l.progress IS NOT NULL
  ), said AS (
    INSERT INTO stoker.events (job, attempt, stored, at, kind, data)
    SELECT l.seq, l.attempt, moment, e.at, e.kind, e.data
    FROM unnest(owners, kinds, ats, datas) WITH ORDINALITY AS e (owner, kind, at, data, n)
    JOIN locked l ON l.n = e.owner ORDER BY e.n
  )
  SELECT array_agg(l.n) INTO mine FROM locked l;
  IF mine IS NOT NULL THEN
    PERFORM stoker.wake('news');
  END IF;
  RETURN QUERY SELECT unnest(mine);
END
$$;

CREATE FUNCTION stoker.renew(
  of_owner text, lease float8, seqs bigint[], fences bigint[], OUT moment timestamptz, OUT mine integer[]
)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
-- Extend the leases of attempts that their owner works on; their places in the arrays, and the store's time.
BEGIN
  moment := stoker.now();
  WITH locked AS MATERIALIZED (
    SELECT j.seq, g.n::integer FROM unnest(seqs, fences) WITH ORDINALITY AS g (seq, fence, n)
    JOIN stoker.jobs j ON j.seq = g.seq
    WHERE j.fence = g.fence AND j.state IS NOT DISTINCT FROM 'running' AND j.owner = of_owner
    ORDER BY j.seq FOR NO KEY UPDATE OF j
  ), done AS (
    UPDATE stoker.jobs j SET lease_until = moment + make_interval(secs => lease) FROM locked l WHERE j.seq = l.seq
  )
  SELECT array_agg(l.n) INTO mine FROM locked l;
END
$$;

CREATE FUNCTION stoker.unwell(output bytea) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
-- Whether the output of a completed job says that it did not go well. One that is not JSON says nothing.
BEGIN
  RETURN coalesce(convert_from(output, 'UTF8')::jsonb -> 'success' = 'false'::jsonb, false);
EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
  RETURN false;
END
$$;
