//! Fireworq: a job queue daemon that any language can use over HTTP.
//!
//! The modules stand in reading order; each uses only those above it (`tests/layering.rs`).

#[cfg(test)]
mod child_process;
#[cfg(test)]
mod fuzz;

pub mod clock;
pub mod tls;
pub mod wake;
pub mod threads;

pub mod job;
pub mod queue_definition;

pub mod config;
pub mod metrics;
pub mod logs;

pub mod store;

pub mod copy;
pub mod backlog;
pub mod failure_log;
pub mod dispatch;
pub mod intake;
pub mod settler;

pub mod queue;
pub mod registry;
pub mod purger;
pub mod health;

pub mod http;

pub mod service;
pub mod signals;

pub mod daemon;
