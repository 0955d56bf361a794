-- name: claim
-- Take ready jobs; attempt and fence go up in the same statement.
SELECT * FROM stoker.claim($1, $2, $3, $4, $5, $6, $7);

-- name: settle
-- Write endings; the places of those that were accepted.
SELECT * FROM stoker.settle($1, $2, $3, $4, $5, $6, $7);

-- name: report
-- Store events and progress; the places of the attempts that still run.
SELECT * FROM stoker.report($1, $2, $3, $4, $5, $6, $7);

-- name: renew
-- Extend leases; the store's time, and the places of the attempts that are still their owner's.
SELECT moment, mine FROM stoker.renew($1, $2, $3, $4);

-- name: abandoned
-- Running jobs whose lease is over.
SELECT seq, id, command, input, attempt, fence, "user", tags, overrides, created, gate, round FROM stoker.jobs
WHERE state = 'running' AND lease_until < (SELECT stoker.now()) ORDER BY lease_until LIMIT $1;

-- name: orders
-- Running jobs of an owner that somebody asked to cancel.
SELECT id, cancel FROM stoker.jobs WHERE state = 'running' AND owner = $1 AND cancel IS NOT NULL;

-- name: endings
-- How these attempts ended, to find out whether an ending was written whose answer was lost.
SELECT g.n::integer, e.state, e.attempt
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS g (seq, fence, n)
CROSS JOIN LATERAL (SELECT j.state, j.attempt FROM stoker.jobs j WHERE j.seq = g.seq AND j.fence = g.fence
                    UNION ALL
                    SELECT x.state, x.attempt FROM stoker.ended x WHERE x.seq = g.seq AND x.fence = g.fence) e;

-- name: last_events
-- The newest events of a job, to find out whether a report was written whose answer was lost.
SELECT at, kind, data FROM stoker.events WHERE job = $1 ORDER BY seq DESC LIMIT $2;

-- name: wake
-- Tell every daemon, at the commit, to look into the store.
SELECT stoker.wake($1);
