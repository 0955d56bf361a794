-- Roles, and the nodes that take them.

CREATE TABLE stoker.roles (
  name    text PRIMARY KEY,
  term    bigint      NOT NULL,                           -- goes up with every claim, never down
  owner   text,                                           -- the boot that holds it
  node    text        NOT NULL,                           -- of the holder, or the last one
  since   timestamptz NOT NULL,                           -- held, or free
  reap_at timestamptz NOT NULL,                           -- silence until then and the holder is taken for dead
  until   timestamptz NOT NULL,                           -- from when anybody may claim it
  wanted  text        NOT NULL DEFAULT ''                 -- where an operator wants it
) WITH (fillfactor = 50);

CREATE TABLE stoker.role_nodes (
  boot       text PRIMARY KEY,
  node       text        NOT NULL,
  host       text        NOT NULL,
  pid        integer     NOT NULL,
  since      timestamptz NOT NULL,
  seen       timestamptz NOT NULL,
  reap_after float8      NOT NULL,
  seeks      boolean     NOT NULL
) WITH (fillfactor = 50);

CREATE FUNCTION stoker.roles_view() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
-- All there is to know of roles, as JSON: so it takes one statement to renew and to look.
SELECT json_build_object(
  'now', extract(epoch FROM stoker.now()),
  'roles', (SELECT coalesce(json_agg(json_build_object(
              'name', r.name, 'term', r.term, 'owner', r.owner, 'node', r.node, 'since', extract(epoch FROM r.since),
              'reap_at', extract(epoch FROM r.reap_at), 'until', extract(epoch FROM r.until), 'wanted', r.wanted)
              ORDER BY r.name), '[]'::json) FROM stoker.roles r),
  'peers', (SELECT coalesce(json_agg(json_build_object(
              'boot', n.boot, 'node', n.node, 'host', n.host, 'pid', n.pid, 'since', extract(epoch FROM n.since),
              'seen', extract(epoch FROM n.seen), 'reap_after', n.reap_after, 'seeks', n.seeks)
              ORDER BY n.node, n.since, n.boot), '[]'::json) FROM stoker.role_nodes n))::text
$$;

CREATE FUNCTION stoker.hold_roles(
  me text, its_node text, its_host text, its_pid integer, lasts float8, claimable float8, willing boolean,
  names text[], terms bigint[]
) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
-- A node is there, and extends the leases of what it holds, each in the term it names; then it looks.
DECLARE
  moment timestamptz := stoker.now();
  new boolean;
BEGIN
  INSERT INTO stoker.role_nodes AS n (boot, node, host, pid, since, seen, reap_after, seeks)
  VALUES (me, its_node, its_host, its_pid, moment, moment, lasts, willing)
  ON CONFLICT (boot) DO UPDATE SET seen = excluded.seen, reap_after = excluded.reap_after, seeks = excluded.seeks
  RETURNING n.xmax = 0 INTO new;
  IF new THEN
    -- who has more than its share may give it some
    PERFORM stoker.wake('orders');
  END IF;
  WITH locked AS MATERIALIZED (
    SELECT r.name FROM stoker.roles r JOIN unnest(names, terms) h (name, term) ON h.name = r.name
    WHERE r.owner = me AND r.term = h.term ORDER BY r.name FOR UPDATE OF r
  )
  UPDATE stoker.roles r
  SET reap_at = moment + make_interval(secs => lasts), until = moment + make_interval(secs => claimable)
  FROM locked l WHERE r.name = l.name;
  RETURN stoker.roles_view();
END
$$;

CREATE FUNCTION stoker.claim_roles(
  me text, its_node text, lasts float8, claimable float8, names text[], dead text[],
  OUT name text, OUT term bigint, OUT owner text, OUT node text
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
-- Take what is free of these roles, each in a new term; from whom it was taken, if it had an owner.
#variable_conflict use_column
DECLARE
  moment timestamptz;
BEGIN
  INSERT INTO stoker.roles (name, term, owner, node, since, reap_at, until)
  SELECT u.name, 0, NULL, '', t.now, t.now, t.now FROM unnest(names) u (name), (SELECT stoker.now() AS now) t
  ORDER BY u.name ON CONFLICT DO NOTHING;
  PERFORM FROM stoker.roles r WHERE r.name = ANY (names) ORDER BY r.name FOR UPDATE;
  moment := stoker.now();
  RETURN QUERY
    WITH before AS MATERIALIZED (
      SELECT r.name, r.owner, r.node FROM stoker.roles r
      WHERE r.name = ANY (names) AND (r.owner IS NULL OR r.owner = me OR r.owner = ANY (dead) OR r.until < moment)
    )
    UPDATE stoker.roles r
    SET term = r.term + 1, owner = me, node = its_node, since = moment, wanted = '',
        reap_at = moment + make_interval(secs => lasts), until = moment + make_interval(secs => claimable)
    FROM before b WHERE r.name = b.name
    RETURNING r.name, r.term, b.owner, b.node;
END
$$;

CREATE FUNCTION stoker.release_roles(me text, names text[], terms bigint[]) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
-- Give roles back, each in the term it names; without names: whatever is held. Who waits for them is woken.
DECLARE
  gone text[];
BEGIN
  WITH locked AS MATERIALIZED (
    SELECT r.name FROM stoker.roles r
    WHERE r.owner = me
      AND (names IS NULL OR (r.name, r.term) IN (SELECT h.name, h.term FROM unnest(names, terms) h (name, term)))
    ORDER BY r.name FOR UPDATE
  ), freed AS (
    UPDATE stoker.roles r SET owner = NULL, since = stoker.now() FROM locked l WHERE r.name = l.name RETURNING r.name
  )
  SELECT array_agg(f.name ORDER BY f.name) INTO gone FROM freed f;
  IF gone IS NOT NULL THEN
    PERFORM stoker.wake('orders');
  END IF;
  RETURN QUERY SELECT unnest(gone);
END
$$;

CREATE FUNCTION stoker.reap_role_node(whom text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
-- Forget a node that was silent for longer than it said, and whose every lease is as old; what it held is free.
DECLARE
  moment timestamptz;
BEGIN
  PERFORM FROM stoker.roles r WHERE r.owner = whom ORDER BY r.name FOR UPDATE;
  moment := stoker.now();
  DELETE FROM stoker.role_nodes n
  WHERE n.boot = whom AND n.seen + make_interval(secs => n.reap_after) < moment
    AND NOT EXISTS (SELECT FROM stoker.roles r WHERE r.owner = whom AND r.reap_at >= moment);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM stoker.release_roles(whom, NULL, NULL);
  RETURN true;
END
$$;
