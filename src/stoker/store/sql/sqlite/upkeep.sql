-- name: due
-- Jobs whose time has come.
SELECT seq, gate, gate_limit FROM jobs
WHERE state = 'new' AND waits = 'time' AND run_at <= ?1
ORDER BY run_at LIMIT 500;

-- name: next_due
-- When the next job is due.
SELECT min(run_at) FROM jobs WHERE state = 'new' AND waits = 'time';

-- name: set_waits
-- What a new job waits for.
UPDATE jobs SET waits = ?2, updated = ?3 WHERE seq = ?1 AND state = 'new';

-- name: expire
-- Fail what waited too long.
UPDATE jobs SET state = 'failed', fault = ?2, finished = ?1, updated = ?1
WHERE state = 'new' AND expires IS NOT NULL AND expires <= ?1
RETURNING id, gate;

-- name: ready_commands
-- Which commands have ready jobs: a skip over the index, not a scan.
WITH RECURSIVE found (command) AS (
  SELECT min(command) FROM jobs WHERE state = 'new' AND waits = 'slot'
  UNION ALL
  SELECT (SELECT min(command) FROM jobs WHERE state = 'new' AND waits = 'slot' AND command > found.command)
  FROM found WHERE found.command IS NOT NULL
)
SELECT command FROM found WHERE command IS NOT NULL;

-- name: orphan
-- Fail the ready jobs of a command that nobody knows.
UPDATE jobs SET state = 'failed', fault = ?2, finished = ?3, updated = ?3
WHERE seq IN (SELECT seq FROM jobs WHERE command = ?1 AND state = 'new' AND waits = 'slot' LIMIT 500)
RETURNING id, gate;

-- name: cancel_new
-- A job that has not begun ends at once.
UPDATE jobs SET state = 'cancelled', fault = ?2, finished = ?3, updated = ?3
WHERE id = ?1 AND state = 'new'
RETURNING gate;

-- name: cancel_running
-- A running job's owner is told; the first reason stays.
UPDATE jobs SET cancel = coalesce(cancel, ?2), updated = ?3 WHERE id = ?1 AND state = 'running';

-- name: retry
-- An ended job begins anew.
UPDATE jobs
SET state = 'new', waits = ?2, attempt = 0, round = round + 1, run_at = ?3, updated = ?3, expires = NULL, finished = NULL,
    started = NULL, output = NULL, fault = NULL, progress = NULL, cancel = NULL
WHERE id = ?1 AND state IN ('completed', 'failed', 'cancelled');

-- name: pause
INSERT INTO pauses (name, since) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING;

-- name: resume
DELETE FROM pauses WHERE name = ?1;

-- name: pauses
SELECT name FROM pauses;

-- name: old_jobs
-- Ended jobs that are kept no longer. The newest job always stays, so that no seq is ever given twice: an old seq with
-- an old fence would fit another job.
SELECT seq, id FROM jobs
WHERE finished IS NOT NULL AND finished < ?1 AND seq < (SELECT max(seq) FROM jobs)
ORDER BY finished LIMIT ?2;

-- name: delete_job
DELETE FROM jobs WHERE seq = ?1 AND state IN ('completed', 'failed', 'cancelled');

-- name: delete_job_events
DELETE FROM events WHERE job = ?1;

-- name: delete_job_key
DELETE FROM unique_keys WHERE job = ?1;

-- name: delete_old_events
-- Events of ended jobs that are kept no longer than so long; looks at a stretch of events from the first such one on.
DELETE FROM events
WHERE seq IN (SELECT e.seq
              FROM (SELECT f.seq FROM events f JOIN jobs g ON g.seq = f.job
                    WHERE g.state IN ('completed', 'failed', 'cancelled')
                    ORDER BY f.seq LIMIT 1) first
              CROSS JOIN events e ON e.seq BETWEEN first.seq AND first.seq + 50000
              JOIN jobs j ON j.seq = e.job
              WHERE e.at < ?1 AND j.state IN ('completed', 'failed', 'cancelled')
              LIMIT ?2);
