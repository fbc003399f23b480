-- The jobs of one queue and its failure log: their tables, jobs in, outcomes in.

-- name: create_jobs
-- NULL in url, payload and timeout is from older nodes; they are always written here.
CREATE TABLE IF NOT EXISTS {jobs} (
    job_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    next_try BIGINT UNSIGNED NOT NULL,
    grabber_id BIGINT UNSIGNED NULL,
    status ENUM('claimed', 'grabbed') NOT NULL DEFAULT 'claimed',
    created_at BIGINT UNSIGNED NOT NULL,
    retry_count INT UNSIGNED NOT NULL DEFAULT 0,
    retry_delay INT UNSIGNED NOT NULL DEFAULT 0,
    fail_count INT UNSIGNED NOT NULL DEFAULT 0,
    category VARCHAR(255) NOT NULL,
    url BLOB NULL,
    payload MEDIUMBLOB NULL,
    timeout INT UNSIGNED NULL,
    PRIMARY KEY (job_id),
    KEY grab (status, next_try)
) ENGINE = InnoDB DEFAULT CHARSET = binary;

-- name: create_failures
CREATE TABLE IF NOT EXISTS {failures} (
    failure_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    job_id BIGINT UNSIGNED NOT NULL,
    category VARCHAR(255) NOT NULL,
    url BLOB NULL,
    payload MEDIUMBLOB NULL,
    result MEDIUMBLOB NULL,
    fail_count INT UNSIGNED NOT NULL,
    failed_at BIGINT UNSIGNED NOT NULL,
    created_at BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (failure_id),
    KEY creation_order (created_at)
) ENGINE = InnoDB DEFAULT CHARSET = binary;

-- name: have_jobs
-- Fails where the table is missing.
SELECT 1 FROM {jobs} LIMIT 0;

-- name: have_failures
SELECT 1 FROM {failures} LIMIT 0;

-- name: push
INSERT INTO {jobs} (
    next_try, status, created_at, retry_count, retry_delay, fail_count, category, url, payload, timeout
) VALUES {rows: (?, 'claimed', ?, ?, ?, 0, ?, ?, ?, ?)};

-- name: push_grabbed
INSERT INTO {jobs} (
    next_try, status, grabber_id, created_at, retry_count, retry_delay, fail_count, category, url, payload,
    timeout
) VALUES {rows: (?, 'grabbed', ?, ?, ?, ?, 0, ?, ?, ?, ?)};

-- name: complete
-- Whoever holds the queue's lock: the job is done, and deleting it spares a duplicate.
DELETE FROM {jobs} WHERE job_id = ? AND created_at = ?;

-- name: complete_some
DELETE FROM {jobs} WHERE {any: (job_id = ? AND created_at = ?)};

-- name: lock
-- The rows that a settlement is about, locked in the order of their ids as everywhere.
SELECT job_id, created_at, status, grabber_id, fail_count FROM {jobs}
WHERE job_id IN ({rows: ?}) ORDER BY job_id FOR UPDATE;

-- name: retry
-- Without the hint the server may go through all grabbed rows, and wait for those of others.
UPDATE {jobs} FORCE INDEX (PRIMARY) SET
    status = 'claimed',
    grabber_id = NULL,
    next_try = FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000) + retry_delay * 1000,
    retry_count = GREATEST(retry_count, 1) - 1,
    fail_count = LEAST(fail_count, 4294967294) + 1
WHERE job_id IN ({rows: ?}) AND status = 'grabbed';

-- name: log_failure
-- The payload does not travel again.
INSERT INTO {failures} (
    job_id, category, url, payload, result, fail_count, failed_at, created_at
) SELECT
    job_id, category, COALESCE(url, ''), COALESCE(payload, ''), ?,
    LEAST(fail_count, 4294967294) + 1, FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000), created_at
FROM {jobs} WHERE job_id = ?;

-- name: remove
-- Rows that the same transaction has locked.
DELETE FROM {jobs} WHERE job_id IN ({rows: ?});
