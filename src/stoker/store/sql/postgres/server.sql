-- name: welcome
-- What a new session must know: the store's time, and whether a commit here survives a loss of power.
SELECT stoker.now(), current_setting('synchronous_commit');

-- name: schema_state
-- Whether the schema is there, whether it is ours, whether there is anything in it, and who asks.
SELECT to_regnamespace($1) IS NOT NULL, to_regclass($2) IS NOT NULL,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1)), current_user;

-- name: schema_version
-- The version of the tables, and the oldest code that may work with them.
SELECT coalesce(max(version), 0), coalesce(max(oldest_code), 0) FROM stoker.schema_version;

-- name: schema_lock
-- One migration at a time.
SELECT pg_advisory_xact_lock(hashtextextended('stoker_' || 'migration', 0));

-- name: make_versions
CREATE TABLE IF NOT EXISTS stoker.schema_version (
  version     integer     PRIMARY KEY,
  oldest_code integer     NOT NULL,
  applied     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: add_version
INSERT INTO stoker.schema_version (version, oldest_code) VALUES ($1, $2);

-- name: size
-- How much room the tables take, and what the server is.
SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::bigint, current_setting('server_version')
FROM pg_class c WHERE c.relnamespace = to_regnamespace($1);
