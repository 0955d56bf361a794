-- Roles, and the nodes that take them.

CREATE TABLE roles (
  name    TEXT    PRIMARY KEY,
  term    INTEGER NOT NULL,                           -- goes up with every claim, never down
  owner   TEXT,                                       -- the boot that holds it
  node    TEXT    NOT NULL,                           -- of the holder, or the last one
  since   REAL    NOT NULL,                           -- held, or free
  reap_at REAL    NOT NULL,                           -- silence until then and the holder is taken for dead
  until   REAL    NOT NULL,                           -- from when anybody may claim it
  wanted  TEXT    NOT NULL DEFAULT ''                 -- where an operator wants it
) STRICT, WITHOUT ROWID;

CREATE TABLE role_nodes (
  boot       TEXT    PRIMARY KEY,
  node       TEXT    NOT NULL,
  host       TEXT    NOT NULL,
  pid        INTEGER NOT NULL,
  since      REAL    NOT NULL,
  seen       REAL    NOT NULL,
  reap_after REAL    NOT NULL,
  seeks      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
