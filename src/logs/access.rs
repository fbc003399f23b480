//! The access log: a line of JSON for each request to the API.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::line;
use super::sink::Sink;
use crate::clock::{self, Rfc3339};
use crate::config::Level;

/// The access log. Always on. Every method may be called from any thread and never waits
/// for I/O.
pub struct AccessLog {
    pub(super) sink: Arc<Sink>,
    pub(super) tag: String,
}

/// What a line of the access log tells. The time is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessEntry<'a> {
    /// The client: `host:port`, or `unix`.
    pub remote_addr: &'a str,
    /// Its `User-Agent`; left out when there is none.
    pub user_agent: Option<&'a str>,
    /// The request's method; empty if the request line could not be read.
    pub method: &'a str,
    /// Path and query as they were sent; empty likewise.
    pub url: &'a str,
    /// The answer's status; 499 if the client left before it.
    pub status: u16,
    /// From the request's first byte until the answer was there.
    pub duration: Duration,
}

/// A line, its keys in the order in which they stand.
#[derive(Serialize)]
struct Line<'a> {
    level: Level,
    remote_addr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    tag: &'a str,
    method: &'a str,
    url: &'a str,
    status: u16,
    /// In milliseconds.
    duration: f64,
    time: Rfc3339,
}

impl AccessLog {
    /// Writes a line.
    pub fn write(&self, entry: &AccessEntry<'_>) {
        let line = Line {
            level: Level::Info,
            remote_addr: entry.remote_addr,
            user_agent: entry.user_agent,
            tag: &self.tag,
            method: entry.method,
            url: entry.url,
            status: entry.status,
            duration: duration_ms(entry.duration),
            time: clock::rfc3339_ms(clock::now_ms()),
        };
        line::append_json(&self.sink, &line);
    }
}

/// Milliseconds down to microseconds; finer figures are noise.
#[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
fn duration_ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::Lines;

    #[test]
    fn the_keys_stand_in_order() {
        let lines = Lines::default();
        let log = AccessLog { sink: lines.sink(), tag: "fireworq.access".to_owned() };
        let entry = AccessEntry {
            remote_addr: "[::1]:4711",
            user_agent: Some("curl/8 \"x\""),
            method: "POST",
            url: "/job/c?a=%0a",
            status: 200,
            duration: Duration::from_nanos(1_234_567),
        };
        log.write(&entry);
        log.write(&AccessEntry { user_agent: None, ..entry });
        let written = lines.after_close(&log.sink);
        let start = "{\"level\":\"info\",\"remote_addr\":\"[::1]:4711\",";
        let end = "\"tag\":\"fireworq.access\",\"method\":\"POST\",\"url\":\"/job/c?a=%0a\",\
                   \"status\":200,\"duration\":1.234,\"time\":\"20";
        let full = format!("{start}\"user_agent\":\"curl/8 \\\"x\\\"\",{end}");
        assert!(written[0].starts_with(&full), "{written:?}");
        assert!(written[1].starts_with(&format!("{start}{end}")), "{written:?}");
    }
}
