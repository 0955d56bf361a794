-- Figures over time: one row for each period of each start of a daemon, a short one and, for longer, a minute's.

CREATE TABLE stats (
  at      REAL NOT NULL,                              -- when the period ended
  boot    TEXT NOT NULL,
  coarse  INTEGER NOT NULL CHECK (coarse IN (0, 1)),
  node    TEXT NOT NULL,
  seconds REAL NOT NULL,                              -- how long the period was
  data    BLOB NOT NULL,                              -- JSON, see stoker.model.stats
  PRIMARY KEY (coarse, at, boot)
) STRICT, WITHOUT ROWID;
