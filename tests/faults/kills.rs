//! Daemons that die at random moments, with a database beside them. The embedded store has its
//! own such test in `tests/sqlite_store/kill.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fleet::{Fleet, Store};
use crate::mix::{self, Clients};
use crate::support::ledger::Fate;
use crate::support::mariadb;
use crate::support::nodes::{define, wait_until_primary};
use crate::support::random::{self, Random};
use crate::support::wait::SOON;

/// How often a node is killed until all is accounted for.
const KILLS: usize = 6;
const QUEUE: &str = "q";

#[test]
fn kills_at_random_moments_lose_nothing_and_repeat_what_was_in_hand() {
    let mut random = Random::seeded();
    // `make soak` counts rounds of a second or so.
    for _ in 0..random::number("ROUNDS").unwrap_or(0).div_ceil(100).max(1) {
        kill_and_account(&mut random);
    }
}

fn kill_and_account(random: &mut Random) {
    let server = mariadb::shared();
    let store = Store::Mysql(server, server.create_database());
    let mut fleet = Fleet::start(store, 2, &[QUEUE]);
    define(fleet.daemon(0), QUEUE, r#"{"max_workers":10,"polling_interval":50}"#);
    wait_until_primary(fleet.daemon(0), QUEUE);
    let ledger = mix::ledger();
    let clients = Clients::start(random, &ledger, &fleet.addresses, &fleet.queues);
    // How many kills found a job in hand.
    let mut in_hand: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..KILLS {
        let before = ledger.deliveries().len();
        ledger.wait_for_count(before + 10, SOON);
        std::thread::sleep(Duration::from_millis(random.within(0..=300)));
        let node = random.below(2);
        for key in fleet.kill_node(node) {
            *in_hand.entry(key).or_default() += 1;
        }
        fleet.start_node(node);
    }
    clients.stop();
    let delivered = ledger.close_with(fleet.store.tables(), &[QUEUE], |key, _| {
        mix::tries(key).map_or(usize::MAX, |tries| tries + in_hand.get(key).copied().unwrap_or(0))
    });
    let repeated = delivered
        .iter()
        .filter(|(key, all)| mix::tries(key).is_some_and(|tries| all.len() > tries));
    println!(
        "{} acknowledged, {} unknown, {} in hand at a kill, {} repeated",
        ledger.count(Fate::Acknowledged),
        ledger.count(Fate::Unknown),
        in_hand.values().sum::<usize>(),
        repeated.count()
    );
}
