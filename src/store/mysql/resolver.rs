//! Finds the addresses of a server's host within a time.
//!
//! The system's look-up cannot be told how long it may take, so it runs in a thread of its own
//! (`resolve-mysql`) that is left behind if it takes too long. It ends by itself; nobody can join
//! it in time. Few of them exist at once.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::threads;

/// Look-ups that may run at once; more only wait for the same name server.
const MAX_LOOK_UPS: usize = 8;
/// Addresses of a host that are tried.
const MAX_ADDRESSES: usize = 8;

static LOOK_UPS: AtomicUsize = AtomicUsize::new(0);

/// Counts a look-up as long as it lives.
struct Running;

impl Running {
    fn begin() -> Option<Running> {
        let begun = LOOK_UPS.fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| {
            (running < MAX_LOOK_UPS).then_some(running + 1)
        });
        begun.ok().map(|_| Running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        LOOK_UPS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The addresses of `host`, in the order in which the system prefers them.
///
/// # Errors
/// The host is not known, or the answer takes longer than `within`.
pub fn resolve(host: &str, port: u16, within: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let too_long = || {
        let text = format!("the address of {host} was not found within {within:?}");
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    let running = Running::begin().ok_or_else(too_long)?;
    let (sender, receiver) = bounded(1);
    let name = host.to_owned();
    threads::spawn("resolve-mysql".to_owned(), move || {
        let addresses = (name.as_str(), port)
            .to_socket_addrs()
            .map(|addresses| addresses.take(MAX_ADDRESSES).collect::<Vec<SocketAddr>>());
        drop(running);
        // The caller may have given up.
        let _ = sender.send(addresses);
    })?;
    receiver.recv_timeout(within).map_err(|_| too_long())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Duration = Duration::from_secs(60);

    #[test]
    fn literals_need_no_look_up() {
        for (host, shown) in [("10.1.2.3", "10.1.2.3:1"), ("::1", "[::1]:1")] {
            assert_eq!(resolve(host, 1, Duration::ZERO).unwrap()[0].to_string(), shown);
        }
    }

    #[test]
    fn names_are_looked_up() {
        assert!(resolve("localhost", 1, PATIENT).unwrap().iter().all(|a| a.ip().is_loopback()));
        assert!(resolve("no such host", 1, PATIENT).is_err());
    }
}
