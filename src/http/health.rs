//! `/livez` and `/readyz`, for supervisors and load balancers. Both tell what is known and ask
//! nobody.

use std::time::Duration;

use serde::Serialize;

use super::api::{Api, Call};
use super::error::Refusal;
use super::{Response, answer};
use crate::health;

pub(super) fn livez(api: &Api, _: &Call) -> Result<Response, Refusal> {
    let silence = api.front.get().map_or(Duration::ZERO, |front| front.silence());
    match health::ailment(silence) {
        None => Ok(answer::text("ok\n")),
        Some(why) => Err(Refusal::unavailable(why)),
    }
}

#[derive(Serialize)]
struct ReadinessView<'a> {
    ready: bool,
    /// Why it is not; empty if it is.
    reason: &'a str,
    /// The queues whose jobs run here, by name.
    primary: Vec<&'a str>,
}

pub(super) fn readyz(api: &Api, _: &Call) -> Result<Response, Refusal> {
    let result = api.readiness.check();
    let queues = api.registry.queues();
    let primary = queues.iter().filter(|queue| queue.stats().active_nodes == 1);
    let view = ReadinessView {
        ready: result.is_ok(),
        reason: result.as_ref().err().map_or("", String::as_str),
        primary: primary.map(|queue| &**queue.name()).collect(),
    };
    let status = if view.ready { 200 } else { 503 };
    Ok(answer::json(&view).with_status_code(status))
}
