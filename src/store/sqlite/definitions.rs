//! Definitions of queues and routings, with the count of their changes.

use rusqlite::{Connection, Row};

use super::SqliteStore;
use super::fault::Fault;
use super::statements::SQL;
use crate::queue_definition::{QueueDefinition, Routing, shares_tables_with};
use crate::store::row::no_such_queue;
use crate::store::sql::{Statement, Tables};
use crate::store::{Definitions, Revision, Snapshot, StoreError};

impl Definitions for SqliteStore {
    fn revision(&self) -> Result<Revision, StoreError> {
        self.shared.gate.read(|connection| Ok(read_revision(connection)?))
    }

    fn definitions(&self) -> Result<Snapshot, StoreError> {
        self.shared.gate.read(|connection| {
            let revision = read_revision(connection)?;
            let queues = rows(connection, &SQL.queues, queue_of)?;
            let routings = rows(connection, &SQL.routings, routing_of)?;
            Ok(Snapshot { revision, queues, routings })
        })
    }

    fn put_queue(&self, queue: &QueueDefinition) -> Result<QueueDefinition, StoreError> {
        let queue = queue.clone();
        self.shared.writer.write(move |connection| {
            store_queue(connection, &queue)?;
            Ok(queue.clone())
        })
    }

    fn delete_queue(&self, name: &str) -> Result<Option<QueueDefinition>, StoreError> {
        let name = name.to_owned();
        self.shared.writer.write(move |connection| {
            delete(connection, &SQL.delete_queue, &SQL.raise_queues_revision, &name, queue_of)
        })
    }

    fn put_routing(&self, routing: &Routing) -> Result<(), StoreError> {
        let Routing { job_category, queue_name } = routing.clone();
        self.shared.writer.write(move |connection| {
            if !connection.prepare_cached(&SQL.have_queue.text())?.exists((&queue_name,))? {
                return Err(no_such_queue(&queue_name).into());
            }
            let mut put = connection.prepare_cached(&SQL.put_routing.text())?;
            if put.execute((&job_category, &queue_name))? > 0 {
                connection.execute(&SQL.raise_routings_revision.text(), ())?;
            }
            Ok(())
        })
    }

    fn delete_routing(&self, category: &str) -> Result<Option<Routing>, StoreError> {
        let category = category.to_owned();
        self.shared.writer.write(move |connection| {
            let raise = &SQL.raise_routings_revision;
            delete(connection, &SQL.delete_routing, raise, &category, routing_of)
        })
    }
}

fn read_revision(connection: &Connection) -> rusqlite::Result<Revision> {
    connection.prepare_cached(&SQL.revision.text())?.query_row((), |row| {
        Ok(Revision {
            queues: row.get::<_, i64>(0)?.cast_unsigned(),
            routings: row.get::<_, i64>(1)?.cast_unsigned(),
        })
    })
}

fn rows<T>(
    connection: &Connection,
    statement: &Statement,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(&statement.text())?.query_map((), read)?.collect()
}

/// Deletes a definition and answers what it was.
fn delete<T>(
    connection: &Connection,
    statement: &Statement,
    raise: &Statement,
    key: &str,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Fault> {
    let deleted: Option<T> = connection
        .prepare_cached(&statement.text())?
        .query_map((key,), read)?
        .collect::<rusqlite::Result<Vec<T>>>()?
        .pop();
    if deleted.is_some() {
        connection.execute(&raise.text(), ())?;
    }
    Ok(deleted)
}

/// Stores a definition, unless it is stored already, and creates the tables of a new queue.
fn store_queue(connection: &Connection, queue: &QueueDefinition) -> Result<(), Fault> {
    let defined = rows(connection, &SQL.queues, queue_of)?;
    let same = defined.iter().find(|defined| defined.name == queue.name);
    if same == Some(queue) {
        return Ok(());
    }
    let names = defined.iter().map(|defined| defined.name.as_str());
    if same.is_none()
        && let Some(other) = shares_tables_with(&queue.name, names)
    {
        let text = format!("queue {:?} would share its tables with queue {other:?}", queue.name);
        return Err(StoreError::Conflict(text).into());
    }
    create_tables(connection, &queue.name)?;
    connection.execute(
        &SQL.put_queue.text(),
        (
            &queue.name,
            queue.polling_interval_ms,
            queue.max_workers,
            queue.max_dispatches_per_second,
            queue.max_burst_size,
        ),
    )?;
    connection.execute(&SQL.raise_queues_revision.text(), ())?;
    Ok(())
}

/// Creates the tables of a queue where they are missing.
pub(super) fn create_tables(connection: &Connection, queue: &str) -> rusqlite::Result<()> {
    let tables = Tables::of(queue);
    for statement in
        [&SQL.create_jobs, &SQL.create_jobs_key, &SQL.create_failures, &SQL.create_failures_key]
    {
        connection.execute(&statement.on(&tables), ())?;
    }
    Ok(())
}

fn queue_of(row: &Row<'_>) -> rusqlite::Result<QueueDefinition> {
    Ok(QueueDefinition {
        name: row.get(0)?,
        polling_interval_ms: row.get(1)?,
        max_workers: row.get(2)?,
        max_dispatches_per_second: row.get(3)?,
        max_burst_size: row.get(4)?,
    })
}

fn routing_of(row: &Row<'_>) -> rusqlite::Result<Routing> {
    Ok(Routing { job_category: row.get(0)?, queue_name: row.get(1)? })
}
