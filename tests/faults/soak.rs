//! Rounds of random faults: each starts from nothing, pushes jobs of all kinds, lets one to three
//! things go wrong, heals, drains and accounts.
//!
//! `ROUNDS` says how many, `SEED` from which seed, `ROUND` that it is only that one, `LANES` how
//! many run beside each other. A round depends on the seed and its number alone, as far as its
//! plan goes; what the scheduler makes of it is another matter.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;

use crate::fault::{Fault, Kind, Plan};
use crate::fleet::{Fleet, Store};
use crate::mix::{self, Clients};
use crate::support::ledger::{Fate, Ledger};
use crate::support::mariadb::MariaDb;
use crate::support::nodes::define;
use crate::support::random::{self, Random};
use crate::support::tables::SqliteFile;
use crate::support::wait::{SOON, until};

/// Rounds where `ROUNDS` says nothing: those of `make test`.
const FEW_ROUNDS: u64 = 12;
/// Rounds beside each other where `LANES` says nothing: most of the time a round waits.
const LANES: u64 = 4;
/// How often a round is tried that is disturbed each time.
const MAX_REPEATED: usize = 10;
/// After so many failed rounds it is enough.
const MAX_FAILED: usize = 3;
/// How long clients push at the most: what they leave has to be worked off.
const LOAD: Duration = Duration::from_millis(2500);
/// Queues of a round.
const QUEUES: [&str; 3] = ["first", "second", "third"];
/// Of a hundred rounds, those on the embedded store, and of the others those with two nodes.
const PERCENT_SQLITE: u64 = 20;
const PERCENT_TWO_NODES: u64 = 70;

#[test]
fn rounds_of_random_faults_lose_nothing() {
    let seed = random::seed();
    let only = random::number("ROUND");
    let rounds = random::number("ROUNDS").unwrap_or(FEW_ROUNDS);
    let (first, end) = only.map_or((0, rounds), |round| (round, round + 1));
    let next = AtomicU64::new(first);
    let summary = Mutex::new(Summary::new(seed));
    let lanes = random::number("LANES").unwrap_or(LANES).min(end - first);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| watch_for_stops(&is_over));
        let lane = || run_lane(seed, &next, end, &summary);
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let ended: Vec<_> = lanes.into_iter().map(|lane| lane.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a lane has ended early");
    });
    let summary = summary.into_inner().unwrap();
    println!("{summary}");
    assert!(summary.failed.is_empty(), "rounds failed: {}", summary.failed.join("; "));
}

fn run_lane(seed: u64, next: &AtomicU64, end: u64, summary: &Mutex<Summary>) {
    let mut server = None;
    loop {
        let round = next.fetch_add(1, Ordering::Relaxed);
        if round >= end || summary.lock().unwrap().failed.len() >= MAX_FAILED {
            return;
        }
        let (account, took) = (0..MAX_REPEATED)
            .find_map(|_| {
                let stops = STOPS.load(Ordering::SeqCst);
                let began = Instant::now();
                let ran = catch_unwind(AssertUnwindSafe(|| {
                    run_round(seed, round, server.get_or_insert_with(MariaDb::start))
                }));
                if ran.is_err() {
                    // However the round left it.
                    server = None;
                }
                let is_disturbed = ran.is_err() && STOPS.load(Ordering::SeqCst) != stops;
                if is_disturbed {
                    println!("round {round} is repeated: this process was stopped meanwhile");
                }
                (!is_disturbed).then(|| (ran.ok(), began.elapsed()))
            })
            .unwrap_or_default();
        let mut summary = summary.lock().unwrap();
        match account {
            Some(account) => summary.add(account, took),
            None => {
                let failed = format!("round {round} (again: SEED={seed} ROUND={round})");
                println!("FAILED: {failed}");
                summary.failed.push(failed);
            }
        }
        if summary.rounds.is_multiple_of(20) {
            println!("{}", summary.progress());
        }
    }
}

/// How often this process was stopped itself, the worker, the proxies and the clients with it. A
/// round that fails meanwhile says nothing about the daemon.
static STOPS: AtomicU64 = AtomicU64::new(0);

/// Counts the stops: a short sleep that takes long.
fn watch_for_stops(is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(50));
        if began.elapsed() > Duration::from_secs(2) {
            STOPS.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// What a round came to.
struct Account {
    faults: Vec<(Kind, usize)>,
    nodes: usize,
    is_embedded: bool,
    acknowledged: usize,
    unknown: usize,
    deliveries: usize,
    duplicates: usize,
    at_risk: usize,
}

fn run_round(seed: u64, round: u64, server: &MariaDb) -> Account {
    let mut random = Random::of(seed, round);
    let directory = tempfile::tempdir().unwrap();
    let is_embedded = random.chance(PERCENT_SQLITE);
    let (store, nodes) = if is_embedded {
        (Store::Sqlite(SqliteFile(directory.path().join("jobs.db"))), 1)
    } else {
        let two = random.chance(PERCENT_TWO_NODES);
        (Store::Mysql(server, server.create_database()), if two { 2 } else { 1 })
    };
    let queues = &QUEUES[..random.below(QUEUES.len()) + 1];
    let plans: Vec<Plan> =
        (0..random.within(1..=3)).map(|_| Plan::draw(&mut random, &store, nodes)).collect();
    let _told = ToldIfItFails(round, plans.clone());
    let mut fleet = Fleet::start(store, nodes, queues);
    for queue in queues {
        define(fleet.daemon(0), queue, &definition(&mut random));
    }
    let ledger = mix::ledger();
    let faults = break_and_heal(&mut random, &mut fleet, &ledger, &plans);
    work_after_all(&fleet, &ledger);
    let account = account(&fleet, &ledger, &faults, is_embedded);
    fleet.check_alive();
    for node in 0..nodes {
        fleet.stop_node(node);
    }
    for queue in queues {
        assert_eq!(fleet.store.tables().grabbed(queue), [""; 0], "grabbed after a stop");
    }
    if let Store::Mysql(server, database) = &fleet.store {
        server.conn().query_drop(format!("DROP DATABASE {}", database.name)).unwrap();
    }
    account
}

/// Prints the plans of a round that fails.
struct ToldIfItFails(u64, Vec<Plan>);

impl Drop for ToldIfItFails {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("round {}: {:#?}", self.0, self.1);
        }
    }
}

fn definition(random: &mut Random) -> String {
    let workers = random.within(1..=20);
    let polling = random.one_of(&[20, 100, 200, 1000]);
    let throttle = match random.below(4) {
        0 => r#","max_dispatches_per_second":200,"max_burst_size":10"#,
        _ => "",
    };
    format!(r#"{{"max_workers":{workers},"polling_interval":{polling}{throttle}}}"#)
}

/// Lets the plans happen while clients push, and everything heal.
fn break_and_heal(
    random: &mut Random,
    fleet: &mut Fleet,
    ledger: &std::sync::Arc<Ledger>,
    plans: &[Plan],
) -> Vec<Fault> {
    let mut clients = Some(Clients::start(random, ledger, &fleet.addresses, &fleet.queues));
    let began = Instant::now();
    let mut events: Vec<(Duration, usize, bool)> = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        events.push((plan.at, number, true));
        events.push((plan.at + plan.lasts, number, false));
    }
    events.sort_unstable();
    let mut under_way: BTreeMap<usize, Fault> = BTreeMap::new();
    let mut faults = Vec::new();
    for (at, number, is_begin) in events {
        if at > LOAD {
            clients.take().into_iter().for_each(Clients::stop);
        }
        std::thread::sleep(at.saturating_sub(began.elapsed()));
        if is_begin {
            under_way.extend(plans[number].begin(fleet).map(|fault| (number, fault)));
        } else if let Some(mut fault) = under_way.remove(&number) {
            fault.heal(fleet);
            faults.push(fault);
        }
    }
    assert!(fleet.is_well(), "not everything has healed");
    clients.into_iter().for_each(Clients::stop);
    faults
}

/// Checks that everything works again: each node takes a job for each queue.
fn work_after_all(fleet: &Fleet, ledger: &Ledger) {
    for node in 0..fleet.nodes.len() {
        for queue in &fleet.queues {
            until("a push is stored", SOON, || {
                let address = fleet.daemon(node).address();
                ledger.push_kind(address, queue, "ok1", "").fate == Fate::Acknowledged
            });
        }
    }
}

fn account(fleet: &Fleet, ledger: &Ledger, faults: &[Fault], is_embedded: bool) -> Account {
    let mut at_risk = 0;
    let delivered = ledger.close_with(fleet.store.tables(), &fleet.queues, |key, all| {
        let explained = faults.iter().map(|fault| fault.explains(key, all)).sum::<usize>();
        mix::tries(key).map_or(usize::MAX, |tries| tries + explained)
    });
    let duplicates = delivered.iter().map(|(key, all)| {
        at_risk += faults.iter().map(|fault| fault.explains(key, all)).sum::<usize>();
        mix::tries(key).map_or(0, |tries| all.len().saturating_sub(tries))
    });
    let duplicates = duplicates.sum();
    assert_eq!(ledger.count(Fate::Refused), 0, "a push was refused");
    Account {
        faults: faults.iter().map(|fault| (fault.plan.kind, fault.at_risk.len())).collect(),
        nodes: fleet.nodes.len(),
        is_embedded,
        acknowledged: ledger.count(Fate::Acknowledged),
        unknown: ledger.count(Fate::Unknown),
        deliveries: ledger.deliveries().len(),
        duplicates,
        at_risk,
    }
}

/// What all rounds came to.
struct Summary {
    seed: u64,
    began: Instant,
    rounds: u64,
    on_two_nodes: u64,
    on_one_node: u64,
    embedded: u64,
    longest: Duration,
    faults: BTreeMap<Kind, (u64, usize)>,
    acknowledged: usize,
    unknown: usize,
    deliveries: usize,
    duplicates: usize,
    at_risk: usize,
    failed: Vec<String>,
}

impl Summary {
    fn new(seed: u64) -> Summary {
        Summary {
            seed,
            began: Instant::now(),
            rounds: 0,
            on_two_nodes: 0,
            on_one_node: 0,
            embedded: 0,
            longest: Duration::ZERO,
            faults: BTreeMap::new(),
            acknowledged: 0,
            unknown: 0,
            deliveries: 0,
            duplicates: 0,
            at_risk: 0,
            failed: Vec::new(),
        }
    }

    fn add(&mut self, account: Account, took: Duration) {
        self.rounds += 1;
        match account {
            Account { is_embedded: true, .. } => self.embedded += 1,
            Account { nodes: 1, .. } => self.on_one_node += 1,
            _ => self.on_two_nodes += 1,
        }
        self.longest = self.longest.max(took);
        for (kind, at_risk) in account.faults {
            let entry = self.faults.entry(kind).or_default();
            entry.0 += 1;
            entry.1 += at_risk;
        }
        self.acknowledged += account.acknowledged;
        self.unknown += account.unknown;
        self.deliveries += account.deliveries;
        self.duplicates += account.duplicates;
        self.at_risk += account.at_risk;
    }

    fn progress(&self) -> String {
        format!(
            "{:5} s: {} rounds, {} acknowledged, {} unknown, {} duplicates of at most {}, \
             {} rounds failed",
            self.began.elapsed().as_secs(),
            self.rounds,
            self.acknowledged,
            self.unknown,
            self.duplicates,
            self.at_risk,
            self.failed.len()
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nSEED={} {}", self.seed, self.progress().trim_start())?;
        writeln!(
            f,
            "rounds: {} with two nodes and a database, {} with one, {} with the embedded store; \
             the longest took {:.1} s",
            self.on_two_nodes,
            self.on_one_node,
            self.embedded,
            self.longest.as_secs_f64()
        )?;
        writeln!(f, "{:20} {:>7} {:>20}", "fault", "times", "jobs put at risk")?;
        for (kind, (times, at_risk)) in &self.faults {
            writeln!(f, "{:20} {times:>7} {at_risk:>20}", format!("{kind:?}"))?;
        }
        let lost = if self.failed.is_empty() { "0" } else { "see the failed rounds" };
        writeln!(f, "deliveries: {}, jobs lost: {lost}", self.deliveries)
    }
}
