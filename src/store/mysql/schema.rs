//! The two tables of a queue: their statements, and their creation where they are missing.
//!
//! They are looked for before they are created, so that a user without the right to create tables
//! can run a queue whose tables are there.

use super::fault::{Fault, code};
use super::pool::Pool;
use crate::store::sql::{Statement, Tables, statements};

statements! {
    /// The jobs of one queue and its failure log.
    JOBS: JobStatements = "jobs.sql" {
        create_jobs, create_failures, have_jobs, have_failures, push, push_grabbed, complete,
        complete_some, lock, retry, log_failure, remove,
    }
}

/// Creates the tables of the queue called `name` where they are missing.
///
/// # Errors
/// See [`Fault`].
pub fn ensure_queue_tables(pool: &Pool, name: &str) -> Result<(), Fault> {
    let tables = Tables::of(name);
    ensure(pool, &JOBS.have_jobs, &JOBS.create_jobs, &tables)?;
    ensure(pool, &JOBS.have_failures, &JOBS.create_failures, &tables)
}

/// Creates the failure log of a queue whose jobs have their table; answers whether they have.
///
/// # Errors
/// See [`Fault`].
pub fn ensure_failures(pool: &Pool, tables: &Tables) -> Result<bool, Fault> {
    if !exists(pool, &JOBS.have_jobs, tables)? {
        return Ok(false);
    }
    ensure(pool, &JOBS.have_failures, &JOBS.create_failures, tables)?;
    Ok(true)
}

fn ensure(pool: &Pool, have: &Statement, create: &Statement, tables: &Tables) -> Result<(), Fault> {
    if !exists(pool, have, tables)? {
        pool.with_repeats(|session| session.run(create.on(tables)))?;
    }
    Ok(())
}

fn exists(pool: &Pool, have: &Statement, tables: &Tables) -> Result<bool, Fault> {
    match pool.with_repeats(|session| session.run(have.on(tables))) {
        Ok(_) => Ok(true),
        Err(fault) if fault.code() == Some(code::NO_SUCH_TABLE) => Ok(false),
        Err(fault) => Err(fault),
    }
}
