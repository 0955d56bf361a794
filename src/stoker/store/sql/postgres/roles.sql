-- name: role_hold
-- Be there, extend what is held, and look.
SELECT stoker.hold_roles($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: role_claim
-- Take what is free of these roles.
SELECT name, term, owner, node FROM stoker.claim_roles($1, $2, $3, $4, $5, $6);

-- name: role_release
SELECT stoker.release_roles($1, $2, $3);

-- name: role_forget
DELETE FROM stoker.role_nodes WHERE boot = $1;

-- name: role_reap
SELECT stoker.reap_role_node($1);

-- name: role_order
UPDATE stoker.roles SET wanted = $2 WHERE name = $1 RETURNING stoker.wake('orders');

-- name: role_view
SELECT stoker.roles_view();
