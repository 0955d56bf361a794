-- name: push
-- Store messages; where each stands.
SELECT p.seq, p.at FROM stoker.push($1, $2, $3, $4, $5, $6, $7) p;

-- name: message_head
SELECT epoch, newest FROM stoker.audience;

-- name: messages_after
-- Messages beyond a cursor, after what the row of numbers is; a cursor that says nothing here begins with what is kept.
SELECT a.epoch, a.newest, a.purged, m.seq, m.at, m.role, m."user", m.session, m.instance, m.event, m.data
FROM stoker.audience a LEFT JOIN LATERAL (
  SELECT n.* FROM stoker.messages n
  WHERE n.seq > CASE WHEN a.epoch = coalesce($2, a.epoch) AND $1 BETWEEN a.purged AND a.newest THEN $1 ELSE a.purged END
    AND ($3::text IS NULL OR n.role = $3)
  ORDER BY n.seq LIMIT $4
) m ON true
ORDER BY m.seq;

-- name: messages_to
-- The same for one tab.
SELECT a.epoch, a.newest, a.purged, m.seq, m.at, m.role, m."user", m.session, m.instance, m.event, m.data
FROM stoker.audience a LEFT JOIN LATERAL (
  SELECT n.* FROM stoker.messages n
  WHERE n.seq > CASE WHEN a.epoch = coalesce($2, a.epoch) AND $1 BETWEEN a.purged AND a.newest THEN $1 ELSE a.purged END
    AND ($3::text IS NULL OR n.role = $3)
    AND n."user" IN ('0', $5) AND coalesce(n.session, $6) = $6 AND coalesce(n.instance, $7) = $7
  ORDER BY n.seq LIMIT $4
) m ON true
ORDER BY m.seq;

-- name: purge_messages
-- One bite of what is kept no longer; how many rows went.
SELECT stoker.purge_messages($1, $2);
