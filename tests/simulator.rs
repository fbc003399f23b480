//! The stores and the decisions of the daemon under random schedules, in one thread and in many,
//! with a store that fails at every call: before it has done what it was asked, or after.
//!
//! `SEED` and `ROUNDS` may be given in the environment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "simulator/failing.rs"]
mod failing;
#[path = "simulator/queues.rs"]
mod queues;
#[path = "simulator/steps.rs"]
mod steps;
#[path = "simulator/world.rs"]
mod world;
