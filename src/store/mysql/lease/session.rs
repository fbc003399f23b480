//! The two sessions that deal with locks, and what they say to the server.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{Conn, Error, Row, Value};

use super::LEASE;
use super::hang_up::HangUp;
use super::name::{Naming, fence_lock};
use super::standing::{Fence, Standing, boot_time};
use super::terms::Terms;
use crate::store::Holder;
use crate::store::mysql::connector::Connector;
use crate::store::sql::{Statement, Tables};

/// How many locks one statement names, which keeps it below 8 KiB.
const LOCKS_A_STATEMENT: usize = 100;
/// How long the waiter waits inside the server, in seconds.
const WAIT_S: u64 = 1;
/// How long an answer of the server may take beyond that.
const WAITER_PATIENCE: Duration = Duration::from_millis(1500);
/// `wait_timeout` of the waiter, in seconds: a silent one that was granted a lock keeps it for as
/// long.
const WAITER_IDLE_S: u64 = 2;

/// An error of a session that has lost its locks without the server saying so.
pub(super) fn lost(what: &str) -> Error {
    Error::IoError(io::Error::other(what))
}

/// The session that keeps locks. Dropping it ends the leases on them, then frees them.
pub(super) struct HoldSession {
    // `Wired` is dropped after `Drop` below has ended what stands on it.
    wired: Wired,
    terms: Terms,
    standing: Arc<Standing>,
    fence: String,
    database: String,
    /// Locks that the server will not have, so that the log says so once.
    refused: HashSet<String>,
}

impl HoldSession {
    /// Opens it and takes its fence lock.
    pub(super) fn open(
        connector: &Connector,
        terms: Terms,
        hang_up: &Arc<HangUp>,
    ) -> Result<HoldSession, Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| lost(&error.to_string()))?;
        let fence = fence_lock(random);
        let conn = connector.connect_to_wait(terms.answer_within)?;
        let mut wired = Wired::new(conn, hang_up);
        let sent_at = boot_time();
        wired.set_wait_timeout(terms.wait_timeout_s)?;
        let standing = Arc::new(Standing::since(sent_at, terms.valid_for));
        let database = ask_text(&mut wired.conn, &LEASE.database.text())?;
        let mut session =
            HoldSession { wired, terms, standing, fence, database, refused: HashSet::new() };
        let fence = session.fence.clone();
        if session.ask(&LEASE.take_locks, &[&fence])? != [Some(1)] {
            return Err(lost("the server does not grant a lock that nobody else knows"));
        }
        Ok(session)
    }

    /// The server's name for the database that it works in.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// To be watched: readable while nothing was asked, it has ended.
    pub(super) fn socket(&self) -> RawFd {
        self.wired.conn.as_raw_fd()
    }

    /// What statements on rows are to be guarded by while this session holds `queue_lock`.
    pub(super) fn fence_of(&self, queue_lock: &str) -> Fence {
        Fence {
            queue_lock: queue_lock.to_owned(),
            fence_lock: self.fence.clone(),
            standing: Arc::clone(&self.standing),
        }
    }

    /// Ends all leases of this session, before its locks are freed.
    pub(super) fn end(&self) {
        self.standing.end();
    }

    /// Tells the server that this node lives, and makes sure that it is still this session that
    /// the server has in mind: a proxy between may have exchanged it.
    pub(super) fn beat(&mut self) -> Result<(), Error> {
        let fence = self.fence.clone();
        if self.ask(&LEASE.own_locks, &[&fence])? != [Some(1)] {
            return Err(lost("the session no longer has its locks"));
        }
        Ok(())
    }

    /// Takes those of the locks that are free; answers for each whether this session holds it.
    pub(super) fn take(&mut self, locks: &[&str]) -> Result<Vec<bool>, Error> {
        let mut taken = Vec::with_capacity(locks.len());
        for chunk in locks.chunks(LOCKS_A_STATEMENT) {
            match self.ask(&LEASE.take_locks, chunk) {
                Ok(answers) => taken.extend(answers.iter().map(|answer| *answer == Some(1))),
                Err(Error::MySqlError(_)) => {
                    for lock in chunk {
                        taken.push(self.take_one(lock)?);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Takes a lock after a statement that named it was refused, perhaps halfway: the server saw
    /// a deadlock with another node's look, or will not have the name of one of the locks.
    fn take_one(&mut self, lock: &str) -> Result<bool, Error> {
        match self.ask(&LEASE.own_locks, &[lock]) {
            Ok(answers) if answers == [Some(1)] => return Ok(true),
            Ok(_) | Err(Error::MySqlError(_)) => {}
            Err(error) => return Err(error),
        }
        match self.ask(&LEASE.take_locks, &[lock]) {
            Ok(answers) => Ok(answers == [Some(1)]),
            Err(Error::MySqlError(error)) => {
                if self.refused.insert(lock.to_owned()) {
                    log::warn!("The server refuses the lock {lock}: {error}");
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Releases locks, whose leases have ended.
    pub(super) fn release(&mut self, locks: &[String]) -> Result<(), Error> {
        let locks: Vec<&str> = locks.iter().map(String::as_str).collect();
        for chunk in locks.chunks(LOCKS_A_STATEMENT) {
            self.ask(&LEASE.release_locks, chunk)?;
        }
        Ok(())
    }

    /// Every answer counts as a sign of life, from when it was asked for.
    fn ask(&mut self, statement: &Statement, locks: &[&str]) -> Result<Vec<Option<i64>>, Error> {
        let sent_at = boot_time();
        let answers = ask(&mut self.wired.conn, statement, locks)?;
        self.standing.renew(sent_at, self.terms.valid_for);
        if self.standing.stands() {
            Ok(answers)
        } else {
            Err(lost("the server was silent for too long"))
        }
    }
}

impl Drop for HoldSession {
    fn drop(&mut self) {
        self.standing.end();
    }
}

/// The session that waits. It keeps no lock.
pub(super) struct WaitSession(Wired);

impl WaitSession {
    pub(super) fn open(connector: &Connector, hang_up: &Arc<HangUp>) -> Result<WaitSession, Error> {
        let patience = Duration::from_secs(WAIT_S) + WAITER_PATIENCE;
        let mut wired = Wired::new(connector.connect_to_wait(patience)?, hang_up);
        wired.set_wait_timeout(WAITER_IDLE_S)?;
        Ok(WaitSession(wired))
    }

    /// Waits for a lock and lets it go; answers whether it came free.
    pub(super) fn wait_for(&mut self, lock: &str) -> Result<bool, Error> {
        let conn = &mut self.0.conn;
        let row = [[quoted(conn, lock), WAIT_S.to_string()]];
        let answer = first_row(conn, &LEASE.wait_for_lock.with(&Tables::default(), &row))?;
        if numbers(answer) != [Some(1)] {
            return Ok(false);
        }
        ask(conn, &LEASE.release_locks, &[lock])?;
        Ok(true)
    }
}

/// A connection whose wait can be ended from outside.
struct Wired {
    conn: Conn,
    hang_up: Arc<HangUp>,
}

impl Wired {
    fn new(conn: Conn, hang_up: &Arc<HangUp>) -> Wired {
        hang_up.watch(conn.as_raw_fd());
        Wired { conn, hang_up: Arc::clone(hang_up) }
    }

    fn set_wait_timeout(&mut self, seconds: u64) -> Result<(), Error> {
        self.conn.query_drop(LEASE.set_wait_timeout.with(&Tables::default(), &[[seconds]]))
    }
}

impl Drop for Wired {
    fn drop(&mut self) {
        // Before the connection, which is closed after this.
        self.hang_up.forget();
    }
}

/// Who holds a queue's lock.
pub(super) fn holder(
    conn: &mut Conn,
    naming: Naming,
    queue: &str,
) -> Result<Option<Holder>, Error> {
    let database = ask_text(conn, &LEASE.database.text())?;
    let lock = naming.queue_lock(&database, queue);
    let Some(id) = ask(conn, &LEASE.lock_holder, &[&lock])?.into_iter().next().flatten() else {
        return Ok(None);
    };
    let host = LEASE.session_host.with(&Tables::default(), &[[id]]);
    let host = match ask_text(conn, &host) {
        Ok(host) => host,
        // Not every account may look.
        Err(Error::MySqlError(_)) => String::new(),
        Err(error) => return Err(error),
    };
    Ok(Some(Holder { id: id.to_string(), host: without_port(&host).to_owned() }))
}

/// The host of a process list's `host:port`, where there is a port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
}

/// Says something about each of some locks; answers a number, or NULL, for each.
fn ask(conn: &mut Conn, statement: &Statement, locks: &[&str]) -> Result<Vec<Option<i64>>, Error> {
    let rows: Vec<[String; 1]> = locks.iter().map(|lock| [quoted(conn, lock)]).collect();
    Ok(numbers(first_row(conn, &statement.with(&Tables::default(), &rows))?))
}

/// Asks for a text; empty if there is none.
fn ask_text(conn: &mut Conn, statement: &str) -> Result<String, Error> {
    let value = first_row(conn, statement)?.into_iter().next();
    Ok(value.and_then(|value| mysql::from_value_opt(value).ok()).unwrap_or_default())
}

fn numbers(values: Vec<Value>) -> Vec<Option<i64>> {
    // The server gives nothing but whole numbers and NULL here.
    values.into_iter().map(|value| mysql::from_value_opt(value).ok()).collect()
}

/// The first row of an answer. All of it is read: what is left over would be taken for the
/// answer to the next question.
fn first_row(conn: &mut Conn, statement: &str) -> Result<Vec<Value>, Error> {
    let rows: Vec<Row> = conn.query(statement)?;
    Ok(rows.into_iter().next().map(Row::unwrap).unwrap_or_default())
}

/// A lock's name as an SQL literal.
pub(super) fn quoted(conn: &Conn, name: &str) -> String {
    Value::from(name).as_sql(conn.no_backslash_escape())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_shown_without_their_port() {
        for (shown, host) in [
            ("10.0.0.5:53312", "10.0.0.5"),
            ("localhost", "localhost"),
            ("db-client.example:1", "db-client.example"),
            ("::1:4242", "::1"),
            ("", ""),
        ] {
            assert_eq!(without_port(shown), host);
        }
    }

    #[test]
    fn an_answer_that_is_no_number_is_none() {
        let values = vec![Value::NULL, Value::from("1"), Value::from(0), Value::from("x")];
        assert_eq!(numbers(values), [None, Some(1), Some(0), None]);
    }
}
