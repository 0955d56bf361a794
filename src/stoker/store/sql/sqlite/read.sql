-- name: job
-- One job, whole.
SELECT seq, id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt, fence,
       owner, user, tags, gate, unique_key, progress, fault, cancel, overrides, input, output
FROM jobs WHERE id = ?1;

-- name: jobs
-- A page of jobs, newest first. The condition is put in by the driver from a fixed set.
SELECT seq, id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt, fence,
       owner, user, tags, gate, unique_key, progress, fault, cancel, overrides, input, output
FROM jobs WHERE {condition} ORDER BY seq DESC LIMIT ?;

-- name: job_seq
SELECT seq FROM jobs WHERE id = ?1;

-- name: job_state
SELECT seq, state FROM jobs WHERE id = ?1;

-- name: events
-- What a job said after a cursor; nothing for a limit of 0.
SELECT seq, attempt, kind, at, data FROM events WHERE job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3;

-- name: ahead
-- How many ready jobs of the same command go first.
SELECT count(*) FROM (
  SELECT 1 FROM jobs
  WHERE command = ?1 AND state = 'new' AND waits = 'slot'
    AND (priority > ?2 OR (priority = ?2 AND seq < ?3))
  LIMIT 10000);

-- name: holders
-- The jobs that take up a concurrency key.
SELECT id FROM jobs
WHERE gate = ?1 AND gate IS NOT NULL AND state IN ('new', 'running') AND waits = 'slot'
ORDER BY seq LIMIT 100;

-- name: counts
-- New jobs by what they wait for, and the running ones: read from the partial indexes.
SELECT 'ready', count(*) FROM jobs WHERE state = 'new' AND waits = 'slot'
UNION ALL SELECT 'scheduled', count(*) FROM jobs WHERE state = 'new' AND waits = 'time'
UNION ALL SELECT 'held', count(*) FROM jobs
  WHERE gate IS NOT NULL AND state IN ('new', 'running') AND state = 'new' AND waits = 'key'
UNION ALL SELECT 'running', count(*) FROM jobs WHERE state = 'running';

-- name: count_ended
SELECT state, count(*) FROM jobs WHERE finished IS NOT NULL GROUP BY state;

-- name: oldest_ready
-- Since when the first in line of a command could have run, the earliest of all priorities: skips over the index from
-- one priority to the next.
WITH RECURSIVE ranks (priority) AS (
  SELECT max(priority) FROM jobs WHERE command = ?1 AND state = 'new' AND waits = 'slot'
  UNION ALL
  SELECT (SELECT max(priority) FROM jobs
          WHERE command = ?1 AND state = 'new' AND waits = 'slot' AND priority < ranks.priority)
  FROM ranks WHERE ranks.priority IS NOT NULL
)
SELECT min((SELECT run_at FROM jobs
            WHERE command = ?1 AND state = 'new' AND waits = 'slot' AND priority = ranks.priority
            ORDER BY seq LIMIT 1))
FROM ranks WHERE ranks.priority IS NOT NULL;

-- name: command_stats
-- Ended jobs by command.
SELECT command, count(*),
       sum(state = 'completed'), sum(state = 'failed'), sum(state = 'cancelled'),
       sum(state = 'completed' AND json_valid(output) AND json_type(output, '$.success') IS 'false'),
       avg(CASE WHEN state = 'completed' THEN finished - created END),
       avg(CASE WHEN state = 'completed' THEN finished - started END)
FROM jobs WHERE finished IS NOT NULL GROUP BY command ORDER BY command;

-- name: has_jobs
-- Whether any is kept.
SELECT EXISTS (SELECT 1 FROM jobs);
