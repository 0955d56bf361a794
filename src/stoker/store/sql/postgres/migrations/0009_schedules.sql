-- Schedules: how far each has come, and what became of its slots.

CREATE TABLE stoker.schedules (
  name        text        NOT NULL,
  node        text        NOT NULL,                   -- for an entry that every node runs for itself, else ''
  fingerprint text        NOT NULL,                   -- of the definition that the slots are counted by
  last        timestamptz NOT NULL,                   -- every slot up to here is decided, and is never decided again
  seen        timestamptz NOT NULL,                   -- when a daemon last had it in its files
  paused      timestamptz,
  job         text,                                   -- the newest one
  PRIMARY KEY (name, node)
) WITH (fillfactor = 50);

CREATE TABLE stoker.slots (
  name    text        NOT NULL,
  node    text        NOT NULL,
  slot    timestamptz NOT NULL,                       -- the moment; of several missed ones the last
  first   timestamptz NOT NULL,                       -- and the first of them
  count   integer     NOT NULL,
  at      timestamptz NOT NULL,                       -- when it was decided
  fate    text        NOT NULL CHECK (fate IN ('fired', 'skipped', 'paused', 'missed', 'refused')),
  job     text,
  reason  text        NOT NULL,
  decider text        NOT NULL,                       -- the node that decided it
  PRIMARY KEY (name, node, slot)
);
CREATE INDEX slots_at ON stoker.slots (at);
