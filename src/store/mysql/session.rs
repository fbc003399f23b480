//! One session of the pool: a connection, what its server allows, and until when it may be used.
//!
//! A statement is not begun once the call has used up its time; with the time-out of the
//! statement itself this bounds every call. A transaction that fails is rolled back before the
//! session goes back; on a connection that broke, the server does that.

use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::time::Instant;

use mysql::prelude::{FromRow, Queryable};
use mysql::{Conn, Error, Params};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use super::clock::Sample;
use super::connector::{Connector, SESSION};
use super::fault;

/// What the server allows if it does not say, in bytes: the default of MySQL 5.7.
const DEFAULT_MAX_PACKET: usize = 4 << 20;

/// A session of the pool. Dereferences to its connection.
pub struct Session {
    conn: Conn,
    max_packet: usize,
    id_step: u64,
    clock: Option<Sample>,
    /// No statement is begun after this.
    last_start: Instant,
    broken: bool,
}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub(super) fn open(connector: &Connector) -> Result<Session, Error> {
        let mut conn = connector.connect()?;
        let limits: Option<(Option<usize>, Option<u64>)> =
            conn.query_first_opt(SESSION.server_limits.text())?.transpose()?;
        let (max_packet, id_step) = limits.unwrap_or_default();
        let max_packet = max_packet.unwrap_or(DEFAULT_MAX_PACKET);
        Ok(Session {
            conn,
            max_packet: connector.max_packet_sent().map_or(max_packet, |own| own.min(max_packet)),
            id_step: id_step.unwrap_or(1).max(1),
            clock: None,
            last_start: Instant::now(),
            broken: false,
        })
    }

    /// The largest packet that may be sent, in bytes.
    pub fn max_packet(&self) -> usize {
        self.max_packet
    }

    /// How far apart the ids are that one statement gives.
    pub fn id_step(&self) -> u64 {
        self.id_step
    }

    /// The server's time in milliseconds since 1970, or a little less; see the module `clock`.
    ///
    /// # Errors
    /// Those of asking the server, which happens once a second.
    pub fn now_ms(&mut self) -> Result<u64, Error> {
        match self.clock.and_then(|sample| sample.now_ms()) {
            Some(now_ms) => Ok(now_ms),
            None => Ok(self.server_ms()?.saturating_sub(1)),
        }
    }

    /// The server's time in milliseconds since 1970, by its own word.
    ///
    /// # Errors
    /// The driver's.
    pub fn server_ms(&mut self) -> Result<u64, Error> {
        let row: Option<(u64,)> = self.query_rows(SESSION.now.text())?.into_iter().next();
        let (server_ms,) = row.ok_or_else(fault::out_of_step)?;
        self.clock = Some(Sample::of(server_ms));
        Ok(server_ms)
    }

    /// Runs a prepared statement and answers how many rows it changed. Its text should be one
    /// of few: the session keeps it prepared.
    ///
    /// # Errors
    /// The driver's.
    pub fn execute(&mut self, sql: &str, values: impl Into<Params>) -> Result<u64, Error> {
        self.check_time()?;
        self.conn.exec_drop(sql, values)?;
        Ok(self.conn.affected_rows())
    }

    /// Runs a statement that holds its values and answers how many rows it changed.
    ///
    /// # Errors
    /// The driver's.
    pub fn run(&mut self, sql: impl AsRef<str>) -> Result<u64, Error> {
        self.check_time()?;
        self.conn.query_drop(sql)?;
        Ok(self.conn.affected_rows())
    }

    /// The rows that a prepared statement finds.
    ///
    /// # Errors
    /// The driver's; a value that `T` cannot hold is one.
    pub fn rows<T: FromRow>(
        &mut self,
        sql: &str,
        values: impl Into<Params>,
    ) -> Result<Vec<T>, Error> {
        self.check_time()?;
        let rows = self.conn.exec_opt(sql, values)?;
        Ok(rows.into_iter().collect::<Result<Vec<T>, _>>()?)
    }

    /// The first row that a prepared statement finds.
    ///
    /// # Errors
    /// As [`rows`](Session::rows).
    pub fn row<T: FromRow>(
        &mut self,
        sql: &str,
        values: impl Into<Params>,
    ) -> Result<Option<T>, Error> {
        Ok(self.rows(sql, values)?.into_iter().next())
    }

    /// The rows that a statement finds which holds its values.
    ///
    /// # Errors
    /// As [`rows`](Session::rows).
    pub fn query_rows<T: FromRow>(&mut self, sql: impl AsRef<str>) -> Result<Vec<T>, Error> {
        self.check_time()?;
        let rows = self.conn.query_opt(sql)?;
        Ok(rows.into_iter().collect::<Result<Vec<T>, _>>()?)
    }

    /// Runs `work` in a transaction, which is kept if it succeeds and undone if it fails.
    ///
    /// # Errors
    /// Those of `work`, and the driver's.
    pub fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.transact(work, |_| true)
    }

    /// As [`transaction`](Session::transaction); it is undone as well if `work` answers `None`.
    ///
    /// # Errors
    /// Those of `work`, and the driver's.
    pub fn transaction_if<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        self.transact(work, Option::is_some)
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, Error>,
        is_kept: impl FnOnce(&T) -> bool,
    ) -> Result<T, Error> {
        self.run(SESSION.begin.text())?;
        let answer = work(self);
        let ending = match &answer {
            Ok(answer) if is_kept(answer) => &SESSION.commit,
            Ok(_) => &SESSION.rollback,
            Err(Error::MySqlError(error)) if !fault::ends_session(error) => &SESSION.rollback,
            // The pool closes the connection, and with it the server undoes the transaction.
            Err(_) => return answer,
        };
        // Whatever the time: once all is done, the end is worth it.
        self.conn.query_drop(ending.text())?;
        answer
    }

    /// Sets until when statements may be begun.
    pub(super) fn use_until(&mut self, last_start: Instant) {
        self.last_start = last_start;
    }

    /// Whether an idle session can still be used. The server has nothing to say to it but that
    /// it ends it, so what can be read means just that.
    pub(super) fn is_alive(&self) -> bool {
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.conn.as_raw_fd(), &mut byte, flags) == Err(Errno::EAGAIN)
    }

    /// Marks the connection as not worth a goodbye.
    pub(super) fn mark_broken(&mut self) {
        self.broken = true;
    }

    fn check_time(&self) -> Result<(), Error> {
        if Instant::now() > self.last_start { Err(fault::out_of_time()) } else { Ok(()) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.broken {
            // The driver says goodbye to each prepared statement, and would wait each time for a
            // server that takes nothing more; on a socket that is shut down that fails at once.
            let _ = shutdown(self.conn.as_raw_fd(), Shutdown::Both);
        }
    }
}

impl Deref for Session {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}
