//! A running daemon as its clients see it, and a queue of it that belongs to one test.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::http::{self, Answer, Client};
use crate::support::wait::{SOON, eventually};

/// A daemon and its API.
pub struct Node {
    daemon: Daemon,
}

/// A queue of one's own, with one category of the same name routed to it.
pub struct Queue<'n> {
    node: &'n Node,
    /// The queue's name and the category.
    pub name: String,
}

/// A name that no other test uses.
pub fn unique(stem: &str) -> String {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    format!("{stem}_{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

impl Deref for Node {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

impl Node {
    pub fn new(daemon: Daemon) -> Node {
        Node { daemon }
    }

    /// A request with a body.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
        http::request(self.address(), method, path, &[], body)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("PUT", path, body)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", path, body)
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, "")
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// A queue of one's own, by this definition.
    #[track_caller]
    pub fn queue(&self, definition: &Value) -> Queue<'_> {
        let name = unique("q");
        let answer = self.put(&format!("/queue/{name}"), definition.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let routing = json!({ "queue_name": name }).to_string();
        let answer = self.put(&format!("/routing/{name}"), routing);
        assert_eq!(answer.status, 200, "{}", answer.text());
        Queue { node: self, name }
    }

    /// The queue of this name, which is there already.
    pub fn queue_of(&self, name: &str) -> Queue<'_> {
        Queue { node: self, name: name.to_owned() }
    }
}

impl Queue<'_> {
    /// Pushes a job given as JSON text and answers its id.
    #[track_caller]
    pub fn push_text(&self, job: &str) -> u64 {
        let answer = self.node.post(&format!("/job/{}", self.name), job);
        assert_eq!(answer.status, 200, "{}", answer.text());
        id_of(&answer)
    }

    /// Pushes a job and answers its id.
    #[track_caller]
    pub fn push(&self, job: &Value) -> u64 {
        self.push_text(&job.to_string())
    }

    /// Pushes many jobs in one burst and answers their ids.
    #[track_caller]
    pub fn push_burst(&self, jobs: &[Value]) -> Vec<u64> {
        let mut client = self.node.connect();
        let requests: Vec<String> = jobs
            .iter()
            .map(|job| {
                let (body, name) = (job.to_string(), &self.name);
                let length = body.len();
                format!(
                    "POST /job/{name} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            })
            .collect();
        client.send(requests.concat().as_bytes()).unwrap();
        let ids = jobs.iter().map(|_| id_of(&client.receive().unwrap()));
        ids.collect()
    }

    /// Where the API listens that the queue belongs to.
    pub fn address(&self) -> std::net::SocketAddr {
        self.node.address()
    }

    /// `GET` of a path below the queue's: `/stats`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.node.get(&format!("/queue/{}{path}", self.name))
    }

    /// The queue's counters.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.get("/stats").json()
    }

    /// One of them.
    #[track_caller]
    pub fn stat(&self, name: &str) -> u64 {
        self.stats()[name].as_u64().unwrap()
    }

    /// Waits until a counter has reached `least`.
    #[track_caller]
    pub fn wait_for_stat(&self, name: &str, least: u64) {
        eventually(&format!("{name} reaches {least}"), SOON, || {
            (self.stat(name) >= least).then_some(())
        });
    }

    /// The jobs of a listing: `waiting?limit=5`.
    #[track_caller]
    pub fn jobs(&self, listing: &str) -> Vec<Value> {
        let answer = self.get(&format!("/{listing}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["jobs"].as_array().unwrap().clone()
    }

    /// Waits until the failure log has `count` entries, and answers them, the latest job first.
    #[track_caller]
    pub fn failures(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} failures"), SOON, || {
            let answer = self.get("/failed?order=created");
            assert_eq!(answer.status, 200, "{}", answer.text());
            let failures = answer.json()["failed_jobs"].as_array().unwrap().clone();
            (failures.len() >= count).then_some(failures)
        })
    }

    /// Waits until no job is left, whatever came of them.
    #[track_caller]
    pub fn wait_until_empty(&self) {
        eventually("the queue is empty", SOON, || {
            // A job goes from waiting to grabbed and perhaps back while this looks.
            let listings = ["waiting", "deferred", "grabbed", "deferred", "waiting"];
            listings.iter().all(|listing| self.jobs(listing).is_empty()).then_some(())
        });
    }
}

/// The id in the answer to a push. Its payload is as it came, and so perhaps more than a parser
/// takes.
#[track_caller]
fn id_of(answer: &Answer) -> u64 {
    let (text, _) = answer.text().strip_prefix("{\"id\":").unwrap().split_once(',').unwrap();
    text.parse().unwrap()
}

/// The ids of listed jobs or failures.
pub fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}
