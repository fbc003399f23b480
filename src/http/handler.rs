//! The way of a request through the API.
//!
//! What needs no store is answered on the thread that read the request. What reads the store runs
//! on a few blocking threads (`api-N`). What takes a moment without the store has a thread of its
//! own (`aside`), so that it is answered also when those wait. A push goes to the intake. So no
//! thread of the front ever waits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::api::{Api, Call};
use super::error::Refusal;
use super::reply::no_memory;
use super::route::{self, Action, ROUTES};
use super::{Handler, Head, Reply, Request, Response, Vitals, job};
use crate::logs::AccessEntry;
use crate::queue_definition::validate_category;
use crate::threads;

/// Threads that may wait for the store.
const BLOCKING_THREADS: usize = 6;
/// Requests that may wait for one of them.
const MAX_WAITING: usize = 1000;
/// Requests that may wait for the thread `aside`.
const MAX_WAITING_ASIDE: usize = 16;
/// How long they may: whoever waited longer is told to come back.
const MAX_WAIT: Duration = Duration::from_secs(4);

/// A request that waits for a blocking thread.
struct Task {
    action: Action,
    call: Call,
    reply: Reply,
    since: Instant,
}

/// The ways to the threads.
struct Lanes {
    store: Sender<Task>,
    aside: Sender<Task>,
}

/// The handler of all requests, with its blocking threads.
pub struct ApiHandler {
    api: Arc<Api>,
    /// `None` after the close.
    tasks: Mutex<Option<Lanes>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ApiHandler {
    /// Starts the blocking threads.
    ///
    /// # Errors
    /// The system does not give a thread.
    pub fn start(api: Api) -> io::Result<ApiHandler> {
        let api = Arc::new(api);
        let (store, store_tasks) = bounded(MAX_WAITING);
        let (aside, aside_tasks) = bounded(MAX_WAITING_ASIDE);
        let names = (1..=BLOCKING_THREADS).map(|number| (format!("api-{number}"), &store_tasks));
        let threads = names.chain([("aside".to_owned(), &aside_tasks)]).map(|(name, tasks)| {
            let (api, tasks) = (Arc::clone(&api), tasks.clone());
            threads::spawn(name, move || run(&api, &tasks))
        });
        let mut started = threads.collect::<io::Result<Vec<_>>>()?;
        let its = Arc::clone(&api);
        let count = move || its.sampler.run(|| its.count_backlogs());
        started.push(threads::spawn("backlogs".to_owned(), count)?);
        let tasks = Mutex::new(Some(Lanes { store, aside }));
        Ok(ApiHandler { api, tasks, threads: Mutex::new(started) })
    }

    /// Names the front whose figures are told.
    pub fn serve(&self, front: Arc<Vitals>) {
        let _ = self.api.front.set(front);
    }

    /// Ends the blocking threads; answers whether they ended by `deadline`.
    pub fn close(&self, deadline: Instant) -> bool {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.api.sampler.close();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().all(|thread| threads::join_until(thread, deadline))
    }

    /// Finds the queue and hands the job to the intake. A category that cannot be is refused
    /// before anybody looks for its queue.
    fn push(&self, task: Task) {
        let category = task.call.value(0);
        if let Err(invalid) = validate_category(category) {
            return answer(task, Err(invalid.into()));
        }
        match self.api.registry.route(category) {
            Ok(queue) => job::push(&self.api, task.call, queue, task.reply),
            // Another node may have defined it a moment ago.
            Err(_) => self.later(task),
        }
    }

    fn later(&self, task: Task) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // None while stopping: the front gives no further request, and a lost reply answers itself.
        let Some(lanes) = tasks.as_ref() else { return };
        let is_aside = matches!(task.action, Action::Aside(_));
        let sent = if is_aside { lanes.aside.try_send(task) } else { lanes.store.try_send(task) };
        drop(tasks);
        if let Err(refused) = sent {
            let reason = "Too many requests are waiting";
            answer(refused.into_inner(), Err(Refusal::unavailable(reason)));
        }
    }
}

impl Handler for ApiHandler {
    fn handle(&self, request: Request, reply: Reply) {
        let (index, values) = match route::find(&request.method, &request.target) {
            Ok(found) => found,
            Err(error) => return reply.send(error.response(request.wants_problem())),
        };
        request.set_route(index);
        let action = ROUTES[index].action;
        let call = Call { request, values };
        let task = Task { action, call, reply, since: Instant::now() };
        match action {
            Action::Now(handler) => {
                let result = handler(&self.api, &task.call);
                answer(task, result);
            }
            Action::Store(_) | Action::Change(_) | Action::Aside(_) => self.later(task),
            Action::Push => self.push(task),
        }
    }

    fn answered(&self, head: &Head, entry: &AccessEntry<'_>) {
        self.api.figures.count(head.route(), entry.status, entry.duration);
        self.api.access_log.write(entry);
    }
}

fn run(api: &Api, tasks: &Receiver<Task>) {
    for task in tasks {
        // A reply that is dropped in a panic answers 500 by itself.
        if catch_unwind(AssertUnwindSafe(|| handle(api, task))).is_err() {
            log::error!("a request handler panicked; the request was answered 500");
        }
    }
}

fn handle(api: &Api, mut task: Task) {
    if task.since.elapsed() > MAX_WAIT {
        return answer(task, Err(Refusal::unavailable("The store does not keep up")));
    }
    match task.action {
        Action::Now(handler) | Action::Store(handler) | Action::Aside(handler) => {
            let result = handler(api, &task.call);
            answer(task, result);
        }
        Action::Change(handler) => {
            let result =
                if task.reply.admit() { handler(api, &task.call) } else { Err(no_memory()) };
            answer(task, result);
        }
        Action::Push => {
            let category = task.call.value(0);
            let routed = api.registry.refresh().map_err(Refusal::from);
            match routed.and_then(|()| api.registry.route(category).map_err(Refusal::from)) {
                Ok(queue) => job::push(api, task.call, queue, task.reply),
                Err(error) => answer(task, Err(error)),
            }
        }
    }
}

fn answer(task: Task, result: Result<Response, Refusal>) {
    let wants_problem = task.call.request.wants_problem();
    task.reply.send(result.unwrap_or_else(|error| error.response(wants_problem)));
}
