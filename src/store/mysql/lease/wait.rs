//! The waiter: waits inside the server for one lock that another node holds, and tells when it
//! came free.
//!
//! Thread `lease-wait`, which owns one session while there is something to wait for. It never
//! keeps a lock: what it is granted it lets go at once, for the holder to take.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::elector::Shared;
use super::hang_up::HangUp;
use super::session::WaitSession;
use crate::store::mysql::connector::Connector;
use crate::store::mysql::fault;

/// How long the session is kept without an order.
const KEEP: Duration = Duration::from_secs(1);

/// What came of an order.
pub(super) enum Report {
    /// The lock was free for a moment at least.
    CameFree,
    /// The time is up; another session holds it still.
    StillHeld,
    /// The server did not answer, or refused.
    Failed,
}

/// The end that gives orders, one at a time. Dropping it ends the thread.
pub(super) struct Waiter {
    /// `None` only while it is dropped.
    orders: Option<Sender<String>>,
    reports: Receiver<Report>,
    hang_up: Arc<HangUp>,
    thread: Option<JoinHandle<()>>,
    is_waiting: bool,
}

impl Waiter {
    pub(super) fn start(connector: Arc<Connector>, shared: Arc<Shared>) -> io::Result<Waiter> {
        let (orders, order) = bounded(1);
        let (report, reports) = bounded(1);
        let hang_up = Arc::new(HangUp::default());
        let mut waiting = Waiting { connector, hang_up: Arc::clone(&hang_up), session: None };
        let thread = std::thread::Builder::new()
            .name("lease-wait".to_owned())
            .spawn(move || waiting.run(&order, &report, &shared))?;
        let thread = Some(thread);
        Ok(Waiter { orders: Some(orders), reports, hang_up, thread, is_waiting: false })
    }

    /// Whether an order is being carried out.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Waits for the lock of this name, a second at most. Not while another order runs.
    pub(super) fn wait_for(&mut self, lock: String) {
        if let Some(orders) = &self.orders {
            self.is_waiting = orders.try_send(lock).is_ok();
        }
    }

    /// What came of the last order, once.
    pub(super) fn report(&mut self) -> Option<Report> {
        let report = self.reports.try_recv().ok()?;
        self.is_waiting = false;
        Some(report)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.orders = None;
        self.hang_up.hang_up();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("The thread that waits for locks of queues has panicked.");
        }
    }
}

/// What the thread owns.
struct Waiting {
    connector: Arc<Connector>,
    hang_up: Arc<HangUp>,
    session: Option<WaitSession>,
}

impl Waiting {
    fn run(&mut self, order: &Receiver<String>, report: &Sender<Report>, shared: &Shared) {
        loop {
            match order.recv_timeout(KEEP) {
                Ok(lock) => {
                    let outcome = self.wait_for(&lock);
                    // There is one order at a time, so there is room for its report.
                    let _ = report.try_send(outcome);
                    shared.wake();
                }
                Err(RecvTimeoutError::Timeout) => self.session = None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn wait_for(&mut self, lock: &str) -> Report {
        match self.try_wait_for(lock) {
            Ok(true) => Report::CameFree,
            Ok(false) => Report::StillHeld,
            Err(error) => {
                // Whatever it was granted goes with the session.
                self.session = None;
                let reason = fault::in_words(&error);
                log::debug!("Waiting for the lock {lock} failed: {reason}");
                Report::Failed
            }
        }
    }

    fn try_wait_for(&mut self, lock: &str) -> Result<bool, mysql::Error> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(WaitSession::open(&self.connector, &self.hang_up)?),
        };
        session.wait_for(lock)
    }
}
