//! Whether answers are what doc/openapi.yaml says. Every answer that the tests of this binary get
//! comes by here; see `check_answers` in the test support.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::http::Answer;

/// What any request may be answered where it did not arrive as it should, or cannot be taken.
const ANYWHERE: [u16; 9] = [400, 408, 413, 414, 431, 500, 501, 503, 505];

static DESCRIPTION: LazyLock<Description> = LazyLock::new(Description::read);

struct Description {
    /// The operations of each path by their methods. Sorted, so that a fixed segment comes before
    /// a parameter.
    paths: BTreeMap<String, BTreeMap<String, Operation>>,
    /// The form of an error of any status.
    error: Contents,
}

/// The contents of an operation's answers by their statuses.
struct Operation {
    answers: BTreeMap<u16, Contents>,
}

/// The schema of each media type.
type Contents = BTreeMap<String, Validator>;

impl Description {
    fn read() -> Description {
        let text = include_str!("../../doc/openapi.yaml");
        let whole: Value = serde_norway::from_str(text).unwrap();
        let paths = object(&whole["paths"]).map(|(path, item)| {
            let methods = ["get", "put", "post", "delete"].into_iter();
            let operations = methods.filter_map(|method| {
                let answers = object(item.get(method)?.get("responses")?)
                    .filter_map(|(status, answer)| {
                        Some((status.parse().ok()?, contents(&whole, answer)))
                    })
                    .collect();
                Some((method.to_uppercase(), Operation { answers }))
            });
            (path.clone(), operations.collect())
        });
        Description {
            paths: paths.collect(),
            error: contents(&whole, &whole["components"]["responses"]["BadRequest"]),
        }
    }

    fn path(&self, path: &str) -> Option<&BTreeMap<String, Operation>> {
        let found = self.paths.iter().find(|(template, _)| fits(template, path));
        found.map(|(_, operations)| operations)
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// The contents of an answer, which may be a reference.
fn contents(whole: &Value, answer: &Value) -> Contents {
    let answer = match answer["$ref"].as_str() {
        Some(reference) => {
            whole.pointer(&reference[1..]).expect("a reference that leads somewhere")
        }
        None => answer,
    };
    object(&answer["content"])
        .map(|(media_type, content)| {
            // References are about the whole description.
            let schema = json!({"allOf": [content["schema"]], "components": whole["components"]});
            (media_type.clone(), jsonschema::validator_for(&schema).unwrap())
        })
        .collect()
}

/// Whether a path is one of a template's. A category takes the rest of the path.
fn fits(template: &str, path: &str) -> bool {
    let (mut templates, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (templates.next(), segments.next()) {
            (None, None) => return true,
            (Some("{category}"), Some(first)) => {
                return !first.is_empty() || segments.next().is_some();
            }
            (Some(expected), Some(found)) => {
                let is_parameter = expected.starts_with('{') && !found.is_empty();
                if !is_parameter && expected != found {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// Fails unless the answer to a request is as described.
#[track_caller]
pub fn check(method: &str, target: &str, answer: &Answer) {
    let status = answer.status;
    let path = target.split('?').next().unwrap_or_default();
    if status < 200 || !path.starts_with('/') {
        return;
    }
    let told = format!("{method} {target}: {status}, which doc/openapi.yaml does not know");
    let operations = DESCRIPTION.path(path);
    let asked = if method == "HEAD" { "GET" } else { method };
    let operation = operations.and_then(|operations| operations.get(asked));
    let contents = match operation.and_then(|operation| operation.answers.get(&status)) {
        Some(contents) => contents,
        None => {
            let is_known = match (operations, operation) {
                (None, _) => status == 404,
                (Some(_), None) => status == 405,
                _ => false,
            };
            assert!(is_known || ANYWHERE.contains(&status), "{told}");
            &DESCRIPTION.error
        }
    };
    if method != "HEAD" {
        check_body(contents, answer, &told);
    }
}

#[track_caller]
fn check_body(contents: &Contents, answer: &Answer, told: &str) {
    let media_type = answer.header("Content-Type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    let schema = contents.get(media_type).unwrap_or_else(|| panic!("{told}, with {media_type}"));
    let body = if media_type.ends_with("json") {
        match serde_json::from_slice(&answer.body) {
            Ok(body) => body,
            Err(error) => {
                // A payload may hold numbers that no program reads, and be nested deeply.
                let is_json = serde_json::from_slice::<&RawValue>(&answer.body).is_ok();
                assert!(is_json, "{told}: {error}: {:?}", answer.text());
                return;
            }
        }
    } else {
        Value::String(answer.text().to_owned())
    };
    if let Err(error) = schema.validate(&body) {
        panic!("{told}, at {}: {error}\n{}", error.instance_path(), answer.text());
    }
}

#[test]
fn templates_fit_paths() {
    for (template, path, expected) in [
        ("/", "/", true),
        ("/queues", "/queues", true),
        ("/queue/{queue}", "/queue/a", true),
        ("/queue/{queue}", "/queue/", false),
        ("/queue/{queue}", "/queue/a/b", false),
        ("/job/{category}", "/job/a/b//c", true),
        ("/job/{category}", "/job/", false),
        ("/queue/{queue}/failed/{id}/retry", "/queue/a/failed/1/retry", true),
    ] {
        assert_eq!(fits(template, path), expected, "{template} {path}");
    }
    let found = DESCRIPTION.path("/queue/q/failed/retry").unwrap();
    assert!(found.contains_key("POST") && found.len() == 1);
}

#[test]
fn what_is_not_described_is_found() {
    let answer = |status, media_type: &str, body: &str| Answer {
        status,
        headers: vec![("Content-Type".into(), media_type.into())],
        body: body.into(),
    };
    let json = |status, body: &str| answer(status, "application/json", body);
    let queue = r#"{"name":"q","max_workers":1}"#;
    check("GET", "/queue/q?x", &json(200, queue));
    check("GET", "/queues", &json(200, &format!("[{queue}]")));
    check("GET", "/nothing", &answer(404, "text/plain; charset=utf-8", "no"));
    for (method, path, wrong) in [
        ("GET", "/queue/q", json(200, r#"{"name":"q"}"#)),
        ("GET", "/queue/q", json(200, r#"{"name":"q","max_workers":1,"x":1}"#)),
        ("GET", "/queue/q", json(200, r#"{"name":"q","max_workers":-1}"#)),
        ("GET", "/queue/q", json(200, "nonsense")),
        ("GET", "/queue/q", json(201, queue)),
        ("GET", "/queue/q", json(404, queue)),
        ("GET", "/queue/q", answer(200, "text/html", queue)),
        ("GET", "/queues", answer(404, "text/plain", "no")),
        ("GET", "/nothing", json(200, queue)),
        ("POST", "/queue/q", answer(200, "text/plain", "")),
    ] {
        let checked = std::panic::catch_unwind(|| check(method, path, &wrong));
        assert!(checked.is_err(), "{method} {path} {wrong:?}");
    }
}
