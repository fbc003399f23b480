//! What the driver's errors mean to a caller, and how they are told to people.

use std::fmt;
use std::io::ErrorKind;

use mysql::{DriverError, Error, MySqlError};

use crate::store::StoreError;

/// The server's numbers for its errors.
pub mod code {
    /// Too many sessions altogether.
    pub const TOO_MANY_CONNECTIONS: u16 = 1040;
    /// No database is selected: it was dropped.
    pub const NO_DATABASE: u16 = 1046;
    /// A cluster's node that takes no statements.
    pub const NODE_NOT_READY: u16 = 1047;
    /// There is no such database.
    pub const UNKNOWN_DATABASE: u16 = 1049;
    /// The server is shutting down.
    pub const SERVER_SHUTDOWN: u16 = 1053;
    /// The disk, or a table, is full.
    pub const DISK_FULL: u16 = 1021;
    /// A table is full, which may mean the disk.
    pub const TABLE_FULL: u16 = 1114;
    /// A right is missing.
    pub const TABLE_ACCESS_DENIED: u16 = 1142;
    /// There is no such table.
    pub const NO_SUCH_TABLE: u16 = 1146;
    /// A packet over `max_allowed_packet`; the server ends the session.
    pub const PACKET_TOO_LARGE: u16 = 1153;
    /// Too many sessions of one user.
    pub const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
    /// A lock was not granted in time.
    pub const LOCK_WAIT_TIMEOUT: u16 = 1205;
    /// Two transactions waited for each other, and this one was undone.
    pub const DEADLOCK: u16 = 1213;
    /// The session's prepared statement is not known.
    pub const UNKNOWN_STATEMENT: u16 = 1243;
    /// A value out of its column's range.
    pub const OUT_OF_RANGE: u16 = 1264;
    /// The server only reads.
    pub const READ_ONLY_SERVER: u16 = 1290;
    /// The statement was killed.
    pub const INTERRUPTED: u16 = 1317;
    /// A value that its column cannot hold.
    pub const INCORRECT_VALUE: u16 = 1366;
    /// A value longer than its column.
    pub const DATA_TOO_LONG: u16 = 1406;
    /// A prepared statement that the server could not renew after its tables had changed.
    pub const NEED_REPREPARE: u16 = 1615;
    /// More prepared statements than the server allows.
    pub const TOO_MANY_STATEMENTS: u16 = 1461;
    /// The transaction only reads.
    pub const READ_ONLY_TRANSACTION: u16 = 1792;
    /// The server only reads.
    pub const READ_ONLY_MODE: u16 = 1836;
    /// The session was killed (MariaDB).
    pub const CONNECTION_KILLED: u16 = 1927;
    /// The session was killed (MySQL).
    pub const SESSION_KILLED: u16 = 3169;
    /// The session was idle for too long (MySQL).
    pub const IDLE_TOO_LONG: u16 = 4031;
}

/// Why a call on the database failed.
#[derive(Debug)]
pub enum Fault {
    /// The server is not there for us at the moment, and what became of the statement is not
    /// known. The text is for people.
    Unavailable(String),
    /// The server refused the statement, and nothing of the transaction was kept.
    Refused(MySqlError),
}

impl Fault {
    /// The number of the server's error, if that is what it is.
    pub fn code(&self) -> Option<u16> {
        match self {
            Fault::Unavailable(_) => None,
            Fault::Refused(error) => Some(error.code),
        }
    }

    /// Whether something was in the way, mostly another transaction, so that trying again may
    /// help at once.
    pub fn is_contention(&self) -> bool {
        matches!(self.code(), Some(code::DEADLOCK | code::LOCK_WAIT_TIMEOUT | code::NEED_REPREPARE))
    }

    /// Whether it was a lock that was waited for in vain.
    pub fn is_locked(&self) -> bool {
        self.code() == Some(code::LOCK_WAIT_TIMEOUT)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> StoreError {
        match fault {
            Fault::Unavailable(text) => StoreError::Unavailable(text),
            Fault::Refused(error) => refusal(&error),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unavailable(text) => f.write_str(text),
            Fault::Refused(error) => write!(f, "{}", refusal(error)),
        }
    }
}

/// What the server's refusal means. Only what lies in the row itself is final.
fn refusal(error: &MySqlError) -> StoreError {
    match error.code {
        code::DEADLOCK | code::LOCK_WAIT_TIMEOUT | code::NEED_REPREPARE => StoreError::Unavailable(
            "the database was busy: other transactions held what this one needed".to_owned(),
        ),
        code::NO_SUCH_TABLE => StoreError::NotFound("the queue has no tables".to_owned()),
        code::DATA_TOO_LONG | code::OUT_OF_RANGE | code::INCORRECT_VALUE => {
            StoreError::Rejected(server_says(error))
        }
        _ => StoreError::Unavailable(server_says(error)),
    }
}

/// Whether a session that got this answer must not be used again. After any error that is not the
/// server's answer it must not either: a connection whose read timed out answers one reply late
/// for ever.
pub fn ends_session(error: &MySqlError) -> bool {
    matches!(
        error.code,
        code::NO_DATABASE
            | code::NODE_NOT_READY
            | code::UNKNOWN_DATABASE
            | code::SERVER_SHUTDOWN
            | code::PACKET_TOO_LARGE
            | code::UNKNOWN_STATEMENT
            | code::READ_ONLY_SERVER
            | code::INTERRUPTED
            | code::TOO_MANY_STATEMENTS
            | code::READ_ONLY_TRANSACTION
            | code::READ_ONLY_MODE
            | code::CONNECTION_KILLED
            | code::SESSION_KILLED
            | code::IDLE_TOO_LONG
    )
}

/// Whether the server kept silent, which it may do to every other session too.
pub fn is_silence(error: &Error) -> bool {
    match error {
        Error::IoError(error) => {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        }
        Error::DriverError(error) => *error == DriverError::ConnectTimeout,
        _ => false,
    }
}

/// Whether the server is there, but has no room for one more session.
pub fn is_crowded(error: &Error) -> bool {
    matches!(
        error,
        Error::MySqlError(MySqlError {
            code: code::TOO_MANY_CONNECTIONS | code::TOO_MANY_USER_CONNECTIONS,
            ..
        })
    )
}

/// The error of a session that ran out of time before it sent its next statement.
pub fn out_of_time() -> Error {
    Error::DriverError(DriverError::Timeout)
}

/// The error of an answer that is none to the question.
pub fn out_of_step() -> Error {
    Error::DriverError(DriverError::UnexpectedPacket)
}

/// An error in words for an operator: no SQL, no password.
pub fn in_words(error: &Error) -> String {
    match error {
        _ if is_silence(error) => "the database server does not answer in time".to_owned(),
        Error::DriverError(DriverError::Timeout) => "the database is too slow".to_owned(),
        Error::DriverError(DriverError::CouldNotConnect(Some((_, description, _)))) => {
            format!("cannot connect to the database server: {description}")
        }
        Error::IoError(error) => {
            format!("the connection to the database server was lost: {error}")
        }
        Error::MySqlError(error) => server_says(error),
        Error::TlsError(error) => format!("no TLS with the database server: {error}"),
        Error::DriverError(error) => {
            format!("the connection to the database server failed: {error}")
        }
        Error::CodecError(error) => {
            format!("the connection to the database server failed: {error}")
        }
        Error::FromRowError(_) | Error::FromValueError(_) => {
            "the database holds a value that is not of its column's type".to_owned()
        }
        Error::UrlError(error) => format!("the address of the database is wrong: {error}"),
    }
}

fn server_says(error: &MySqlError) -> String {
    format!("the database server says: {} (error {})", error.message, error.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(code: u16) -> MySqlError {
        MySqlError { state: "HY000".into(), message: "no".into(), code }
    }

    #[test]
    fn only_what_lies_in_the_row_is_final() {
        for (code, expected) in [
            (code::DEADLOCK, "Unavailable"),
            (code::LOCK_WAIT_TIMEOUT, "Unavailable"),
            (code::DISK_FULL, "Unavailable"),
            (code::TABLE_FULL, "Unavailable"),
            (1142, "Unavailable"),
            (code::NO_SUCH_TABLE, "NotFound"),
            (code::DATA_TOO_LONG, "Rejected"),
        ] {
            let error = StoreError::from(Fault::Refused(server_error(code)));
            assert!(format!("{error:?}").starts_with(expected), "{code}: {error:?}");
        }
    }

    #[test]
    fn a_session_outlives_an_answer_about_its_statement() {
        assert!(ends_session(&server_error(code::CONNECTION_KILLED)));
        assert!(ends_session(&server_error(code::SERVER_SHUTDOWN)));
        assert!(!ends_session(&server_error(code::DEADLOCK)));
        assert!(!ends_session(&server_error(code::NO_SUCH_TABLE)));
    }

    #[test]
    fn silence_is_told_from_slowness_of_our_own() {
        assert!(is_silence(&Error::IoError(ErrorKind::WouldBlock.into())));
        assert!(is_silence(&Error::DriverError(DriverError::ConnectTimeout)));
        assert!(!is_silence(&out_of_time()));
        assert!(!is_silence(&Error::IoError(ErrorKind::BrokenPipe.into())));
    }
}
