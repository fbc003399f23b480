//! The contract as clients, workers and operators see it: the real binary, driven over HTTP, for
//! each store.
//!
//! Tests share one daemon a store (`stores::Store::shared`) and use names of their own; those that
//! need other settings start daemons of their own. What no store has a part in is tested once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "http_contract"]
mod contract {
    pub mod access_log;
    pub mod answers;
    pub mod backlog;
    pub mod bodies;
    pub mod command_line;
    pub mod connections;
    pub mod delivery;
    pub mod error_log;
    pub mod failures;
    pub mod framing;
    pub mod health;
    pub mod jobs;
    pub mod limits;
    pub mod listing;
    pub mod metrics;
    pub mod node_info;
    pub mod nodes;
    pub mod order;
    pub mod outage;
    pub mod payloads;
    pub mod queue_log;
    pub mod queues;
    pub mod redirects;
    pub mod retries;
    pub mod routes;
    pub mod routings;
    pub mod shutdown;
    pub mod sockets;
    pub mod stats;
}

#[path = "http_contract/node.rs"]
mod node;
#[path = "http_contract/openapi.rs"]
mod openapi;
#[path = "http_contract/stores.rs"]
mod stores;
#[path = "http_contract/workers.rs"]
mod workers;
