//! Definitions of queues and routings in the database of the *repository* DSN.
//!
//! Each change locks the counter of its kind first, so that changes happen one after the other:
//! what was compared is still so when it is changed, and a counter never misses a change.

use mysql::Error;

use super::MySqlStore;
use super::fault::code;
use super::schema;
use super::session::Session;
use crate::queue_definition::{QueueDefinition, Routing, shares_tables_with};
use crate::store::sql::statements;
use crate::store::{Definitions, Revision, Snapshot, StoreError};

statements! {
    /// Definitions of queues and routings.
    DEFINITIONS: DefinitionStatements = "definitions.sql" {
        create_queue, create_queue_throttle, create_routing, create_config_revision,
        revisions, lock_revision, raise_revision,
        queue_names, queues, queue, put_queue, put_queue_throttle, delete_queue,
        delete_queue_throttle, routings, routing, put_routing, delete_routing,
    }
}

/// The row that counts changes of queues.
const QUEUES_REVISION: &str = "queue_definition";
/// The row that counts changes of routings.
const ROUTINGS_REVISION: &str = "routing";

/// A queue's columns; the throttle's are NULL where it has no row.
type QueueRow = (Vec<u8>, u32, u32, Option<f32>, Option<u32>);
type RoutingRow = (Vec<u8>, Vec<u8>);

impl Definitions for MySqlStore {
    fn revision(&self) -> Result<Revision, StoreError> {
        self.with_definitions(read_revision)
    }

    fn definitions(&self) -> Result<Snapshot, StoreError> {
        self.with_definitions(|session| {
            let revision = read_revision(session)?;
            let queues = session.rows(&DEFINITIONS.queues.text(), ())?;
            let routings = session.rows(&DEFINITIONS.routings.text(), ())?;
            Ok(Snapshot {
                revision,
                queues: queues.into_iter().map(queue_of).collect(),
                routings: routings.into_iter().map(routing_of).collect(),
            })
        })
    }

    fn put_queue(&self, queue: &QueueDefinition) -> Result<QueueDefinition, StoreError> {
        // Looked at before as well as within the change, so that a refused queue gets no tables.
        self.with_definitions(|session| find_conflict(session, &queue.name))?
            .map_or(Ok(()), |other| Err(conflict(&queue.name, &other)))?;
        schema::ensure_queue_tables(&self.queues, &queue.name)?;
        self.with_definitions(|session| session.transaction(|session| store_queue(session, queue)))?
            .map_or_else(|| Ok(queue.clone()), |other| Err(conflict(&queue.name, &other)))
    }

    fn delete_queue(&self, name: &str) -> Result<Option<QueueDefinition>, StoreError> {
        self.with_definitions(|session| {
            session.transaction(|session| {
                lock_revision(session, QUEUES_REVISION)?;
                let deleted = read_queue(session, name)?;
                if deleted.is_some() {
                    session.execute(&DEFINITIONS.delete_queue.text(), (name,))?;
                    session.execute(&DEFINITIONS.delete_queue_throttle.text(), (name,))?;
                    raise_revision(session, QUEUES_REVISION)?;
                }
                Ok(deleted)
            })
        })
    }

    fn put_routing(&self, routing: &Routing) -> Result<(), StoreError> {
        let Routing { job_category, queue_name } = routing;
        let is_defined = self.with_definitions(|session| {
            session.transaction(|session| {
                lock_revision(session, ROUTINGS_REVISION)?;
                if read_queue(session, queue_name)?.is_none() {
                    return Ok(false);
                }
                if read_routing(session, job_category)?.as_ref() != Some(routing) {
                    session.execute(
                        &DEFINITIONS.put_routing.text(),
                        (job_category, queue_name, queue_name),
                    )?;
                    raise_revision(session, ROUTINGS_REVISION)?;
                }
                Ok(true)
            })
        })?;
        if is_defined {
            Ok(())
        } else {
            Err(StoreError::NotFound(format!("there is no queue {queue_name:?}")))
        }
    }

    fn delete_routing(&self, category: &str) -> Result<Option<Routing>, StoreError> {
        self.with_definitions(|session| {
            session.transaction(|session| {
                lock_revision(session, ROUTINGS_REVISION)?;
                let deleted = read_routing(session, category)?;
                if deleted.is_some() {
                    session.execute(&DEFINITIONS.delete_routing.text(), (category,))?;
                    raise_revision(session, ROUTINGS_REVISION)?;
                }
                Ok(deleted)
            })
        })
    }
}

impl MySqlStore {
    /// Whether a queue of this name is defined.
    pub(super) fn is_defined(&self, name: &str) -> Result<bool, StoreError> {
        self.with_definitions(|session| Ok(read_queue(session, name)?.is_some()))
    }

    /// Runs `work` on the definitions, whose tables are created where they are missing: at the
    /// first start, and after somebody created the database anew.
    fn with_definitions<T>(
        &self,
        mut work: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        match self.repository.with_repeats(&mut work) {
            Err(fault) if fault.code() == Some(code::NO_SUCH_TABLE) => {
                self.repository.with(create_definition_tables)?;
                self.repository.with(work)
            }
            answer => answer.map_err(StoreError::from),
        }
    }
}

fn create_definition_tables(session: &mut Session) -> Result<(), Error> {
    for statement in [
        &DEFINITIONS.create_queue,
        &DEFINITIONS.create_queue_throttle,
        &DEFINITIONS.create_routing,
        &DEFINITIONS.create_config_revision,
    ] {
        session.run(statement.text())?;
    }
    Ok(())
}

fn read_revision(session: &mut Session) -> Result<Revision, Error> {
    let mut revision = Revision::default();
    let rows: Vec<(Vec<u8>, u64)> = session.rows(&DEFINITIONS.revisions.text(), ())?;
    for (name, count) in rows {
        if name == QUEUES_REVISION.as_bytes() {
            revision.queues = count;
        } else if name == ROUTINGS_REVISION.as_bytes() {
            revision.routings = count;
        }
    }
    Ok(revision)
}

fn lock_revision(session: &mut Session, name: &str) -> Result<(), Error> {
    session.execute(&DEFINITIONS.lock_revision.text(), (name,)).map(drop)
}

fn raise_revision(session: &mut Session, name: &str) -> Result<(), Error> {
    session.execute(&DEFINITIONS.raise_revision.text(), (name,)).map(drop)
}

/// Stores a definition, unless it is stored already, or is new and `Some` other queue has its
/// tables.
fn store_queue(session: &mut Session, queue: &QueueDefinition) -> Result<Option<String>, Error> {
    lock_revision(session, QUEUES_REVISION)?;
    let conflict = find_conflict(session, &queue.name)?;
    if conflict.is_some() || read_queue(session, &queue.name)?.as_ref() == Some(queue) {
        return Ok(conflict);
    }
    let QueueDefinition { name, polling_interval_ms: interval, max_workers: workers, .. } = queue;
    let (rate, burst) = (queue.max_dispatches_per_second, queue.max_burst_size);
    session.execute(&DEFINITIONS.put_queue.text(), (name, interval, workers, interval, workers))?;
    session.execute(&DEFINITIONS.put_queue_throttle.text(), (name, rate, burst, rate, burst))?;
    raise_revision(session, QUEUES_REVISION)?;
    Ok(None)
}

/// The queue, if any, whose tables a *new* queue of this name would share.
fn find_conflict(session: &mut Session, name: &str) -> Result<Option<String>, Error> {
    let defined: Vec<(Vec<u8>,)> = session.rows(&DEFINITIONS.queue_names.text(), ())?;
    let defined: Vec<String> = defined.into_iter().map(|(name,)| text_of(name)).collect();
    if defined.iter().any(|defined| defined == name) {
        return Ok(None);
    }
    Ok(shares_tables_with(name, defined.iter().map(String::as_str)).map(str::to_owned))
}

fn conflict(name: &str, other: &str) -> StoreError {
    StoreError::Conflict(format!("queue {name:?} would share its tables with queue {other:?}"))
}

fn read_queue(session: &mut Session, name: &str) -> Result<Option<QueueDefinition>, Error> {
    Ok(session.row(&DEFINITIONS.queue.text(), (name,))?.map(queue_of))
}

fn read_routing(session: &mut Session, category: &str) -> Result<Option<Routing>, Error> {
    Ok(session.row(&DEFINITIONS.routing.text(), (category,))?.map(routing_of))
}

fn queue_of((name, polling_interval_ms, max_workers, rate, burst): QueueRow) -> QueueDefinition {
    QueueDefinition {
        name: text_of(name),
        polling_interval_ms,
        max_workers,
        max_dispatches_per_second: rate.unwrap_or(0.0),
        max_burst_size: burst.unwrap_or(0),
    }
}

fn routing_of((job_category, queue_name): RoutingRow) -> Routing {
    Routing { job_category: text_of(job_category), queue_name: text_of(queue_name) }
}

/// Names are UTF-8; the columns would take other bytes too.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
