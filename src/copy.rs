//! `fireworq copy`: the definitions, jobs and failures of one store into another.
//!
//! The rows keep their ids, so that a worker recognises a job that it has seen, and the target
//! gives no id that the source has given. The source stays as it is.
//!
//! First everything is looked at, and whatever is to be refused is refused; until then nothing is
//! written to the target. Then, queue by queue, the ids are reserved and the rows copied in the
//! order of their ids, some in one commit, which also notes how far it has come: a copy that was
//! interrupted at whatever moment goes on from there. The definitions come last, so that no
//! node finds a queue whose rows are still to come.
//!
//! While it runs, the copy holds the leases of all queues of both stores, so that no node runs
//! their jobs. It never makes a job run twice: where the target lacks rows that have been copied
//! into it, or has others, somebody has used it, and nothing is copied.

mod held;
mod rows;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use self::held::Held;
use self::rows::{Row, Rows};
use crate::config::{Driver, Settings};
use crate::job::{Failure, Job};
use crate::queue_definition::{shares_tables_with, table_suffix};
use crate::store::{self, CopyNote, LastIds, QueueName, Snapshot, Store, StoreError, Transfer};

/// What was copied, or had been copied before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Queues defined in the target.
    pub queues: usize,
    /// Queues that were deleted in the source and have tables there still. Their rows are among
    /// those that are counted.
    pub deleted_queues: usize,
    /// Routings defined in the target.
    pub routings: usize,
    /// Routings left out: their queue was deleted, and they have led nowhere since.
    pub routings_left_out: usize,
    /// Jobs in the target.
    pub jobs: u64,
    /// Failures in the target.
    pub failures: u64,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Copied { queues, deleted_queues, routings, routings_left_out, jobs, failures } = self;
        write!(f, "{jobs} jobs, {failures} failures, {queues} queues")?;
        if *deleted_queues > 0 {
            write!(f, " and what {deleted_queues} deleted queues have left")?;
        }
        write!(f, ", {routings} routings")?;
        match routings_left_out {
            0 => Ok(()),
            count => write!(f, " ({count} that lead to deleted queues left out)"),
        }
    }
}

/// Why nothing, or not everything, was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// What names one of the stores cannot be used.
    Setting(String),
    /// Somebody runs jobs of one of the stores.
    InUse(String),
    /// The target holds what does not come from the source.
    Differs(String),
    /// A store failed.
    Store(StoreError),
    /// There is nothing that could be copied, or no place for it.
    NotPossible(String),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::Setting(text)
            | CopyError::InUse(text)
            | CopyError::Differs(text)
            | CopyError::NotPossible(text) => f.write_str(text),
            CopyError::Store(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CopyError {}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> CopyError {
        CopyError::Store(error)
    }
}

/// [`copy`] from the store of some settings into that of others.
///
/// # Errors
/// See [`CopyError`].
pub fn run(
    from: &Settings,
    to: &Settings,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, CopyError> {
    check_files(from, to)?;
    let open =
        |settings| store::open(settings).map_err(|error| CopyError::Setting(error.to_string()));
    let from = open(from)?;
    // The target comes last: a source that is refused leaves no new file there.
    let copied = Source::of(&*from).and_then(|source| {
        let to = open(to)?;
        let copied = source.copy_into(&*to, progress);
        to.close();
        copied
    });
    from.close();
    copied
}

/// Opened, a file that is missing would be created, and one that is opened twice would be in use.
fn check_files(from: &Settings, to: &Settings) -> Result<(), CopyError> {
    if from.driver != Driver::Sqlite {
        return Ok(());
    }
    let path = Path::new(&from.sqlite_path);
    let file = path
        .canonicalize()
        .map_err(|error| CopyError::Setting(format!("the source {}: {error}", path.display())))?;
    if to.driver == Driver::Sqlite && Path::new(&to.sqlite_path).canonicalize().ok() == Some(file) {
        return Err(same());
    }
    Ok(())
}

fn same() -> CopyError {
    CopyError::NotPossible("the source and the target are the same".to_owned())
}

/// Copies everything of `from` into `to`, and tells `progress` what has arrived so far.
///
/// # Errors
/// See [`CopyError`]. What was copied before stays, and a new attempt goes on from there.
pub fn copy(
    from: &dyn Store,
    to: &dyn Store,
    progress: &mut dyn FnMut(&Copied),
) -> Result<Copied, CopyError> {
    Source::of(from)?.copy_into(to, progress)
}

/// The way to a store's rows.
fn transfer(store: &dyn Store) -> Result<&dyn Transfer, CopyError> {
    store.transfer().ok_or_else(|| {
        CopyError::NotPossible(format!("it keeps nothing to copy: {}", store.describe()))
    })
}

/// An answer of a store, which another process may have.
fn answer<T>(answer: Result<T, StoreError>, which: &str) -> Result<T, CopyError> {
    answer.map_err(|error| match error {
        StoreError::Standby(text) => {
            CopyError::InUse(format!("{which} is in use: {text}; stop every node on it first"))
        }
        error => CopyError::Store(error),
    })
}

/// A store that is copied, and that nobody changes meanwhile.
struct Source<'a> {
    store: &'a dyn Store,
    rows: &'a dyn Transfer,
    definitions: Snapshot,
    /// Those that are defined, then those that are not and have tables.
    queues: Vec<QueueName>,
    held: Held,
}

/// What is to be done for a queue.
struct Plan {
    queue: QueueName,
    note: CopyNote,
}

impl Source<'_> {
    fn of(store: &dyn Store) -> Result<Source<'_>, CopyError> {
        let rows = transfer(store)?;
        let with_tables = answer(rows.queues_with_tables(), "the source")?;
        if with_tables.is_empty() {
            // Before the definitions are asked for, whose tables would be created.
            let text = "there is nothing to copy: the source has not even a queue";
            return Err(CopyError::NotPossible(text.to_owned()));
        }
        let definitions = store.definitions()?;
        let mut queues: Vec<QueueName> = Vec::new();
        let mut suffixes = BTreeSet::new();
        for queue in &definitions.queues {
            if !suffixes.insert(table_suffix(&queue.name)) {
                return Err(CopyError::NotPossible(format!(
                    "queue {:?} of the source shares its tables with another one; delete the \
                     definition of one of them first",
                    queue.name
                )));
            }
            queues.push(queue.name.as_str().into());
        }
        let deleted = with_tables.into_iter().filter(|suffix| !suffixes.contains(suffix));
        queues.extend(deleted.map(QueueName::from));
        let held = Held::of(store, &queues, "the source")?;
        Ok(Source { store, rows, definitions, queues, held })
    }

    fn copy_into(
        &self,
        to: &dyn Store,
        progress: &mut dyn FnMut(&Copied),
    ) -> Result<Copied, CopyError> {
        let target = transfer(to)?;
        let held = self.hold_target(to)?;
        let mut copied = Copied {
            deleted_queues: self.queues.len() - self.definitions.queues.len(),
            ..Copied::default()
        };
        let mut plans = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            plans.push(self.check_queue(queue, target, &mut copied)?);
        }
        for Plan { queue, note } in &plans {
            target.begin_copy(queue, *note)?;
            let mut rows = Rows { source: self, target, held: &held, copied: &mut copied };
            rows.copy::<Job>(queue, note.arrived.job, progress)?;
            rows.copy::<Failure>(queue, note.arrived.failure, progress)?;
        }
        self.define(to, &mut copied)?;
        Ok(copied)
    }

    /// The leases of all queues that the target has and will have.
    fn hold_target(&self, to: &dyn Store) -> Result<Held, CopyError> {
        if let Some(queue) = self.queues.first()
            && let (Ok(Some(ours)), Ok(Some(theirs))) = (self.store.holder(queue), to.holder(queue))
            && ours == theirs
        {
            return Err(same());
        }
        let defined = answer(to.definitions(), "the target")?.queues;
        for queue in &self.queues {
            let names = defined.iter().map(|queue| queue.name.as_str());
            if !defined.iter().any(|defined| *defined.name == **queue)
                && let Some(other) = shares_tables_with(queue, names)
            {
                return Err(CopyError::Differs(format!(
                    "queue {queue:?} would share its tables with queue {other:?} of the target"
                )));
            }
        }
        let mut queues = self.queues.clone();
        queues.extend(defined.iter().map(|queue| QueueName::from(queue.name.as_str())));
        Held::of(to, &queues, "the target")
    }

    /// What is to be done for a queue, if the target has nothing but what was copied before, and
    /// takes what is to come.
    fn check_queue(
        &self,
        queue: &QueueName,
        target: &dyn Transfer,
        copied: &mut Copied,
    ) -> Result<Plan, CopyError> {
        let last = self.rows.last_ids(queue)?;
        let given = target.last_ids(queue)?;
        let begun = target.copy_note(queue)?;
        let arrived = LastIds {
            job: arrived::<Job>(queue, begun, given, last)?,
            failure: arrived::<Failure>(queue, begun, given, last)?,
        };
        rows::check::<Job>(queue, self.rows, target, arrived.job, copied)?;
        rows::check::<Failure>(queue, self.rows, target, arrived.failure, copied)?;
        Ok(Plan { queue: queue.clone(), note: CopyNote { arrived, last } })
    }

    fn define(&self, to: &dyn Store, copied: &mut Copied) -> Result<(), CopyError> {
        for queue in &self.definitions.queues {
            to.put_queue(queue)?;
            copied.queues += 1;
        }
        for routing in &self.definitions.routings {
            match to.put_routing(routing) {
                Ok(()) => copied.routings += 1,
                Err(StoreError::NotFound(_)) => copied.routings_left_out += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The id up to which the rows of the source must be in the target, and no others.
fn arrived<R: Row>(
    queue: &str,
    begun: Option<CopyNote>,
    given: LastIds,
    last: LastIds,
) -> Result<u64, CopyError> {
    let (given, last) = (R::of(&given), R::of(&last));
    let Some(note) = begun else {
        // One that has given ids was used, unless it is the same all over, as after a copy by an
        // older release.
        return Ok(if given == 0 { 0 } else { last });
    };
    let arrived = R::of(&note.arrived);
    // It has given no id of its own: none at all (not reserved yet, or forgotten by a server that
    // was restarted), or none up to those that were reserved.
    let is_free = given <= arrived || (R::of(&note.last) == last && given >= last);
    if is_free { Ok(arrived) } else { Err(rows::used::<R>(queue, given)) }
}
