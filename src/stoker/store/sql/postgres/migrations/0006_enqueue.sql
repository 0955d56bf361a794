-- Enqueueing inside one's own transaction, from any language: nothing is left of it after a rollback, and the daemons are
-- woken when it commits.
--
-- A role needs no more than this to enqueue, and can then read and change nothing of the queue:
--
--     GRANT USAGE ON SCHEMA stoker TO app;
--     GRANT EXECUTE ON FUNCTION stoker.submit TO app;
--
-- Errors have the SQLSTATEs SK001 (the id was used for another command or input), SK002 (a job with this unique key is
-- there, and ``on_duplicate`` is 'reject') and SK003 (a value that makes no sense).

CREATE FUNCTION stoker.submit(
  command text,
  input jsonb DEFAULT '{}',
  id text DEFAULT NULL,
  priority integer DEFAULT 0,
  delay interval DEFAULT NULL,
  run_at timestamptz DEFAULT NULL,
  expires interval DEFAULT NULL,
  "user" text DEFAULT NULL,
  tags text[] DEFAULT '{}',
  key text DEFAULT NULL,
  key_limit integer DEFAULT 1,
  unique_key text DEFAULT NULL,
  unique_window interval DEFAULT NULL,
  on_duplicate text DEFAULT 'existing',
  timeout interval DEFAULT NULL,
  retries integer DEFAULT NULL,
  memory bigint DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  new_id text := replace(id, '-', '');
  one record;
  wrong text := CASE
    WHEN command IS NULL OR command !~ '^[A-Za-z_][A-Za-z0-9_-]{0,63}\.[A-Za-z_][A-Za-z0-9_-]{0,63}$'
      THEN 'command is "product.name", not ' || coalesce(quote_literal(command), 'NULL')
    WHEN input IS NULL THEN 'input is JSON, not NULL'
    WHEN id !~ '^[a-z0-9][a-z0-9-]{0,63}$' THEN 'id is 1 to 64 of a-z, 0-9 and "-", not ' || quote_literal(id)
    WHEN priority IS NULL OR priority NOT BETWEEN -100 AND 100 THEN 'priority lies between -100 and 100'
    WHEN delay IS NOT NULL AND run_at IS NOT NULL THEN 'give either delay or run_at, not both'
    WHEN delay < interval '0' OR expires < interval '0' OR unique_window < interval '0' OR timeout < interval '0'
      OR retries < 0 OR memory < 0 THEN 'delay, expires, unique_window, timeout, retries and memory are not negative'
    WHEN run_at IS NOT NULL AND NOT isfinite(run_at) THEN 'run_at is a moment'
    WHEN cardinality(tags) > 32 THEN 'a job may have 32 tags at most'
    WHEN key_limit IS NULL OR key_limit < 1 THEN 'key_limit is 1 or more'
    WHEN on_duplicate IS NULL OR on_duplicate NOT IN ('existing', 'reject', 'replace')
      THEN 'on_duplicate is existing, reject or replace'
    WHEN EXISTS (SELECT FROM unnest(tags || ARRAY["user", key, unique_key]) t WHERE length(t) NOT BETWEEN 1 AND 256)
      OR array_position(tags, NULL) IS NOT NULL THEN 'users, tags and keys have 1 to 256 characters'
  END;
BEGIN
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'stoker.submit: %', wrong USING ERRCODE = 'SK003';
  END IF;
  IF id IS NULL THEN
    new_id := lpad(to_hex((extract(epoch FROM stoker.now()) * 1000)::bigint), 12, '0') || '7'
              || substr(replace(gen_random_uuid()::text, '-', ''), 14);
  ELSIF id !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN
    new_id := id;
  END IF;
  SELECT * INTO one FROM stoker.put_one(
    new_id, command, convert_to(input::text, 'UTF8'), priority,
    CASE WHEN delay IS NULL THEN run_at ELSE stoker.now() + delay END,
    extract(epoch FROM expires)::float8, "user", nullif(tags, '{}'),
    nullif(json_strip_nulls(json_build_object('timeout', extract(epoch FROM timeout)::float8, 'retries', retries,
                                              'memory', memory))::text, '{}'),
    command || ':' || key, key_limit,
    -- the digest of a whole input stands for itself
    command || CASE WHEN unique_key ~ '^#[0-9a-f]{32}$' THEN '' ELSE ':' END || unique_key, extract(epoch FROM unique_window)::float8, on_duplicate);
  IF one.answer = 'conflict' THEN
    RAISE EXCEPTION 'the job id % was used before for another command or input', new_id USING ERRCODE = 'SK001';
  ELSIF one.answer = 'duplicate' THEN
    RAISE EXCEPTION '%: job % is there already with the same unique key', command, one.id USING ERRCODE = 'SK002';
  ELSIF one.answer IN ('created', 'replaced') THEN
    -- also for a later one: somebody must wake up at its moment
    PERFORM stoker.wake('jobs');
  END IF;
  RETURN one.id;
END
$$;
COMMENT ON FUNCTION stoker.submit IS 'Store a job within this transaction; its id. The command''s own settings apply '
  'where it runs; priority, keys and expiry are as given here.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA stoker FROM PUBLIC;
