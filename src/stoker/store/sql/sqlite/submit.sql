-- name: insert_job
-- Store a new job. Does nothing when the id is taken.
INSERT INTO jobs (id, command, state, waits, priority, created, updated, run_at, expires,
                  user, gate, gate_limit, unique_key, tags, overrides, input)
VALUES (?1, ?2, 'new', ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT (id) DO NOTHING;

-- name: same_job
-- What a taken id stands for.
SELECT command, input FROM jobs WHERE id = ?1;

-- name: find_unique
-- The job that holds a unique key now: its window is open, or it has none and the job has not ended.
SELECT u.job, j.state, j.gate
FROM unique_keys u LEFT JOIN jobs j ON j.id = u.job
WHERE u.key = ?1
  AND (u.until > ?2 OR (u.until IS NULL AND j.state IN ('new', 'running')));

-- name: take_unique
-- Give a unique key to a job.
INSERT INTO unique_keys (key, job, until) VALUES (?1, ?2, ?3)
ON CONFLICT (key) DO UPDATE SET job = excluded.job, until = excluded.until;

-- name: replace_job
-- Let a waiting job stand for the newer submission.
UPDATE jobs SET waits = ?2, priority = ?3, updated = ?4, run_at = ?5, expires = ?6, user = ?7,
                gate = ?8, gate_limit = ?9, tags = ?10, overrides = ?11, input = ?12
WHERE id = ?1 AND state = 'new';

-- name: gate_used
-- How many jobs take up a concurrency key: ready or running.
SELECT count(*) FROM jobs
WHERE gate = ?1 AND gate IS NOT NULL AND state IN ('new', 'running') AND waits = 'slot';

-- name: gate_next
-- Let the first job that waits for the key be ready.
UPDATE jobs SET waits = 'slot', updated = ?2
WHERE seq = (SELECT seq FROM jobs
             WHERE gate = ?1 AND gate IS NOT NULL AND state IN ('new', 'running') AND state = 'new' AND waits = 'key'
             ORDER BY priority DESC, seq LIMIT 1)
RETURNING gate_limit;

-- name: gate_limit_next
-- The limit that the first job waiting for the key asks for.
SELECT gate_limit FROM jobs
WHERE gate = ?1 AND gate IS NOT NULL AND state IN ('new', 'running') AND state = 'new' AND waits = 'key'
ORDER BY priority DESC, seq LIMIT 1;
