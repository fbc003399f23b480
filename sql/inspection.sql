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
-- One queue's row, with the time and the end of each count put in, since a function of the time
-- would be computed anew for each row.
SELECT
    (SELECT COUNT(*) FROM (
        SELECT 1 FROM {jobs} WHERE status = 'claimed' AND next_try <= ? LIMIT ?) waiting)
        AS waiting,
    (SELECT COUNT(*) FROM (
        SELECT 1 FROM {jobs} WHERE status = 'claimed' AND next_try > ? LIMIT ?) deferred)
        AS deferred,
    (SELECT COUNT(*) FROM (SELECT 1 FROM {jobs} WHERE status = 'grabbed' LIMIT ?) running)
        AS running,
    (SELECT COUNT(*) FROM (SELECT 1 FROM {failures} LIMIT ?) failed)
        AS failed,
    (SELECT MIN(next_try) FROM {jobs} WHERE status = 'claimed' AND next_try <= ?)
        AS oldest;

-- name: backlogs
-- The rows of several queues. The server itself ends what takes longer than two seconds: MariaDB
-- reads the first comment, MySQL the second.
/*M! SET STATEMENT max_statement_time = 2 FOR */
SELECT /*+ MAX_EXECUTION_TIME(2000) */ waiting, deferred, running, failed, oldest
FROM ({rows: ?}) backlogs;
