-- What was pushed to people, for a while.

CREATE TABLE messages (
  seq      INTEGER PRIMARY KEY,                       -- the offset: from ``audience``, without gaps
  id       TEXT NOT NULL UNIQUE,                      -- the sender's: the same again is the same message
  at       REAL NOT NULL,
  role     TEXT NOT NULL,
  user     TEXT NOT NULL,                             -- '0': everybody
  session  TEXT,
  instance TEXT,
  event    TEXT NOT NULL,
  data     BLOB NOT NULL
) STRICT;
CREATE INDEX messages_user ON messages (user, seq);

-- One row: which row of numbers this is, the newest of them, and the newest that is kept no longer.
CREATE TABLE audience (epoch TEXT NOT NULL, newest INTEGER NOT NULL, purged INTEGER NOT NULL) STRICT;
INSERT INTO audience VALUES (lower(hex(randomblob(8))), 0, 0);
