-- What every session of the daemon is told, and transactions.

-- name: set_charset
SET NAMES {rows: ?};

-- name: set_collation
SET NAMES {rows: ? COLLATE ?};

-- name: set_variables
-- The session variables of the DSN: names, and values as SQL.
SET {rows: ? = ?};

-- name: set_isolation
-- Without gap locks, so that grabbing and settling never block a push.
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;

-- name: set_safety
-- A client that falls silent loses its session, and with it its row locks, within seconds; no
-- statement waits long for a lock; a zone without summer time makes every hour occur once.
SET {rows: wait_timeout = ?, net_read_timeout = ?, net_write_timeout = ?,
    innodb_lock_wait_timeout = ?, lock_wait_timeout = ?},
    time_zone = '+00:00', autocommit = 1;

-- name: server_limits
SELECT @@max_allowed_packet, @@auto_increment_increment;

-- name: begin
START TRANSACTION;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: now
SELECT FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000);
