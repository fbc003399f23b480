//! Delivering a job to its worker: a [`Job`] becomes an [`Outcome`].
//!
//! The [`Dispatcher`] is shared by all worker threads and runs on theirs. Whatever goes wrong is
//! the try's outcome, never an error: nothing here touches the queue or the store.

mod answer;
mod connection;
mod proxy;
mod redirect;
mod request;
mod resolver;
mod target;
mod tcp;
mod trust;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{HeaderValue, Request, Response};
use ureq::tls::TlsConfig;
use ureq::{Agent, AsSendBody, Body, Timeout};

use crate::config::Settings;
use crate::job::{Job, Outcome, OutcomeStatus};
use proxy::Proxies;
use redirect::{MAX_REDIRECTS, Redirect};
use request::Call;
use resolver::Names;
use target::Target;

/// The size of a connection's two buffers, and so of the longest head of an answer, in bytes.
const BUFFER_BYTES: usize = 16 * 1024;
/// What a line of a request has besides the parts that a URL makes long, at most, in bytes.
const LINE_OVERHEAD_BYTES: usize = 1024;
/// The longest `User-Agent`, in bytes: a line must fit into the buffer.
const MAX_USER_AGENT_BYTES: usize = 8 * 1024;
/// The most idle connections altogether. The pool looks at each of them for every request.
const MAX_IDLE_CONNECTIONS: usize = 256;
/// How long a connection may take to open, its look-up and TLS included, whatever a job allows.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(30);
/// The longest body of a redirect that is read for the sake of its connection, in bytes.
const MAX_REDIRECT_BODY_BYTES: u64 = BUFFER_BYTES as u64;
/// Stands for no limit where `ureq` asks for one.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Delivers jobs. One for the whole process.
pub struct Dispatcher {
    agent: Agent,
    names: Arc<Names>,
    proxies: Proxies,
    keeps_alive: bool,
    default_timeout_s: u32,
    max_response_bytes: u64,
    max_message_bytes: usize,
    is_shut_down: AtomicBool,
}

impl Dispatcher {
    /// A dispatcher that does as the section "Dispatch" of the settings says, with the proxies of
    /// the environment and the certificates of the system.
    ///
    /// # Errors
    /// A setting that no request can carry, in words for the operator.
    pub fn new(settings: &Settings) -> Result<Dispatcher, String> {
        let proxies = Proxies::from_environment(&|name| std::env::var(name).ok());
        Dispatcher::with(settings, proxies, trust::system_trust())
    }

    fn with(settings: &Settings, proxies: Proxies, tls: TlsConfig) -> Result<Dispatcher, String> {
        let user_agent = &settings.dispatch_user_agent;
        if HeaderValue::from_str(user_agent).is_err() || user_agent.len() > MAX_USER_AGENT_BYTES {
            return Err("dispatch_user_agent is not the text of a header".to_owned());
        }
        let names = Arc::new(Names::new());
        Ok(Dispatcher {
            agent: connection::agent(agent_config(settings, tls), &names),
            names,
            proxies,
            keeps_alive: settings.dispatch_keep_alive,
            default_timeout_s: settings.dispatch_default_timeout,
            max_response_bytes: settings.dispatch_max_response_size as u64,
            max_message_bytes: settings.dispatch_max_message_size,
            is_shut_down: AtomicBool::new(false),
        })
    }

    /// POSTs the payload of `job`, a job of `queue`, to its URL, and waits until there is an
    /// outcome. Without a limit of the job or of the settings that may be never.
    pub fn post(&self, queue: &str, job: &Job) -> Outcome {
        // An answer that makes a library panic fails its job, and not the daemon each time.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.deliver(queue, job)))
            .unwrap_or_else(|_| answer::no_answer("internal error"));
        answer::shortened(outcome, self.max_message_bytes)
    }

    /// Interrupts what is under way and ends the threads that resolve names. What is posted from
    /// now on fails.
    pub fn shutdown(&self) {
        self.is_shut_down.store(true, Ordering::SeqCst);
        self.agent.clone().shutdown();
        self.names.stop();
    }

    /// Whether `outcome`, which [`post`](Dispatcher::post) answered just now, may come of the
    /// [`shutdown`](Dispatcher::shutdown) and not of the worker. Then it says nothing about the
    /// job. A worker that failed its job in that very moment is not told apart.
    pub fn may_have_cut_off(&self, outcome: &Outcome) -> bool {
        self.is_shut_down.load(Ordering::SeqCst)
            && matches!(outcome.status, OutcomeStatus::InternalFailure | OutcomeStatus::Failure)
    }

    fn deliver(&self, queue: &str, job: &Job) -> Outcome {
        let timeout_s = if job.timeout_s > 0 { job.timeout_s } else { self.default_timeout_s };
        let deadline =
            (timeout_s > 0).then(|| Instant::now() + Duration::from_secs(timeout_s.into()));
        match self.follow(queue, job, deadline) {
            Ok(response) => self.read(response),
            Err(why) => answer::no_answer(&why),
        }
    }

    /// The first answer that is no redirect, or why there is none.
    fn follow(
        &self,
        queue: &str,
        job: &Job,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, String> {
        let mut target = Target::parse(&job.url).map_err(|why| format!("the URL {why}"))?;
        let mut posts = true;
        for _ in 0..=MAX_REDIRECTS {
            let call = Call {
                queue,
                job,
                target: &target,
                proxy: self.proxies.for_url(target.url()),
                posts,
                keeps_alive: self.keeps_alive,
            };
            let response = self.exchange(&call, deadline).map_err(|error| describe(&error))?;
            let Some(redirect) = Redirect::of(response.status(), response.headers()) else {
                return Ok(response);
            };
            let next = target.redirected(redirect.location);
            target = next.map_err(|why| format!("the URL of a redirect {why}"))?;
            posts = posts && redirect.repeats;
            discard(response);
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    /// One request and the head of its answer. If a kept connection turns out to have died, the
    /// request is sent once more, over a new one.
    fn exchange(
        &self,
        call: &Call,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>, ureq::Error> {
        match self.send(call, deadline, false) {
            Err(error) if connection::is_stale(&error) => self.send(call, deadline, true),
            result => result,
        }
    }

    fn send(
        &self,
        call: &Call,
        deadline: Option<Instant>,
        freshly: bool,
    ) -> Result<Response<Body>, ureq::Error> {
        if call.posts {
            self.run(call, call.with_body(call.job.payload.as_slice()), deadline, freshly)
        } else {
            self.run(call, call.with_body(()), deadline, freshly)
        }
    }

    /// Runs a request with what differs from the agent's configuration.
    fn run<B: AsSendBody>(
        &self,
        call: &Call,
        mut request: Request<B>,
        deadline: Option<Instant>,
        freshly: bool,
    ) -> Result<Response<Body>, ureq::Error> {
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            request = self.agent.configure_request(request).timeout_global(Some(left)).build();
        }
        if let Some(proxy) = call.proxy {
            let server = Some(proxy.server.clone());
            request = self.agent.configure_request(request).proxy(server).build();
        }
        if freshly {
            // All idle connections to this host are too old then, and are dropped.
            request = self.agent.configure_request(request).max_idle_age(Duration::ZERO).build();
        }
        let line_bytes = call.longest_line_bytes() + LINE_OVERHEAD_BYTES;
        if line_bytes > BUFFER_BYTES {
            // Such a connection is not kept, since its buffer is not like the others.
            let config = self.agent.configure_request(request);
            request = config.output_buffer_size(line_bytes).build();
        }
        self.agent.run(request)
    }

    /// What a whole answer means.
    fn read(&self, response: Response<Body>) -> Outcome {
        let code = response.status().as_u16();
        let body = response.into_body().into_with_config().limit(self.max_response_bytes);
        match body.read_to_vec() {
            Ok(body) => answer::outcome(code, &body),
            Err(error) => answer::unreadable_body(code, &describe_body(&error)),
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.names.stop();
    }
}

/// Whether a URL could be dispatched: it is one, with `http` or `https` and a host, and nothing
/// in it that no request can carry.
///
/// # Errors
/// Why not, in words for the client that pushes the job; they do not repeat the URL.
pub fn check_url(url: &str) -> Result<(), String> {
    Target::parse(url).map(drop).map_err(|why| format!("url {why}"))
}

fn agent_config(settings: &Settings, tls: TlsConfig) -> Config {
    let (idle_per_host, idle) = match settings.dispatch_keep_alive {
        true => (settings.dispatch_max_conns_per_host, MAX_IDLE_CONNECTIONS),
        false => (0, 0),
    };
    let idle_age = match settings.dispatch_idle_conn_timeout {
        0 => FOR_EVER,
        seconds => Duration::from_secs(seconds.into()),
    };
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        // Each request is told its own.
        .proxy(None)
        .tls_config(tls)
        .user_agent(settings.dispatch_user_agent.as_str())
        .accept("")
        .timeout_connect(Some(MAX_CONNECT_TIME))
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        // One less: a buffer filled to its end without a whole head is then told as such.
        .max_response_header_size(BUFFER_BYTES - 1)
        .max_idle_connections(idle)
        .max_idle_connections_per_host(idle_per_host)
        .max_idle_age(idle_age)
        .build()
}

/// Reads a redirect's body, if it is known to be short, so that its connection can be kept.
fn discard(response: Response<Body>) {
    let mut body = response.into_body();
    if body.content_length().is_some_and(|length| length <= MAX_REDIRECT_BODY_BYTES) {
        // What goes wrong here costs the connection and nothing else.
        let _ = std::io::copy(&mut body.as_reader(), &mut std::io::sink());
    }
}

/// Why there is no answer, in words that hold no secret: neither the URL nor a proxy's.
fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(Timeout::Connect) => {
            format!("timed out: no connection within {} s", MAX_CONNECT_TIME.as_secs())
        }
        ureq::Error::Timeout(_) => "timed out".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Other(error) => error.to_string(),
        ureq::Error::LargeResponseHeader(..) => {
            format!("the head of the answer is larger than {BUFFER_BYTES} bytes")
        }
        error => error.to_string(),
    }
}

/// Why a body did not arrive whole.
fn describe_body(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BodyExceedsLimit(limit) => format!("larger than {limit} bytes"),
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the connection was closed before its end".to_owned()
        }
        error => describe(error),
    }
}

#[cfg(test)]
mod tests;
