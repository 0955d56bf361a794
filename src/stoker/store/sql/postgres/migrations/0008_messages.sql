-- What was pushed to people, for a while.

CREATE TABLE stoker.messages (
  seq      bigint      PRIMARY KEY,                         -- the offset: from ``audience``, without gaps
  id       text        NOT NULL UNIQUE,                     -- the sender's: the same again is the same message
  at       timestamptz NOT NULL,
  role     text        NOT NULL,
  "user"   text        NOT NULL,                            -- '0': everybody
  session  text,
  instance text,
  event    text        NOT NULL,
  data     bytea       NOT NULL
);
CREATE INDEX messages_user ON stoker.messages ("user", seq);

-- One row: which row of numbers this is, the newest of them, and the newest that is kept no longer. Whoever pushes holds
-- it until the commit: so the order of offsets is the order in which messages become visible.
CREATE TABLE stoker.audience (epoch text NOT NULL, newest bigint NOT NULL, purged bigint NOT NULL) WITH (fillfactor = 10);
INSERT INTO stoker.audience VALUES (left(replace(gen_random_uuid()::text, '-', ''), 16), 0, 0);

CREATE FUNCTION stoker.push(
  ids text[], roles text[], users text[], sessions text[], instances text[], events text[], datas bytea[]
) RETURNS TABLE (seq bigint, at timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
-- Store messages in order; where each stands. One whose id is there already is not stored again.
DECLARE
  newest bigint;
  fresh bigint;
  moment timestamptz;
BEGIN
  SELECT a.newest INTO STRICT newest FROM stoker.audience a FOR UPDATE;
  moment := stoker.now();
  INSERT INTO stoker.messages (seq, id, at, role, "user", session, instance, event, data)
  SELECT newest + row_number() OVER (ORDER BY n.place), n.id, moment, n.role, n.person, n.session, n.instance, n.event,
         n.data
  FROM (SELECT DISTINCT ON (p.id) p.*
        FROM unnest(ids, roles, users, sessions, instances, events, datas) WITH ORDINALITY
             p (id, role, person, session, instance, event, data, place)
        WHERE NOT EXISTS (SELECT FROM stoker.messages m WHERE m.id = p.id)
        ORDER BY p.id, p.place) n;
  GET DIAGNOSTICS fresh = ROW_COUNT;
  IF fresh > 0 THEN
    UPDATE stoker.audience a SET newest = a.newest + fresh;
    PERFORM stoker.wake('messages');
  END IF;
  RETURN QUERY SELECT m.seq, m.at FROM unnest(ids) WITH ORDINALITY p (id, place) JOIN stoker.messages m ON m.id = p.id
               ORDER BY p.place;
END
$$;

CREATE FUNCTION stoker.purge_messages(keep float8, most integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
-- One bite of what is kept no longer, from the oldest on; how many rows went. One node at a time.
DECLARE
  before timestamptz := stoker.now() - make_interval(secs => least(keep, 3e9));
  went bigint;
  last bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('stoker_' || 'purge_messages', 0)) THEN
    RETURN 0;
  END IF;
  WITH bite AS MATERIALIZED (
    SELECT m.seq, m.at FROM stoker.messages m ORDER BY m.seq LIMIT most
  ), gone AS (
    DELETE FROM stoker.messages m USING bite b
    WHERE m.seq = b.seq AND b.seq < coalesce((SELECT min(y.seq) FROM bite y WHERE y.at >= before), b.seq + 1)
    RETURNING m.seq
  )
  SELECT count(*), max(g.seq) INTO went, last FROM gone g;
  IF went > 0 THEN
    UPDATE stoker.audience a SET purged = last;
  END IF;
  RETURN went;
END
$$;

REVOKE ALL ON FUNCTION stoker.push, stoker.purge_messages FROM PUBLIC;
