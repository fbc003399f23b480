-- The embedded store: its schema, then what it does, in the order of src/store/sqlite/.
-- Times are milliseconds since 1970, delays seconds.

-- name: create_queue
CREATE TABLE queue (
    name TEXT NOT NULL PRIMARY KEY,
    polling_interval INTEGER NOT NULL,
    max_workers INTEGER NOT NULL,
    max_dispatches_per_second REAL NOT NULL,
    max_burst_size INTEGER NOT NULL
) STRICT;

-- name: create_routing
CREATE TABLE routing (
    job_category TEXT NOT NULL PRIMARY KEY,
    queue_name TEXT NOT NULL
) STRICT;

-- name: create_revision
CREATE TABLE revision (
    queues INTEGER NOT NULL,
    routings INTEGER NOT NULL
) STRICT;

-- name: begin_revision
INSERT INTO revision (queues, routings) VALUES (0, 0);

-- name: create_jobs
-- status: 0 waits, 1 is grabbed. Who grabbed it is a number of eight bytes also where that is
-- nobody, the least there is: so a row keeps its size when it is grabbed, and its pages,
-- which the payload may have many of, are not written again. AUTOINCREMENT: no id is given twice.
CREATE TABLE IF NOT EXISTS {jobs} (
    job_id INTEGER PRIMARY KEY AUTOINCREMENT,
    status INTEGER NOT NULL DEFAULT 0,
    next_try INTEGER NOT NULL,
    grabber_id INTEGER NOT NULL DEFAULT -9223372036854775808,
    created_at INTEGER NOT NULL,
    retry_count INTEGER NOT NULL,
    retry_delay INTEGER NOT NULL,
    fail_count INTEGER NOT NULL DEFAULT 0,
    timeout INTEGER NOT NULL,
    category TEXT NOT NULL,
    url TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;

-- name: create_jobs_key
-- An index ends with the row's id: this is the order in which jobs are grabbed.
CREATE INDEX IF NOT EXISTS {jobs_key} ON {jobs} (status, next_try);

-- name: create_failures
CREATE TABLE IF NOT EXISTS {failures} (
    failure_id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL,
    fail_count INTEGER NOT NULL,
    failed_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    category TEXT NOT NULL,
    url TEXT NOT NULL,
    payload BLOB NOT NULL,
    result BLOB NOT NULL
) STRICT;

-- name: create_failures_key
CREATE INDEX IF NOT EXISTS {failures_key} ON {failures} (created_at);

-- name: count_tables
SELECT COUNT(*) FROM sqlite_schema;

-- name: begin
-- At once for writing: there is one writer, and it never has to start over.
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: begin_task
SAVEPOINT task;

-- name: keep_task
RELEASE task;

-- name: undo_task
ROLLBACK TO task;

-- name: checkpoint
-- Copies what it can without waiting for anybody.
PRAGMA wal_checkpoint(PASSIVE);

-- name: empty_log
PRAGMA wal_checkpoint(TRUNCATE);

-- name: look_for_damage
PRAGMA quick_check(1);

-- name: revision
SELECT queues, routings FROM revision;

-- name: raise_queues_revision
UPDATE revision SET queues = queues + 1;

-- name: raise_routings_revision
UPDATE revision SET routings = routings + 1;

-- name: queues
SELECT name, polling_interval, max_workers, max_dispatches_per_second, max_burst_size
FROM queue ORDER BY name;

-- name: put_queue
INSERT INTO queue (
    name, polling_interval, max_workers, max_dispatches_per_second, max_burst_size
) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (name) DO UPDATE SET
    polling_interval = ?2, max_workers = ?3, max_dispatches_per_second = ?4, max_burst_size = ?5;

-- name: delete_queue
DELETE FROM queue WHERE name = ?
RETURNING name, polling_interval, max_workers, max_dispatches_per_second, max_burst_size;

-- name: routings
SELECT job_category, queue_name FROM routing ORDER BY queue_name, job_category;

-- name: have_queue
SELECT 1 FROM queue WHERE name = ?;

-- name: put_routing
-- Nothing is changed where it is so already.
INSERT INTO routing (job_category, queue_name) VALUES (?1, ?2)
ON CONFLICT (job_category) DO UPDATE SET queue_name = ?2 WHERE queue_name <> ?2;

-- name: delete_routing
DELETE FROM routing WHERE job_category = ? RETURNING job_category, queue_name;

-- name: push
INSERT INTO {jobs} (
    next_try, created_at, retry_count, retry_delay, timeout, category, url, payload
) VALUES {rows: (?, ?, ?, ?, ?, ?, ?, ?)};

-- name: push_grabbed
INSERT INTO {jobs} (
    status, next_try, grabber_id, created_at, retry_count, retry_delay, timeout, category, url, payload
) VALUES {rows: (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)};

-- name: any_due
SELECT 1 FROM {jobs} WHERE status = 0 AND next_try <= ? LIMIT 1;

-- name: complete
-- Whoever leads the queue: the job is done, and deleting it spares a duplicate.
DELETE FROM {jobs} WHERE job_id = ? AND created_at = ?;

-- name: retry
UPDATE {jobs} SET
    status = 0,
    grabber_id = -9223372036854775808,
    next_try = ?4 + retry_delay * 1000,
    retry_count = MAX(retry_count, 1) - 1,
    fail_count = MIN(fail_count, 4294967294) + 1
WHERE job_id = ?1 AND created_at = ?2 AND status = 1 AND grabber_id = ?3 AND fail_count = ?5;

-- name: log_failure
INSERT INTO {failures} (
    job_id, fail_count, failed_at, created_at, category, url, payload, result
) SELECT
    job_id, MIN(fail_count, 4294967294) + 1, ?4, created_at, category, url, payload, ?6
FROM {jobs}
WHERE job_id = ?1 AND created_at = ?2 AND status = 1 AND grabber_id = ?3 AND fail_count = ?5;

-- name: due_jobs
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs} WHERE status = 0 AND next_try <= ? ORDER BY next_try, job_id LIMIT ?;

-- name: grab
UPDATE {jobs} SET status = 1, grabber_id = ?2 WHERE job_id = ?1 AND status = 0;

-- name: grabbed
SELECT job_id, grabber_id FROM {jobs} WHERE status = 1 ORDER BY job_id;

-- name: put_back
UPDATE {jobs} SET status = 0, grabber_id = -9223372036854775808
WHERE job_id = ?1 AND status = 1 AND grabber_id = ?2;

-- name: jobs_ascending
-- A status; the first and the last time; the position after which the page begins.
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs}
WHERE status = ?1 AND next_try BETWEEN ?2 AND ?3 AND (next_try, job_id) > (?4, ?5)
ORDER BY next_try, job_id LIMIT ?6;

-- name: jobs_descending
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs}
WHERE status = ?1 AND next_try BETWEEN ?2 AND ?3 AND (next_try, job_id) < (?4, ?5)
ORDER BY next_try DESC, job_id DESC LIMIT ?6;

-- name: job
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs} WHERE job_id = ?;

-- name: delete_job
DELETE FROM {jobs} WHERE job_id = ?
RETURNING job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout;

-- name: backlog
-- Each count ends at ?2.
SELECT
    (SELECT COUNT(*) FROM (
        SELECT 1 FROM {jobs} WHERE status = 0 AND next_try <= ?1 LIMIT ?2)),
    (SELECT COUNT(*) FROM (
        SELECT 1 FROM {jobs} WHERE status = 0 AND next_try > ?1 LIMIT ?2)),
    (SELECT COUNT(*) FROM (SELECT 1 FROM {jobs} WHERE status = 1 LIMIT ?2)),
    (SELECT COUNT(*) FROM (SELECT 1 FROM {failures} LIMIT ?2)),
    (SELECT next_try FROM {jobs} WHERE status = 0 AND next_try <= ?1 ORDER BY next_try LIMIT 1);

-- name: failures_by_failure
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id < ? ORDER BY failure_id DESC LIMIT ?;

-- name: failures_by_creation
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE (created_at, failure_id) < (?, ?)
ORDER BY created_at DESC, failure_id DESC LIMIT ?;

-- name: failure
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id = ?;

-- name: delete_failure
DELETE FROM {failures} WHERE failure_id = ?
RETURNING failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at;

-- name: failure_heads_by_failure
SELECT failure_id, category, failed_at, created_at, CASE WHEN ?1 THEN result ELSE X'' END
FROM {failures} WHERE failure_id < ?2 ORDER BY failure_id DESC LIMIT ?3;

-- name: failure_heads_by_creation
SELECT failure_id, category, failed_at, created_at, CASE WHEN ?1 THEN result ELSE X'' END
FROM {failures} WHERE (created_at, failure_id) < (?2, ?3)
ORDER BY created_at DESC, failure_id DESC LIMIT ?4;

-- name: failures_by_id
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id IN ({rows: ?}) ORDER BY failure_id DESC;

-- name: delete_failures
DELETE FROM {failures} WHERE failure_id IN ({rows: ?});

-- name: oldest_failures
SELECT failure_id, failed_at FROM {failures} ORDER BY failure_id LIMIT ?;

-- name: failures_beyond
SELECT COUNT(*) FROM (SELECT 1 FROM {failures} LIMIT ? OFFSET ?);

-- name: last_job_id
-- The highest id that a table has given; none before the first. The names stand without quotes.
SELECT seq FROM sqlite_sequence WHERE name = TRIM('{jobs}', '`');

-- name: last_failure_id
SELECT seq FROM sqlite_sequence WHERE name = TRIM('{failures}', '`');

-- name: jobs_after
SELECT job_id, category, url, payload, status, created_at, next_try, retry_count, retry_delay,
    fail_count, timeout
FROM {jobs} WHERE job_id > ? ORDER BY job_id LIMIT ?;

-- name: failures_after
SELECT failure_id, job_id, category, url, payload, result, fail_count, failed_at, created_at
FROM {failures} WHERE failure_id > ? ORDER BY failure_id LIMIT ?;

-- name: import_job
INSERT INTO {jobs} (
    job_id, next_try, created_at, retry_count, retry_delay, fail_count, timeout, category, url, payload
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: import_failure
INSERT INTO {failures} (
    failure_id, job_id, fail_count, failed_at, created_at, category, url, payload, result
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: tables
SELECT name FROM sqlite_schema WHERE type = 'table';

-- name: create_copied
-- How far copies have come, by the names of the queues' tables: the last rows that were copied, and
-- the last ids that the source had given.
CREATE TABLE IF NOT EXISTS fireworq_copied (
    queue TEXT NOT NULL PRIMARY KEY,
    job_id INTEGER NOT NULL,
    failure_id INTEGER NOT NULL,
    last_job_id INTEGER NOT NULL,
    last_failure_id INTEGER NOT NULL
) STRICT;

-- name: copy_note
SELECT job_id, failure_id, last_job_id, last_failure_id FROM fireworq_copied WHERE queue = ?;

-- name: put_copy_note
INSERT INTO fireworq_copied (queue, job_id, failure_id, last_job_id, last_failure_id)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (queue) DO UPDATE SET last_job_id = ?4, last_failure_id = ?5;

-- name: jobs_copied
UPDATE fireworq_copied SET job_id = ? WHERE queue = ?;

-- name: failures_copied
UPDATE fireworq_copied SET failure_id = ? WHERE queue = ?;

-- name: reserve_job_ids
-- Changes the row that is there, or begins one.
REPLACE INTO sqlite_sequence (rowid, name, seq) VALUES (
    (SELECT rowid FROM sqlite_sequence WHERE name = TRIM('{jobs}', '`')), TRIM('{jobs}', '`'), ?
);

-- name: reserve_failure_ids
REPLACE INTO sqlite_sequence (rowid, name, seq) VALUES (
    (SELECT rowid FROM sqlite_sequence WHERE name = TRIM('{failures}', '`')),
    TRIM('{failures}', '`'), ?
);
