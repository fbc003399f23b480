//! The figures of the process, as the system knows them.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::time::ClockId;

use crate::clock;

/// Figures of the process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Time of processors used, in seconds.
    pub cpu_s: f64,
    /// Bytes of virtual memory.
    pub virtual_bytes: u64,
    /// Bytes in memory.
    pub resident_bytes: u64,
    /// Bytes of data, in memory or not.
    pub data_bytes: u64,
    /// Bytes of the first thread's stack.
    pub stack_bytes: u64,
    /// Threads.
    pub threads: u64,
}

impl ProcessFigures {
    /// As they are now; 0 for what cannot be read.
    pub fn read() -> ProcessFigures {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let cpu = ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map(Duration::from);
        ProcessFigures {
            cpu_s: cpu.unwrap_or_default().as_secs_f64(),
            ..ProcessFigures::of_status(&status)
        }
    }

    fn of_status(status: &str) -> ProcessFigures {
        ProcessFigures {
            cpu_s: 0.0,
            virtual_bytes: kibibytes(status, "VmSize:"),
            resident_bytes: kibibytes(status, "VmRSS:"),
            data_bytes: kibibytes(status, "VmData:"),
            stack_bytes: kibibytes(status, "VmStk:"),
            threads: field(status, "Threads:"),
        }
    }
}

/// File descriptors open now, and how many may be; `None` where the system does not say.
pub fn descriptors() -> (Option<u64>, Option<u64>) {
    // The folder itself is open while it is read.
    let open = fs::read_dir("/proc/self/fd").map(|entries| (entries.count() as u64) - 1).ok();
    (open, getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft).ok())
}

/// When the process started, in seconds since 1970: when this was first asked for.
pub fn started_s() -> f64 {
    static STARTED_MS: OnceLock<u64> = OnceLock::new();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit 53 bits")]
    let started_ms = *STARTED_MS.get_or_init(clock::now_ms) as f64;
    started_ms / 1e3
}

/// The number behind `key` in `/proc/self/status`; 0 where it is not there.
fn field(status: &str, key: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|value| value.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// The same where it counts kibibytes, in bytes.
fn kibibytes(status: &str, key: &str) -> u64 {
    field(status, key) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_status() {
        let figures =
            ProcessFigures::of_status("Name:\tfireworq\nVmRSS:\t    1024 kB\nThreads:\t7\n");
        let expected =
            ProcessFigures { resident_bytes: 1 << 20, threads: 7, ..ProcessFigures::default() };
        assert_eq!(figures, expected);
    }

    #[test]
    fn this_process_has_figures() {
        let figures = ProcessFigures::read();
        assert!(figures.cpu_s > 0.0 && figures.threads > 0 && figures.resident_bytes > 0);
        let (open, most) = descriptors();
        assert!(open.unwrap() >= 3 && most.unwrap() >= open.unwrap());
        assert!(started_s() > 1.7e9);
    }
}
