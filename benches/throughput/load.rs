//! Clients that push jobs as fast as they are answered, or at a rate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::sink::Sink;

/// What is pushed. A job's payload carries its number and when it was sent.
pub struct Load<'a> {
    /// Connections, each with one push under way at a time.
    pub clients: usize,
    /// Jobs in all.
    pub jobs: usize,
    /// See the API.
    pub run_after_s: u64,
    pub pace: Pace<'a>,
}

/// When the next job is pushed.
pub enum Pace<'a> {
    /// Once the one before was answered.
    Free,
    /// At a rate: so long after the one before.
    Every(Duration),
    /// Once the one before has arrived there.
    Arrived(&'a Sink),
}

/// What came of it. Every push was answered 200.
pub struct Pushed {
    /// When the first push was sent.
    pub start: Instant,
    duration: Duration,
    /// For each push, in milliseconds; one client's after the other's.
    pub latencies_ms: Vec<f64>,
    /// How many pushes each client made.
    counts: Vec<usize>,
}

impl Pushed {
    pub fn per_second(&self) -> f64 {
        self.latencies_ms.len() as f64 / self.duration.as_secs_f64()
    }

    /// The p99 of the client for which it is worst, in milliseconds.
    pub fn worst_p99_ms(&self) -> f64 {
        let mut rest = self.latencies_ms.as_slice();
        let p99s = self.counts.iter().filter(|count| **count > 0).map(|&count| {
            let (its, others) = rest.split_at(count);
            rest = others;
            percentile(its, 0.99)
        });
        p99s.fold(0.0, f64::max)
    }
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// The value below which `part` of `values` lie.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

impl Load<'_> {
    pub fn run(&self, daemon: SocketAddr, worker: &str) -> Pushed {
        let next = AtomicUsize::new(0);
        let start = Instant::now();
        let by_client: Vec<Vec<f64>> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|_| scope.spawn(|| self.push_all(daemon, worker, &next, start)))
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let counts = by_client.iter().map(Vec::len).collect();
        Pushed { start, duration: start.elapsed(), latencies_ms: by_client.concat(), counts }
    }

    fn push_all(
        &self,
        daemon: SocketAddr,
        worker: &str,
        next: &AtomicUsize,
        start: Instant,
    ) -> Vec<f64> {
        let mut client = Client::connect(daemon);
        let mut latencies_ms = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.jobs {
                return latencies_ms;
            }
            match self.pace {
                Pace::Free => {}
                Pace::Every(time) => {
                    let due = start + time * number as u32;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                Pace::Arrived(sink) => sink.wait_for(number),
            }
            let body = format!(
                r#"{{"url":"http://{worker}/","payload":{{"number":{number},"sent":{}}},"run_after":{}}}"#,
                now_ns(),
                self.run_after_s
            );
            let sent = Instant::now();
            client.push(&body);
            latencies_ms.push(sent.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// A connection that is kept, with no more to it than the load needs.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(daemon: SocketAddr) -> Client {
        let stream = TcpStream::connect(daemon).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client { stream, buffer: vec![0; 64 << 10] }
    }

    fn push(&mut self, body: &str) {
        let request = format!(
            "POST /job/bench HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[length..]).unwrap();
            assert!(read > 0, "the daemon closed the connection");
            length += read;
            let answer = std::str::from_utf8(&self.buffer[..length]).unwrap();
            if let Some((head, rest)) = answer.split_once("\r\n\r\n") {
                assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
                if rest.len() >= content_length(head) {
                    return;
                }
            }
        }
    }
}

pub fn content_length(head: &str) -> usize {
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    value.map_or(0, |value| value.trim().parse().unwrap())
}
