//! What a daemon costs that has nothing to do.

use std::time::{Duration, Instant};

use crate::support::daemon::Options;
use crate::support::http;

pub struct Idle {
    pub resident_bytes: u64,
    pub core_percent: f64,
}

/// A node with one queue, looked at for `span`.
pub fn measure(dsn: &str, span: Duration) -> Idle {
    let daemon = Options::on(dsn).flag("queue-default", "default").start();
    let deadline = Instant::now() + Duration::from_secs(30);
    while http::get(daemon.address(), "/queue/default/stats").json()["active_nodes"] != 1 {
        assert!(Instant::now() < deadline, "the node does not become primary");
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = processor_ticks(daemon.pid());
    std::thread::sleep(span);
    let ticks = processor_ticks(daemon.pid()) - before;
    // The kernel counts in hundredths of a second (USER_HZ), whatever its own clock.
    let core_percent = ticks as f64 / span.as_secs_f64();
    Idle { resident_bytes: resident_bytes(daemon.pid()), core_percent }
}

fn processor_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name in parentheses, user and system time are the 12th and 13th field.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
