-- name: add_audit
-- Who did what, now.
INSERT INTO stoker.audit (at, node, role, "user", level, uid, method, object, before, after, reason)
VALUES (stoker.now(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: audit
-- A page of it, newest first.
SELECT a.seq, a.at, a.node, a.role, a."user", a.level, a.uid, a.method, a.object, a.before, a.after, a.reason
FROM stoker.audit a
WHERE a.seq >= coalesce((SELECT x.seq FROM stoker.audit x WHERE x.at >= $1 ORDER BY x.at, x.seq LIMIT 1),
                        9223372036854775807)
  AND a.seq < coalesce($2, 9223372036854775807)
  AND a.at >= $1 AND ($3::text IS NULL OR a."user" = $3) AND ($4::text IS NULL OR a.method = $4)
ORDER BY a.seq DESC LIMIT $5;

-- name: forget_audit
-- One bite of what is kept no longer; one node at a time does it, the others find nothing.
WITH gone AS (
  DELETE FROM stoker.audit a
  WHERE a.seq IN (SELECT x.seq FROM stoker.audit x WHERE x.at < stoker.now() - make_interval(secs => $1)
                  ORDER BY x.at, x.seq LIMIT $2 FOR UPDATE SKIP LOCKED)
  RETURNING 1
)
SELECT count(*) FROM gone;
