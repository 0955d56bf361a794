-- name: put
-- Store jobs without unique or concurrency keys, in order; which were not, and how many can run at once.
SELECT n, answer, ready FROM stoker.put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: put_alone
-- The same for one job: its values by themselves, because to write eleven arrays costs the driver more than all the rest.
SELECT n, answer, ready FROM stoker.put(
  ARRAY[$1::text], ARRAY[$2::text], ARRAY[$3::bytea], ARRAY[$4::integer], ARRAY[$5::timestamptz], ARRAY[$6::float8],
  ARRAY[$7::text], ARRAY[$8::text], ARRAY[$9::text], $10, $11);

-- name: lock_keys
-- Take the locks of all unique keys, then of all concurrency keys, that this transaction will need.
SELECT stoker.lock_keys('unique', $1), stoker.lock_keys('gate', $2);

-- name: put_one
-- Store one job that may have keys.
SELECT id, answer, ready FROM stoker.put_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);
