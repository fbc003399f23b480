//! Random schedules, one step after the other; after each, everything that must hold is checked.

use std::sync::Arc;

use fireworq::config::{self, Command};
use fireworq::store::Store;
use fireworq::store::memory::MemoryStore;
use fireworq::store::mysql::MySqlStore;
use fireworq::store::sqlite::SqliteStore;

use crate::support::mariadb;
use crate::support::random::{self, Random};
use crate::world::{Luck, World};

/// Schedules of each store, where `ROUNDS` says nothing, and the steps of each.
const MEMORY_ROUNDS: u64 = 200;
const SQLITE_ROUNDS: u64 = 10;
const DATABASE_ROUNDS: u64 = 4;
const STEPS: usize = 250;
/// Of a hundred calls, those that fail before, and those that fail after.
const PERCENT_UNLUCKY: u64 = 12;

#[test]
fn schedules_on_the_store_in_memory_keep_what_must_hold() {
    run_all(MEMORY_ROUNDS, || Arc::new(MemoryStore::new()));
}

#[test]
fn schedules_on_the_embedded_store_keep_what_must_hold() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    run_all(SQLITE_ROUNDS, || {
        number += 1;
        Arc::new(SqliteStore::open(&directory.path().join(format!("{number}.db"))).unwrap())
    });
}

#[test]
fn schedules_on_a_database_keep_what_must_hold() {
    run_all(DATABASE_ROUNDS, || {
        let dsn = mariadb::shared().create_database().dsn();
        let Ok(Command::Run(settings)) =
            config::parse([format!("--mysql-dsn={dsn}").into()], &|_| None)
        else {
            panic!("the settings are not accepted");
        };
        Arc::new(MySqlStore::open(&settings).unwrap())
    });
}

fn run_all(few: u64, mut open: impl FnMut() -> Arc<dyn Store>) {
    let seed = random::seed();
    let rounds = random::number("ROUNDS").map_or(few, |rounds| rounds.min(10 * few));
    let (mut acknowledged, mut deliveries, mut at_risk) = (0, 0, 0);
    for round in 0..rounds {
        let store = open();
        let mut world = World::new(Arc::clone(&store));
        let mut random = Random::of(seed, round);
        for _ in 0..STEPS {
            step(&mut world, &mut random);
            world.check();
        }
        world.drain();
        let counts = world.counts();
        drop(world);
        store.close();
        acknowledged += counts.0;
        deliveries += counts.1;
        at_risk += counts.2;
    }
    println!(
        "{rounds} schedules of {STEPS} steps: {acknowledged} acknowledged, {deliveries} \
         deliveries, {at_risk} at risk"
    );
}

fn step(world: &mut World, random: &mut Random) {
    let node = random.below(2);
    let luck = Luck::draw(random, PERCENT_UNLUCKY);
    match random.below(100) {
        // Few, so that the queue is short and a retried job soon has its turn.
        0..7 => world.push(random, luck),
        7..32 => world.grab(node, random.below(10) + 1, luck),
        32..62 => world.finish(node, random),
        62..80 => world.settle(node, luck),
        80..88 => world.recover(node, luck),
        88..90 => world.put_back(node, luck),
        90..93 => world.lose(node, random.chance(50)),
        93..94 => world.crash(node),
        _ => world.look(node),
    }
}
