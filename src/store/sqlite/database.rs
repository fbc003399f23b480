//! Connections to the file, and what is in it when they are made: its schema and its version.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::Fault;
use super::statements::SQL;
use crate::store::StoreError;

/// What marks a database as this project's: `FWRQ`.
const APPLICATION_ID: i32 = 0x4657_5251;
/// What leads from one version of the schema to the next. Version 1 is what the first one makes.
const STEPS: &[Step] = &[create_definitions];
/// How long to wait for another program, such as one that makes a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Statements kept prepared: those of some dozens of queues.
const STATEMENTS_KEPT: usize = 128;
/// What the log's file is cut down to when it is begun anew, in bytes.
const LOG_SIZE_KEPT: i64 = 32 << 20;
/// Memory for pages, in KiB: of the writer, and of each reader.
const WRITER_CACHE_KIB: i64 = 4096;
const READER_CACHE_KIB: i64 = 512;

type Step = fn(&Connection) -> rusqlite::Result<()>;

/// The one connection that writes. Brings the schema up to date.
///
/// # Errors
/// The file cannot be used; see [`Fault::is_final`].
pub(super) fn open_writer(path: &Path) -> Result<Connection, Fault> {
    let mut connection = open(path, WRITER_CACHE_KIB)?;
    let version = check_version(&connection, STEPS.len())?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
        let mode: String = row.get(0)?;
        debug_assert_eq!(mode, "wal");
        Ok(())
    })?;
    migrate(&mut connection, version, STEPS)?;
    Ok(connection)
}

/// Looks through the whole database for damage. Takes seconds for a large one.
///
/// # Errors
/// There is some, or the file cannot be read.
pub(super) fn check(connection: &Connection) -> Result<(), Fault> {
    let found: String = connection.query_row(&SQL.look_for_damage.text(), (), |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    let text = format!("the database is damaged: {}", found.replace('\n', " "));
    Err(StoreError::Unavailable(text).into())
}

/// A connection that only reads.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// A connection that copies the log into the database and does nothing else.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn open_checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    open(path, READER_CACHE_KIB)
}

fn open(path: &Path, cache_kib: i64) -> rusqlite::Result<Connection> {
    // Not created here, so that a file that has gone is not replaced by an empty one.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A commit has returned when it is on the disk.
    connection.pragma_update(None, "synchronous", "full")?;
    // See `checkpoint`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_SIZE_KEPT)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// The schema's version in the file: 0 for an empty file, at most `newest`.
fn check_version(connection: &Connection, newest: usize) -> Result<usize, Fault> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row(&SQL.count_tables.text(), (), |row| row.get(0))?;
    let refuse = |text: String| Err(Fault::Refused(StoreError::Unavailable(text)));
    if application == 0 && version == 0 && tables == 0 {
        return Ok(0);
    }
    if application != i64::from(APPLICATION_ID) {
        return refuse("the file is the database of another program".to_owned());
    }
    match usize::try_from(version) {
        Ok(version) if (1..=newest).contains(&version) => Ok(version),
        _ => refuse(format!(
            "the database was written by a newer release: its schema has version {version}, and \
             this release knows those up to {newest}"
        )),
    }
}

/// Brings a schema from `version` up to date, all of it or nothing.
fn migrate(connection: &mut Connection, version: usize, steps: &[Step]) -> rusqlite::Result<()> {
    let Some(missing) = steps.get(version..).filter(|missing| !missing.is_empty()) else {
        return Ok(());
    };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in missing {
        step(&transaction)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", steps.len() as i64)?;
    transaction.commit()?;
    if version > 0 {
        log::info!("the database's schema was brought from version {version} to {}", steps.len());
    }
    Ok(())
}

fn create_definitions(connection: &Connection) -> rusqlite::Result<()> {
    for statement in
        [&SQL.create_queue, &SQL.create_routing, &SQL.create_revision, &SQL.begin_revision]
    {
        connection.execute(&statement.text(), ())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn new_file() -> (TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.db");
        std::fs::write(&path, "").unwrap();
        (directory, path)
    }

    fn refusal(path: &Path) -> String {
        let fault = open_writer(path).expect_err("the file was taken");
        assert!(fault.is_final(), "{fault:?}");
        StoreError::from(fault).to_string()
    }

    #[test]
    fn a_new_file_gets_the_schema_and_keeps_it() {
        let (_directory, path) = new_file();
        for _ in 0..2 {
            let connection = open_writer(&path).unwrap();
            assert_eq!(check_version(&connection, STEPS.len()).unwrap(), STEPS.len());
            let settings = ["journal_mode", "synchronous", "wal_autocheckpoint"].map(|name| {
                let value = connection
                    .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
                format!("{:?}", value.unwrap())
            });
            assert_eq!(settings, [r#"Text("wal")"#, "Integer(2)", "Integer(0)"]);
        }
    }

    #[test]
    fn files_of_others_and_of_newer_releases_are_refused() {
        let (_directory, path) = new_file();
        drop(open_writer(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 7).unwrap();
        let text = refusal(&path);
        assert!(text.contains("version 7") && text.contains("up to 1"), "{text}");
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection.pragma_update(None, "application_id", 5).unwrap();
        assert!(refusal(&path).contains("another program"));

        let (_directory, path) = new_file();
        Connection::open(&path).unwrap().execute("CREATE TABLE t (n)", ()).unwrap();
        assert!(refusal(&path).contains("another program"));

        let (_directory, path) = new_file();
        std::fs::write(&path, [b'x'; 5000]).unwrap();
        assert!(refusal(&path).contains("no SQLite database"));
    }

    #[test]
    fn an_older_schema_is_brought_up_to_date_as_a_whole() {
        let (_directory, path) = new_file();
        drop(open_writer(&path).unwrap());
        let mut connection = Connection::open(&path).unwrap();
        let first: Step = |connection| {
            connection
                .execute("ALTER TABLE queue ADD COLUMN paused INTEGER NOT NULL DEFAULT 0", ())?;
            Ok(())
        };
        let broken: Step = |connection| connection.execute("CREATE nothing", ()).map(drop);
        let steps = [create_definitions, first, broken];
        migrate(&mut connection, 1, &steps).unwrap_err();
        assert_eq!(check_version(&connection, 3).unwrap(), 1);
        assert!(connection.prepare("SELECT paused FROM queue").is_err());

        migrate(&mut connection, 1, &steps[..2]).unwrap();
        assert_eq!(check_version(&connection, 2).unwrap(), 2);
        connection.prepare("SELECT paused FROM queue").unwrap();
        migrate(&mut connection, 2, &steps[..2]).unwrap();
        drop(connection);
        // To the release before, it is a newer one's.
        assert!(refusal(&path).contains("version 2"));
    }
}
