-- name: role_seen
-- A node is there; the first time enters it.
INSERT INTO role_nodes (boot, node, host, pid, since, seen, reap_after, seeks)
VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)
ON CONFLICT (boot) DO UPDATE SET seen = excluded.seen, reap_after = excluded.reap_after, seeks = excluded.seeks;

-- name: role_extend
UPDATE roles SET reap_at = ?4, until = ?5 WHERE name = ?1 AND term = ?2 AND owner = ?3;

-- name: role_make
-- A role that nobody held yet.
INSERT INTO roles (name, term, owner, node, since, reap_at, until) VALUES (?1, 0, NULL, '', ?2, ?2, ?2)
ON CONFLICT (name) DO NOTHING;

-- name: role_get
SELECT term, owner, node, until FROM roles WHERE name = ?1;

-- name: role_take
UPDATE roles SET term = term + 1, owner = ?2, node = ?3, since = ?4, reap_at = ?5, until = ?6, wanted = ''
WHERE name = ?1;

-- name: role_release
UPDATE roles SET owner = NULL, since = ?4 WHERE name = ?1 AND term = ?2 AND owner = ?3;

-- name: role_leave
UPDATE roles SET owner = NULL, since = ?2 WHERE owner = ?1 RETURNING name;

-- name: role_forget
DELETE FROM role_nodes WHERE boot = ?1;

-- name: role_forget_silent
-- Who was silent for longer than it said, and whose every lease is as old.
DELETE FROM role_nodes
WHERE boot = ?1 AND seen + reap_after < ?2
  AND NOT EXISTS (SELECT 1 FROM roles r WHERE r.owner = ?1 AND r.reap_at >= ?2);

-- name: role_order
UPDATE roles SET wanted = ?2 WHERE name = ?1;

-- name: roles
SELECT name, term, owner, node, since, reap_at, until, wanted FROM roles ORDER BY name;

-- name: role_nodes
SELECT boot, node, host, pid, since, seen, reap_after, seeks FROM role_nodes ORDER BY node, since, boot;
