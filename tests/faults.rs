//! Nothing is lost, shown by breaking things: real daemons, a real database, a network that can
//! fail, a worker that follows a script. `doc/reliability.md` names the test of each promise.
//!
//! Every test accounts for its jobs exactly; see `support/ledger.rs`. What is random prints its
//! seed and takes it from `SEED`. The ignored tests take minutes: `make soak` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/crowds.rs"]
mod crowds;
#[path = "faults/deadlocks.rs"]
mod deadlocks;
#[path = "faults/fault.rs"]
mod fault;
#[path = "faults/fleet.rs"]
mod fleet;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/lease_loss.rs"]
mod lease_loss;
#[path = "faults/mix.rs"]
mod mix;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/outages.rs"]
mod outages;
#[path = "faults/resources.rs"]
mod resources;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/volume.rs"]
mod volume;
#[path = "faults/workers.rs"]
mod workers;
