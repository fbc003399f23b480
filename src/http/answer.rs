//! Answers that are not errors.

use std::io::Cursor;

use serde::Serialize;
use tiny_http::{Header, StatusCode};

use super::Response;

/// `200` with a JSON body.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(200, "application/json", body),
        // Only a view whose keys are no strings could fail, and there is none.
        Err(_) => {
            with_type(500, "text/plain; charset=utf-8", b"500 Internal Server Error\n".to_vec())
        }
    }
}

/// `200` with a text.
pub(super) fn text(body: &str) -> Response {
    with_type(200, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

/// Any status and type.
pub(super) fn with_type(status: u16, content_type: &str, body: Vec<u8>) -> Response {
    let length = body.len();
    let header = Header::from_bytes("Content-Type", content_type).into_iter().collect();
    Response::new(StatusCode(status), header, Cursor::new(body), Some(length), None)
}
