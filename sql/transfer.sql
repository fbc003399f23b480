-- Rows as they are, for copying from one store to another.

-- name: tables
SHOW TABLES LIKE 'fireworq%';

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

-- name: create_copied
-- How far copies have come, by the names of the queues' tables: the last rows that were copied, and
-- the last ids that the source had given.
CREATE TABLE IF NOT EXISTS fireworq_copied (
    queue VARCHAR(255) NOT NULL,
    job_id BIGINT UNSIGNED NOT NULL,
    failure_id BIGINT UNSIGNED NOT NULL,
    last_job_id BIGINT UNSIGNED NOT NULL,
    last_failure_id BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (queue)
) ENGINE = InnoDB DEFAULT CHARSET = binary;

-- name: copy_note
SELECT job_id, failure_id, last_job_id, last_failure_id FROM fireworq_copied WHERE queue = ?;

-- name: put_copy_note
INSERT INTO fireworq_copied (queue, job_id, failure_id, last_job_id, last_failure_id)
VALUES (?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE last_job_id = ?, last_failure_id = ?;

-- name: jobs_copied
UPDATE fireworq_copied SET job_id = ? WHERE queue = ?;

-- name: failures_copied
UPDATE fireworq_copied SET failure_id = ? WHERE queue = ?;

-- name: reserve_job_ids
-- Rolled back: the row is gone and its id stays given. Needs no right to alter the table.
INSERT INTO {jobs} (job_id, next_try, created_at, category) VALUES (?, 0, 0, '');

-- name: reserve_failure_ids
INSERT INTO {failures} (failure_id, job_id, category, fail_count, failed_at, created_at)
VALUES (?, 0, '', 0, 0, 0);
