//! The routings of categories to queues.

use serde_json::json;

use super::api::{Api, Call};
use super::error::Refusal;
use super::json::Fields;
use super::{Response, answer};
use crate::queue_definition::{Routing, validate_category};

fn view(routing: &Routing) -> serde_json::Value {
    json!({"job_category": routing.job_category, "queue_name": routing.queue_name})
}

fn no_routing(category: &str) -> Refusal {
    Refusal::not_found(format!("No such routing: {category}"))
}

pub(super) fn list(api: &Api, _: &Call) -> Result<Response, Refusal> {
    let routings = api.store.definitions()?.routings;
    Ok(answer::json(&routings.iter().map(view).collect::<Vec<_>>()))
}

pub(super) fn get(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let category = call.value(0);
    let routings = api.store.definitions()?.routings;
    let routing = routings.iter().find(|routing| routing.job_category == category);
    routing.map(|routing| answer::json(&view(routing))).ok_or_else(|| no_routing(category))
}

pub(super) fn put(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let category = call.value(0);
    validate_category(category)?;
    let fields = Fields::parse(&call.request.body, &["queue_name"])?;
    let queue_name = fields
        .text("queue_name")?
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Refusal::bad_request("Missing field: queue_name"))?;
    let routing = Routing { job_category: category.to_owned(), queue_name };
    api.store.put_routing(&routing)?;
    api.refresh();
    Ok(answer::json(&view(&routing)))
}

pub(super) fn delete(api: &Api, call: &Call) -> Result<Response, Refusal> {
    let category = call.value(0);
    let routing = api.store.delete_routing(category)?.ok_or_else(|| no_routing(category))?;
    api.refresh();
    Ok(answer::json(&view(&routing)))
}
