//! A worker that says `success` at once and remembers what arrived when.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::load::{content_length, now_ns};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"status\":\"success\",\"message\":\"\"}";

/// A running worker. Its threads end with the process.
pub struct Sink {
    port: u16,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    arrived: Arc<Condvar>,
}

struct Arrival {
    number: usize,
    at: Instant,
    latency_ms: f64,
}

impl Sink {
    pub fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let arrived = Arc::new(Condvar::new());
        let its = (Arc::clone(&arrivals), Arc::clone(&arrived));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (arrivals, arrived) = its.clone();
                std::thread::spawn(move || serve(stream, &arrivals, &arrived));
            }
        });
        Sink { port, arrivals, arrived }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until jobs 0 to `jobs` have arrived; fails if one is missing or comes twice.
    pub fn expect_each_once(&self, jobs: usize, within: Duration) {
        let deadline = Instant::now() + within;
        while self.count() < jobs {
            assert!(Instant::now() < deadline, "{} of {jobs} jobs arrived", self.count());
            std::thread::sleep(Duration::from_millis(5));
        }
        // A duplicate may come late: the daemon has a moment to send it.
        std::thread::sleep(Duration::from_millis(300));
        let mut numbers: Vec<usize> =
            self.arrivals.lock().unwrap().iter().map(|arrival| arrival.number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..jobs), "jobs were lost or arrived twice");
    }

    /// Waits until so many jobs have arrived.
    pub fn wait_for(&self, jobs: usize) {
        let mut arrivals = self.arrivals.lock().unwrap();
        while arrivals.len() < jobs {
            arrivals = self.arrived.wait_timeout(arrivals, Duration::from_secs(30)).unwrap().0;
        }
    }

    pub fn count(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }

    pub fn last_arrival(&self) -> Instant {
        self.arrivals.lock().unwrap().iter().map(|arrival| arrival.at).max().unwrap()
    }

    /// When each job arrived, in the order of the arrivals.
    pub fn arrivals(&self) -> Vec<Instant> {
        let mut arrivals: Vec<Instant> =
            self.arrivals.lock().unwrap().iter().map(|arrival| arrival.at).collect();
        arrivals.sort_unstable();
        arrivals
    }

    pub fn latencies_ms(&self) -> Vec<f64> {
        self.arrivals.lock().unwrap().iter().map(|arrival| arrival.latency_ms).collect()
    }
}

fn serve(mut stream: TcpStream, arrivals: &Mutex<Vec<Arrival>>, arrived: &Condvar) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        match stream.read(&mut buffer[length..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => length += read,
        }
        let request = std::str::from_utf8(&buffer[..length]).unwrap();
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        if body.len() < content_length(head) {
            continue;
        }
        let payload: serde_json::Value = serde_json::from_str(body).unwrap();
        let sent = payload["sent"].as_u64().unwrap();
        arrivals.lock().unwrap().push(Arrival {
            number: payload["number"].as_u64().unwrap() as usize,
            at: Instant::now(),
            latency_ms: now_ns().saturating_sub(sent) as f64 / 1e6,
        });
        arrived.notify_all();
        length = 0;
        if stream.write_all(ANSWER).is_err() {
            return;
        }
    }
}
