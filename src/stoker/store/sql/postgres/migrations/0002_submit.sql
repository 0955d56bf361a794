-- Storing new jobs. Plans must not depend on statistics, nor on the session that calls: the functions carry their
-- settings with them.

CREATE FUNCTION stoker.born(id text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE -- and no setting, so that it is put into its caller
AS $$
  SELECT CASE WHEN id ~ '^[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}'
    THEN to_timestamp(('x' || substr(id, 1, 12))::bit(48)::bigint / 1000.0) ELSE '-infinity' END
$$;
COMMENT ON FUNCTION stoker.born(text) IS 'When a UUIDv7, or a child of one, was made; any other id may be of any age.';

CREATE FUNCTION stoker.floor_of(ids text[]) RETURNS timestamptz
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  -- a job cannot have ended before its id was made; a day for clocks that are wrong, and an id from further in the
  -- future than that says nothing
  SELECT CASE WHEN max(b) > stoker.now() + interval '1 day' THEN '-infinity' ELSE min(b) - interval '1 day' END
  FROM (SELECT stoker.born(i) AS b FROM unnest(ids) i) made
$$;

CREATE FUNCTION stoker.lock_keys(kind text, keys text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  number bigint;
BEGIN
  -- always in one order, or two that need the same keys would wait for each other
  FOR number IN
    SELECT DISTINCT hashtextextended('stoker_' || kind || ' ' || k, 0) AS n
    FROM unnest(keys) k WHERE k IS NOT NULL ORDER BY n
  LOOP
    PERFORM pg_advisory_xact_lock(number);
  END LOOP;
END
$$;

CREATE FUNCTION stoker.release(gates text[]) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
-- Let in as many of those that wait for these concurrency keys as now fit. Nothing is counted up and down: how many take
-- up a key is read from the jobs, under the key's lock.
DECLARE
  name text;
  first record;
  let_in integer := 0;
BEGIN
  PERFORM stoker.lock_keys('gate', gates);
  FOR name IN SELECT DISTINCT g FROM unnest(gates) g WHERE g IS NOT NULL LOOP
    LOOP
      SELECT j.seq, j.gate_limit INTO first FROM stoker.jobs j
      WHERE j.gate = name AND j.waits = 'key' AND j.state = 'new' ORDER BY j.priority DESC, j.seq LIMIT 1;
      EXIT WHEN NOT FOUND;
      EXIT WHEN first.gate_limit
        <= (SELECT count(*) FROM stoker.jobs j WHERE j.gate = name AND j.waits = 'slot');
      UPDATE stoker.jobs j SET waits = 'slot', updated = stoker.now()
      WHERE j.seq = first.seq AND j.state = 'new' AND j.waits = 'key';
      let_in := let_in + 1;
    END LOOP;
  END LOOP;
  RETURN let_in;
END
$$;

CREATE FUNCTION stoker.put(
  ids text[], commands text[], inputs bytea[], priorities integer[], run_ats timestamptz[], expiries float8[],
  users text[], tag_lists text[], overrides text[], since timestamptz, wake boolean,
  OUT n integer, OUT answer text, OUT ready integer
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
-- Store jobs without unique or concurrency keys, in order. A row for each that was not stored: its place, and 'same' (it
-- was there) or 'conflict'; and at last one with the place 0 and how many can run at once. None of the ids was in use
-- before ``since``; NULL says that they were made for this and never were.
DECLARE
  moment timestamptz := stoker.now();
  made text[];
  back text[];
BEGIN
  IF cardinality(ids) = 1 THEN
    INSERT INTO stoker.jobs (id, command, state, waits, priority, created, updated, run_at, expires, "user", tags,
                             overrides, input)
    VALUES (ids[1], commands[1], 'new', CASE WHEN run_ats[1] > moment THEN 'time' ELSE 'slot' END, priorities[1], moment,
            moment, greatest(run_ats[1], moment), greatest(run_ats[1], moment) + make_interval(secs => expiries[1]),
            users[1], tag_lists[1]::text[], overrides[1], inputs[1])
    ON CONFLICT ON CONSTRAINT jobs_id DO NOTHING;
    IF FOUND THEN
      made := ids;
      ready := CASE WHEN run_ats[1] > moment THEN 0 ELSE 1 END;
    END IF;
  ELSE
    WITH stored AS (
      INSERT INTO stoker.jobs (id, command, state, waits, priority, created, updated, run_at, expires, "user", tags,
                               overrides, input)
      SELECT g.id, g.command, 'new', CASE WHEN g.run_at > moment THEN 'time' ELSE 'slot' END, g.priority, moment, moment,
             greatest(g.run_at, moment), greatest(g.run_at, moment) + make_interval(secs => g.expiry), g.who,
             g.tags::text[], g.override, g.input
      FROM unnest(ids, commands, inputs, priorities, run_ats, expiries, users, tag_lists, overrides)
        AS g (id, command, input, priority, run_at, expiry, who, tags, override)
      ON CONFLICT ON CONSTRAINT jobs_id DO NOTHING
      RETURNING jobs.id, jobs.waits
    )
    SELECT array_agg(s.id), count(*) FILTER (WHERE s.waits = 'slot') INTO made, ready FROM stored s;
  END IF;

  -- The insert waited for whoever was moving one of these ids to its end; this is a new snapshot, which sees where to.
  IF since IS NOT NULL THEN
    back := stoker.ended_among(made, since);
  END IF;
  IF back IS NOT NULL THEN
    DELETE FROM stoker.jobs j WHERE j.id = ANY (back);
    SELECT array_agg(m) INTO made FROM unnest(made) m WHERE m <> ALL (back);
    SELECT count(*) INTO ready FROM unnest(made) m JOIN stoker.jobs j ON j.id = m WHERE j.waits = 'slot';
  END IF;
  IF wake AND ready > 0 THEN
    PERFORM stoker.wake('jobs');
  END IF;
  IF coalesce(cardinality(made), 0) < cardinality(ids) THEN
    RETURN QUERY
      SELECT g.n::integer, stoker.same_as(g.id, g.command, g.input), 0
      FROM unnest(ids, commands, inputs) WITH ORDINALITY AS g (id, command, input, n)
      WHERE (g.id = ANY (made) AND g.n = array_position(ids, g.id)) IS NOT TRUE;
  END IF;
  n := 0;
  answer := '';
  ready := coalesce(ready, 0);
  RETURN NEXT;
END
$$;

CREATE FUNCTION stoker.ended_among(ids text[], since timestamptz) RETURNS text[]
LANGUAGE plpgsql VOLATILE -- called under the settings of whoever stores
AS $$
-- Those that have ended, not looking at the days before ``since``.
BEGIN
  IF cardinality(ids) = 1 THEN
    RETURN (SELECT ids FROM stoker.ended e WHERE e.id = ids[1] AND e.finished >= since LIMIT 1);
  END IF;
  RETURN (SELECT array_agg(e.id) FROM unnest(ids) i
          CROSS JOIN LATERAL (SELECT x.id FROM stoker.ended x WHERE x.id = i AND x.finished >= since LIMIT 1) e);
END
$$;

CREATE FUNCTION stoker.same_as(of_id text, of_command text, of_input bytea) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
-- The id is taken: the same request sent again, or another one by mistake.
DECLARE
  there record;
BEGIN
  SELECT j.command, j.input INTO there FROM stoker.jobs j WHERE j.id = of_id;
  IF NOT FOUND THEN
    SELECT e.command, e.input INTO there FROM stoker.ended e WHERE e.id = of_id LIMIT 1;
  END IF;
  RETURN CASE WHEN there.command = of_command AND there.input = of_input THEN 'same' ELSE 'conflict' END;
END
$$;

CREATE FUNCTION stoker.put_one(
  new_id text, new_command text, new_input bytea, new_priority integer, new_run_at timestamptz, expiry float8,
  new_user text, new_tags text[], new_overrides text, new_gate text, new_limit integer,
  key text, key_window float8, on_duplicate text,
  OUT id text, OUT answer text, OUT ready boolean
)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
-- Store one job that may have a unique key and a concurrency key. ``answer``: 'created', 'same', 'conflict', 'existing'
-- (another job has the unique key: ``id``), 'replaced', 'duplicate'. Whoever stores several takes the keys' locks first.
DECLARE
  moment timestamptz := stoker.now();
  begins timestamptz := greatest(new_run_at, moment);
  ends timestamptz := begins + make_interval(secs => expiry);
  there record;
  old_gate text;
BEGIN
  id := new_id;
  ready := false;
  PERFORM stoker.lock_keys('unique', ARRAY[key]);
  PERFORM stoker.lock_keys('gate', ARRAY[new_gate]);
  -- its own id first: a submission sent again stays the same job, whoever has the key by now
  IF key IS NOT NULL AND NOT EXISTS (SELECT FROM stoker.jobs j WHERE j.id = new_id)
     AND stoker.ended_among(ARRAY[new_id], stoker.floor_of(ARRAY[new_id])) IS NULL THEN
    SELECT u.job, j.state, j.gate INTO there
    FROM stoker.unique_keys u LEFT JOIN stoker.jobs j ON j.id = u.job
    WHERE u.key = put_one.key AND (u.until > moment OR (u.until IS NULL AND j.id IS NOT NULL));
    IF FOUND THEN
      id := there.job;
      answer := CASE WHEN on_duplicate = 'reject' THEN 'duplicate' ELSE 'existing' END;
      IF on_duplicate = 'replace' AND there.state = 'new' THEN
        UPDATE stoker.jobs j
        SET waits = CASE WHEN begins > moment THEN 'time' WHEN new_gate IS NULL THEN 'slot' ELSE 'key' END,
            priority = new_priority, updated = moment, run_at = begins, expires = ends, "user" = new_user,
            gate = new_gate, gate_limit = new_limit, tags = new_tags, overrides = new_overrides, input = new_input
        WHERE j.id = there.job AND j.state = 'new';
        IF FOUND THEN
          answer := 'replaced';
          PERFORM stoker.release(ARRAY[there.gate, new_gate]);
          ready := true;
        END IF;
      END IF;
      RETURN;
    END IF;
  END IF;

  INSERT INTO stoker.jobs (id, command, state, waits, priority, created, updated, run_at, expires, "user", gate,
                           gate_limit, unique_key, tags, overrides, input)
  VALUES (new_id, new_command, 'new',
          CASE WHEN begins > moment THEN 'time' WHEN new_gate IS NULL THEN 'slot'
               WHEN new_limit > (SELECT count(*) FROM stoker.jobs j WHERE j.gate = new_gate AND j.waits = 'slot')
               THEN 'slot' ELSE 'key' END,
          new_priority, moment, moment, begins, ends, new_user, new_gate, new_limit, key, new_tags, new_overrides,
          new_input)
  ON CONFLICT ON CONSTRAINT jobs_id DO NOTHING
  RETURNING waits = 'slot' INTO ready;
  IF FOUND AND stoker.ended_among(ARRAY[new_id], stoker.floor_of(ARRAY[new_id])) IS NOT NULL THEN
    DELETE FROM stoker.jobs j WHERE j.id = new_id;
    ready := NULL;
  END IF;
  IF ready IS NULL THEN
    ready := false;
    answer := stoker.same_as(new_id, new_command, new_input);
    RETURN;
  END IF;
  answer := 'created';
  IF key IS NOT NULL THEN
    INSERT INTO stoker.unique_keys AS u (key, job, until)
    VALUES (put_one.key, new_id, moment + make_interval(secs => key_window))
    ON CONFLICT ON CONSTRAINT unique_keys_pkey DO UPDATE SET job = excluded.job, until = excluded.until;
  END IF;
END
$$;
