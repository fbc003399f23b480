//! What the embedded store promises beyond the contract of all stores: commits that are on the
//! disk, one process at a time, and faults of the disk and of the file that lose nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "sqlite_store"]
mod themes {
    mod files;
    mod growth;
    mod kill;
    mod ownership;
    mod sync;
    mod tools;
}
