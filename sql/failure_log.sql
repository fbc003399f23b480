-- The failure log of a queue. A position is the time and the id of the last row of the page before;
-- the first page begins at a position before everything. What chooses among many failures reads
-- them without their payloads.

-- name: failures_by_failure
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id < ? ORDER BY failure_id DESC LIMIT ?;

-- name: failures_by_creation
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures}
WHERE created_at <= ? AND (created_at < ? OR failure_id < ?)
ORDER BY created_at DESC, failure_id DESC LIMIT ?;

-- name: failure
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id = ?;

-- name: lock_failure
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id = ? FOR UPDATE;

-- name: delete_failure
DELETE FROM {failures} WHERE failure_id = ?;

-- name: failure_heads_by_failure
SELECT failure_id, category, failed_at, created_at, IF(?, result, NULL)
FROM {failures} WHERE failure_id < ? ORDER BY failure_id DESC LIMIT ?;

-- name: failure_heads_by_creation
SELECT failure_id, category, failed_at, created_at, IF(?, result, NULL)
FROM {failures}
WHERE created_at <= ? AND (created_at < ? OR failure_id < ?)
ORDER BY created_at DESC, failure_id DESC LIMIT ?;

-- name: failures_by_id
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id IN ({rows: ?}) ORDER BY failure_id DESC;

-- name: failure_sizes
-- What a retry of each would carry, in bytes.
SELECT failure_id, COALESCE(LENGTH(url), 0) + COALESCE(LENGTH(payload), 0)
FROM {failures} WHERE failure_id IN ({rows: ?});

-- name: lock_failures
-- Locked in the order of their ids as everywhere.
SELECT failure_id, job_id, category, url, payload, NULL, fail_count, failed_at, created_at
FROM {failures} FORCE INDEX (PRIMARY)
WHERE failure_id IN ({rows: ?}) ORDER BY failure_id FOR UPDATE;

-- name: delete_failures
DELETE FROM {failures} WHERE failure_id IN ({rows: ?});

-- name: oldest_failures
SELECT failure_id, failed_at FROM {failures} ORDER BY failure_id LIMIT ?;

-- name: failures_beyond
-- Goes along the shortest index, as far as the two numbers say.
SELECT COUNT(*) FROM (SELECT 1 FROM {failures} LIMIT ? OFFSET ?) beyond;
