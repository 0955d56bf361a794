-- A notification is work for whoever commits it, and for every listener. While one daemon has the store to itself, its
-- session says so, and tells nobody. Any other session (another daemon, plain SQL) tells as before.

CREATE OR REPLACE FUNCTION stoker.wake(kind text) RETURNS void
LANGUAGE sql VOLATILE
AS $$
  SELECT pg_catalog.pg_notify(pg_catalog.left(pg_catalog.concat('stoker_', kind), 63), '')
  WHERE pg_catalog.current_setting('daemon.alone', true) IS DISTINCT FROM 'yes'
$$;
