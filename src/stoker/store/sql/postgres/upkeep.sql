-- name: promote
-- Make due jobs ready; when the next one is due.
SELECT stoker.promote($1);

-- name: expired
-- New jobs that waited too long.
SELECT seq FROM stoker.jobs WHERE state = 'new' AND expires IS NOT NULL AND expires <= (SELECT stoker.now())
ORDER BY expires LIMIT $1;

-- name: ready_commands
-- Which commands have ready jobs: a skip over the index, not a scan.
WITH RECURSIVE found (command) AS (
  (SELECT command FROM stoker.jobs WHERE state = 'new' AND waits = 'slot' ORDER BY command LIMIT 1)
  UNION ALL
  SELECT (SELECT j.command FROM stoker.jobs j
          WHERE j.state = 'new' AND j.waits = 'slot' AND j.command > found.command ORDER BY j.command LIMIT 1)
  FROM found WHERE found.command IS NOT NULL
)
SELECT command FROM found WHERE command IS NOT NULL;

-- name: ready_of
-- The ready jobs of a command.
SELECT seq FROM stoker.jobs WHERE command = $1 AND state = 'new' AND waits = 'slot' LIMIT $2;

-- name: end_new
-- End jobs that have not begun; the ids of those that were still new.
SELECT * FROM stoker.end_new($1, $2, $3, $4);

-- name: cancel
SELECT stoker.cancel($1, $2, $3);

-- name: retry
-- Begin an ended job anew; NULL, or why not.
SELECT stoker.retry($1);

-- name: pause
INSERT INTO stoker.pauses (name, since) VALUES ($1, stoker.now()) ON CONFLICT (name) DO NOTHING
RETURNING stoker.wake('orders');

-- name: resume
DELETE FROM stoker.pauses WHERE name = $1 RETURNING stoker.wake('orders'), stoker.wake('jobs');

-- name: pauses
SELECT name FROM stoker.pauses;

-- name: purge
-- One bite of what is kept no longer; how many rows went.
SELECT stoker.purge($1, $2, $3);
