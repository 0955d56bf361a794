-- Ended jobs and events lie in one table a day, so that what is kept no longer is dropped whole. Names are ``ended_`` or
-- ``events_`` and the day, UTC. Nothing here waits for long: what cannot be had at once is done the next time.

CREATE FUNCTION stoker.make_day(parent text, day date) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
-- Make the table of a day, and move what the day has already in the rest table; not when that is much.
DECLARE
  name text := parent || to_char(day, '_YYYYMMDD');
  field text := CASE parent WHEN 'ended' THEN 'finished' ELSE 'stored' END;
  low timestamptz := day::timestamp AT TIME ZONE 'UTC';
  high timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
  there bigint;
BEGIN
  IF to_regclass(format('stoker.%I', name)) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('SELECT count(*) FROM (SELECT FROM stoker.%I WHERE %I >= $1 AND %I < $2 LIMIT 20001) x',
                 parent || '_rest', field, field) INTO there USING low, high;
  IF there > 20000 THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE stoker.%I (LIKE stoker.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
  IF there > 0 THEN
    EXECUTE format('LOCK TABLE stoker.%I IN ACCESS EXCLUSIVE MODE', parent || '_rest');
    EXECUTE format('WITH moved AS (DELETE FROM stoker.%I WHERE %I >= $1 AND %I < $2 RETURNING *)
                    INSERT INTO stoker.%I SELECT * FROM moved', parent || '_rest', field, field, name) USING low, high;
  END IF;
  EXECUTE format('ALTER TABLE stoker.%I ATTACH PARTITION stoker.%I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high);
  RETURN true;
END
$$;

CREATE FUNCTION stoker.make_days() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms'
AS $$
-- Today's and tomorrow's tables; how many were made.
DECLARE
  today date := (stoker.now() AT TIME ZONE 'UTC')::date;
  parent text;
  day date;
  made integer := 0;
BEGIN
  FOREACH parent IN ARRAY ARRAY['ended', 'events'] LOOP
    FOREACH day IN ARRAY ARRAY[today, today + 1] LOOP
      BEGIN
        made := made + stoker.make_day(parent, day)::integer;
      EXCEPTION WHEN lock_not_available OR duplicate_table THEN
        NULL;
      END;
    END LOOP;
  END LOOP;
  RETURN made;
END
$$;

CREATE FUNCTION stoker.old_days(parent text, before timestamptz) RETURNS SETOF text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = to_regclass('stoker.' || quote_ident(parent)) AND c.relname ~ ('^' || parent || '_\d{8}$')
    AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (before AT TIME ZONE 'UTC')
  ORDER BY c.relname
$$;

CREATE FUNCTION stoker.drop_day(parent text, before timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms'
AS $$
-- Drop the oldest day that is kept no longer; how many rows went, NULL when there was none or it is being read. Events of
-- jobs that have not ended are kept.
DECLARE
  name text;
  went bigint := 0;
  moved bigint := 0;
BEGIN
  SELECT o INTO name FROM stoker.old_days(parent, before) o LIMIT 1;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  EXECUTE format('SELECT count(*) FROM stoker.%I', name) INTO went;
  EXECUTE format('ALTER TABLE stoker.%I DETACH PARTITION stoker.%I', parent, name);
  IF parent = 'events' THEN
    EXECUTE format('INSERT INTO stoker.events (seq, job, attempt, stored, at, kind, data)
                    SELECT e.seq, e.job, e.attempt, e.stored, e.at, e.kind, e.data
                    FROM stoker.%I e WHERE EXISTS (SELECT FROM stoker.jobs j WHERE j.seq = e.job)', name);
    GET DIAGNOSTICS moved = ROW_COUNT;
  ELSE
    EXECUTE format('DELETE FROM stoker.unique_keys u USING stoker.%I e WHERE u.job = e.id', name);
  END IF;
  EXECUTE format('DROP TABLE stoker.%I', name);
  RETURN went - moved;
EXCEPTION WHEN lock_not_available THEN
  RETURN NULL;
END
$$;

CREATE FUNCTION stoker.purge(keep_jobs float8, keep_events float8, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
-- One bite of what is kept no longer; how many rows went. One node at a time; the others find nothing to do.
DECLARE
  moment timestamptz := stoker.now();
  jobs_before timestamptz := moment - make_interval(secs => least(keep_jobs, 3e9));
  events_before timestamptz := moment - make_interval(secs => least(keep_events, 3e9));
  parent text;
  ids text[];
  one bigint;
  went bigint := 0;
  deleted bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('stoker_' || 'purge', 0)) THEN
    RETURN 0;
  END IF;
  PERFORM stoker.make_days();
  DELETE FROM stoker.nodes n WHERE n.heartbeat < moment - interval '1 day';
  FOREACH parent IN ARRAY ARRAY['ended', 'events'] LOOP
    deleted := 0;
    WHILE deleted < most LOOP
      one := stoker.drop_day(parent, CASE parent WHEN 'ended' THEN jobs_before ELSE events_before END);
      EXIT WHEN one IS NULL;
      deleted := deleted + one;
    END LOOP;
    went := went + deleted;
  END LOOP;
  WITH gone AS (
    DELETE FROM stoker.ended_rest e
    WHERE e.ctid = ANY (ARRAY(SELECT x.ctid FROM stoker.ended_rest x WHERE x.finished < jobs_before LIMIT most))
    RETURNING e.id
  )
  SELECT array_agg(g.id), count(*) INTO ids, deleted FROM gone g;
  IF ids IS NOT NULL THEN
    DELETE FROM stoker.unique_keys u WHERE u.job = ANY (ids);
  END IF;
  went := went + deleted;
  DELETE FROM stoker.events_rest e
  WHERE e.ctid = ANY (ARRAY(SELECT x.ctid FROM stoker.events_rest x WHERE x.stored < events_before
                            AND NOT EXISTS (SELECT FROM stoker.jobs j WHERE j.seq = x.job) LIMIT most));
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN greatest(went, deleted);
END
$$;

SELECT stoker.make_days();
