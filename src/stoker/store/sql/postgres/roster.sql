-- name: beat
-- A node's heartbeat. The first one, and one that comes after the node was taken for gone, tells the others. The store's
-- time, whether the name is cordoned, and whether the node has the store to itself: others are taken for alive for twice
-- as long as they said.
WITH known AS (
  SELECT FROM stoker.nodes o WHERE o.boot = $1 AND o.heartbeat + make_interval(secs => 2 * o.seconds) >= stoker.now()
)
INSERT INTO stoker.nodes AS n (boot, name, host, pid, version, labels, slots, running, started, heartbeat, seconds)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, t.now, t.now, $9 FROM (SELECT stoker.now() AS now) t
ON CONFLICT (boot) DO UPDATE SET labels = excluded.labels, slots = excluded.slots, running = excluded.running,
                                 heartbeat = excluded.heartbeat, seconds = excluded.seconds
RETURNING n.heartbeat, EXISTS (SELECT FROM stoker.cordons c WHERE c.name = $2),
          NOT EXISTS (SELECT FROM stoker.nodes o
                      WHERE o.boot <> $1 AND o.heartbeat + make_interval(secs => 2 * o.seconds) >= stoker.now()),
          CASE WHEN NOT EXISTS (SELECT FROM known) THEN stoker.wake('orders') END;

-- name: alone
-- Whether this session's changes are told to nobody, because there is nobody.
SELECT set_config('daemon.alone', $1, false);

-- name: leave
DELETE FROM stoker.nodes WHERE boot = $1;

-- name: nodes
SELECT n.boot, n.name, n.host, n.pid, n.version, n.labels, n.slots, n.running, n.started, n.heartbeat,
       n.heartbeat + make_interval(secs => n.seconds) >= t.now, c.name IS NOT NULL
FROM (SELECT stoker.now() AS now) t, stoker.nodes n LEFT JOIN stoker.cordons c ON c.name = n.name
WHERE n.heartbeat >= t.now - make_interval(secs => $1)
ORDER BY n.name, n.started, n.boot;

-- name: cordon
INSERT INTO stoker.cordons (name, since) VALUES ($1, stoker.now()) ON CONFLICT (name) DO NOTHING
RETURNING stoker.wake('orders');

-- name: uncordon
DELETE FROM stoker.cordons WHERE name = $1 RETURNING stoker.wake('orders'), stoker.wake('jobs');

-- name: cordons
SELECT name FROM stoker.cordons;
