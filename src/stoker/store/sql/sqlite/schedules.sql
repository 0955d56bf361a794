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

-- name: schedule_forget
DELETE FROM slots WHERE (name, node, slot) IN
  (SELECT name, node, slot FROM slots WHERE at < ?1 ORDER BY at LIMIT ?2);

-- name: schedule_unseen
DELETE FROM schedules WHERE seen < ?1 AND last < ?1;
