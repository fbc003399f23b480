//! The node itself: its version, its settings, its process.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::api::{Api, Call};
use super::error::Refusal;
use super::{Response, answer};
use crate::metrics::process::ProcessFigures;

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
    let process = ProcessFigures::read();
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
        goroutine_num: process.threads,
        gomaxprocs: cpus,
        memory_alloc: process.resident_bytes,
        memory_sys: process.virtual_bytes,
        memory_stack: process.stack_bytes,
        heap_alloc: process.resident_bytes,
        heap_sys: process.data_bytes,
        heap_inuse: process.resident_bytes,
        ..ProcessStats::default()
    }))
}
