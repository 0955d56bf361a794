-- name: job
-- One job, whole; an ended one is not looked for before its id was made.
SELECT seq, id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt, fence,
       owner, "user", tags, gate, unique_key, progress, fault, cancel, overrides, input, output
FROM stoker.jobs WHERE id = $1
UNION ALL
SELECT seq, id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt, fence,
       owner, "user", tags, gate, unique_key, progress, fault, cancel, overrides, input, output
FROM stoker.ended WHERE id = $1 AND finished >= (SELECT stoker.floor_of(ARRAY[$1]))
LIMIT 1;

-- name: jobs
-- A page of jobs, newest first: of the hot and of the ended ones each its newest, by their indexes. The condition is put
-- in by the driver from a fixed set.
(SELECT seq, id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt, fence,
        owner, "user", tags, gate, unique_key, progress, fault, cancel, overrides, input, output
 FROM stoker.jobs WHERE {condition} ORDER BY seq DESC LIMIT {limit})
UNION ALL
(SELECT seq, id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt, fence,
        owner, "user", tags, gate, unique_key, progress, fault, cancel, overrides, input, output
 FROM stoker.ended WHERE {condition} ORDER BY seq DESC LIMIT {limit})
ORDER BY seq DESC LIMIT {limit};

-- name: places
-- Where these jobs are, and whether they have ended: read before their events, so that an end is never told too early.
SELECT g.n::integer, f.seq, f.created, f.ended
FROM unnest($1::text[]) WITH ORDINALITY AS g (id, n)
CROSS JOIN LATERAL (
  SELECT j.seq, j.created, false AS ended FROM stoker.jobs j WHERE j.id = g.id
  UNION ALL
  SELECT e.seq, e.created, true FROM stoker.ended e
  WHERE e.id = g.id AND e.finished >= (SELECT stoker.floor_of($1::text[]))
  LIMIT 1) f;

-- name: said
-- What several jobs said after their cursors; a day for clocks that went back.
SELECT g.n::integer, e.seq, e.attempt, e.kind, e.at, e.data
FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::integer[]) WITH ORDINALITY
  AS g (job, created, after, most, n)
CROSS JOIN LATERAL (
  SELECT v.seq, v.attempt, v.kind, v.at, v.data FROM stoker.events v
  WHERE v.job = g.job AND v.seq > g.after AND v.stored >= g.created - interval '1 day'
  ORDER BY v.seq LIMIT g.most) e
ORDER BY g.n, e.seq;

-- name: ahead
-- How many ready jobs of the same command go first.
SELECT count(*) FROM (
  SELECT FROM stoker.jobs
  WHERE command = $1 AND state = 'new' AND waits = 'slot' AND (priority > $2 OR (priority = $2 AND seq < $3))
  LIMIT 10000) x;

-- name: holders
-- The jobs that take up a concurrency key.
SELECT id FROM stoker.jobs WHERE gate = $1 AND waits = 'slot' ORDER BY seq LIMIT 100;

-- name: counts
-- New jobs by what they wait for, and the running ones.
SELECT CASE WHEN state = 'running' THEN 'running' WHEN waits = 'slot' THEN 'ready' WHEN waits = 'time' THEN 'scheduled'
       ELSE 'held' END, count(*) FROM stoker.jobs GROUP BY 1;

-- name: count_ended
-- All that are kept, by state: an entry of an index for each.
SELECT state, count(*) FROM stoker.ended GROUP BY 1;

-- name: oldest_ready
-- Since when the first in line of a command could have run, the earliest of all priorities: skips over the index from
-- one priority to the next.
WITH RECURSIVE ranks (priority) AS (
  (SELECT priority FROM stoker.jobs WHERE command = $1 AND state = 'new' AND waits = 'slot'
   ORDER BY priority DESC LIMIT 1)
  UNION ALL
  SELECT (SELECT j.priority FROM stoker.jobs j
          WHERE j.command = $1 AND j.state = 'new' AND j.waits = 'slot' AND j.priority < ranks.priority
          ORDER BY j.priority DESC LIMIT 1)
  FROM ranks WHERE ranks.priority IS NOT NULL
)
SELECT min((SELECT j.run_at FROM stoker.jobs j
            WHERE j.command = $1 AND j.state = 'new' AND j.waits = 'slot' AND j.priority = ranks.priority
            ORDER BY j.seq LIMIT 1))
FROM ranks WHERE ranks.priority IS NOT NULL;

-- name: command_stats
-- Ended jobs by command. Only an output that speaks of success is looked into.
SELECT command, count(*), count(*) FILTER (WHERE state = 'completed'), count(*) FILTER (WHERE state = 'failed'),
       count(*) FILTER (WHERE state = 'cancelled'),
       count(*) FILTER (WHERE CASE WHEN state = 'completed' AND position('"success"'::bytea IN output) > 0
                              THEN stoker.unwell(output) END),
       avg(extract(epoch FROM finished - created)) FILTER (WHERE state = 'completed')::float8,
       avg(extract(epoch FROM finished - started)) FILTER (WHERE state = 'completed')::float8
FROM stoker.ended GROUP BY command ORDER BY command;
