//! What the handlers work with: the daemon's parts behind the API, and a request on its way.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use super::error::Refusal;
use super::figures::Figures;
use super::route::ROUTES;
use super::sampler::Sampler;
use super::{Request, Vitals};
use crate::backlog::Backlogs;
use crate::config::Settings;
use crate::health::Readiness;
use crate::intake::Intake;
use crate::logs::{AccessLog, DroppedLines, Logs};
use crate::queue::Queue;
use crate::queue_definition::Invalid;
use crate::registry::{Registry, RouteError};
use crate::store::{Backlog, QueueName, Store, StoreError};

/// What the handlers work with.
pub struct Api {
    pub(super) store: Arc<dyn Store>,
    pub(super) registry: Arc<Registry>,
    pub(super) intake: Arc<Intake>,
    pub(super) backlogs: Arc<Backlogs>,
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) access_log: Arc<AccessLog>,
    pub(super) dropped_lines: DroppedLines,
    pub(super) readiness: Arc<Readiness>,
    /// What the front counts; empty until it has started.
    pub(super) front: OnceLock<Arc<Vitals>>,
    pub(super) figures: Figures,
    pub(super) sampler: Sampler,
}

/// A request and what its route made of its path.
pub(super) struct Call {
    pub(super) request: Request,
    /// The decoded values of the path's `{…}`.
    pub(super) values: Vec<String>,
}

impl Call {
    /// The decoded value of the path's `{…}` number `index`.
    pub(super) fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", String::as_str)
    }

    /// The same as an id.
    pub(super) fn id(&self, index: usize) -> Result<u64, Refusal> {
        let text = self.value(index);
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| is_number)
            .ok_or_else(|| Refusal::bad_request(format!("Not an id: {text}")))
    }

    /// The first value of a query parameter.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        self.parameters().find(|(key, _)| key == name).map(|(_, value)| Cow::into_owned(value))
    }

    /// The names and values of all query parameters.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let query = self.request.target.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes())
    }
}

impl Api {
    /// What the handlers need.
    pub fn new(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        intake: Arc<Intake>,
        settings: &Settings,
        logs: &Logs,
        readiness: Arc<Readiness>,
    ) -> Api {
        Api {
            backlogs: Arc::new(Backlogs::new(Arc::clone(&store))),
            store,
            registry,
            intake,
            settings: settings.shown().collect(),
            access_log: Arc::clone(&logs.access),
            dropped_lines: logs.dropped_lines(),
            readiness,
            front: OnceLock::new(),
            figures: Figures::new(ROUTES.len()),
            sampler: Sampler::new(),
        }
    }

    /// How much there is to do in every queue that has tables.
    pub(super) fn count_backlogs(&self) -> Result<Vec<(QueueName, Backlog)>, StoreError> {
        let names = self.registry.names();
        let backlogs = self.backlogs.of(&names)?;
        let counted = names.into_iter().zip(backlogs);
        Ok(counted.filter_map(|(name, backlog)| Some((name, backlog?))).collect())
    }

    /// The queue of this name, also one defined on another node a moment ago.
    pub(super) fn queue(&self, name: &str) -> Result<Arc<Queue>, Refusal> {
        if let Some(queue) = self.registry.queue(name) {
            return Ok(queue);
        }
        self.registry.refresh()?;
        let missing = || Refusal::not_found(format!("No such queue: {name}"));
        self.registry.queue(name).ok_or_else(missing)
    }

    /// Brings this node in line with a definition that was just changed through it.
    pub(super) fn refresh(&self) {
        if let Err(error) = self.registry.refresh() {
            // The change is stored; the next look at the revision finds it.
            log::warn!("a changed definition takes effect later: {error}");
        }
    }
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Refusal {
        match error {
            RouteError::NotLoaded => {
                Refusal::unavailable("The store has not been reached since the start")
            }
            RouteError::NoRouting => {
                Refusal::not_found("The category has no routing, and there is no default queue")
            }
            RouteError::NoQueue(name) => Refusal::not_found(format!(
                "The category is routed to the queue {name}, which is not defined"
            )),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        match error {
            StoreError::Unavailable(reason) | StoreError::Standby(reason) => {
                Refusal::unavailable(reason)
            }
            StoreError::Full(reason) => Refusal::new(507, reason),
            StoreError::NotFound(reason) => Refusal::not_found(reason),
            StoreError::TooLarge(reason) => Refusal::too_large(reason),
            StoreError::Conflict(reason) => Refusal::conflict(reason),
            StoreError::Rejected(reason) => Refusal::bad_request(reason),
        }
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Refusal {
        Refusal::bad_request(invalid.0)
    }
}
