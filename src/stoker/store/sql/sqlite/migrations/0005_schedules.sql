-- Schedules: how far each has come, and what became of its slots.

CREATE TABLE schedules (
  name        TEXT NOT NULL,
  node        TEXT NOT NULL,                          -- for an entry that every node runs for itself, else ''
  fingerprint TEXT NOT NULL,                          -- of the definition that the slots are counted by
  last        REAL NOT NULL,                          -- every slot up to here is decided, and is never decided again
  seen        REAL NOT NULL,                          -- when a daemon last had it in its files
  paused      REAL,
  job         TEXT,                                   -- the newest one
  PRIMARY KEY (name, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE slots (
  name    TEXT NOT NULL,
  node    TEXT NOT NULL,
  slot    REAL NOT NULL,                              -- the moment; of several missed ones the last
  first   REAL NOT NULL,                              -- and the first of them
  count   INTEGER NOT NULL,
  at      REAL NOT NULL,                              -- when it was decided
  fate    TEXT NOT NULL CHECK (fate IN ('fired', 'skipped', 'paused', 'missed', 'refused')),
  job     TEXT,
  reason  TEXT NOT NULL,
  decider TEXT NOT NULL,                              -- the node that decided it
  PRIMARY KEY (name, node, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX slots_at ON slots (at);
