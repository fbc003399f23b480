//! The node itself: its version, its settings, its process.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::api::{Api, Call};
use super::error::Refusal;
use super::{Response, answer};

pub(super) fn version(_: &Api, _: &Call) -> Result<Response, Refusal> {
    Ok(answer::text(concat!("Fireworq ", env!("CARGO_PKG_VERSION"), "\n")))
}

pub(super) fn settings(api: &Api, _: &Call) -> Result<Response, Refusal> {
    let settings: BTreeMap<_, _> = api.settings.iter().cloned().collect();
    Ok(answer::json(&settings))
}

/// Figures of the process. Monitoring plugins decode them with the fixed types of a Go runtime,
/// so its keys are all there; those that mean nothing here are 0.
#[derive(Serialize, Default)]
struct ProcessStats {
    time: u64,
    go_version: &'static str,
    go_os: &'static str,
    go_arch: &'static str,
    cpu_num: u64,
    goroutine_num: u64,
    gomaxprocs: u64,
    cgo_call_num: u64,
    memory_alloc: u64,
    memory_total_alloc: u64,
    memory_sys: u64,
    memory_lookups: u64,
    memory_mallocs: u64,
    memory_frees: u64,
    memory_stack: u64,
    heap_alloc: u64,
    heap_sys: u64,
    heap_idle: u64,
    heap_inuse: u64,
    heap_released: u64,
    heap_objects: u64,
    gc_next: u64,
    gc_last: u64,
    gc_num: u64,
    gc_per_second: f64,
    gc_pause_per_second: f64,
    gc_pause: [f64; 0],
}

pub(super) fn stats(_: &Api, _: &Call) -> Result<Response, Refusal> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = kibibytes(&status, "VmRSS:");
    let data = kibibytes(&status, "VmData:");
    Ok(answer::json(&ProcessStats {
        time: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
        go_version: concat!("fireworq/", env!("CARGO_PKG_VERSION")),
        go_os: std::env::consts::OS,
        go_arch: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
        cpu_num: cpus,
        goroutine_num: field(&status, "Threads:"),
        gomaxprocs: cpus,
        memory_alloc: resident,
        memory_sys: kibibytes(&status, "VmSize:"),
        memory_stack: kibibytes(&status, "VmStk:"),
        heap_alloc: resident,
        heap_sys: data,
        heap_inuse: resident,
        ..ProcessStats::default()
    }))
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
        let status = "Name:\tfireworq\nVmRSS:\t    1024 kB\nThreads:\t7\n";
        assert_eq!(kibibytes(status, "VmRSS:"), 1 << 20);
        assert_eq!(field(status, "Threads:"), 7);
        assert_eq!(field(status, "VmData:"), 0);
    }
}
