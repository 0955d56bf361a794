-- name: message_number
-- The number of the newest message.
SELECT newest FROM audience;

-- name: add_message
-- One more, unless it is there.
INSERT INTO messages (seq, id, at, role, user, session, instance, event, data)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING;

-- name: message_place
-- Where a message stands.
SELECT seq, at FROM messages WHERE id = ?1;

-- name: set_message_number
UPDATE audience SET newest = ?1;

-- name: message_head
SELECT epoch, newest FROM audience;

-- name: messages_after
-- Messages beyond a cursor, after what the row of numbers is; a cursor that says nothing here begins with what is kept.
SELECT a.epoch, a.newest, a.purged, m.seq, m.at, m.role, m.user, m.session, m.instance, m.event, m.data
FROM audience a LEFT JOIN (
  SELECT n.* FROM messages n, audience b
  WHERE n.seq > iif(b.epoch = coalesce(?2, b.epoch) AND ?1 BETWEEN b.purged AND b.newest, ?1, b.purged)
    AND n.role = coalesce(?3, n.role)
  ORDER BY n.seq LIMIT ?4
) m
ORDER BY m.seq;

-- name: messages_to
-- The same for one tab.
SELECT a.epoch, a.newest, a.purged, m.seq, m.at, m.role, m.user, m.session, m.instance, m.event, m.data
FROM audience a LEFT JOIN (
  SELECT n.* FROM messages n, audience b
  WHERE n.seq > iif(b.epoch = coalesce(?2, b.epoch) AND ?1 BETWEEN b.purged AND b.newest, ?1, b.purged)
    AND n.role = coalesce(?3, n.role)
    AND n.user IN ('0', ?5) AND coalesce(n.session, ?6) = ?6 AND coalesce(n.instance, ?7) = ?7
  ORDER BY n.seq LIMIT ?4
) m
ORDER BY m.seq;

-- name: purge_messages
-- One bite of what is kept no longer, from the oldest on.
WITH bite AS MATERIALIZED (SELECT seq, at FROM messages ORDER BY seq LIMIT ?2)
DELETE FROM messages
WHERE seq IN (SELECT seq FROM bite)
  AND seq < coalesce((SELECT min(seq) FROM bite WHERE at >= ?1), (SELECT max(seq) + 1 FROM bite))
RETURNING seq;

-- name: set_message_purged
UPDATE audience SET purged = ?1;
