-- name: put
-- Store jobs without unique or concurrency keys, in order; which were not, and how many can run at once.
SELECT n, answer, ready FROM stoker.put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: lock_keys
-- Take the locks of all unique keys, then of all concurrency keys, that this transaction will need.
SELECT stoker.lock_keys('unique', $1), stoker.lock_keys('gate', $2);

-- name: put_one
-- Store one job that may have keys.
SELECT id, answer, ready FROM stoker.put_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);
