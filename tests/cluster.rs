//! Several daemons on one real database: who is primary, how a primary is replaced, how
//! definitions spread, what older databases bring along. What breaks is in `tests/faults.rs`.
//!
//! Every test accounts for its jobs exactly; see `support/ledger.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "cluster/definitions.rs"]
mod definitions;
#[path = "cluster/old_databases.rs"]
mod old_databases;
#[path = "cluster/primaries.rs"]
mod primaries;
