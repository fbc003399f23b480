//! The definitions of queues and routings, with the count of their changes. Pure.

use std::collections::BTreeMap;

use crate::queue_definition::{QueueDefinition, Routing, shares_tables_with};
use crate::store::row::no_such_queue;
use crate::store::{Revision, Snapshot, StoreError};

/// All definitions.
#[derive(Default)]
pub(super) struct DefinitionTable {
    revision: Revision,
    queues: BTreeMap<String, QueueDefinition>,
    /// Queue name by category.
    routings: BTreeMap<String, String>,
}

impl DefinitionTable {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut routings: Vec<Routing> =
            self.routings.iter().map(|(category, queue)| routing(category, queue)).collect();
        // Stable: categories stay in order within a queue.
        routings.sort_by(|a, b| a.queue_name.cmp(&b.queue_name));
        Snapshot {
            revision: self.revision,
            queues: self.queues.values().cloned().collect(),
            routings,
        }
    }

    /// Creates or replaces a queue.
    pub(super) fn put_queue(&mut self, queue: &QueueDefinition) -> Result<(), StoreError> {
        let defined = self.queues.get(&queue.name);
        if defined == Some(queue) {
            return Ok(());
        }
        let names = self.queues.keys().map(String::as_str);
        if defined.is_none()
            && let Some(other) = shares_tables_with(&queue.name, names)
        {
            return Err(StoreError::Conflict(format!(
                "queue {:?} would share its tables with queue {other:?}",
                queue.name
            )));
        }
        self.queues.insert(queue.name.clone(), queue.clone());
        self.revision.queues += 1;
        Ok(())
    }

    pub(super) fn delete_queue(&mut self, name: &str) -> Option<QueueDefinition> {
        let deleted = self.queues.remove(name)?;
        self.revision.queues += 1;
        Some(deleted)
    }

    /// Creates or replaces the routing of a category.
    pub(super) fn put_routing(&mut self, routing: &Routing) -> Result<(), StoreError> {
        if !self.queues.contains_key(&routing.queue_name) {
            return Err(no_such_queue(&routing.queue_name));
        }
        let Routing { job_category, queue_name } = routing.clone();
        let before = self.routings.insert(job_category, queue_name);
        if before.as_ref() != Some(&routing.queue_name) {
            self.revision.routings += 1;
        }
        Ok(())
    }

    pub(super) fn delete_routing(&mut self, category: &str) -> Option<Routing> {
        let queue = self.routings.remove(category)?;
        self.revision.routings += 1;
        Some(routing(category, &queue))
    }
}

fn routing(category: &str, queue: &str) -> Routing {
    Routing { job_category: category.to_owned(), queue_name: queue.to_owned() }
}
