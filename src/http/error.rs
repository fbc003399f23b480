//! Answers that are errors, in the one form of this API: plain text whose first line is the
//! status, or RFC 9457 JSON for clients that ask for it.

use std::fmt;
use std::io::Cursor;

use super::{Header, Response, StatusCode};

/// The media type of RFC 9457.
const PROBLEM_JSON: &str = "application/problem+json";

/// How long a client should wait before it tries again after a 503, in seconds.
const RETRY_AFTER_S: &str = "1";

/// A request that is answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong, for whoever sent the request; may be empty.
    pub detail: String,
    /// The methods that the path has, where the refused one is not among them.
    allow: Option<String>,
}

impl Refusal {
    /// A refusal with this status and detail.
    pub fn new(status: u16, detail: impl Into<String>) -> Refusal {
        Refusal { status, detail: detail.into(), allow: None }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Refusal {
        Refusal::new(400, detail)
    }

    /// 404: what is asked for is not there.
    pub fn not_found(detail: impl Into<String>) -> Refusal {
        Refusal::new(404, detail)
    }

    /// 404: there is no such path.
    pub fn unknown_path() -> Refusal {
        Refusal::new(404, "")
    }

    /// 405: the path has only the methods of the list `allow`.
    pub fn method_not_allowed(allow: String) -> Refusal {
        Refusal { allow: Some(allow), ..Refusal::new(405, "") }
    }

    /// 409: it contradicts what is there.
    pub fn conflict(detail: impl Into<String>) -> Refusal {
        Refusal::new(409, detail)
    }

    /// 413: it is larger than what can be stored.
    pub fn too_large(detail: impl Into<String>) -> Refusal {
        Refusal::new(413, detail)
    }

    /// 503: not at the moment.
    pub fn unavailable(detail: impl Into<String>) -> Refusal {
        Refusal::new(503, detail)
    }

    /// The answer, as RFC 9457 JSON if the client wants that. A 503 carries `Retry-After`, a 405
    /// `Allow`.
    pub fn response(&self, wants_problem: bool) -> Response {
        let (status, detail) = (self.status, self.detail.as_str());
        let reason = StatusCode(status).default_reason_phrase();
        let body = match (wants_problem, status, detail) {
            (true, ..) => problem(status, reason, detail),
            // The words that clients of the original know.
            (false, 404, "") => "404 page not found\n".to_owned(),
            (false, _, "") => format!("{status} {reason}\n"),
            (false, ..) => format!("{status} {reason}\n\n{detail}\n"),
        };
        let content_type = if wants_problem { PROBLEM_JSON } else { "text/plain; charset=utf-8" };
        let mut headers = Vec::with_capacity(3);
        headers.extend(header("Content-Type", content_type));
        headers.extend(header("X-Content-Type-Options", "nosniff"));
        if status == 503 {
            headers.extend(header("Retry-After", RETRY_AFTER_S));
        }
        headers.extend(self.allow.as_deref().and_then(|allow| header("Allow", allow)));
        let length = Some(body.len());
        Response::new(StatusCode(status), headers, Cursor::new(body.into_bytes()), length, None)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.detail)
    }
}

/// Whether an `Accept` header asks for RFC 9457 JSON.
pub fn wants_problem(accept: Option<&str>) -> bool {
    let Some(accept) = accept else { return false };
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(PROBLEM_JSON));
        named && !parts.any(is_zero_weight)
    })
}

/// `q=0`, `q=0.000`: the client does not want it.
fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0)
}

fn problem(status: u16, reason: &str, detail: &str) -> String {
    let mut members = serde_json::Map::new();
    members.insert("type".to_owned(), "about:blank".into());
    members.insert("title".to_owned(), reason.into());
    members.insert("status".to_owned(), status.into());
    if !detail.is_empty() {
        members.insert("detail".to_owned(), detail.into());
    }
    serde_json::Value::Object(members).to_string()
}

/// A header; none if name or value is not ASCII.
fn header(name: &str, value: &str) -> Option<Header> {
    Header::from_bytes(name, value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: Response) -> String {
        String::from_utf8(response.into_reader().into_inner()).unwrap()
    }

    fn value(response: &Response, name: &'static str) -> Option<String> {
        let found = response.headers().iter().find(|header| header.field.equiv(name));
        found.map(|header| header.value.to_string())
    }

    #[test]
    fn plain_text_unless_asked_otherwise() {
        let answer = Refusal::bad_request("Missing field: url").response(false);
        assert_eq!(value(&answer, "Content-Type").unwrap(), "text/plain; charset=utf-8");
        assert_eq!(value(&answer, "X-Content-Type-Options").unwrap(), "nosniff");
        assert_eq!(text(answer), "400 Bad Request\n\nMissing field: url\n");
        assert_eq!(text(Refusal::new(500, "").response(false)), "500 Internal Server Error\n");
        assert_eq!(text(Refusal::unknown_path().response(false)), "404 page not found\n");
    }

    #[test]
    fn problem_json_for_those_who_ask() {
        let answer = Refusal::bad_request("Missing field: \"url\"").response(true);
        assert_eq!(value(&answer, "Content-Type").unwrap(), PROBLEM_JSON);
        let json: serde_json::Value = serde_json::from_str(&text(answer)).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Bad Request", "status": 400,
            "detail": "Missing field: \"url\"",
        });
        assert_eq!(json, expected);
        assert_eq!(Refusal::unknown_path().response(true).status_code(), 404);
    }

    #[test]
    fn who_asks_for_problem_json() {
        assert!(wants_problem(Some("application/problem+json")));
        assert!(wants_problem(Some("text/html, Application/Problem+JSON ; q=0.5")));
        assert!(!wants_problem(Some("application/problem+json;q=0.0")));
        assert!(!wants_problem(Some("application/json, */*")));
        assert!(!wants_problem(None));
    }

    #[test]
    fn headers_that_belong_to_a_status() {
        let answer = Refusal::method_not_allowed("GET, PUT".to_owned()).response(false);
        assert_eq!(value(&answer, "Allow").unwrap(), "GET, PUT");
        let answer = Refusal::unavailable("The store cannot be reached").response(false);
        assert_eq!(value(&answer, "Retry-After").unwrap(), RETRY_AFTER_S);
        assert_eq!(value(&Refusal::new(400, "").response(false), "Retry-After"), None);
    }
}
