-- Who may run a queue's jobs: the locks of queues, and the changes of rows that only the primary
-- makes. Rows are locked by primary key in the order of their ids, as everywhere: the key `grab`
-- would make one change wait for the rows of another. Lock names are put in quoted; see src/store/mysql/lease.rs for what each may rely on.

-- name: set_wait_timeout
SET SESSION wait_timeout = {rows: ?};

-- name: database
SELECT DATABASE();

-- name: take_locks
SELECT {rows: GET_LOCK(?, 0)};

-- name: own_locks
SELECT {rows: IS_USED_LOCK(?) = CONNECTION_ID()};

-- name: release_locks
SELECT {rows: RELEASE_LOCK(?)};

-- name: wait_for_lock
SELECT {rows: GET_LOCK(?, ?)};

-- name: lock_holder
SELECT {rows: IS_USED_LOCK(?)};

-- name: session_host
SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = {rows: ?};

-- name: may_push_grabbed
-- Whether the locks of the queue and of the fence are one session's, and nothing waits that is due.
-- The least of an index is looked up while the statement is planned, at half the price of a search.
SELECT (SELECT IS_USED_LOCK(?)) = (SELECT IS_USED_LOCK(?)) AND COALESCE(
    (SELECT MIN(next_try) FROM {jobs} WHERE status = 'claimed')
        > FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000),
    TRUE
);

-- name: any_due
-- A number to tell the queue by. NULL where nothing waits. Looked up while the statement is planned.
SELECT {rows: ?}, MIN(next_try) <= FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000) FROM {jobs}
WHERE status = 'claimed';

-- name: due_jobs
SELECT job_id, category, url, payload, created_at, next_try, retry_count, retry_delay, fail_count,
    timeout
FROM {jobs}
WHERE status = 'claimed' AND next_try <= FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)
ORDER BY next_try, job_id
LIMIT {rows: ?};

-- name: grab_jobs
-- The token, and the locks of the queue and of the fence: equal only while one session holds both.
UPDATE {jobs} FORCE INDEX (PRIMARY) SET status = 'grabbed', grabber_id = ?
WHERE job_id IN ({rows: ?}) AND status = 'claimed'
    AND (SELECT IS_USED_LOCK(?)) = (SELECT IS_USED_LOCK(?));

-- name: jobs_grabbed_by
SELECT job_id FROM {jobs}
WHERE job_id IN ({rows: ?}) AND status = 'grabbed' AND grabber_id = ?;

-- name: grabbed_jobs
-- Page by page along the key `grab`: the rows after a given time and id.
SELECT job_id, grabber_id, next_try FROM {jobs}
WHERE status = 'grabbed' AND next_try >= ? AND (next_try > ? OR job_id > ?)
ORDER BY next_try, job_id
LIMIT ?;

-- name: recover_jobs
-- Only what is still grabbed by whoever it was seen with; that may be nobody (NULL).
UPDATE {jobs} FORCE INDEX (PRIMARY) SET status = 'claimed', grabber_id = NULL
WHERE job_id IN ({rows: ?}) AND status = 'grabbed' AND grabber_id <=> ?
    AND (SELECT IS_USED_LOCK(?)) = (SELECT IS_USED_LOCK(?));

-- name: put_back_jobs
UPDATE {jobs} FORCE INDEX (PRIMARY) SET status = 'claimed', grabber_id = NULL
WHERE job_id IN ({rows: ?}) AND status = 'grabbed' AND grabber_id = ?;
