-- Who did what, and the proofs of browsers that are good no longer.

CREATE TABLE stoker.audit (
  seq    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at     timestamptz NOT NULL,
  node   text        NOT NULL,                              -- the daemon that carried it out
  role   text        NOT NULL,                              -- of the client: script, web
  "user" text,                                              -- for whom the bridge asked
  level  text,                                              -- and what they may do
  uid    bigint,                                            -- the user on the other end of the Unix socket
  method text        NOT NULL,
  object text        NOT NULL,
  before text,
  after  text,
  reason text
);
CREATE INDEX audit_at ON stoker.audit (at, seq);

-- What is good once and was used; kept until it is over anyway.
CREATE TABLE stoker.spent (id text PRIMARY KEY, until timestamptz NOT NULL);
CREATE INDEX spent_until ON stoker.spent (until);

-- Nothing that a session was given until ``at`` is good any more; kept until all of that is over anyway.
CREATE TABLE stoker.revoked (
  "user"  text        NOT NULL,
  session text        NOT NULL,                             -- '': all of the user's
  seq     bigint      NOT NULL UNIQUE,                      -- from ``revoking``
  at      timestamptz NOT NULL,
  until   timestamptz NOT NULL,
  PRIMARY KEY ("user", session)
);
CREATE INDEX revoked_until ON stoker.revoked (until);

-- One row: the newest number. Whoever revokes holds it until the commit, so that a cursor skips none.
CREATE TABLE stoker.revoking (newest bigint NOT NULL);
INSERT INTO stoker.revoking VALUES (0);
