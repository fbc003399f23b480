-- Looking into a queue and its failure log. A position is the time and the id of the last row of
-- the page before; the first page begins at a position before everything.

-- name: jobs_ascending
-- The two flags: only what is not due yet; only what is.
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs}
WHERE status = ?
    AND next_try >= IF(?, FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000) + 1, 0)
    AND next_try <= IF(?, FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000), 18446744073709551615)
    AND next_try >= ? AND (next_try > ? OR job_id > ?)
ORDER BY next_try, job_id LIMIT ?;

-- name: jobs_descending
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs}
WHERE status = ?
    AND next_try >= IF(?, FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000) + 1, 0)
    AND next_try <= IF(?, FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000), 18446744073709551615)
    AND next_try <= ? AND (next_try < ? OR job_id < ?)
ORDER BY next_try DESC, job_id DESC LIMIT ?;

-- name: job
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs} WHERE job_id = ?;

-- name: lock_job
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs} WHERE job_id = ? FOR UPDATE;

-- name: delete_job
DELETE FROM {jobs} WHERE job_id = ?;

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
