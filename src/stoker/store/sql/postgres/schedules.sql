-- name: schedule_enter
-- Schedules as they are defined: a new one, and one that is defined anew, begins now. Pauses are of a name. One that is far
-- ahead is where a clock was wrong once: what it has decided stays decided, by its slots. In one order
-- for all, so that daemons that start together do not wait for each other in a circle.
INSERT INTO stoker.schedules AS s (name, node, fingerprint, last, seen, paused)
SELECT d.name, d.node, d.fingerprint, t.now, t.now,
       (SELECT max(p.paused) FROM stoker.schedules p WHERE p.name = d.name)
FROM (SELECT stoker.now() AS now) t, unnest($1::text[], $2::text[], $3::text[]) d (name, node, fingerprint)
ORDER BY d.name, d.node
ON CONFLICT (name, node) DO UPDATE
SET seen = excluded.seen, fingerprint = excluded.fingerprint,
    last = CASE WHEN s.last > excluded.last + interval '1 hour' THEN excluded.last
                WHEN s.fingerprint = excluded.fingerprint THEN s.last ELSE greatest(s.last, excluded.last) END
RETURNING s.name, s.node, s.last, s.paused, s.job;

-- name: schedule_standings
SELECT s.name, s.node, s.last, s.paused, s.job
FROM unnest($1::text[], $2::text[]) d (name, node) JOIN stoker.schedules s ON s.name = d.name AND s.node = d.node;

-- name: schedule_advance
-- Take slots that are later than all that were taken of their schedules.
INSERT INTO stoker.schedules AS s (name, node, fingerprint, last, seen, paused)
SELECT d.name, d.node, '', d.slot, t.now, (SELECT max(p.paused) FROM stoker.schedules p WHERE p.name = d.name)
FROM (SELECT stoker.now() AS now) t, unnest($1::text[], $2::text[], $3::timestamptz[]) d (name, node, slot)
WHERE NOT EXISTS (SELECT FROM stoker.slots x WHERE x.name = d.name AND x.node = d.node AND x.slot = d.slot)
ORDER BY d.name, d.node
ON CONFLICT (name, node) DO UPDATE SET last = excluded.last WHERE s.last < excluded.last
RETURNING s.name, s.node, s.paused IS NOT NULL, s.job;

-- name: schedule_record
-- What became of slots, and the newest job of each schedule.
WITH decided AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::text[],
                       $7::text[], $8::text[]) d (name, node, slot, first, count, fate, job, reason)
), newest AS (
  UPDATE stoker.schedules s SET job = d.job FROM decided d
  WHERE d.fate = 'fired' AND s.name = d.name AND s.node = d.node
)
INSERT INTO stoker.slots (name, node, slot, first, count, at, fate, job, reason, decider)
SELECT d.name, d.node, d.slot, d.first, d.count, t.now, d.fate, d.job, d.reason, $9
FROM (SELECT stoker.now() AS now) t, decided d
ON CONFLICT (name, node, slot) DO NOTHING;

-- name: schedule_waiting
-- How many jobs under concurrency keys have not begun.
SELECT gate, count(*) FROM stoker.jobs WHERE gate = ANY ($1::text[]) AND state = 'new' GROUP BY gate;

-- name: schedule_pause
UPDATE stoker.schedules SET paused = coalesce(paused, stoker.now()) WHERE name = $1 RETURNING 1;

-- name: schedule_resume
UPDATE stoker.schedules SET paused = NULL, last = greatest(last, stoker.now())
WHERE name = $1 AND paused IS NOT NULL RETURNING 1;

-- name: schedule_slots_of
SELECT name, node, slot, first, count, at, fate, job, reason, decider FROM stoker.slots
WHERE name = $1 AND slot < $2 ORDER BY slot DESC, node LIMIT $3;

-- name: schedule_slots
SELECT name, node, slot, first, count, at, fate, job, reason, decider FROM stoker.slots
WHERE at < $1 ORDER BY at DESC, name, node, slot DESC LIMIT $2;

-- name: schedule_runs
-- The newest slots of schedules with their jobs, but for inputs and outputs. A job that has ended did so after its slot
-- was decided; a day for clocks that went back.
SELECT d.n::integer, s.name, s.node, s.slot, s.first, s.count, s.at, s.fate, s.job, s.reason, s.decider,
       j.seq, j.id, j.command, j.state, j.waits, j.priority, j.created, j.updated, j.run_at, j.expires, j.started,
       j.finished, j.attempt, j.fence, j.owner, j."user", j.tags, j.gate, j.unique_key, j.progress, j.fault, j.cancel,
       j.overrides, ''::bytea AS input, NULL::bytea AS output
FROM unnest($1::text[], $2::text[], $3::integer[]) WITH ORDINALITY AS d (name, node, most, n)
CROSS JOIN LATERAL (
  SELECT * FROM stoker.slots x WHERE x.name = d.name AND x.node = d.node ORDER BY x.slot DESC LIMIT d.most) s
LEFT JOIN LATERAL (
  SELECT h.* FROM stoker.jobs h WHERE h.id = s.job
  UNION ALL
  SELECT e.* FROM stoker.ended e WHERE e.id = s.job AND e.finished >= s.at - interval '1 day'
  LIMIT 1) j ON true
ORDER BY d.n, s.slot;

-- name: schedule_dump
SELECT name, node, last, paused, job, fingerprint, seen FROM stoker.schedules
WHERE (name, node) > ($1::text, $2::text) ORDER BY name, node LIMIT $3;

-- name: schedule_dump_slots
SELECT name, node, slot, first, count, at, fate, job, reason, decider FROM stoker.slots
WHERE (name, node, slot) > ($1::text, $2::text, $3::timestamptz) ORDER BY name, node, slot LIMIT $4;

-- name: schedule_restore
-- Schedules as another store kept them. What either store has decided is owed by none.
INSERT INTO stoker.schedules AS s (name, node, last, paused, job, fingerprint, seen)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[],
                     $7::timestamptz[]) d (name, node, last, paused, job, fingerprint, seen)
ORDER BY d.name, d.node
ON CONFLICT (name, node) DO UPDATE SET last = greatest(s.last, excluded.last)
RETURNING xmax = 0;

-- name: schedule_restore_slots
INSERT INTO stoker.slots (name, node, slot, first, count, at, fate, job, reason, decider)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::timestamptz[],
                     $7::text[], $8::text[], $9::text[], $10::text[])
ON CONFLICT (name, node, slot) DO NOTHING
RETURNING 1;

-- name: schedule_forget
-- A bite of what was decided long ago, and schedules that nobody has had in his files for as long.
WITH limits AS MATERIALIZED (
  SELECT stoker.now() - make_interval(secs => least($1::float8, 3e9)) AS before
), unseen AS (
  DELETE FROM stoker.schedules s USING limits l WHERE s.seen < l.before AND s.last < l.before
), bite AS MATERIALIZED (
  SELECT x.name, x.node, x.slot FROM stoker.slots x, limits l WHERE x.at < l.before ORDER BY x.at LIMIT $2
  FOR UPDATE OF x SKIP LOCKED
)
DELETE FROM stoker.slots x USING bite b WHERE x.name = b.name AND x.node = b.node AND x.slot = b.slot RETURNING 1;
