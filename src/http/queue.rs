//! The definitions of queues, their counters and their primary node.

use std::collections::BTreeMap;

use super::api::{Api, Call};
use super::error::Refusal;
use super::json::Fields;
use super::{Response, answer};
use crate::clock::{Rfc3339, rfc3339_ms};
use crate::queue_definition::{QueueDefinition, QueueRequest};
use crate::store::Backlog;
use serde::Serialize;

/// A queue as the API shows it.
#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    polling_interval: u32,
    max_workers: u32,
    #[serde(skip_serializing_if = "is_zero")]
    max_dispatches_per_second: f32,
    #[serde(skip_serializing_if = "is_zero")]
    max_burst_size: u32,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn view(queue: &QueueDefinition) -> View<'_> {
    View {
        name: &queue.name,
        polling_interval: queue.polling_interval_ms,
        max_workers: queue.max_workers,
        max_dispatches_per_second: queue.max_dispatches_per_second,
        max_burst_size: queue.max_burst_size,
    }
}

/// The session that holds a queue's lock, as the API shows it.
#[derive(Serialize)]
struct HolderView<'a> {
    id: &'a str,
    host: &'a str,
}

fn no_queue(name: &str) -> Refusal {
    Refusal::not_found(format!("No such queue: {name}"))
}

pub(super) fn list(api: &Api, _: &Call) -> Result<Response, Refusal> {
    let queues = api.store.definitions()?.queues;
    Ok(answer::json(&queues.iter().map(view).collect::<Vec<_>>()))
}

pub(super) fn get(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let name = call.value(0);
    let queues = api.store.definitions()?.queues;
    let queue = queues.iter().find(|queue| queue.name == name);
    queue.map(|queue| answer::json(&view(queue))).ok_or_else(|| no_queue(name))
}

pub(super) fn put(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let fields = Fields::parse(
        &call.request.body,
        &["polling_interval", "max_workers", "max_dispatches_per_second", "max_burst_size"],
    )?;
    let request = QueueRequest {
        polling_interval_ms: fields.integer_u32("polling_interval")?,
        max_workers: fields.integer_u32("max_workers")?,
        max_dispatches_per_second: fields.number("max_dispatches_per_second")?,
        max_burst_size: fields.integer_u32("max_burst_size")?,
    };
    let queue = QueueDefinition::new(call.value(0), request, api.registry.defaults())?;
    let stored = api.store.put_queue(&queue)?;
    api.refresh();
    Ok(answer::json(&view(&stored)))
}

pub(super) fn delete(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let name = call.value(0);
    let queue = api.store.delete_queue(name)?.ok_or_else(|| no_queue(name))?;
    api.refresh();
    Ok(answer::json(&view(&queue)))
}

pub(super) fn all_stats(api: &Api, _: &Call) -> Result<Response, Refusal> {
    let stats = api.registry.stats();
    let stats: BTreeMap<&str, _> = stats.iter().map(|(name, stats)| (&**name, stats)).collect();
    Ok(answer::json(&stats))
}

pub(super) fn stats(api: &Api, call: &Call) -> Result<Response, Refusal> {
    Ok(answer::json(&api.queue(call.value(0))?.stats()))
}

/// A queue's backlog as the API shows it.
#[derive(Serialize)]
struct BacklogView {
    waiting: u64,
    deferred: u64,
    running: u64,
    failed: u64,
    oldest_waiting_at: Option<Rfc3339>,
    oldest_waiting_ms: u64,
}

fn backlog_view(backlog: &Backlog) -> BacklogView {
    BacklogView {
        waiting: backlog.waiting,
        deferred: backlog.deferred,
        running: backlog.running,
        failed: backlog.failed,
        oldest_waiting_at: backlog.oldest_waiting_at_ms.map(rfc3339_ms),
        oldest_waiting_ms: backlog.oldest_waiting_ms,
    }
}

pub(super) fn backlog(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    let no_tables = || Refusal::not_found(format!("The queue {} has no tables", queue.name()));
    let backlog = api.backlogs.of_queue(queue.name())?.ok_or_else(no_tables)?;
    Ok(answer::json(&backlog_view(&backlog)))
}

pub(super) fn all_backlogs(api: &Api, _: &Call) -> Result<Response, Refusal> {
    let queues = api.registry.names();
    let backlogs = api.backlogs.of(&queues)?;
    let views: BTreeMap<&str, BacklogView> = queues
        .iter()
        .zip(&backlogs)
        .filter_map(|(name, backlog)| Some((&**name, backlog_view(backlog.as_ref()?))))
        .collect();
    Ok(answer::json(&views))
}

pub(super) fn node(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let queue = api.queue(call.value(0))?;
    match api.store.holder(queue.name())? {
        Some(holder) => Ok(answer::json(&HolderView { id: &holder.id, host: &holder.host })),
        None => Err(Refusal::not_found(format!("No node is primary for {}", queue.name()))),
    }
}
