//! The faults of a round: what each does, how it heals, which jobs it puts at risk.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use mysql::{Conn, TxOpts};

use crate::fleet::{Fleet, Health, NAMES, Store};
use crate::support::http;
use crate::support::ledger::Delivery;
use crate::support::nodes::LEASE_TIME;
use crate::support::random::Random;
use crate::support::tables::table;

/// A silence shorter than this ends no lease: a heartbeat may be late by more.
const NO_LEASE_ENDS: Duration = Duration::from_secs(1);
/// How long after the end of a silence a lease may still end because of it.
const AFTERMATH: Duration = LEASE_TIME.saturating_add(Duration::from_secs(1));

/// What can happen. Those with a node do it to the node of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9`, and a new start.
    NodeKilled,
    /// SIGTERM, and a new start.
    NodeStopped,
    /// SIGSTOP, SIGCONT.
    NodePaused,
    /// SIGUSR1.
    LogsReopened,
    /// Other `max_workers` and polling, by PUT.
    QueueRedefined,
    /// `kill -9` of the server, and a new start.
    DatabaseKilled,
    /// SIGSTOP, SIGCONT.
    DatabasePaused,
    /// A network between a node and the database that swallows everything.
    BlackHole,
    /// A network that ends all connections of a node.
    ConnectionsClosed,
    /// A network that ends the connection of the n-th packet from now, and loses the packet.
    PacketLost,
    /// An administrator ends the sessions that hold locks.
    LockSessionKilled,
    /// An administrator ends all sessions.
    AllSessionsKilled,
    /// Somebody locks all rows of a queue.
    RowsLocked,
}

const ON_MYSQL: [Kind; 13] = [
    Kind::NodeKilled,
    Kind::NodeStopped,
    Kind::NodePaused,
    Kind::LogsReopened,
    Kind::QueueRedefined,
    Kind::DatabaseKilled,
    Kind::DatabasePaused,
    Kind::BlackHole,
    Kind::ConnectionsClosed,
    Kind::PacketLost,
    Kind::LockSessionKilled,
    Kind::AllSessionsKilled,
    Kind::RowsLocked,
];
const ON_SQLITE: [Kind; 6] = [
    Kind::NodeKilled,
    Kind::NodeKilled,
    Kind::NodeStopped,
    Kind::NodePaused,
    Kind::LogsReopened,
    Kind::QueueRedefined,
];

/// What is going to happen.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    /// Which node.
    pub node: usize,
    /// When, from the beginning of the round.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// Which packet, how many workers and the like.
    number: usize,
}

/// What has happened, and what it put at risk.
pub struct Fault {
    pub plan: Plan,
    /// The jobs that were in hand when it began, where it ends a lease or a node.
    pub at_risk: BTreeSet<String>,
    /// Further ones: those that these nodes were delivering meanwhile.
    window: Option<(Vec<usize>, Instant, Instant)>,
    /// What holds the rows that are locked.
    locks: Option<Conn>,
}

impl Plan {
    /// Something to happen to a fleet of so many nodes.
    pub fn draw(random: &mut Random, store: &Store, nodes: usize) -> Plan {
        let kind = match store {
            Store::Mysql(..) => random.one_of(&ON_MYSQL),
            Store::Sqlite(_) => random.one_of(&ON_SQLITE),
        };
        let lasts_ms = match kind {
            Kind::NodePaused | Kind::DatabasePaused | Kind::BlackHole => match random.below(10) {
                0..6 => random.within(20..=900),
                6..9 => random.within(1000..=4000),
                // Longer than the other node takes to find out.
                _ => random.within(7000..=9000),
            },
            Kind::RowsLocked => random.within(50..=1500),
            _ => random.within(1..=500),
        };
        Plan {
            kind,
            node: random.below(nodes),
            at: Duration::from_millis(random.within(50..=1200)),
            lasts: Duration::from_millis(lasts_ms),
            number: random.below(40) + 1,
        }
    }

    /// Whether it can happen now, beside what is already wrong.
    fn is_possible(&self, fleet: &Fleet) -> bool {
        let node = &fleet.nodes[self.node];
        let node_is_well = node.health == Health::Well;
        let database_is_well = fleet.database == Health::Well;
        match self.kind {
            Kind::NodeKilled | Kind::NodePaused | Kind::NodeStopped | Kind::LogsReopened => {
                node_is_well
            }
            Kind::BlackHole | Kind::ConnectionsClosed => node_is_well && !node.is_cut_off,
            Kind::QueueRedefined | Kind::PacketLost => fleet.is_well(),
            Kind::DatabaseKilled
            | Kind::DatabasePaused
            | Kind::LockSessionKilled
            | Kind::AllSessionsKilled => database_is_well,
            Kind::RowsLocked => database_is_well && !fleet.are_rows_locked,
        }
    }

    /// Lets it happen; `None` if that makes no sense at the moment.
    pub fn begin(&self, fleet: &mut Fleet) -> Option<Fault> {
        if !self.is_possible(fleet) {
            return None;
        }
        // One node that lives, or that is the only one, keeps what it has in hand.
        let is_alone = fleet.nodes.len() == 1;
        let mut locks = None;
        let in_hand = match self.kind {
            Kind::NodeKilled => fleet.kill_node(self.node),
            Kind::NodeStopped => fleet.stop_node(self.node),
            Kind::NodePaused => fleet.held_still(|fleet| fleet.pause_node(self.node, true)),
            Kind::LogsReopened => {
                fleet.reopen_logs(self.node);
                BTreeSet::new()
            }
            Kind::QueueRedefined => {
                self.redefine(fleet);
                BTreeSet::new()
            }
            Kind::DatabaseKilled => fleet.held_still(|fleet| {
                fleet.do_to_database(|server| server.kill9(), Health::Dead);
            }),
            Kind::DatabasePaused => fleet.held_still(|fleet| {
                fleet.do_to_database(|server| server.pause(), Health::Paused);
            }),
            Kind::BlackHole => fleet.held_still(|fleet| {
                fleet.nodes[self.node].network().freeze();
                fleet.nodes[self.node].is_cut_off = true;
            }),
            Kind::ConnectionsClosed => {
                fleet.held_still(|fleet| fleet.nodes[self.node].network().close_connections())
            }
            Kind::PacketLost => fleet.held_still(|fleet| {
                fleet.nodes[self.node].network().cut_at_packet(self.number);
            }),
            Kind::LockSessionKilled => fleet.held_still(|fleet| fleet.kill_sessions(true)),
            Kind::AllSessionsKilled => fleet.held_still(|fleet| fleet.kill_sessions(false)),
            Kind::RowsLocked => {
                fleet.are_rows_locked = true;
                locks = lock_rows(fleet, fleet.queues[self.number % fleet.queues.len()]);
                BTreeSet::new()
            }
        };
        let ends_the_node = matches!(self.kind, Kind::NodeKilled | Kind::NodeStopped);
        let at_risk = if is_alone && !ends_the_node { BTreeSet::new() } else { in_hand };
        Some(Fault { plan: self.clone(), at_risk, window: None, locks })
    }

    fn redefine(&self, fleet: &Fleet) {
        let queue = fleet.queues[self.number % fleet.queues.len()];
        let definition =
            format!(r#"{{"max_workers":{},"polling_interval":{}}}"#, self.number, 10 * self.number);
        let path = format!("/queue/{queue}");
        let answer = http::put(fleet.daemon(self.node).address(), &path, definition);
        assert!([200, 503].contains(&answer.status), "{answer:?}");
    }
}

impl Fault {
    /// Ends it.
    pub fn heal(&mut self, fleet: &mut Fleet) {
        let node = self.plan.node;
        match self.plan.kind {
            Kind::NodeKilled | Kind::NodeStopped => fleet.start_node(node),
            Kind::NodePaused => fleet.pause_node(node, false),
            Kind::DatabaseKilled => {
                let in_hand = fleet.held_still(|fleet| {
                    fleet.do_to_database(|server| server.restart(), Health::Well);
                });
                if fleet.nodes.len() > 1 {
                    self.at_risk.extend(in_hand);
                }
            }
            Kind::DatabasePaused => {
                fleet.do_to_database(|server| server.resume(), Health::Well);
            }
            Kind::BlackHole => {
                fleet.nodes[node].network().thaw();
                fleet.nodes[node].is_cut_off = false;
            }
            Kind::PacketLost => fleet.nodes[node].network().cut_at_packet(0),
            Kind::RowsLocked => {
                drop(self.locks.take());
                fleet.are_rows_locked = false;
            }
            Kind::LogsReopened
            | Kind::QueueRedefined
            | Kind::ConnectionsClosed
            | Kind::LockSessionKilled
            | Kind::AllSessionsKilled => {}
        }
        self.window = self.risky_window(fleet);
    }

    /// The time in which a lease may end because of it, where that is not when it begins.
    fn risky_window(&self, fleet: &Fleet) -> Option<(Vec<usize>, Instant, Instant)> {
        if fleet.nodes.len() == 1 {
            return None;
        }
        let healed = Instant::now();
        let nodes = match self.plan.kind {
            Kind::DatabasePaused => (0..fleet.nodes.len()).collect(),
            _ => vec![self.plan.node],
        };
        match self.plan.kind {
            Kind::NodePaused | Kind::BlackHole | Kind::DatabasePaused
                if self.plan.lasts >= NO_LEASE_ENDS =>
            {
                Some((nodes, healed, healed + AFTERMATH))
            }
            // It may be the connection that holds the locks, and at any time.
            Kind::PacketLost => Some((nodes, healed - self.plan.lasts, healed + NO_LEASE_ENDS)),
            _ => None,
        }
    }

    /// How many further deliveries of a key it may be the cause of, given all of them.
    pub fn explains(&self, key: &str, all: &[Delivery]) -> usize {
        let in_window = self.window.as_ref().map_or(0, |(nodes, from, to)| {
            let is_in = |delivery: &&Delivery| {
                let is_of = nodes.iter().any(|node| NAMES[*node] == delivery.node);
                is_of && delivery.at >= *from && delivery.at <= *to
            };
            all.iter().filter(is_in).count()
        });
        usize::from(self.at_risk.contains(key)) + in_window
    }
}

/// Locks all rows of a queue until the connection is dropped.
fn lock_rows(fleet: &Fleet, queue: &str) -> Option<Conn> {
    let Store::Mysql(_, database) = &fleet.store else { return None };
    let mut conn = database.conn();
    conn.query_drop("SET innodb_lock_wait_timeout = 1").unwrap();
    let mut transaction = conn.start_transaction(TxOpts::default()).unwrap();
    let statement = format!("SELECT job_id FROM `fireworq_jq({})` FOR UPDATE", table(queue));
    // Not granted within that second where the nodes are quicker: then nothing is locked.
    let _ = transaction.query_drop(statement);
    std::mem::forget(transaction);
    Some(conn)
}
