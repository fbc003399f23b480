//! What must not be possible from outside: requests hidden in others, lines forged in logs, paths
//! that lead elsewhere, memory used up, secrets shown. The limits of time are in
//! `tests/http_contract/limits.rs` and `tests/faults/crowds.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "security/injection.rs"]
mod injection;
#[path = "security/oversize.rs"]
mod oversize;
#[path = "security/paths.rs"]
mod paths;
#[path = "security/secrets.rs"]
mod secrets;
#[path = "security/smuggling.rs"]
mod smuggling;
