//! Load for the tests of the package, and its accounts: which jobs the API took, and which arrived.
//!
//! `load run API WORKER STOP` hands in jobs at the address API, a connection each, and is their
//! worker at the address WORKER, until the file STOP exists; waits for those that are on their
//! way; and prints one line of JSON. `load worker ADDRESS` is the worker alone. A job for the
//! path `/never` gets no answer.
//!
//! The standard library alone, so that it builds at once.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PUSHERS: u64 = 4;
/// The pause of a pusher between two jobs: together they hand in some hundred a second.
const PAUSE: Duration = Duration::from_millis(8);
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long jobs may take to arrive after the last one was handed in.
const ARRIVAL: Duration = Duration::from_secs(60);

/// What has happened so far, by the number of a job.
#[derive(Default)]
struct Accounts {
    requests: u64,
    failed: u64,
    acknowledged: Vec<u64>,
    delivered: BTreeMap<u64, u64>,
}

impl Accounts {
    fn lost(&self) -> usize {
        self.acknowledged.iter().filter(|job| !self.delivered.contains_key(job)).count()
    }
}

type Shared = Arc<Mutex<Accounts>>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", api, worker, stop] => run(api, worker, Path::new(stop)),
        ["worker", address] => {
            work(TcpListener::bind(address)?, Shared::default());
            Ok(())
        }
        _ => Err("usage: load run API WORKER STOP | load worker ADDRESS".into()),
    }
}

fn run(api: &str, worker: &str, stop: &Path) -> Result<(), Box<dyn Error>> {
    let accounts = Shared::default();
    let listener = TcpListener::bind(worker)?;
    let of_worker = Arc::clone(&accounts);
    std::thread::spawn(move || work(listener, of_worker));
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..PUSHERS {
            scope.spawn(|| {
                while !stop.exists() {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let pushed = push(api, worker, job);
                    let mut accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner);
                    accounts.requests += 1;
                    match pushed {
                        Ok(()) => accounts.acknowledged.push(job),
                        Err(error) => {
                            accounts.failed += 1;
                            eprintln!("load: job {job}: {error}");
                        }
                    }
                    drop(accounts);
                    std::thread::sleep(PAUSE);
                }
            });
        }
    });
    let deadline = Instant::now() + ARRIVAL;
    let locked = || accounts.lock().unwrap_or_else(PoisonError::into_inner);
    while locked().lost() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let accounts = locked();
    let repeated = accounts.delivered.values().filter(|&&times| times > 1).count();
    println!(
        "{{\"requests\":{},\"failed\":{},\"acknowledged\":{},\"lost\":{},\"repeated\":{repeated}}}",
        accounts.requests,
        accounts.failed,
        accounts.acknowledged.len(),
        accounts.lost()
    );
    Ok(())
}

/// Hands in a job over a connection of its own.
fn push(api: &str, worker: &str, job: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(api)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let body = format!("{{\"url\":\"http://{worker}/\",\"payload\":{{\"n\":{job}}}}}");
    let request = format!(
        "POST /job/load HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((request + &body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other(format!("answered {answer:?}")))
    }
}

/// The worker: a thread for each connection.
fn work(listener: TcpListener, accounts: Shared) {
    for stream in listener.incoming().flatten() {
        let accounts = Arc::clone(&accounts);
        std::thread::spawn(move || {
            // A daemon that is killed leaves its connections in the middle of anything.
            let _ = serve(stream, &accounts);
        });
    }
}

/// Takes the jobs that come over one connection.
fn serve(mut stream: TcpStream, accounts: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if head.starts_with("POST /never ") {
            std::thread::sleep(Duration::MAX);
        }
        let digits: String = body.iter().map(|&b| b as char).filter(char::is_ascii_digit).collect();
        if let Ok(job) = digits.parse() {
            let mut accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner);
            *accounts.delivered.entry(job).or_default() += 1;
        }
        let answer = r#"{"status":"success"}"#;
        let length = answer.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}")?;
    }
}
