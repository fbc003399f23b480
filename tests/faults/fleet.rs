//! The daemons and the database of a round, and what is done to them.
//!
//! A moment that matters is looked at with all nodes held still (SIGSTOP): the rows that are
//! grabbed then are exactly the jobs in hand, whatever the speed of the machine.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql::prelude::Queryable;
use nix::sys::signal::Signal;

use crate::support::daemon::{Daemon, Options};
use crate::support::mariadb::{Database, MariaDb};
use crate::support::nodes::named;
use crate::support::proxy::Proxy;
use crate::support::tables::{SqliteFile, Tables};
use crate::support::wait::SOON;

/// The names of the nodes, which their requests to workers carry.
pub const NAMES: [&str; 2] = ["one", "two"];
/// How long a stop may take until running jobs are cut off, in seconds.
const SHUTDOWN_TIMEOUT_S: u64 = 5;

/// Where the nodes listen at the moment.
pub type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// What keeps the jobs of a round.
pub enum Store<'a> {
    /// A database of a server, which the round may kill.
    Mysql(&'a MariaDb, Database),
    /// A file.
    Sqlite(SqliteFile),
}

impl Store<'_> {
    /// The tables of its queues.
    pub fn tables(&self) -> &dyn Tables {
        match self {
            Store::Mysql(_, database) => database,
            Store::Sqlite(file) => file,
        }
    }
}

/// How a database or a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    /// Stopped by SIGSTOP.
    Paused,
    /// A dead process.
    Dead,
}

/// One of the nodes.
pub struct Node {
    daemon: Daemon,
    options: Options,
    /// Between it and its database, if that is a server.
    pub proxy: Option<Proxy>,
    pub health: Health,
    pub is_cut_off: bool,
}

/// The nodes and their store.
pub struct Fleet<'a> {
    pub store: Store<'a>,
    pub nodes: Vec<Node>,
    pub database: Health,
    /// Somebody else has locked the rows of a queue.
    pub are_rows_locked: bool,
    pub addresses: Addresses,
    pub queues: Vec<&'static str>,
    /// What was in hand when it was last looked at: what is in hand now, while the database
    /// answers nobody.
    in_hand: BTreeSet<String>,
}

impl<'a> Fleet<'a> {
    /// Starts `count` nodes.
    pub fn start(store: Store<'a>, count: usize, queues: &[&'static str]) -> Fleet<'a> {
        let nodes: Vec<Node> =
            NAMES[..count].iter().map(|name| Node::start(name, &store)).collect();
        let addresses = nodes.iter().map(|node| node.daemon.address()).collect();
        Fleet {
            store,
            nodes,
            database: Health::Well,
            are_rows_locked: false,
            addresses: Arc::new(Mutex::new(addresses)),
            queues: queues.to_vec(),
            in_hand: BTreeSet::new(),
        }
    }

    /// A node as its API sees it.
    pub fn daemon(&self, number: usize) -> &Daemon {
        &self.nodes[number].daemon
    }

    /// Whether nothing is wrong with the database and any node, so that outcomes can be stored.
    pub fn is_well(&self) -> bool {
        let is_well = |node: &Node| node.health == Health::Well && !node.is_cut_off;
        let database_is_well = self.database == Health::Well && !self.are_rows_locked;
        database_is_well && self.nodes.iter().all(is_well)
    }

    /// Does `deed` while no node does anything; answers the keys of the jobs in hand before it, and
    /// after it if the database answers then.
    pub fn held_still(&mut self, deed: impl FnOnce(&mut Fleet)) -> BTreeSet<String> {
        for node in self.nodes.iter_mut().filter(|node| node.health == Health::Well) {
            node.daemon.pause();
        }
        let mut in_hand = self.look_at_hands();
        deed(self);
        // A server may show what it has not written yet: a row that has gone before it is killed
        // may be back afterwards.
        in_hand.append(&mut self.look_at_hands());
        for node in self.nodes.iter_mut().filter(|node| node.health == Health::Well) {
            node.daemon.resume();
        }
        in_hand
    }

    /// The keys of the jobs in hand, with all nodes held still: while the database answers
    /// nobody, those that were in hand before.
    fn look_at_hands(&mut self) -> BTreeSet<String> {
        // A file may be locked by a node that is held; it is looked at after a kill.
        if let (Store::Mysql(_, database), Health::Well) = (&self.store, self.database) {
            self.in_hand = grabbed(database, &self.queues);
        }
        self.in_hand.clone()
    }

    /// Ends a node without warning; answers what was in hand.
    pub fn kill_node(&mut self, number: usize) -> BTreeSet<String> {
        let kill = |fleet: &mut Fleet| {
            fleet.nodes[number].daemon.kill9();
            fleet.nodes[number].health = Health::Dead;
        };
        let in_hand = self.held_still(kill);
        match &self.store {
            Store::Mysql(..) => in_hand,
            Store::Sqlite(file) => grabbed(file, &self.queues),
        }
    }

    /// Asks a node to stop, and waits until it has; answers what stayed in hand of jobs that it
    /// could not settle.
    pub fn stop_node(&mut self, number: usize) -> BTreeSet<String> {
        let was_well = self.is_well();
        let in_hand = if was_well { BTreeSet::new() } else { self.held_still(|_| ()) };
        let node = &mut self.nodes[number];
        node.daemon.signal(Signal::SIGTERM);
        let code = node.daemon.wait(Duration::from_secs(SHUTDOWN_TIMEOUT_S + 1) + SOON);
        assert_eq!(code, 0, "the exit code of a stop");
        node.health = Health::Dead;
        in_hand
    }

    /// Starts a node that is dead.
    pub fn start_node(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.daemon = node.options.clone().start();
        node.health = Health::Well;
        self.addresses.lock().unwrap()[number] = node.daemon.address();
    }

    /// Freezes a node, or lets it go on.
    pub fn pause_node(&mut self, number: usize, is_pause: bool) {
        let node = &mut self.nodes[number];
        if is_pause {
            node.daemon.pause()
        } else {
            node.daemon.resume()
        }
        node.health = if is_pause { Health::Paused } else { Health::Well };
    }

    /// Tells a node to open its logs anew.
    pub fn reopen_logs(&mut self, number: usize) {
        self.nodes[number].daemon.signal(Signal::SIGUSR1);
    }

    /// Ends, as an administrator would, every session of the database, or those that hold a lock.
    pub fn kill_sessions(&self, only_of_locks: bool) {
        let Store::Mysql(server, database) = &self.store else { return };
        let mut conn = server.conn();
        let sessions: Vec<u64> = if only_of_locks {
            let lock = |queue: &&str| format!("fireworq:{}:{queue}", database.name);
            let holder = |lock| conn.exec_first("SELECT IS_USED_LOCK(?)", (lock,)).unwrap();
            let holders = self.queues.iter().map(lock).map(holder);
            holders.filter_map(|id: Option<Option<u64>>| id.flatten()).collect()
        } else {
            let statement = "SELECT id FROM information_schema.processlist WHERE db = ?";
            conn.exec(statement, (&database.name,)).unwrap()
        };
        for id in BTreeSet::from_iter(sessions) {
            // It may have ended by now.
            let _ = conn.query_drop(format!("KILL {id}"));
        }
    }

    /// Does something to the server.
    pub fn do_to_database(&mut self, deed: impl FnOnce(&MariaDb), health: Health) {
        if let Store::Mysql(server, _) = &self.store {
            deed(server);
            self.database = health;
        }
    }

    /// Checks that every node still runs, that is to say that none ended by itself.
    #[track_caller]
    pub fn check_alive(&mut self) {
        for (node, name) in self.nodes.iter_mut().zip(NAMES) {
            assert!(node.daemon.is_running(), "node {name} ended:\n{}", node.daemon.errors());
        }
    }
}

impl Node {
    fn start(name: &str, store: &Store) -> Node {
        let proxy = match store {
            Store::Mysql(server, _) => Some(Proxy::to(server.port())),
            Store::Sqlite(_) => None,
        };
        let options = match (store, &proxy) {
            (Store::Mysql(_, database), Some(proxy)) => named(name, &database.dsn_at(proxy.port())),
            (Store::Sqlite(file), _) => Options::new()
                .flag("sqlite-path", file.0.to_str().unwrap())
                .flag("dispatch-user-agent", name),
            (Store::Mysql(..), None) => unreachable!("a database without a proxy"),
        };
        let options = options.flag("shutdown-timeout", &SHUTDOWN_TIMEOUT_S.to_string());
        let daemon = options.clone().start();
        Node { daemon, options, proxy, health: Health::Well, is_cut_off: false }
    }

    /// The network between it and its database.
    pub fn network(&self) -> &Proxy {
        self.proxy.as_ref().expect("a network")
    }
}

/// The keys of the jobs in hand.
fn grabbed(tables: &dyn Tables, queues: &[&str]) -> BTreeSet<String> {
    queues.iter().flat_map(|queue| tables.grabbed(queue)).collect()
}
