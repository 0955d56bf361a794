-- name: beat
-- A node's heartbeat; the first one enters it.
INSERT INTO nodes (boot, name, host, pid, version, labels, slots, running, started, heartbeat, seconds)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10)
ON CONFLICT (boot) DO UPDATE SET labels = excluded.labels, slots = excluded.slots, running = excluded.running,
                                 heartbeat = excluded.heartbeat, seconds = excluded.seconds;

-- name: forget_nodes
-- Who was silent for longer than is shown.
DELETE FROM nodes WHERE heartbeat < ?1;

-- name: leave
DELETE FROM nodes WHERE boot = ?1;

-- name: nodes
-- Who works here, or did until lately.
SELECT n.boot, n.name, n.host, n.pid, n.version, n.labels, n.slots, n.running, n.started, n.heartbeat,
       n.heartbeat + n.seconds >= ?1, c.name IS NOT NULL
FROM nodes n LEFT JOIN cordons c ON c.name = n.name
WHERE n.heartbeat >= ?2
ORDER BY n.name, n.started, n.boot;

-- name: cordon
INSERT INTO cordons (name, since) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING;

-- name: uncordon
DELETE FROM cordons WHERE name = ?1;

-- name: cordons
SELECT name FROM cordons;

-- name: is_cordoned
SELECT 1 FROM cordons WHERE name = ?1;
