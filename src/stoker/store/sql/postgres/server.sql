-- name: welcome
-- What a new session must know: the store's time, and whether a commit here survives a loss of power.
SELECT stoker.now(), current_setting('synchronous_commit');
