-- name: schedule_enter
-- A schedule as it is defined: a new one, and one that is defined anew, begins now. Pauses are of a name. One that is far
-- ahead is where a clock was wrong once: what it has decided stays decided, by its slots.
INSERT INTO schedules (name, node, fingerprint, last, seen, paused)
VALUES (?1, ?2, ?3, ?4, ?4, (SELECT max(s.paused) FROM schedules s WHERE s.name = ?1))
ON CONFLICT (name, node) DO UPDATE
SET seen = excluded.seen, fingerprint = excluded.fingerprint,
    last = CASE WHEN last > excluded.last + 3600 THEN excluded.last
                WHEN fingerprint = excluded.fingerprint THEN last ELSE max(last, excluded.last) END;

-- name: schedule_standing
SELECT last, paused, job FROM schedules WHERE name = ?1 AND node = ?2;

-- name: schedule_advance
-- Take a slot, if it is later than all that were taken.
INSERT INTO schedules (name, node, fingerprint, last, seen, paused)
VALUES (?1, ?2, '', ?3, ?4, (SELECT max(s.paused) FROM schedules s WHERE s.name = ?1))
ON CONFLICT (name, node) DO UPDATE SET last = excluded.last WHERE last < excluded.last
RETURNING paused, job;

-- name: schedule_slot
-- What became of a slot.
INSERT INTO slots (name, node, slot, first, count, at, fate, job, reason, decider)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (name, node, slot) DO NOTHING;

-- name: schedule_decided
SELECT 1 FROM slots WHERE name = ?1 AND node = ?2 AND slot = ?3;

-- name: schedule_job
UPDATE schedules SET job = ?3 WHERE name = ?1 AND node = ?2;

-- name: schedule_waiting
-- How many jobs under a concurrency key have not begun.
SELECT count(*) FROM jobs
WHERE gate = ?1 AND gate IS NOT NULL AND state IN ('new', 'running') AND state = 'new';

-- name: schedule_pause
UPDATE schedules SET paused = coalesce(paused, ?2) WHERE name = ?1;

-- name: schedule_resume
UPDATE schedules SET paused = NULL, last = max(last, ?2) WHERE name = ?1 AND paused IS NOT NULL;

-- name: schedule_slots_of
SELECT name, node, slot, first, count, at, fate, job, reason, decider FROM slots
WHERE name = ?1 AND slot < ?2 ORDER BY slot DESC, node LIMIT ?3;

-- name: schedule_slots
SELECT name, node, slot, first, count, at, fate, job, reason, decider FROM slots
WHERE at < ?1 ORDER BY at DESC, name, node, slot DESC LIMIT ?2;

-- name: schedule_runs
-- The newest slots of a schedule with their jobs, but for inputs and outputs.
SELECT s.name, s.node, s.slot, s.first, s.count, s.at, s.fate, s.job, s.reason, s.decider,
       j.seq, j.id, j.command, j.state, j.waits, j.priority, j.created, j.updated, j.run_at, j.expires, j.started,
       j.finished, j.attempt, j.fence, j.owner, j.user, j.tags, j.gate, j.unique_key, j.progress, j.fault, j.cancel,
       j.overrides, x'', NULL
FROM slots s LEFT JOIN jobs j ON j.id = s.job
WHERE s.name = ?1 AND s.node = ?2 ORDER BY s.slot DESC LIMIT ?3;

-- name: schedule_dump
SELECT name, node, last, paused, job, fingerprint, seen FROM schedules
WHERE (name, node) > (?1, ?2) ORDER BY name, node LIMIT ?3;

-- name: schedule_dump_slots
SELECT name, node, slot, first, count, at, fate, job, reason, decider FROM slots
WHERE (name, node, slot) > (?1, ?2, ?3) ORDER BY name, node, slot LIMIT ?4;

-- name: schedule_restore
-- A schedule as another store kept it.
INSERT INTO schedules (name, node, last, paused, job, fingerprint, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (name, node) DO NOTHING;

-- name: schedule_restore_last
-- What either store has decided is owed by none.
UPDATE schedules SET last = ?3 WHERE name = ?1 AND node = ?2 AND last < ?3;

-- name: schedule_forget
DELETE FROM slots WHERE (name, node, slot) IN
  (SELECT name, node, slot FROM slots WHERE at < ?1 ORDER BY at LIMIT ?2);

-- name: schedule_unseen
DELETE FROM schedules WHERE seen < ?1 AND last < ?1;
