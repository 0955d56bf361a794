-- Figures over time: one row for each period of each start of a daemon, a short one and, for longer, a minute's.

CREATE TABLE stoker.stats (
  at      timestamptz NOT NULL,                           -- when the period ended
  boot    text        NOT NULL,
  coarse  boolean     NOT NULL,
  node    text        NOT NULL,
  seconds float8      NOT NULL,                           -- how long the period was
  data    bytea       NOT NULL,                           -- JSON, see stoker.model.stats
  PRIMARY KEY (coarse, at, boot)
);
