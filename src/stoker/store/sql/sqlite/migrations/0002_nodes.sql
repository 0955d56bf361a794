-- The roster: one row for each start of a daemon. On one file there is one at a time; the rows before it are history.

CREATE TABLE nodes (
  boot      TEXT    PRIMARY KEY,
  name      TEXT    NOT NULL,
  host      TEXT    NOT NULL,
  pid       INTEGER NOT NULL,
  version   TEXT    NOT NULL,
  labels    TEXT    NOT NULL,
  slots     INTEGER NOT NULL,
  running   INTEGER NOT NULL,
  started   REAL    NOT NULL,
  heartbeat REAL    NOT NULL,
  seconds   REAL    NOT NULL                          -- how long the heartbeat counts
) STRICT, WITHOUT ROWID;

-- Names of nodes that begin no new jobs.
CREATE TABLE cordons (name TEXT PRIMARY KEY, since REAL NOT NULL) STRICT, WITHOUT ROWID;
