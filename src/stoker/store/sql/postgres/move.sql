-- name: dump
-- Jobs whole, in the order of submission, from a cursor on.
SELECT j.*, u.key IS NOT NULL AS holds, u.until
FROM (
  (SELECT * FROM stoker.jobs WHERE seq > $1 ORDER BY seq LIMIT $2)
  UNION ALL
  (SELECT * FROM stoker.ended WHERE seq > $1 ORDER BY seq LIMIT $2)
) j LEFT JOIN stoker.unique_keys u ON u.key = j.unique_key AND u.job = j.id
ORDER BY j.seq LIMIT $2;

-- name: dump_events
-- All that these jobs said.
SELECT job, seq, attempt, kind, at, data FROM stoker.events WHERE job = ANY ($1::bigint[]) ORDER BY job, seq;

-- name: restore_job
-- Store a job as another store kept it, unless its id is there. Its lease is over: whoever worked on it is not here.
WITH given AS (
  SELECT nextval(pg_get_serial_sequence('stoker.jobs', 'seq')) AS seq, $1::text AS id, $2::text AS command,
         $3::text AS state, $4::text AS waits, $5::integer AS priority, $6::timestamptz AS created,
         $7::timestamptz AS updated, $8::timestamptz AS run_at, $9::timestamptz AS expires, $10::timestamptz AS started,
         $11::timestamptz AS finished, $12::integer AS attempt, $13::bigint AS fence, $14::text AS owner,
         $15::text AS "user", $16::text[] AS tags, $17::text AS gate, $18::text AS unique_key, $19::text AS progress,
         $20::text AS fault, $21::text AS cancel, $22::text AS overrides, $23::bytea AS input, $24::bytea AS output,
         $25::integer AS round, $26::integer AS gate_limit
  WHERE NOT EXISTS (SELECT FROM stoker.jobs WHERE id = $1) AND NOT EXISTS (SELECT FROM stoker.ended WHERE id = $1)
), hot AS (
  INSERT INTO stoker.jobs (seq, id, command, state, waits, priority, created, updated, run_at, expires, started,
                           attempt, fence, owner, "user", tags, gate, unique_key, progress, fault, cancel, overrides,
                           input, round, gate_limit, lease_until)
  SELECT seq, id, command, state, waits, priority, created, updated, run_at, expires, started, attempt, fence, owner,
         "user", tags, gate, unique_key, progress, fault, cancel, overrides, input, round, gate_limit,
         CASE WHEN state = 'running' THEN to_timestamp(0) END
  FROM given WHERE finished IS NULL
), cold AS (
  INSERT INTO stoker.ended (seq, id, command, state, waits, priority, created, updated, run_at, expires, started,
                            finished, attempt, fence, "user", tags, gate, unique_key, progress, fault, overrides, input,
                            output, round, gate_limit)
  SELECT seq, id, command, state, waits, priority, created, updated, run_at, expires, started, finished, attempt, fence,
         "user", tags, gate, unique_key, progress, fault, overrides, input, output, round, gate_limit
  FROM given WHERE finished IS NOT NULL
)
SELECT seq FROM given;

-- name: restore_events
-- What a job said, in its order; written when it was said, as far as that can be.
INSERT INTO stoker.events (job, attempt, stored, at, kind, data)
SELECT $1, e.attempt, least(greatest(e.at, $2), t.now), e.at, e.kind, e.data
FROM (SELECT stoker.now() AS now) t,
     unnest($3::integer[], $4::timestamptz[], $5::text[], $6::bytea[]) WITH ORDINALITY AS e (attempt, at, kind, data, n)
ORDER BY e.n;

-- name: take_unique
-- Give a unique key to a job.
INSERT INTO stoker.unique_keys (key, job, until) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET job = excluded.job, until = excluded.until;
