//! The one table of routes, and finding a request's row in it.

use percent_encoding::percent_decode_str;
use tiny_http::Method;

use super::api::{Api, Call};
use super::error::Refusal;
use super::{Response, console, failure, health, job, metrics, node, queue, routing};

/// A row: what is asked for, and who answers.
pub(super) struct Route {
    pub(super) method: Method,
    /// Segments; `{name}` takes one, not empty, and a last `{name...}` all that follow.
    pub(super) path: &'static str,
    pub(super) action: Action,
}

/// How a route is answered.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// At once: needs no store and takes no time.
    Now(fn(&Api, &Call) -> Result<Response, Refusal>),
    /// On a thread of its own that never waits for the store: it takes a moment.
    Aside(fn(&Api, &Call) -> Result<Response, Refusal>),
    /// On a thread that may wait for the store.
    Store(fn(&Api, &Call) -> Result<Response, Refusal>),
    /// Likewise, but it changes a job and shows it, which may be large: it is not begun while there
    /// is no memory for the answer.
    Change(fn(&Api, &Call) -> Result<Response, Refusal>),
    /// By the intake, after the commit.
    Push,
}

use Action::{Aside, Change, Now, Push, Store};
use Method::{Delete, Get, Post, Put};

const fn route(method: Method, path: &'static str, action: Action) -> Route {
    Route { method, path, action }
}

/// Every route of the API. `HEAD` is answered as `GET` without its body. Where several paths fit
/// a request, the first one counts.
pub(super) static ROUTES: &[Route] = &[
    route(Get, "/", Now(node::version)),
    route(Get, "/version", Now(node::version)),
    route(Get, "/settings", Now(node::settings)),
    route(Get, "/stats", Now(node::stats)),
    route(Get, "/metrics", Aside(metrics::get)),
    route(Get, "/livez", Now(health::livez)),
    route(Get, "/readyz", Now(health::readyz)),
    route(Post, "/job/{category...}", Push),
    route(Get, "/queues", Store(queue::list)),
    route(Get, "/queues/stats", Now(queue::all_stats)),
    route(Get, "/queues/backlog", Store(queue::all_backlogs)),
    route(Get, "/queue/{queue}", Store(queue::get)),
    route(Put, "/queue/{queue}", Store(queue::put)),
    route(Delete, "/queue/{queue}", Store(queue::delete)),
    route(Get, "/queue/{queue}/stats", Store(queue::stats)),
    route(Get, "/queue/{queue}/backlog", Store(queue::backlog)),
    route(Get, "/queue/{queue}/node", Store(queue::node)),
    route(Get, "/queue/{queue}/grabbed", Store(job::grabbed)),
    route(Get, "/queue/{queue}/waiting", Store(job::waiting)),
    route(Get, "/queue/{queue}/deferred", Store(job::deferred)),
    route(Get, "/queue/{queue}/job/{id}", Store(job::get)),
    route(Delete, "/queue/{queue}/job/{id}", Change(job::delete)),
    route(Get, "/queue/{queue}/failed", Store(failure::list)),
    route(Delete, "/queue/{queue}/failed", Store(failure::delete_many)),
    route(Post, "/queue/{queue}/failed/retry", Store(failure::retry_many)),
    route(Get, "/queue/{queue}/failed/{id}", Store(failure::get)),
    route(Delete, "/queue/{queue}/failed/{id}", Change(failure::delete)),
    route(Post, "/queue/{queue}/failed/{id}/retry", Change(failure::retry)),
    route(Get, "/routings", Store(routing::list)),
    route(Get, "/routing/{category...}", Store(routing::get)),
    route(Put, "/routing/{category...}", Store(routing::put)),
    route(Delete, "/routing/{category...}", Store(routing::delete)),
    route(Get, "/console", Now(console::page)),
    route(Get, "/console/", Now(console::slash)),
    route(Get, "/console/{file}", Now(console::file)),
];

/// The index of the row for a request, and the decoded values of its path's `{…}`, in their order.
///
/// # Errors
/// 404 for an unknown path, 405 with the methods that are allowed, 400 for a path that does
/// not decode.
pub(super) fn find(method: &Method, target: &str) -> Result<(usize, Vec<String>), Refusal> {
    let path = path_of(target);
    let asked = if *method == Method::Head { &Method::Get } else { method };
    let mut allowed = Vec::new();
    // The first path that fits is the one: `failed/retry` is no failure's id.
    let mut fitting = None;
    for (index, row) in ROUTES.iter().enumerate() {
        if let Some(values) = matches(row.path, path)
            && *fitting.get_or_insert(row.path) == row.path
        {
            if row.method == *asked {
                let values = values.into_iter().map(decode).collect::<Result<_, _>>()?;
                return Ok((index, values));
            }
            allowed.push(row.method.as_str());
            if row.method == Method::Get {
                allowed.push("HEAD");
            }
        }
    }
    if allowed.is_empty() {
        Err(Refusal::unknown_path())
    } else {
        Err(Refusal::method_not_allowed(allowed.join(", ")))
    }
}

/// The path of a request target, which may also be a whole URL.
fn path_of(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => path,
    }
}

/// The raw values of a pattern's `{…}` if it fits the path.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut values = Vec::new();
    let mut rest = path.strip_prefix('/')?;
    let mut segments = pattern.trim_start_matches('/').split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.ends_with("...}") {
            values.push(rest);
            return (!rest.is_empty()).then_some(values);
        }
        let (head, tail) = match rest.split_once('/') {
            Some((head, tail)) => (head, Some(tail)),
            None => (rest, None),
        };
        if segment.starts_with('{') {
            if head.is_empty() {
                return None;
            }
            values.push(head);
        } else if segment != head {
            return None;
        }
        match (tail, segments.peek()) {
            (Some(tail), Some(_)) => rest = tail,
            (None, None) => return Some(values),
            _ => return None,
        }
    }
    None
}

fn decode(value: &str) -> Result<String, Refusal> {
    let mut after_percents = value.split('%').skip(1);
    let is_hex =
        |text: &str| text.len() >= 2 && text.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !after_percents.all(is_hex) {
        return Err(Refusal::bad_request("The path holds a % without two hex digits behind it"));
    }
    percent_decode_str(value)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Refusal::bad_request("The path does not decode to UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(method: Method, target: &str) -> Vec<String> {
        find(&method, target).map_err(|e| e.status).unwrap().1
    }

    fn status(method: Method, target: &str) -> u16 {
        match find(&method, target) {
            Ok(_) => 200,
            Err(error) => error.status,
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        assert!(values(Method::Get, "/").is_empty());
        assert!(values(Method::Head, "/version?x=1").is_empty());
        assert_eq!(values(Method::Get, "/queue/a%20b%2Fc"), ["a b/c"]);
        assert_eq!(values(Method::Get, "/queue/q/job/12"), ["q", "12"]);
        assert_eq!(values(Method::Post, "/job/a/b//c%2f"), ["a/b//c/"]);
        assert_eq!(values(Method::Put, "/routing/%E3%81%82"), ["あ"]);
        assert_eq!(values(Method::Post, "http://host:80/job/x"), ["x"]);
        assert_eq!(values(Method::Post, "/job/http://x"), ["http://x"]);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for target in ["/x", "/queue/", "/queue", "/queues/", "/queue/q/", "/job/", "/job", "", "x"]
        {
            assert_eq!(status(Method::Get, target), 404, "{target}");
        }
        for (method, target) in [
            (Method::Get, "/queue/q/failed/retry"),
            (Method::Get, "/job/x"),
            (Method::Put, "/queues"),
            (Method::Post, "/queue/q"),
            (Method::Delete, "/"),
            (Method::Patch, "/queue/q/job/1"),
        ] {
            assert_eq!(status(method, target), 405, "{target}");
        }
        for target in ["/queue/%", "/queue/%2", "/queue/%zz", "/queue/%ff"] {
            assert_eq!(status(Method::Get, target), 400, "{target}");
        }
    }

    #[test]
    fn the_description_of_the_api_has_the_same_routes() {
        let text = include_str!("../../doc/openapi.yaml");
        let described: serde_json::Value = serde_norway::from_str(text).unwrap();
        let mut described: Vec<(String, String)> = described["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                let members = item.as_object().unwrap().keys();
                let methods = members.filter(|name| *name != "parameters");
                methods.map(move |method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        // The console's files are for people's browsers, which read them without a description.
        let mut routes: Vec<(String, String)> = ROUTES
            .iter()
            .filter(|route| !route.path.starts_with("/console"))
            .map(|route| (route.path.replace("...}", "}"), route.method.to_string()))
            .collect();
        described.sort();
        routes.sort();
        assert_eq!(described, routes, "doc/openapi.yaml and ROUTES");
    }
}
