//! Which queues run on this node, and which queue a category goes to.
//!
//! The stored definitions are the truth. The thread `config` looks at their revision every
//! `config_refresh_interval` and brings the running queues in line, touching only what changed;
//! whoever changes a definition through this node asks for that at once. Routing a push is a
//! look into two maps and waits for none of it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::queue::{Queue, Services, StatsView};
use crate::queue_definition::{
    QueueDefaults, QueueDefinition, QueueRequest, Routing, shares_tables_with,
};
use crate::store::{QueueName, Revision, Snapshot, StoreError};
use crate::threads;

/// How often a node whose store has never been reached tries again.
const FIRST_LOAD_INTERVAL: Duration = Duration::from_millis(200);

/// The queues of this node.
pub struct Registry {
    services: Services,
    /// The setting `queue_default`; empty for none.
    default_queue: String,
    state: RwLock<State>,
    /// Held while the running queues are brought in line; holds those told to stop.
    retired: Mutex<Vec<Arc<Queue>>>,
}

#[derive(Default)]
struct State {
    /// `None` until the definitions were read for the first time.
    revision: Option<Revision>,
    queues: HashMap<QueueName, Running>,
    /// Category to queue.
    routes: HashMap<String, QueueName>,
    /// No further queue is started: nobody would tell it to stop.
    is_stopping: bool,
}

struct Running {
    definition: QueueDefinition,
    queue: Arc<Queue>,
}

/// Why a job has no queue to go to.
#[derive(Debug, PartialEq, Eq)]
pub enum RouteError {
    /// The definitions have not been read yet: the store has not been reached since the start.
    NotLoaded,
    /// The category has no routing, and there is no default queue.
    NoRouting,
    /// The queue that the category is routed to is not defined.
    NoQueue(String),
}

impl Registry {
    /// A registry that runs nothing yet; [`refresh`](Registry::refresh) reads the definitions.
    pub fn new(services: Services, default_queue: String) -> Registry {
        Registry { services, default_queue, state: RwLock::default(), retired: Mutex::default() }
    }

    /// Whether the definitions have been read.
    pub fn is_loaded(&self) -> bool {
        self.state().revision.is_some()
    }

    /// Whether the queues have been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.state().is_stopping
    }

    /// The queues that run here, by name.
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        let mut queues: Vec<_> =
            self.state().queues.values().map(|running| Arc::clone(&running.queue)).collect();
        queues.sort_by(|a, b| a.name().cmp(b.name()));
        queues
    }

    /// The queue for a job of this category.
    ///
    /// # Errors
    /// There is none, as far as this node knows: another node may have defined one since the
    /// last [`refresh`](Registry::refresh).
    pub fn route(&self, category: &str) -> Result<Arc<Queue>, RouteError> {
        let state = self.state();
        if state.revision.is_none() {
            return Err(RouteError::NotLoaded);
        }
        let name = match state.routes.get(category) {
            Some(name) => &**name,
            None if self.default_queue.is_empty() => return Err(RouteError::NoRouting),
            None => &self.default_queue,
        };
        match state.queues.get(name) {
            Some(running) => Ok(Arc::clone(&running.queue)),
            None => Err(RouteError::NoQueue(name.to_owned())),
        }
    }

    /// The running queue of this name.
    pub fn queue(&self, name: &str) -> Option<Arc<Queue>> {
        self.state().queues.get(name).map(|running| Arc::clone(&running.queue))
    }

    /// The names of the running queues, in no order.
    pub fn names(&self) -> Vec<QueueName> {
        self.state().queues.keys().map(Arc::clone).collect()
    }

    /// The counters of every running queue, by name.
    pub fn stats(&self) -> Vec<(QueueName, StatsView)> {
        let mut stats: Vec<_> = self
            .state()
            .queues
            .iter()
            .map(|(name, running)| (Arc::clone(name), running.queue.stats()))
            .collect();
        stats.sort_by(|a, b| a.0.cmp(&b.0));
        stats
    }

    /// What queues take that do not say.
    pub fn defaults(&self) -> QueueDefaults {
        self.services.defaults
    }

    /// Brings the running queues in line with the stored definitions, if those have changed.
    ///
    /// # Errors
    /// The store's; the running queues then stay as they are.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let mut retired = self.retired();
        let revision = self.services.store.revision()?;
        if self.state().revision == Some(revision) {
            return Ok(());
        }
        let mut snapshot = self.services.store.definitions()?;
        if self.create_default_queue(&snapshot)? {
            snapshot = self.services.store.definitions()?;
        }
        self.reconcile(snapshot, &mut retired);
        Ok(())
    }

    /// Creates the default queue if it is missing; answers whether it did.
    fn create_default_queue(&self, snapshot: &Snapshot) -> Result<bool, StoreError> {
        let name = self.default_queue.as_str();
        if name.is_empty() || snapshot.queues.iter().any(|queue| queue.name == name) {
            return Ok(false);
        }
        let definition =
            QueueDefinition::new(name, QueueRequest::default(), self.services.defaults)
                .map_err(|invalid| StoreError::Rejected(format!("queue_default: {invalid}")))?;
        match self.services.store.put_queue(&definition) {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict(reason)) => {
                log::error!("the default queue cannot be created: {reason}");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn reconcile(&self, snapshot: Snapshot, retired: &mut Vec<Arc<Queue>>) {
        retired.retain(|queue| !queue.has_stopped());
        let mut state = self.state_mut();
        if state.is_stopping {
            return;
        }
        if state.revision.is_none() {
            warn_of_shared_tables(&snapshot);
        }
        state.routes = routes(&snapshot.routings);
        let mut gone = std::mem::take(&mut state.queues);
        for definition in snapshot.queues {
            let name = definition.name.as_str();
            let running = match gone.remove_entry(name) {
                Some((_, running)) => {
                    if running.definition != definition {
                        running.queue.redefine(definition.clone());
                    }
                    Running { definition, ..running }
                }
                None => match self.start(definition, retired) {
                    Some(running) => running,
                    None => continue,
                },
            };
            state.queues.insert(Arc::clone(running.queue.name()), running);
        }
        for running in gone.into_values() {
            log::info!(queue = &**running.queue.name(); "no longer defined; it stops");
            running.queue.begin_stop();
            retired.push(running.queue);
        }
        state.revision = Some(snapshot.revision);
    }

    fn start(&self, definition: QueueDefinition, retired: &[Arc<Queue>]) -> Option<Running> {
        let predecessor =
            retired.iter().rfind(|queue| **queue.name() == *definition.name).map(Arc::clone);
        match Queue::start(definition.clone(), self.services.clone(), predecessor) {
            Ok(queue) => Some(Running { definition, queue: Arc::new(queue) }),
            Err(error) => {
                log::error!(queue = &*definition.name; "cannot start its thread: {error}");
                None
            }
        }
    }

    /// Tells every queue to stop, without waiting, and lets no further one start.
    pub fn begin_stop(&self) {
        let mut state = self.state_mut();
        state.is_stopping = true;
        state.queues.values().for_each(|running| running.queue.begin_stop());
    }

    /// Waits until every queue that was told to stop has put back what it had not started, but
    /// not beyond `deadline`.
    pub fn wait_for_put_back(&self, deadline: Instant) {
        for queue in self.all_queues() {
            queue.wait_for_put_back(deadline);
        }
    }

    /// Waits until every queue has stopped; answers whether all had by `deadline`.
    pub fn join(&self, deadline: Instant) -> bool {
        let queues = self.all_queues();
        queues.iter().map(|queue| queue.join(deadline)).fold(true, |all, one| all & one)
    }

    fn all_queues(&self) -> Vec<Arc<Queue>> {
        let retired = self.retired();
        let state = self.state();
        let running = state.queues.values().map(|running| &running.queue);
        running.chain(retired.iter()).map(Arc::clone).collect()
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn routes(routings: &[Routing]) -> HashMap<String, QueueName> {
    let mut names: HashMap<&str, QueueName> = HashMap::new();
    routings
        .iter()
        .map(|routing| {
            let name = names
                .entry(&routing.queue_name)
                .or_insert_with(|| routing.queue_name.as_str().into());
            (routing.job_category.clone(), Arc::clone(name))
        })
        .collect()
}

/// Databases of the original may hold queues whose names meet in one table: they are served, and
/// one of them runs the jobs of all.
fn warn_of_shared_tables(snapshot: &Snapshot) {
    let mut seen: Vec<&str> = Vec::new();
    for queue in &snapshot.queues {
        if let Some(other) = shares_tables_with(&queue.name, seen.iter().copied()) {
            log::warn!(
                "queues {other} and {} share one table: one of them runs the jobs of both",
                queue.name
            );
        }
        seen.push(&queue.name);
    }
}

/// The thread `config`, which keeps a registry in line with the stored definitions.
pub struct Refresher {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Refresher {
    /// Starts the thread; it reads the definitions at once.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(registry: Arc<Registry>, interval: Duration) -> io::Result<Refresher> {
        let (stop, stopped) = bounded(0);
        let thread = threads::spawn("config".to_owned(), move || {
            keep_in_line(&registry, interval, &stopped);
        })?;
        Ok(Refresher { stop, thread })
    }

    /// Ends the thread; answers whether it ended by `deadline`.
    pub fn close(self, deadline: Instant) -> bool {
        drop(self.stop);
        threads::join_until(self.thread, deadline)
    }
}

fn keep_in_line(registry: &Registry, interval: Duration, stopped: &Receiver<()>) {
    let mut failing = false;
    loop {
        let result = registry.refresh();
        match &result {
            Ok(()) if failing => log::info!("the definitions can be read again"),
            Err(error) if !failing => log::error!("the definitions cannot be read: {error}"),
            _ => {}
        }
        failing = result.is_err();
        let wait = if registry.is_loaded() { interval } else { interval.min(FIRST_LOAD_INTERVAL) };
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
