//! Jobs: taking them in, looking at those that are stored.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::api::{Api, Call};
use super::error::Refusal;
use super::json::{Fields, decode_string};
use super::listing::{page_of, raw_json, read_page};
use super::{Reply, Response, answer};
use crate::clock::{Rfc3339, now_ms, rfc3339_ms};
use crate::dispatch::check_url;
use crate::intake::{Entry, Express};
use crate::job::{Job, JobChanges, NewJob};
use crate::queue::Queue;
use crate::queue_definition::validate_category;
use crate::store::{Listing, Page, Position, Push, Pushed, StoreError};

/// The longest URL, in bytes: the column is a `blob`.
const MAX_URL_BYTES: usize = 65_535;
/// The longest payload, in bytes: the column is a `mediumblob`.
const MAX_PAYLOAD_BYTES: usize = 16_777_215;

/// The fields of a job.
const FIELDS: &[&str] = &["url", "payload", "run_after", "timeout", "retry_delay", "max_retries"];

/// A job as it was asked for, and its payload as it came.
pub(super) struct PushRequest {
    pub(super) job: NewJob,
    payload: Option<Box<RawValue>>,
}

impl PushRequest {
    /// Reads a push.
    pub(super) fn parse(category: &str, body: &[u8]) -> Result<PushRequest, Refusal> {
        validate_category(category)?;
        let JobFields { fields, payload } = JobFields::parse(body)?;
        let job = NewJob {
            category: category.to_owned(),
            url: fields.url.ok_or_else(missing_url)?,
            payload: fields.payload.unwrap_or_default(),
            run_after_s: fields.run_after_s.unwrap_or(0),
            timeout_s: fields.timeout_s.unwrap_or(0),
            retry_delay_s: fields.retry_delay_s.unwrap_or(0),
            max_retries: fields.max_retries.unwrap_or(0),
        };
        Ok(PushRequest { job, payload })
    }
}

/// The fields of a job that a body gives, and its payload as it came.
pub(super) struct JobFields {
    pub(super) fields: JobChanges,
    pub(super) payload: Option<Box<RawValue>>,
}

impl JobFields {
    /// Reads a body that is one JSON object, or `null`.
    pub(super) fn parse(body: &[u8]) -> Result<JobFields, Refusal> {
        let fields = Fields::parse(body, FIELDS)?;
        let url = fields.text("url")?;
        if let Some(url) = &url {
            check_job_url(url)?;
        }
        let raw = fields.raw("payload");
        let payload =
            raw.map(|text| decode_string(text).unwrap_or_else(|| text.to_owned()).into_bytes());
        if payload.as_ref().is_some_and(|payload| payload.len() > MAX_PAYLOAD_BYTES) {
            return Err(Refusal::too_large(format!(
                "A payload has at most {MAX_PAYLOAD_BYTES} bytes"
            )));
        }
        let changes = JobChanges {
            url,
            payload,
            run_after_s: fields.integer("run_after", max_run_after_s())?,
            timeout_s: fields.integer_u32("timeout")?,
            retry_delay_s: fields.integer_u32("retry_delay")?,
            max_retries: fields.integer_u32("max_retries")?,
        };
        let payload = raw.and_then(|text| RawValue::from_string(text.to_owned()).ok());
        Ok(JobFields { fields: changes, payload })
    }
}

fn missing_url() -> Refusal {
    Refusal::bad_request("Missing field: url")
}

fn check_job_url(url: &str) -> Result<(), Refusal> {
    if url.is_empty() {
        return Err(missing_url());
    }
    if url.len() > MAX_URL_BYTES {
        return Err(Refusal::bad_request(format!(
            "Invalid field: url: at most {MAX_URL_BYTES} bytes are possible"
        )));
    }
    check_url(url).map_err(|reason| Refusal::bad_request(format!("Invalid field: url: {reason}")))
}

/// The longest delay whose end, in milliseconds since 1970, fits 64 bits. A minute is left for
/// the difference between this node's clock and the store's.
fn max_run_after_s() -> u64 {
    (u64::MAX / 1000).saturating_sub(now_ms() / 1000 + 60)
}

/// The answer to a push.
#[derive(Serialize)]
struct PushedView<'a> {
    id: u64,
    queue_name: &'a str,
    category: &'a str,
    url: &'a str,
    payload: Option<&'a RawValue>,
    run_after: u64,
    timeout: u32,
    retry_delay: u32,
    max_retries: u32,
}

/// The answer to whoever pushed a job: what was stored, and the payload as it came.
pub(super) fn pushed(
    queue: &str,
    job: &NewJob,
    pushed: &Pushed,
    payload: Option<&RawValue>,
) -> Response {
    answer::json(&PushedView {
        id: pushed.id,
        queue_name: queue,
        category: &job.category,
        url: &job.url,
        payload,
        run_after: job.run_after_s,
        timeout: job.timeout_s,
        retry_delay: job.retry_delay_s,
        max_retries: job.max_retries,
    })
}

/// Takes a job in for `queue`: answered after the commit, from the intake's thread.
pub(super) fn push(api: &Api, call: Call, queue: Arc<Queue>, reply: Reply) {
    let wants_problem = call.request.wants_problem();
    let PushRequest { job, payload } = match PushRequest::parse(call.value(0), &call.request.body) {
        Ok(request) => request,
        Err(error) => return reply.send(error.response(wants_problem)),
    };
    let express = (job.run_after_s == 0).then(|| Arc::clone(&queue) as Arc<dyn Express>);
    let push = Push { queue: Arc::clone(queue.name()), job: Arc::new(job) };
    let done = move |push: &Push, result: Result<Pushed, StoreError>| match result {
        Ok(stored) => {
            queue.note_push(&push.job, &stored);
            reply.send(pushed(&push.queue, &push.job, &stored, payload.as_deref()));
        }
        Err(error) => reply.send(Refusal::from(error).response(wants_problem)),
    };
    api.intake.push(Entry { push, express, done: Box::new(done) });
}

/// A stored job as the API shows it.
#[derive(Serialize)]
struct JobView<'a> {
    id: u64,
    category: &'a str,
    url: &'a str,
    payload: Cow<'a, RawValue>,
    status: &'static str,
    created_at: Rfc3339,
    next_try: Rfc3339,
    timeout: u32,
    fail_count: u32,
    max_retries: u64,
    retry_delay: u32,
}

fn job_view(job: &Job) -> JobView<'_> {
    JobView {
        id: job.id,
        category: &job.category,
        url: &job.url,
        payload: raw_json(&job.payload),
        status: job.status.as_str(),
        created_at: rfc3339_ms(job.created_at_ms),
        next_try: rfc3339_ms(job.next_try_ms),
        timeout: job.timeout_s,
        fail_count: job.fail_count,
        max_retries: job.max_retries(),
        retry_delay: job.retry_delay_s,
    }
}

pub(super) fn grabbed(api: &Api, call: &Call) -> Result<Response, Refusal> {
    list(api, call, Listing::Grabbed)
}

pub(super) fn waiting(api: &Api, call: &Call) -> Result<Response, Refusal> {
    list(api, call, Listing::Waiting)
}

pub(super) fn deferred(api: &Api, call: &Call) -> Result<Response, Refusal> {
    list(api, call, Listing::Deferred)
}

#[derive(Serialize)]
struct JobsView<'a> {
    jobs: Vec<JobView<'a>>,
    next_cursor: String,
}

fn list(api: &Api, call: &Call, listing: Listing) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    let page = page_of(call);
    let position = |job: &Job| Position { at_ms: job.next_try_ms, id: job.id };
    let read = |page: &Page| api.store.jobs(queue.name(), listing, page);
    let (jobs, next_cursor) = read_page(&page, position, read)?;
    let jobs = jobs.iter().map(job_view).collect();
    Ok(answer::json(&JobsView { jobs, next_cursor }))
}

pub(super) fn get(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    one_job(call, api.store.job(queue.name(), call.id(1)?)?)
}

pub(super) fn delete(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    one_job(call, api.store.delete_job(queue.name(), call.id(1)?)?)
}

fn one_job(call: &Call, job: Option<Job>) -> Result<Response, Refusal> {
    let not_found = || Refusal::not_found(format!("No such job: {}", call.value(1)));
    Ok(answer::json(&job_view(&job.ok_or_else(not_found)?)))
}
