//! What SQLite's errors mean to a caller, and how they are told to people.

use rusqlite::{Error, ErrorCode};

use crate::store::StoreError;

/// Why a piece of work on the database was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite says so.
    Sqlite(Error),
    /// The work itself does: what was asked for cannot be.
    Refused(StoreError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Refused(error)
    }
}

impl Fault {
    /// The error for the caller.
    pub(super) fn told(&self) -> StoreError {
        match self {
            Fault::Refused(error) => error.clone(),
            Fault::Sqlite(error) => in_words(error),
        }
    }

    /// Whether it lies in the machine or the file rather than in what was asked for.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, Fault::Sqlite(_)) && !matches!(self.told(), StoreError::Rejected(_))
    }

    /// Whether the file must be opened anew before anything can be expected of it.
    pub(super) fn ends_connection(&self) -> bool {
        let Fault::Sqlite(error) = self else { return false };
        match error.sqlite_error_code() {
            // A transaction that ran out of space was undone; the connection is as before.
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => false,
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => false,
            _ => true,
        }
    }

    /// Whether what is in the file makes no sense.
    pub(super) fn is_damage(&self) -> bool {
        let Fault::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }

    /// Whether a group that met it may do better piece by piece.
    pub(super) fn is_worth_splitting(&self) -> bool {
        let is_full = matches!(
            self,
            Fault::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        );
        is_full || !self.is_outage()
    }

    /// Whether no repetition helps: the file is none of ours, damaged, or may not be written.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Fault::Refused(_) => true,
            Fault::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::NotADatabase
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::ReadOnly
                        | ErrorCode::PermissionDenied
                        | ErrorCode::CannotOpen
                )
            ),
        }
    }
}

/// Whether a statement could not be prepared because a queue's tables are not there.
pub(super) fn is_missing_table(error: &Error) -> bool {
    // SQLite has no code of its own for this.
    error.to_string().starts_with("no such table")
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> StoreError {
        fault.told()
    }
}

/// An error in words for an operator: no SQL.
fn in_words(error: &Error) -> StoreError {
    let says = match error {
        Error::SqliteFailure(code, text) => {
            let text = text.clone().unwrap_or_else(|| code.to_string());
            format!("{text} (SQLite error {})", code.extended_code)
        }
        // These carry the statement, which is nobody's business.
        Error::SqlInputError { msg, .. } => msg.clone(),
        error => error.to_string(),
    };
    let unavailable = |what: &str| StoreError::Unavailable(format!("{what}: {says}"));
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            StoreError::Full("the disk that holds the database is full".to_owned())
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            unavailable("the database cannot be written")
        }
        Some(ErrorCode::DatabaseCorrupt) => unavailable("the database is damaged"),
        Some(ErrorCode::NotADatabase) => unavailable("the file is no SQLite database"),
        Some(ErrorCode::CannotOpen) => unavailable("the database cannot be opened"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            unavailable("another program writes to the database")
        }
        Some(ErrorCode::SystemIoFailure) => unavailable("the disk with the database does not work"),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => {
            StoreError::Rejected(format!("the database refuses the row: {says}"))
        }
        _ => unavailable("the database failed"),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failure(code: i32) -> Fault {
        Fault::Sqlite(Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn errors_are_split_by_what_can_be_done_about_them() {
        for (code, expected, is_outage, ends_connection, is_final) in [
            (ffi::SQLITE_FULL, "Full", true, false, false),
            (ffi::SQLITE_BUSY, "Unavailable", true, false, false),
            (ffi::SQLITE_IOERR_FSYNC, "Unavailable", true, true, false),
            (ffi::SQLITE_IOERR_SHMSIZE, "Unavailable", true, true, false),
            (ffi::SQLITE_READONLY, "Unavailable", true, true, true),
            (ffi::SQLITE_CORRUPT_INDEX, "Unavailable", true, true, true),
            (ffi::SQLITE_NOTADB, "Unavailable", true, true, true),
            (ffi::SQLITE_CONSTRAINT_NOTNULL, "Rejected", false, false, false),
            (ffi::SQLITE_TOOBIG, "Rejected", false, false, false),
        ] {
            let fault = failure(code);
            assert_eq!(fault.is_outage(), is_outage, "{code}");
            assert_eq!(fault.ends_connection(), ends_connection, "{code}");
            assert_eq!(fault.is_final(), is_final, "{code}");
            let error = StoreError::from(fault);
            assert!(format!("{error:?}").starts_with(expected), "{code}: {error:?}");
        }
    }
}
