//! The daemon as a service of its host: the sockets it listens on, its word to systemd, the file
//! with its process id, its limit of descriptors.
//!
//! Used by the main thread at start and end; the watchdog's beat comes from the thread that
//! knows that the daemon works.

mod descriptors;
mod listen;
mod pid_file;
pub mod systemd;

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use listen::listeners;
pub use pid_file::PidFile;

/// Raises the limit of open descriptors to the most that this process may have, and answers it:
/// each connection needs one, and the usual limit of 1,024 is for programs that use `select`.
///
/// # Errors
/// The system refuses.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests;
