-- name: add_audit
-- Who did what, now.
INSERT INTO audit (at, node, role, user, level, uid, method, object, before, after, reason)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11);

-- name: audit
-- A page of it, newest first.
SELECT seq, at, node, role, user, level, uid, method, object, before, after, reason FROM audit
WHERE seq >= coalesce((SELECT seq FROM audit WHERE at >= ?1 ORDER BY at, seq LIMIT 1), 9223372036854775807)
  AND seq < coalesce(?2, 9223372036854775807)
  AND at >= ?1 AND (?3 IS NULL OR user = ?3) AND (?4 IS NULL OR method = ?4)
ORDER BY seq DESC LIMIT ?5;

-- name: forget_audit
-- One bite of what is kept no longer.
DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < ?1 ORDER BY at, seq LIMIT ?2);
