//! The failure log: looking at failures, retrying and deleting them, one or many.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::api::{Api, Call};
use super::error::Refusal;
use super::job::{self, JobFields};
use super::listing::{MAX_LIMIT, decode_cursor, encode_cursor, page_of, raw_json, read_page};
use super::{Response, answer};
use crate::clock::{Rfc3339, parse_ms, rfc3339_ms};
use crate::failure_log::{self, Filter, Needle, Progress};
use crate::job::Failure;
use crate::store::{FailureOrder, Page, Position, Retried};

/// Failures that one request changes if it does not say.
const DEFAULT_CHANGES: usize = 1000;
/// What a request that changes many failures may ask for.
const CHANGE_PARAMETERS: &[&str] = &["category", "message", "since", "until", "limit", "cursor"];

/// A failure as the API shows it.
#[derive(Serialize)]
struct FailureView<'a> {
    id: u64,
    job_id: u64,
    category: &'a str,
    url: &'a str,
    payload: Cow<'a, RawValue>,
    result: Cow<'a, RawValue>,
    fail_count: u32,
    failed_at: Rfc3339,
    created_at: Rfc3339,
}

fn failure_view(failure: &Failure) -> FailureView<'_> {
    FailureView {
        id: failure.id,
        job_id: failure.job_id,
        category: &failure.category,
        url: &failure.url,
        payload: raw_json(&failure.payload),
        result: raw_json(&failure.result),
        fail_count: failure.fail_count,
        failed_at: rfc3339_ms(failure.failed_at_ms),
        created_at: rfc3339_ms(failure.created_at_ms),
    }
}

#[derive(Serialize)]
struct FailuresView<'a> {
    failed_jobs: Vec<FailureView<'a>>,
    next_cursor: String,
}

pub(super) fn list(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    let page = page_of(call);
    let order = match call.query("order").as_deref() {
        Some("created") => FailureOrder::Created,
        _ => FailureOrder::Failed,
    };
    let filter = filter_of(call)?;
    let (failures, next_cursor) = if filter.is_empty() {
        let position = |failure: &Failure| {
            order.position(failure.id, failure.failed_at_ms, failure.created_at_ms)
        };
        let read = |page: &Page| api.store.failures(queue.name(), order, page);
        read_page(&page, position, read)?
    } else {
        let (failures, next) = failure_log::page(&*api.store, queue.name(), order, &filter, &page)?;
        (failures, next.map(encode_cursor).unwrap_or_default())
    };
    let failed_jobs = failures.iter().map(failure_view).collect();
    Ok(answer::json(&FailuresView { failed_jobs, next_cursor }))
}

pub(super) fn get(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    one(call, api.store.failure(queue.name(), call.id(1)?)?)
}

pub(super) fn delete(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    one(call, api.store.delete_failure(queue.name(), call.id(1)?)?)
}

fn one(call: &Call, failure: Option<Failure>) -> Result<Response, Refusal> {
    Ok(answer::json(&failure_view(&failure.ok_or_else(|| no_failure(call))?)))
}

fn no_failure(call: &Call) -> Refusal {
    Refusal::not_found(format!("No such failed job: {}", call.value(1)))
}

/// Moves a failure back into the queue as a new job, with what the body changes.
pub(super) fn retry(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    let id = call.id(1)?;
    let body = &call.request.body;
    let body = if body.trim_ascii().is_empty() { b"null" } else { body.as_slice() };
    let JobFields { fields, payload } = JobFields::parse(body)?;
    let batch = api.store.retry_failures(queue.name(), &[id], &fields)?;
    let Some(Retried { job, pushed, .. }) = batch.retried.into_iter().next() else {
        return Err(no_failure(call));
    };
    queue.note_push(&job, &pushed);
    // What was stored before is shown as it is shown in a listing.
    let payload =
        payload.or_else(|| (!job.payload.is_empty()).then(|| raw_json(&job.payload).into_owned()));
    Ok(job::pushed(queue.name(), &job, &pushed, payload.as_deref()))
}

/// The answer to a change of many failures.
#[derive(Serialize)]
struct ProgressView {
    count: u64,
    next_cursor: String,
}

fn progress_view(progress: &Progress) -> Response {
    answer::json(&ProgressView {
        count: progress.count,
        next_cursor: progress.next.map(encode_cursor).unwrap_or_default(),
    })
}

pub(super) fn retry_many(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    let Change { filter, after, limit } = Change::of(call)?;
    let mut note = |retried: &Retried| queue.note_push(&retried.job, &retried.pushed);
    let progress = failure_log::retry(&*api.store, queue.name(), &filter, after, limit, &mut note)?;
    Ok(progress_view(&progress))
}

pub(super) fn delete_many(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    let Change { filter, after, limit } = Change::of(call)?;
    let progress = failure_log::delete(&*api.store, queue.name(), &filter, after, limit)?;
    Ok(progress_view(&progress))
}

/// Which failures to change. Read strictly: a filter with a slip of the pen would mean all
/// failures.
struct Change {
    filter: Filter,
    after: Option<Position>,
    limit: usize,
}

impl Change {
    fn of(call: &Call) -> Result<Change, Refusal> {
        if !call.request.body.trim_ascii().is_empty() {
            let reason = "The filter belongs into the query (?category=…), and the body is empty";
            return Err(Refusal::bad_request(reason));
        }
        let mut seen = Vec::new();
        for (name, value) in call.parameters() {
            if !CHANGE_PARAMETERS.contains(&&*name) {
                let known = CHANGE_PARAMETERS.join(", ");
                return Err(Refusal::bad_request(format!(
                    "Unknown parameter: {name}; there are {known}"
                )));
            }
            if seen.contains(&name) {
                return Err(Refusal::bad_request(format!("The parameter {name} is given twice")));
            }
            if value.is_empty() && name != "cursor" {
                return Err(Refusal::bad_request(format!(
                    "The parameter {name} is empty; leave it out to mean all"
                )));
            }
            seen.push(name);
        }
        let limit = match call.query("limit") {
            None => DEFAULT_CHANGES,
            Some(text) => text
                .parse()
                .ok()
                // The parser takes a sign as well.
                .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| wrong("limit", &format!("a number from 1 to {MAX_LIMIT}")))?,
        };
        let after = match call.query("cursor").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let expected = "what an answer gave as next_cursor";
                Some(decode_cursor(&text).ok_or_else(|| wrong("cursor", expected))?)
            }
        };
        Ok(Change { filter: filter_of(call)?, after, limit })
    }
}

/// The filter of a request. What is left out or empty does not filter; what cannot be understood
/// is refused, since it would show, or change, more than was meant.
fn filter_of(call: &Call) -> Result<Filter, Refusal> {
    let given = |name: &str| call.query(name).filter(|text| !text.is_empty());
    let time = |name: &str| {
        let expected = "a time as RFC 3339 or in milliseconds since 1970";
        given(name).map(|text| parse_ms(&text).ok_or_else(|| wrong(name, expected))).transpose()
    };
    Ok(Filter {
        category: given("category"),
        message: given("message").map(|text| Needle::new(&text)),
        since_ms: time("since")?,
        until_ms: time("until")?,
    })
}

fn wrong(name: &str, expected: &str) -> Refusal {
    Refusal::bad_request(format!("The parameter {name} is not {expected}"))
}
