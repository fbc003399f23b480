//! The daemon as a whole: what is started in which order, and stopped in which.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never, select, tick};

use crate::config::Settings;
use crate::dispatch::Dispatcher;
use crate::health::{self, Checker};
use crate::http::api::Api;
use crate::http::handler::ApiHandler;
use crate::http::{Limits, Listener, Server};
use crate::intake::Intake;
use crate::logs::Logs;
use crate::metrics::process;
use crate::purger::{self, Purger};
use crate::queue::Services;
use crate::queue_definition::{QueueDefaults, validate_queue_name};
use crate::registry::{Refresher, Registry};
use crate::service::systemd;
use crate::settler::Settler;
use crate::signals::StopSignal;
use crate::store::{self, Store};
use crate::threads;
use crate::wake::Wake;

/// What a stop may take beyond the time that running jobs and requests are given.
const CLEANUP: Duration = Duration::from_millis(800);

/// A running daemon.
pub struct Daemon {
    server: Server,
    handler: Arc<ApiHandler>,
    refresher: Refresher,
    purger: Purger,
    checker: Checker,
    registry: Arc<Registry>,
    intake: Arc<Intake>,
    settler: Settler,
    dispatcher: Arc<Dispatcher>,
    store: Arc<dyn Store>,
    /// Woken when a thread has died.
    deaths: Receiver<()>,
}

/// Why a daemon cannot start, in words for the operator.
#[derive(Debug)]
pub enum StartError {
    /// A setting cannot be used.
    Setting(String),
    /// The system does not give what is needed.
    System(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Setting(text) | StartError::System(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Setting(_) => 2,
            StartError::System(_) => 1,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::System(error.to_string())
    }
}

impl Daemon {
    /// Starts everything. The store need not be reachable: until it is, pushes are answered 503.
    ///
    /// # Errors
    /// A setting cannot be used, or the system gives no further thread or file.
    pub fn start(
        settings: &Settings,
        logs: &Logs,
        listeners: Vec<Listener>,
    ) -> Result<Daemon, StartError> {
        process::started_s();
        let (wake, deaths) = Wake::channel();
        threads::on_death(wake);
        if !settings.queue_default.is_empty() {
            validate_queue_name(&settings.queue_default)
                .map_err(|invalid| StartError::Setting(format!("queue_default: {invalid}")))?;
        }
        let store = store::open(settings).map_err(|error| StartError::Setting(error.0))?;
        log::info!("store: {}", store.describe());
        let dispatcher = Dispatcher::new(settings)
            .map_err(|error| StartError::Setting(format!("cannot set up dispatching: {error}")))?;
        let dispatcher = Arc::new(dispatcher);
        let settler = Settler::start(Arc::clone(&store))?;
        let intake = Arc::new(Intake::start(Arc::clone(&store))?);
        let services = Services {
            store: Arc::clone(&store),
            dispatcher: Arc::clone(&dispatcher),
            settler: settler.handle(),
            queue_log: Arc::clone(&logs.queue),
            defaults: QueueDefaults {
                polling_interval_ms: settings.queue_default_polling_interval,
                max_workers: settings.queue_default_max_workers,
            },
        };
        let registry = Arc::new(Registry::new(services, settings.queue_default.clone()));
        let interval = Duration::from_millis(u64::from(settings.config_refresh_interval));
        let refresher = Refresher::start(Arc::clone(&registry), interval)?;
        let limits = purger::Limits::from(settings);
        let purger = Purger::start(Arc::clone(&store), Arc::clone(&registry), limits)?;
        let checker = Checker::start(Arc::clone(&store), Arc::clone(&registry), intake.room())?;
        let api = Api::new(
            Arc::clone(&store),
            Arc::clone(&registry),
            Arc::clone(&intake),
            settings,
            logs,
            checker.readiness(),
        );
        let handler = Arc::new(ApiHandler::start(api)?);
        let limits = Limits::from(settings);
        let addresses: Vec<String> = listeners.iter().map(address_of).collect();
        let server = Server::start(listeners, limits, Arc::<ApiHandler>::clone(&handler))?;
        handler.serve(server.vitals());
        for address in addresses {
            log::info!("listening on {address}");
        }
        Ok(Daemon {
            server,
            handler,
            refresher,
            purger,
            checker,
            registry,
            intake,
            settler,
            dispatcher,
            store,
            deaths,
        })
    }

    /// Waits until a signal asks for a stop, and answers it; `None` if one of the daemon's threads
    /// has died. Meanwhile tells systemd's watchdog that the daemon's loops turn.
    pub fn wait(&self, stops: &Receiver<StopSignal>) -> Option<StopSignal> {
        let beat = systemd::beat_interval().map_or_else(never, tick);
        let vitals = self.server.vitals();
        loop {
            select! {
                recv(stops) -> stop => return stop.ok(),
                recv(self.deaths) -> _ => return None,
                recv(beat) -> _ => {
                    // As `/livez`: an outage of the database is nothing that a restart heals.
                    match health::ailment(vitals.silence()) {
                        None => systemd::beat(),
                        Some(why) => log::error!("systemd's watchdog is not fed: {why}"),
                    }
                }
            }
        }
    }

    /// Stops gracefully until `deadline`, or until another signal comes, which is answered then.
    /// Queues stop grabbing and put back what was not started; requests in hand are answered;
    /// running jobs end and their outcomes are stored; the leases are given up last.
    pub fn stop(self, deadline: Instant, stops: &Receiver<StopSignal>) -> Option<StopSignal> {
        self.registry.begin_stop();
        let registry = Arc::clone(&self.registry);
        let (done, is_done) = bounded(1);
        let stopping = threads::spawn("stop".to_owned(), move || {
            self.stop_in_order(deadline);
            let _ = done.send(());
        });
        if let Err(error) = stopping {
            log::error!("cannot stop gracefully: {error}");
            return None;
        }
        select! {
            recv(is_done) -> _ => None,
            recv(stops) -> stop => {
                // What was not started goes back to waiting; that takes a moment.
                registry.wait_for_put_back(Instant::now() + CLEANUP);
                stop.ok()
            }
        }
    }

    fn stop_in_order(self, deadline: Instant) {
        self.server.stop(deadline);
        self.refresher.close(deadline);
        self.purger.close(deadline);
        self.checker.close(deadline);
        let have_ended = self.registry.join(deadline);
        let end = deadline.max(Instant::now()) + CLEANUP;
        self.dispatcher.shutdown();
        if !have_ended {
            log::warn!("some jobs still run; they are cut off and will run again");
            self.registry.join(end);
        }
        self.handler.close(end);
        self.intake.close(end);
        self.settler.close(end);
        self.store.close();
    }
}

fn address_of(listener: &Listener) -> String {
    match listener {
        Listener::Tcp(listener) => {
            listener.local_addr().map_or_else(|error| error.to_string(), |a| a.to_string())
        }
        Listener::Unix(listener) => match listener.local_addr() {
            Ok(address) => address
                .as_pathname()
                .map_or("a unix socket without a path".to_owned(), |p| p.display().to_string()),
            Err(error) => error.to_string(),
        },
    }
}
