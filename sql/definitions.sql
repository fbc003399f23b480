-- Definitions of queues and routings, and the counters that tell nodes of a change.

-- name: create_queue
CREATE TABLE IF NOT EXISTS queue (
    name VARCHAR(255) NOT NULL,
    polling_interval INT UNSIGNED NOT NULL,
    max_workers INT UNSIGNED NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = binary;

-- name: create_queue_throttle
-- An unthrottled queue has a row with 0 and 0, or, in older databases, none.
CREATE TABLE IF NOT EXISTS queue_throttle (
    name VARCHAR(255) NOT NULL,
    max_dispatches_per_second FLOAT UNSIGNED NOT NULL,
    max_burst_size INT UNSIGNED NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = binary;

-- name: create_routing
CREATE TABLE IF NOT EXISTS routing (
    job_category VARCHAR(255) NOT NULL,
    queue_name VARCHAR(255) NOT NULL,
    PRIMARY KEY (job_category),
    UNIQUE KEY job_queue (job_category, queue_name)
) ENGINE = InnoDB DEFAULT CHARSET = binary;

-- name: create_config_revision
CREATE TABLE IF NOT EXISTS config_revision (
    name VARCHAR(255) NOT NULL,
    revision BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = binary;

-- name: revisions
SELECT name, revision FROM config_revision;

-- name: lock_revision
-- The first statement of each change: changes of the same kind happen one after the other.
INSERT INTO config_revision (name, revision) VALUES (?, 0)
ON DUPLICATE KEY UPDATE revision = revision;

-- name: raise_revision
UPDATE config_revision SET revision = revision + 1 WHERE name = ?;

-- name: queue_names
SELECT name FROM queue ORDER BY name;

-- name: queues
SELECT q.name, q.polling_interval, q.max_workers, t.max_dispatches_per_second, t.max_burst_size
FROM queue q LEFT JOIN queue_throttle t ON t.name = q.name
ORDER BY q.name;

-- name: queue
SELECT q.name, q.polling_interval, q.max_workers, t.max_dispatches_per_second, t.max_burst_size
FROM queue q LEFT JOIN queue_throttle t ON t.name = q.name
WHERE q.name = ?;

-- name: put_queue
-- No REPLACE: columns that others added keep their values.
INSERT INTO queue (name, polling_interval, max_workers) VALUES (?, ?, ?)
ON DUPLICATE KEY UPDATE polling_interval = ?, max_workers = ?;

-- name: put_queue_throttle
INSERT INTO queue_throttle (name, max_dispatches_per_second, max_burst_size) VALUES (?, ?, ?)
ON DUPLICATE KEY UPDATE max_dispatches_per_second = ?, max_burst_size = ?;

-- name: delete_queue
DELETE FROM queue WHERE name = ?;

-- name: delete_queue_throttle
DELETE FROM queue_throttle WHERE name = ?;

-- name: routings
SELECT job_category, queue_name FROM routing ORDER BY queue_name, job_category;

-- name: routing
SELECT job_category, queue_name FROM routing WHERE job_category = ?;

-- name: put_routing
INSERT INTO routing (job_category, queue_name) VALUES (?, ?)
ON DUPLICATE KEY UPDATE queue_name = ?;

-- name: delete_routing
DELETE FROM routing WHERE job_category = ?;
