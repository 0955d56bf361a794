-- name: spend
-- Use up what is good once, unless it was used before.
INSERT INTO spent (id, until) VALUES (?1, ?2) ON CONFLICT DO NOTHING;

-- name: revoke_number
-- The number of the next revocation.
UPDATE revoking SET newest = newest + 1;

-- name: revoke
-- Take back what a session was given until a moment.
INSERT INTO revoked (user, session, seq, at, until) SELECT ?1, ?2, newest, ?3, ?4 FROM revoking WHERE true
ON CONFLICT (user, session) DO UPDATE SET
  seq = excluded.seq, at = max(at, excluded.at), until = max(until, excluded.until);

-- name: revoked
-- Revocations beyond a cursor, each with the newest number; from the start for a cursor that cannot be.
SELECT n.newest, r.seq, r.user, r.session, r.at, r.until
FROM revoking n LEFT JOIN (
  SELECT * FROM revoked WHERE seq > (SELECT iif(?1 <= newest, ?1, 0) FROM revoking) ORDER BY seq LIMIT ?2
) r
ORDER BY r.seq;

-- name: forget_spent
-- One bite of what is over anyway.
DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE until < ?1 ORDER BY until LIMIT ?2);

-- name: forget_revoked
DELETE FROM revoked WHERE seq IN (SELECT seq FROM revoked WHERE until < ?1 ORDER BY until LIMIT ?2);
