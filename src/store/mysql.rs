//! The store on MySQL and MariaDB.
//!
//! Two databases, which may be one: the *repository* keeps the definitions, the other the jobs
//! and failures of every queue, two tables each. Every call goes through one of two pools, and the
//! lease of a queue is a lock of the server. The daemon may start before the server: nothing here
//! connects before it is used, and tables are created when they are found missing.
//!
//! - [`dsn`], [`connector`]: where a database lies, and sessions of it that cannot hang.
//! - [`pool`], [`session`], `fault`: sessions lent, statements run, errors understood.
//! - `schema`, `clock`: a queue's tables, the server's time.
//! - [`lease`]: who may run a queue's jobs.
//! - `definitions`, `push`, `settle`, `inspection`, `failure_log`: what the store does.
//! - `stuck`: whose tables are locked by others.
//!
//! Every call returns within 5 s; see [`pool`].

mod clock;
pub mod connector;
mod definitions;
pub mod dsn;
mod failure_log;
mod fault;
mod inspection;
pub mod lease;
pub mod pool;
mod push;
mod resolver;
mod schema;
pub mod session;
mod settle;
mod stuck;
mod transfer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::connector::Connector;
use self::dsn::Dsn;
use self::lease::Elector;
use self::pool::Pool;
use self::session::Session;
use self::stuck::Stuck;
use crate::config::{ConfigError, Settings};
use crate::store::{
    Campaign, Jobs, Push, Pushed, QueueName, Settled, Settlement, Store, StoreError, Transfer,
};
use crate::wake::Wake;

/// The most sessions that a pool opens. Servers allow 151 by default, for all their clients.
const POOL_SESSIONS: usize = 16;

/// The store on a MySQL or MariaDB server.
pub struct MySqlStore {
    /// The database of the definitions.
    repository: Arc<Pool>,
    /// The database of the jobs.
    queues: Arc<Pool>,
    elector: Elector,
    stuck: Stuck,
}

impl MySqlStore {
    /// The store of the databases that the settings name. They need not be reachable yet.
    ///
    /// # Errors
    /// A DSN cannot be understood, a file that is needed cannot be read, or the system has no more
    /// threads or descriptors.
    pub fn open(settings: &Settings) -> Result<MySqlStore, ConfigError> {
        let lease_time = Duration::from_secs(settings.mysql_lease_time.max(1).into());
        let tls_ca = Some(Path::new(&settings.mysql_tls_ca)).filter(|path| *path != Path::new(""));
        let password = password_in(&settings.mysql_password_file)?;
        let connector = |text: &str, whose: &str| {
            let mut dsn = Dsn::parse(text)
                .map_err(|error| ConfigError(format!("the DSN of the {whose}: {error}")))?;
            if dsn.password.is_empty() {
                dsn.password.clone_from(&password);
            }
            Connector::new(&dsn, lease_time, tls_ca).map(Arc::new)
        };
        let queue_connector = connector(settings.queue_dsn(), "queues")?;
        let queues = Arc::new(Pool::new(Arc::clone(&queue_connector), POOL_SESSIONS));
        let repository = if settings.repository_dsn() == settings.queue_dsn() {
            Arc::clone(&queues)
        } else {
            let connector = connector(settings.repository_dsn(), "definitions")?;
            Arc::new(Pool::new(connector, POOL_SESSIONS))
        };
        let elector = Elector::start(
            queue_connector,
            Arc::clone(&queues),
            settings.mysql_lock_compat,
            lease_time,
        )
        .map_err(|error| ConfigError(format!("cannot stand for queues: {error}")))?;
        Ok(MySqlStore { repository, queues, elector, stuck: Stuck::default() })
    }
}

/// The password in the file of the setting `mysql_password_file`; empty where that names none.
fn password_in(path: &str) -> Result<String, ConfigError> {
    if path.is_empty() {
        return Ok(String::new());
    }
    let refuse =
        |reason: &dyn fmt::Display| ConfigError(format!("mysql_password_file {path}: {reason}"));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(&error))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(refuse(&"it holds no password"));
    }
    Ok(password.to_owned())
}

impl Store for MySqlStore {
    fn describe(&self) -> String {
        let queues = self.queues.connector().describe();
        let repository = self.repository.connector().describe();
        if queues == repository {
            format!("mysql: {queues}")
        } else {
            format!("mysql: queues in {queues}, definitions in {repository}")
        }
    }

    fn now_ms(&self) -> Result<u64, StoreError> {
        self.queues.with(Session::server_ms)
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        Some(self)
    }

    fn close(&self) {
        self.elector.close();
        self.queues.close();
        self.repository.close();
    }
}

impl Jobs for MySqlStore {
    fn push(&self, batch: &[Push]) -> Vec<Result<Pushed, StoreError>> {
        push::push(self, batch)
    }

    fn settle(&self, batch: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        settle::settle(self, batch)
    }

    fn is_stuck(&self, queue: &QueueName) -> bool {
        self.stuck.contains(queue)
    }

    fn campaign(&self, queue: &QueueName, wake: Wake) -> Box<dyn Campaign> {
        self.elector.campaign(queue, wake)
    }
}
