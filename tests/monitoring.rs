//! What is delivered for Prometheus and Grafana uses only metrics and labels that exist, and
//! Prometheus understands it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fireworq::metrics::table::{Metric, TABLE};
use serde_json::Value;

mod support;
use support::promtool;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn samples() -> BTreeMap<String, &'static Metric> {
    let metrics = TABLE.iter().flat_map(|(_, metrics)| *metrics);
    metrics
        .flat_map(|metric| metric.sample_names().into_iter().map(move |name| (name, *metric)))
        .collect()
}

/// The metrics of ours that a text names, and for each what stands in braces behind it.
fn named(text: &str) -> Vec<(&str, &str)> {
    let is_word = |character: char| character == '_' || character.is_ascii_alphanumeric();
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |size| start + size);
        let word = &rest[start..end];
        rest = &rest[end..];
        if word.starts_with("fireworq_") || word.starts_with("process_") {
            let braces = rest.strip_prefix('{').and_then(|inside| inside.split_once("\"}"));
            found.push((word, braces.map_or("", |(inside, _)| inside)));
        }
    }
    found
}

/// What is wrong with the metrics that a text names.
fn faults(text: &str) -> Vec<String> {
    let samples = samples();
    let mut faults = Vec::new();
    for (name, braces) in named(text) {
        let Some(metric) = samples.get(name) else {
            faults.push(format!("there is no {name}"));
            continue;
        };
        let before_values = braces.split('"').step_by(2);
        for label in before_values.map(|part| part.trim_matches([',', '=', '~', '!', ' '])) {
            let is_known = metric.labels.contains(&label)
                || ["", "job", "instance"].contains(&label)
                || (label == "le" && name.ends_with("_bucket"));
            if !is_known {
                faults.push(format!("{name} has no label {label}"));
            }
        }
    }
    faults
}

/// All texts of a JSON document that are Prometheus's: expressions and queries of variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if ["expr", "query", "definition"].contains(&&**key) => {
                        found.push(text.clone());
                    }
                    _ => expressions(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn the_alert_rules_name_metrics_that_exist() {
    let rules = read("doc/monitoring/alerts.yml");
    assert_eq!(faults(&rules), [""; 0]);
    assert!(named(&rules).len() > 15, "hardly any metric is named");
}

#[test]
fn the_dashboard_names_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("doc/monitoring/grafana.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let text = found.join("\n");
    assert_eq!(faults(&text), [""; 0]);
    let shown: BTreeSet<&str> = named(&text).into_iter().map(|(name, _)| name).collect();
    assert!(shown.len() > 20, "few metrics are shown: {shown:?}");
}

#[test]
fn prometheus_understands_the_dashboard() {
    let mut found = Vec::new();
    let dashboard: Value = serde_json::from_str(&read("doc/monitoring/grafana.json")).unwrap();
    expressions(&dashboard["panels"], &mut found);
    let rules = found.iter().enumerate().map(|(number, expression)| {
        let expression = expression.replace("$__rate_interval", "5m");
        serde_json::json!({"record": format!("panel:{number}"), "expr": expression})
    });
    let rules: Vec<Value> = rules.collect();
    assert!(rules.len() > 20, "few panels have an expression");
    let groups = serde_json::json!({"groups": [{"name": "panels", "rules": rules}]});
    // JSON is YAML.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), groups.to_string()).unwrap();
    promtool::check(&["check", "rules", file.path().to_str().unwrap()], b"");
}

#[test]
fn what_does_not_exist_is_found() {
    for (text, expected) in [
        ("rate(fireworq_jobs_pushed_total{queue=\"q\"}[5m])", vec![]),
        ("rate(fireworq_jobs_pushed[5m])", vec!["there is no fireworq_jobs_pushed"]),
        (
            "fireworq_jobs_pushed_total{instance=~\"a\",url=\"b\"} > 1",
            vec!["fireworq_jobs_pushed_total has no label url"],
        ),
        ("x_fireworq_jobs + process_cpu", vec!["there is no process_cpu"]),
    ] {
        assert_eq!(faults(text), expected, "{text}");
    }
}

#[test]
fn prometheus_understands_the_rules() {
    promtool::check(&["check", "rules", "--lint-fatal", "doc/monitoring/alerts.yml"], b"");
    promtool::check(&["test", "rules", "tests/monitoring/alerts.yml"], b"");
}
