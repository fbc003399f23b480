//! The leases of a store's queues, held while it is copied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CopyError;
use crate::queue_definition::table_suffix;
use crate::store::{Campaign, Lease, QueueName, Store};
use crate::wake::Wake;

/// How long the leases of a store that nobody uses may take to be granted.
const PATIENCE: Duration = Duration::from_secs(5);

/// Leases; dropping them gives them up.
pub(super) struct Held {
    which: &'static str,
    leases: Vec<Arc<dyn Lease>>,
    _campaigns: Vec<Box<dyn Campaign>>,
}

impl Held {
    /// The leases of queues, defined or not.
    ///
    /// # Errors
    /// [`CopyError::InUse`].
    pub(super) fn of(
        store: &dyn Store,
        queues: &[QueueName],
        which: &'static str,
    ) -> Result<Held, CopyError> {
        // Queues that share their tables share a lease.
        let queues: BTreeMap<String, &QueueName> =
            queues.iter().map(|queue| (table_suffix(queue), queue)).collect();
        let (wake, woken) = Wake::channel();
        let campaigns: Vec<(&QueueName, Box<dyn Campaign>)> = queues
            .into_values()
            .map(|queue| (queue, store.campaign(queue, wake.clone())))
            .collect();
        let deadline = Instant::now() + PATIENCE;
        let mut leases = Vec::with_capacity(campaigns.len());
        for (queue, campaign) in &campaigns {
            let lease = loop {
                if let Some(lease) = campaign.lease() {
                    break lease;
                }
                if Instant::now() >= deadline {
                    return Err(in_use(store, queue, which));
                }
                let _ = woken.recv_timeout(Duration::from_millis(50));
            };
            leases.push(lease);
        }
        let _campaigns = campaigns.into_iter().map(|(_, campaign)| campaign).collect();
        Ok(Held { which, leases, _campaigns })
    }

    /// Whether all of them still stand.
    ///
    /// # Errors
    /// [`CopyError::InUse`].
    pub(super) fn check(&self) -> Result<(), CopyError> {
        if self.leases.iter().all(|lease| lease.is_held()) {
            return Ok(());
        }
        Err(CopyError::InUse(format!(
            "{} can no longer be held against others; start the copy again",
            self.which
        )))
    }
}

fn in_use(store: &dyn Store, queue: &str, which: &str) -> CopyError {
    let by = match store.holder(queue) {
        Ok(Some(holder)) => format!("session {} from {}", holder.id, holder.host),
        _ => "somebody".to_owned(),
    };
    CopyError::InUse(format!(
        "{which} is in use: {by} runs the jobs of queue {queue}; stop every node on it first"
    ))
}
