-- name: keep_stats
-- A period that ends now; one of the same node in the same moment stays as it was.
INSERT INTO stoker.stats (at, boot, coarse, node, seconds, data) VALUES (stoker.now(), $1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: stats_since
-- What nodes measured after a moment, oldest first; the newest of it, if that is too much.
SELECT n.at, n.boot, n.node, n.seconds, n.data FROM
  (SELECT s.at, s.boot, s.node, s.seconds, s.data FROM stoker.stats s
   WHERE s.coarse = $1 AND s.at > $2 AND ($3::text IS NULL OR s.node = $3)
   ORDER BY s.at DESC, s.boot DESC LIMIT $4) n
ORDER BY n.at, n.boot;

-- name: forget_stats
-- One bite of the periods that are kept no longer; one node at a time does it, the others find nothing.
WITH gone AS (
  DELETE FROM stoker.stats s
  WHERE (s.coarse, s.at, s.boot) IN
    (SELECT x.coarse, x.at, x.boot FROM stoker.stats x
     WHERE x.coarse = $1 AND x.at < stoker.now() - make_interval(secs => $2)
     ORDER BY x.at, x.boot LIMIT $3 FOR UPDATE SKIP LOCKED)
  RETURNING 1
)
SELECT count(*) FROM gone;
