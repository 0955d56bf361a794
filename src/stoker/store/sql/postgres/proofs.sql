-- name: spend
-- Use up what is good once; a row unless it was used before.
INSERT INTO stoker.spent (id, until) VALUES ($1, stoker.now() + make_interval(secs => $2)) ON CONFLICT DO NOTHING
RETURNING 1;

-- name: revoke
-- Take back what a session was given until now; the moment.
WITH n AS (UPDATE stoker.revoking SET newest = newest + 1 RETURNING newest)
INSERT INTO stoker.revoked AS r ("user", session, seq, at, until)
SELECT $1, $2, n.newest, stoker.now(), stoker.now() + make_interval(secs => $3) FROM n
ON CONFLICT ("user", session) DO UPDATE SET
  seq = excluded.seq, at = greatest(r.at, excluded.at), until = greatest(r.until, excluded.until)
RETURNING r.at;

-- name: restore_revoked
-- The same as another store knew it.
WITH n AS (UPDATE stoker.revoking SET newest = newest + 1 RETURNING newest)
INSERT INTO stoker.revoked AS r ("user", session, seq, at, until) SELECT $1, $2, n.newest, $3, $4 FROM n
ON CONFLICT ("user", session) DO UPDATE SET
  seq = excluded.seq, at = greatest(r.at, excluded.at), until = greatest(r.until, excluded.until);

-- name: revoked
-- Revocations beyond a cursor, each with the newest number; from the start for a cursor that cannot be.
SELECT n.newest, r.seq, r."user", r.session, r.at, r.until
FROM stoker.revoking n LEFT JOIN LATERAL (
  SELECT k.* FROM stoker.revoked k
  WHERE k.seq > CASE WHEN $1 <= n.newest THEN $1 ELSE 0 END
  ORDER BY k.seq LIMIT $2
) r ON true
ORDER BY r.seq;

-- name: forget_spent
-- One bite of what is over anyway; one node at a time does it, the others find nothing.
WITH gone AS (
  DELETE FROM stoker.spent s
  WHERE s.id IN (SELECT x.id FROM stoker.spent x WHERE x.until < stoker.now()
                 ORDER BY x.until LIMIT $1 FOR UPDATE SKIP LOCKED)
  RETURNING 1
)
SELECT count(*) FROM gone;

-- name: forget_revoked
WITH gone AS (
  DELETE FROM stoker.revoked r
  WHERE r.seq IN (SELECT x.seq FROM stoker.revoked x WHERE x.until < stoker.now()
                  ORDER BY x.until LIMIT $1 FOR UPDATE SKIP LOCKED)
  RETURNING 1
)
SELECT count(*) FROM gone;
