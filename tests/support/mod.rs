//! What the tests stand on: real servers that end with the test process, waiting with a deadline.
//!
//! Shared by every test binary (`mod support;`); each uses a part of it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test support")]

pub mod browser;
pub mod daemon;
pub mod guard;
pub mod http;
pub mod ledger;
pub mod mariadb;
pub mod nodes;
pub mod promtool;
pub mod proxy;
pub mod random;
pub mod tables;
pub mod wait;
pub mod worker;

/// Lets this process have as many descriptors as it may: many systems let one have 1,024 unless it
/// asks for more.
pub fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}
