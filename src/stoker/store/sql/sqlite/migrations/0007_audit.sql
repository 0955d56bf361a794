-- Who did what, and the proofs of browsers that are good no longer.

CREATE TABLE audit (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  at     REAL NOT NULL,
  node   TEXT NOT NULL,                               -- the daemon that carried it out
  role   TEXT NOT NULL,                               -- of the client: script, web
  user   TEXT,                                        -- for whom the bridge asked
  level  TEXT,                                        -- and what they may do
  uid    INTEGER,                                     -- the user on the other end of the Unix socket
  method TEXT NOT NULL,
  object TEXT NOT NULL,
  before TEXT,
  after  TEXT,
  reason TEXT
) STRICT;
CREATE INDEX audit_at ON audit (at, seq);

-- What is good once and was used; kept until it is over anyway.
CREATE TABLE spent (id TEXT PRIMARY KEY, until REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX spent_until ON spent (until);

-- Nothing that a session was given until ``at`` is good any more; kept until all of that is over anyway.
CREATE TABLE revoked (
  user    TEXT NOT NULL,
  session TEXT NOT NULL,                              -- '': all of the user's
  seq     INTEGER NOT NULL UNIQUE,                    -- from ``revoking``
  at      REAL NOT NULL,
  until   REAL NOT NULL,
  PRIMARY KEY (user, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_until ON revoked (until);

-- One row: the newest number.
CREATE TABLE revoking (newest INTEGER NOT NULL) STRICT;
INSERT INTO revoking VALUES (0);
