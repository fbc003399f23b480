//! Several daemons on one real database: who is primary, what a death, a silence or a cut costs,
//! what an outage of the database does to clients and jobs, how definitions spread.
//!
//! Every test accounts for its jobs exactly; see `cluster/ledger.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "cluster/definitions.rs"]
mod definitions;
#[path = "cluster/failures.rs"]
mod failures;
#[path = "cluster/ledger.rs"]
mod ledger;
#[path = "cluster/network.rs"]
mod network;
#[path = "cluster/nodes.rs"]
mod nodes;
#[path = "cluster/old_databases.rs"]
mod old_databases;
#[path = "cluster/outages.rs"]
mod outages;
#[path = "cluster/primaries.rs"]
mod primaries;
