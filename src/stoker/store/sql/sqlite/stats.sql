-- name: keep_stats
-- A period that ends now; one of the same node in the same moment stays as it was.
INSERT INTO stats (at, boot, coarse, node, seconds, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING;

-- name: stats_since
-- What nodes measured after a moment, oldest first; the newest of it, if that is too much.
SELECT at, boot, node, seconds, data FROM
  (SELECT * FROM stats WHERE coarse = ?1 AND at > ?2 AND (?3 IS NULL OR node = ?3)
   ORDER BY at DESC, boot DESC LIMIT ?4)
ORDER BY at, boot;

-- name: forget_stats
-- One bite of the periods that are kept no longer.
DELETE FROM stats WHERE (coarse, at, boot) IN
  (SELECT coarse, at, boot FROM stats WHERE coarse = ?1 AND at < ?2 ORDER BY at, boot LIMIT ?3);
