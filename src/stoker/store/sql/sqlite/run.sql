-- name: ready
-- The first ready jobs of a command.
SELECT seq, priority FROM jobs
WHERE command = ?1 AND state = 'new' AND waits = 'slot' AND (expires IS NULL OR expires > ?2)
ORDER BY priority DESC, seq LIMIT ?3;

-- name: claim
-- Take the chosen jobs; attempt and fence go up in the same statement.
UPDATE jobs
SET state = 'running', attempt = attempt + 1, fence = fence + 1, owner = ?1, lease_until = ?2,
    started = ?3, updated = ?3, progress = NULL
WHERE seq = ?4 AND state = 'new'
RETURNING seq, id, command, input, attempt, fence, user, tags, overrides, created, gate, round;

-- name: first_ready
-- The first ready jobs of a command, as they will be claimed: all in one value, because for each row that a statement
-- returns the writer thread lets go of the interpreter, and waits for it again. Large inputs are read by themselves; a
-- moment is written with all its digits.
SELECT json_group_array(json_array(
         seq, id, command, iif(length(input) <= ?4, CAST(input AS TEXT), NULL), attempt + 1, fence + 1, user, tags,
         overrides, format('%!.17g', created), gate, round))
FROM (SELECT * FROM jobs
      WHERE command = ?1 AND state = 'new' AND waits = 'slot' AND (expires IS NULL OR expires > ?2)
      ORDER BY priority DESC, seq LIMIT ?3);

-- name: claim_first
-- Take the first ready jobs of a command: the way of a store where nothing else competes.
UPDATE jobs
SET state = 'running', attempt = attempt + 1, fence = fence + 1, owner = ?1, lease_until = ?2,
    started = ?3, updated = ?3, progress = NULL
WHERE seq IN (SELECT seq FROM jobs
              WHERE command = ?4 AND state = 'new' AND waits = 'slot' AND (expires IS NULL OR expires > ?3)
              ORDER BY priority DESC, seq LIMIT ?5);

-- name: input_of
-- The input of a job.
SELECT input FROM jobs WHERE seq = ?1;

-- name: running_of
-- How many jobs of a command run anywhere.
SELECT count(*) FROM jobs WHERE command = ?1 AND state = 'running';

-- name: rate_get
-- When the next start of a command is allowed.
SELECT next FROM rates WHERE command = ?1;

-- name: rate_set
-- Remember when the next start is allowed.
INSERT INTO rates (command, next) VALUES (?1, ?2)
ON CONFLICT (command) DO UPDATE SET next = excluded.next;

-- name: end
-- Write an ending, if the attempt is still the job's newest; once somebody asked to cancel it, it ends so.
UPDATE jobs
SET state = iif(cancel IS NULL, ?3, 'cancelled'), output = iif(cancel IS NULL, ?4, NULL),
    fault = iif(cancel IS NULL, ?5, json_object('type', 'Cancelled', 'message', cancel, 'traceback', NULL)),
    finished = ?6, updated = ?6, attempt = ?7, owner = NULL, lease_until = NULL, cancel = NULL
WHERE seq = ?1 AND fence = ?2 AND state = 'running';

-- name: end_all
-- The same for many: rows of seq, fence, state, output, fault, attempt, as JSON. One step instead of one for each.
UPDATE jobs
SET state = iif(cancel IS NULL, one.state, 'cancelled'), output = iif(cancel IS NULL, CAST(one.output AS BLOB), NULL),
    fault = iif(cancel IS NULL, one.fault, json_object('type', 'Cancelled', 'message', cancel, 'traceback', NULL)),
    finished = ?2, updated = ?2, attempt = one.attempt, owner = NULL, lease_until = NULL, cancel = NULL
FROM (SELECT value ->> 0 AS seq, value ->> 1 AS fence, value ->> 2 AS state, value ->> 3 AS output,
             value ->> 4 AS fault, value ->> 5 AS attempt
      FROM json_each(?1)) AS one
WHERE jobs.seq = one.seq AND jobs.fence = one.fence AND +jobs.state = 'running';  -- +: by seq, not by state

-- name: again
-- Give the job back to wait for its next attempt, if the attempt is still the newest and nobody asked to cancel it. It
-- has had its slot, so it expires no more.
UPDATE jobs
SET state = 'new', waits = ?3, run_at = ?4, fault = ?5, attempt = ?6, updated = ?7, expires = NULL,
    owner = NULL, lease_until = NULL
WHERE seq = ?1 AND fence = ?2 AND state = 'running' AND cancel IS NULL;

-- name: set_progress
-- The newest progress of a running attempt.
UPDATE jobs SET progress = ?3, updated = ?4 WHERE seq = ?1 AND fence = ?2 AND state = 'running';

-- name: is_running
-- Whether this attempt is still the job's newest.
SELECT attempt FROM jobs WHERE seq = ?1 AND fence = ?2 AND state = 'running';

-- name: insert_event
-- Append one event.
INSERT INTO events (job, attempt, at, kind, data) VALUES (?1, ?2, ?3, ?4, ?5);

-- name: renew
-- Extend the lease of an attempt that its owner works on.
UPDATE jobs SET lease_until = ?4 WHERE seq = ?1 AND fence = ?2 AND owner = ?3 AND state = 'running';

-- name: orders
-- Running jobs of an owner that somebody asked to cancel.
SELECT id, cancel FROM jobs WHERE state = 'running' AND owner = ?1 AND cancel IS NOT NULL;

-- name: abandoned
-- Running jobs that nobody works on.
SELECT seq, id, command, input, attempt, fence, user, tags, overrides, created, gate, round FROM jobs
WHERE state = 'running' AND (lease_until < ?2 OR owner IS NOT ?1)
LIMIT ?3;
