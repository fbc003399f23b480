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

-- name: backlog
-- One row a queue, to be put together with UNION ALL. Where a figure has more rows than are
-- counted, finding that out is a walk along an index and no count follows.
SELECT
    IF((SELECT 1 FROM {jobs}
        WHERE status = 'claimed' AND next_try <= FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)
        LIMIT 1 OFFSET 1000000) IS NULL,
        (SELECT COUNT(*) FROM {jobs}
        WHERE status = 'claimed' AND next_try <= FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)),
        1000000),
    IF((SELECT 1 FROM {jobs}
        WHERE status = 'claimed' AND next_try > FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)
        LIMIT 1 OFFSET 1000000) IS NULL,
        (SELECT COUNT(*) FROM {jobs}
        WHERE status = 'claimed' AND next_try > FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)),
        1000000),
    IF((SELECT 1 FROM {jobs} WHERE status = 'grabbed' LIMIT 1 OFFSET 1000000) IS NULL,
        (SELECT COUNT(*) FROM {jobs} WHERE status = 'grabbed'),
        1000000),
    IF((SELECT 1 FROM {failures} LIMIT 1 OFFSET 1000000) IS NULL,
        (SELECT COUNT(*) FROM {failures}),
        1000000),
    (SELECT MIN(next_try) FROM {jobs}
        WHERE status = 'claimed' AND next_try <= FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)),
    FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000);
