//! The generated pages and files are what the code says. `make docs` makes them anew.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[path = "generated_docs"]
mod files {
    pub mod completion;
    pub mod default_file;
    pub mod man_page;
    pub mod packaged;
}
use files::{completion, default_file, man_page};

fn check(path: &str, generated: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == generated, "{path} is out of date: run `make docs` and commit it");
}

#[test]
fn the_settings_page_is_up_to_date() {
    check("doc/config.md", &fireworq::config::markdown());
}

#[test]
fn the_list_of_metrics_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/monitoring.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (before, rest) = page.split_once("by `make docs`. -->\n\n").unwrap();
    let (_, after) = rest.split_once("<!-- End of the generated part. -->").unwrap();
    let list = fireworq::metrics::table::markdown();
    let generated =
        format!("{before}by `make docs`. -->\n\n{list}<!-- End of the generated part. -->{after}");
    check("doc/monitoring.md", &generated);
}

#[test]
fn the_manual_page_is_up_to_date() {
    check("packaging/man/fireworq.8", &man_page::generate());
}

#[test]
fn the_settings_of_the_service_are_up_to_date() {
    check("packaging/default/fireworq", &default_file::generate());
}

#[test]
fn the_completions_are_up_to_date() {
    check("packaging/completion/bash/fireworq", &completion::bash());
    check("packaging/completion/zsh/_fireworq", &completion::zsh());
    check("packaging/completion/fish/fireworq.fish", &completion::fish());
}

#[test]
fn the_credits_are_up_to_date() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    check("doc/credits.md", &credits(&metadata));
}

/// The packages that end up in the binary, on any platform, and their licenses.
fn credits(metadata: &Value) -> String {
    let list = |value: &Value| value.as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|n| (text(&n["id"]), n)).collect();
    let root = text(&metadata["resolve"]["root"]);
    let mut used = BTreeSet::new();
    let mut open = vec![root.clone()];
    while let Some(id) = open.pop() {
        if !used.insert(id.clone()) {
            continue;
        }
        for dependency in list(&nodes[&id]["deps"]) {
            let kinds = list(&dependency["dep_kinds"]);
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                open.push(text(&dependency["pkg"]));
            }
        }
    }
    used.remove(&root);
    let mut lines: Vec<String> = list(&metadata["packages"])
        .iter()
        .filter(|package| used.contains(&text(&package["id"])))
        .map(|package| {
            let (name, version) = (text(&package["name"]), text(&package["version"]));
            format!("- {name} {version}: {}", text(&package["license"]))
        })
        .collect();
    lines.sort();
    format!(
        "# Credits\n\nFireworq is built with these packages, each under its own license:\n\n{}\n",
        lines.join("\n")
    )
}
