-- Jobs, what they say, and what decides when they may run.

CREATE TABLE jobs (
  seq         INTEGER PRIMARY KEY,                  -- order of submission
  id          TEXT    NOT NULL UNIQUE,
  command     TEXT    NOT NULL,
  state       TEXT    NOT NULL CHECK (state IN ('new', 'running', 'completed', 'failed', 'cancelled')),
  waits       TEXT    NOT NULL CHECK (waits IN ('slot', 'time', 'key')),
  priority    INTEGER NOT NULL,
  attempt     INTEGER NOT NULL DEFAULT 0,
  fence       INTEGER NOT NULL DEFAULT 0,           -- goes up with every claim, never down
  round       INTEGER NOT NULL DEFAULT 0,           -- how often it was begun anew by hand
  created     REAL    NOT NULL,
  updated     REAL    NOT NULL,
  run_at      REAL    NOT NULL,
  expires     REAL,
  started     REAL,
  finished    REAL,
  lease_until REAL,
  owner       TEXT,
  user        TEXT,
  gate        TEXT,                                 -- the concurrency key, with the command's or product's name
  gate_limit  INTEGER NOT NULL DEFAULT 1,
  unique_key  TEXT,
  cancel      TEXT,                                 -- why somebody asked a running job to stop
  tags        TEXT,
  overrides   TEXT,
  progress    TEXT,
  fault       TEXT,
  output      BLOB,
  input       BLOB    NOT NULL
) STRICT;

-- What a claim reads: partial, so that a million ended jobs cost nothing.
CREATE INDEX jobs_ready   ON jobs (command, priority DESC, seq) WHERE state = 'new' AND waits = 'slot';
CREATE INDEX jobs_due     ON jobs (run_at)                      WHERE state = 'new' AND waits = 'time';
CREATE INDEX jobs_expires ON jobs (expires)                     WHERE state = 'new' AND expires IS NOT NULL;
CREATE INDEX jobs_running ON jobs (command, owner)              WHERE state = 'running';
-- Who takes up a concurrency key, and who waits for it.
CREATE INDEX jobs_gate    ON jobs (gate, waits, priority DESC, seq)
  WHERE gate IS NOT NULL AND state IN ('new', 'running');
-- What lists and retention read.
CREATE INDEX jobs_ended   ON jobs (finished, state) WHERE finished IS NOT NULL;
CREATE INDEX jobs_failed  ON jobs (seq)      WHERE state = 'failed';

CREATE TABLE events (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,        -- the cursor; one writer, so the order of ids is that of commits
  job     INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at      REAL    NOT NULL,
  kind    TEXT    NOT NULL,
  data    BLOB    NOT NULL
) STRICT;
CREATE INDEX events_job ON events (job, seq);

CREATE TABLE unique_keys (
  key   TEXT PRIMARY KEY,
  job   TEXT NOT NULL,
  until REAL                                        -- end of the window; NULL: as long as the job has not ended
) STRICT, WITHOUT ROWID;
CREATE INDEX unique_keys_job ON unique_keys (job);

CREATE TABLE pauses (name TEXT PRIMARY KEY, since REAL NOT NULL) STRICT, WITHOUT ROWID;

-- Rate limits: the moment before which the next start is too early (the GCRA's "theoretical arrival time").
CREATE TABLE rates (command TEXT PRIMARY KEY, next REAL NOT NULL) STRICT, WITHOUT ROWID;
