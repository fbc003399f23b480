-- Rows as they are, for copying from one store to another.

-- name: describe_jobs
-- Tells the next id, which the server's statistics may not know yet.
SHOW CREATE TABLE {jobs};

-- name: describe_failures
SHOW CREATE TABLE {failures};

-- name: jobs_after
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs} WHERE job_id > ? ORDER BY job_id LIMIT ?;

-- name: failures_after
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id > ? ORDER BY failure_id LIMIT ?;

-- name: import_job
INSERT INTO {jobs} (
    job_id, next_try, status, created_at, retry_count, retry_delay, fail_count, timeout,
    category, url, payload
) VALUES (?, ?, 'claimed', ?, ?, ?, ?, ?, ?, ?, ?);

-- name: import_failure
INSERT INTO {failures} (
    failure_id, job_id, fail_count, failed_at, created_at, category, url, payload, result
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);
