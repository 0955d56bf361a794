-- name: dump
-- Jobs whole, in the order of submission, from a cursor on.
SELECT j.seq, j.id, j.command, j.state, j.waits, j.priority, j.created, j.updated, j.run_at, j.expires, j.started,
       j.finished, j.attempt, j.fence, j.owner, j.user, j.tags, j.gate, j.unique_key, j.progress, j.fault, j.cancel,
       j.overrides, j.input, j.output,
       j.round, j.gate_limit, u.key IS NOT NULL, u.until
FROM jobs j LEFT JOIN unique_keys u ON u.key = j.unique_key AND u.job = j.id
WHERE j.seq > ?1 ORDER BY j.seq LIMIT ?2;

-- name: restore_job
-- Store a job as another store kept it. Its lease is over: whoever worked on it is not here.
INSERT INTO jobs (id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt,
                  fence, owner, user, tags, gate, unique_key, progress, fault, cancel, overrides, input, output, round,
                  gate_limit, lease_until)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
        ?25, ?26, iif(?3 = 'running', 0, NULL))
ON CONFLICT (id) DO NOTHING
RETURNING seq;
