//! The jobs of a round: their kinds, what the worker does with each, how often each is delivered
//! where nothing is wrong.
//!
//! A key begins with its kind, which holds all that the worker needs to know: `ok30` takes 30 ms
//! and succeeds, `retry2` fails twice before, and so on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fleet::Addresses;
use crate::support::ledger::{Fate, Ledger};
use crate::support::random::Random;
use crate::support::worker::Reaction;

/// How often a job of the kind `exhausted` is tried.
const EXHAUSTED_TRIES: usize = 2;
/// Pushes of one client at the most.
const MAX_PUSHES: usize = 3000;

/// A client's pause after a push that was not acknowledged: refusals come quickly.
const REFUSED_PAUSE: Duration = Duration::from_millis(40);

/// The kind of the next job and its further fields.
fn next_kind(random: &mut Random) -> (String, &'static str) {
    match random.below(100) {
        0..50 => (format!("ok{}", random.within(0..=60)), ""),
        50..60 => (format!("ok{}", random.within(100..=400)), r#","max_retries":1"#),
        60..75 => (format!("retry{}", random.within(1..=2)), r#","max_retries":5,"retry_delay":0"#),
        75..80 => (format!("retry{}", 1), r#","max_retries":5,"retry_delay":1"#),
        80..88 => ("fail".to_owned(), r#","max_retries":3"#),
        88..93 => ("exhausted".to_owned(), r#","max_retries":1"#),
        93..99 => ("ok5".to_owned(), r#","run_after":1"#),
        _ => ("timeout".to_owned(), r#","timeout":1,"max_retries":20"#),
    }
}

/// What a key's kind is and its number: `retry2-17` is `retry` and 2.
fn parse(key: &str) -> (&str, usize) {
    let kind = key.split('-').next().unwrap();
    let digits = kind.trim_start_matches(|character: char| character.is_ascii_alphabetic());
    (&kind[..kind.len() - digits.len()], digits.parse().unwrap_or(0))
}

/// Whether a key ends in the failure log.
pub fn fails(key: &str) -> bool {
    ["fail", "exhausted"].contains(&parse(key).0)
}

/// How often a key is delivered where nothing is wrong; `None` where that depends on the speed of
/// the machine.
pub fn tries(key: &str) -> Option<usize> {
    match parse(key) {
        ("ok" | "fail", _) => Some(1),
        ("retry", failures) => Some(failures + 1),
        ("exhausted", _) => Some(EXHAUSTED_TRIES),
        ("timeout", _) => None,
        other => panic!("{other:?}"),
    }
}

/// Books with a worker that does what each key says.
pub fn ledger() -> Arc<Ledger> {
    let deliveries: Mutex<HashMap<String, usize>> = Mutex::default();
    Ledger::with_failures(fails, move |key| {
        let mut deliveries = deliveries.lock().unwrap();
        let count = deliveries.entry(key.to_owned()).or_default();
        *count += 1;
        react(key, *count)
    })
}

fn react(key: &str, delivery: usize) -> Reaction {
    let pause = |delay_ms: usize| Duration::from_millis(delay_ms as u64);
    match parse(key) {
        ("ok", delay_ms) => Reaction::success().after(pause(delay_ms)),
        ("retry", failures) if delivery <= failures => match key.len() % 3 {
            0 => Reaction::failure(),
            1 => Reaction::answer(500, &[], "no JSON"),
            _ => Reaction::answer(200, &[], "").after(pause(20)),
        },
        ("fail", _) => Reaction::permanent_failure().after(pause(10)),
        ("exhausted", _) => Reaction::failure().after(pause(10)),
        ("timeout", _) if delivery == 1 => Reaction::success().after(pause(1300)),
        ("retry" | "timeout", _) => Reaction::success(),
        other => panic!("{other:?}"),
    }
}

/// Clients that push jobs of all kinds without a break, each to the nodes in turn.
pub struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts some of them.
    pub fn start(
        random: &mut Random,
        ledger: &Arc<Ledger>,
        nodes: &Addresses,
        queues: &[&'static str],
    ) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..random.within(1..=4))
            .map(|number| {
                let mut random = Random::of(random.next(), number);
                let pause = Duration::from_millis(random.within(1..=15));
                let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
                let (nodes, queues) = (Arc::clone(nodes), queues.to_vec());
                let push = move || {
                    for _ in 0..MAX_PUSHES {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let node = random.one_of(&nodes.lock().unwrap());
                        let (kind, fields) = next_kind(&mut random);
                        let pushed = ledger.push_kind(node, random.one_of(&queues), &kind, fields);
                        let is_stored = pushed.fate == Fate::Acknowledged;
                        std::thread::sleep(if is_stored { pause } else { REFUSED_PAUSE });
                    }
                };
                std::thread::Builder::new().name(format!("client-{number}")).spawn(push).unwrap()
            })
            .collect();
        Clients { stop, threads }
    }

    /// Lets each end the push that it makes, and no further one begin.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}
