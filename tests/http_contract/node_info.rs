//! What the node says of itself: its version, settings and process figures.

use serde_json::Value;

use crate::stores::{Store, on_every_store};

on_every_store! {
    settings_are_texts
}

#[test]
fn the_version_is_told_as_text() {
    let node = Store::InMemory.shared();
    for path in ["/", "/version"] {
        let answer = node.get(path);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text(), concat!("Fireworq ", env!("CARGO_PKG_VERSION"), "\n"));
        let content_type = answer.header("Content-Type").unwrap();
        assert!(content_type.starts_with("text/plain"), "{content_type}");
    }
}

fn settings_are_texts(store: Store) {
    let node = store.shared();
    let answer = node.get("/settings");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let settings = answer.json();
    let settings = settings.as_object().unwrap();
    assert!(settings.values().all(Value::is_string), "{settings:?}");
    for (name, value) in [
        ("config_refresh_interval", "1000"),
        ("keep_alive", "true"),
        ("dispatch_keep_alive", "true"),
        ("dispatch_idle_conn_timeout", "2"),
        ("dispatch_max_conns_per_host", "10"),
        ("dispatch_user_agent", concat!("Fireworq/", env!("CARGO_PKG_VERSION"))),
        ("queue_default_polling_interval", "200"),
        ("queue_default_max_workers", "20"),
        ("shutdown_timeout", "30"),
        ("access_log_tag", "fireworq.access"),
        ("queue_log_tag", "fireworq.queue"),
        ("error_log_level", "info"),
        ("queue_log_level", "info"),
        ("pid", ""),
        ("driver", store.driver()),
        ("queue_default", if store == Store::Mysql { "" } else { "default" }),
    ] {
        assert_eq!(settings[name], value, "{name}");
    }
    for name in ["bind", "mysql_dsn", "repository_mysql_dsn", "queue_mysql_dsn", "error_log"] {
        assert!(settings.contains_key(name), "{name}");
    }
}

#[test]
fn passwords_are_masked() {
    let node = Store::InMemory.node(&[
        "mysql-dsn=user:se@cr/et:x@tcp(127.0.0.1:1)/a",
        "queue-mysql-dsn=user:secret@unix(/run/s.sock)/b?timeout=5s",
        "repository-mysql-dsn=user@tcp(h)/c",
    ]);
    let answer = node.get("/settings");
    let text = answer.text();
    assert!(!text.contains("cr/et") && !text.contains("secret"), "{text}");
    let settings = answer.json();
    let dsn = settings["mysql_dsn"].as_str().unwrap();
    assert!(dsn.starts_with("user:") && dsn.ends_with("@tcp(127.0.0.1:1)/a"), "{dsn}");
    assert_eq!(settings["repository_mysql_dsn"], "user@tcp(h)/c");
    assert!(!node.errors().contains("secret"), "{}", node.errors());
}

#[test]
fn process_figures_have_the_types_that_plugins_decode() {
    let node = Store::InMemory.shared();
    let answer = node.get("/stats");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let mut stats = answer.json().as_object().unwrap().clone();
    for name in [
        "time",
        "cpu_num",
        "goroutine_num",
        "gomaxprocs",
        "cgo_call_num",
        "memory_alloc",
        "memory_total_alloc",
        "memory_sys",
        "memory_lookups",
        "memory_mallocs",
        "memory_frees",
        "memory_stack",
        "heap_alloc",
        "heap_sys",
        "heap_idle",
        "heap_inuse",
        "heap_released",
        "heap_objects",
        "gc_next",
        "gc_last",
        "gc_num",
    ] {
        let value = stats.remove(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(value.is_u64(), "{name}: {value}");
    }
    for name in ["gc_per_second", "gc_pause_per_second"] {
        let value = stats.remove(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(value.is_number(), "{name}: {value}");
    }
    for name in ["go_version", "go_os", "go_arch"] {
        let value = stats.remove(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(value.is_string(), "{name}: {value}");
    }
    assert!(stats["gc_pause"].is_array(), "{}", stats["gc_pause"]);
    let figures = answer.json();
    assert!(figures["time"].as_u64().unwrap() > 1_700_000_000_000_000_000, "{figures}");
    assert!(figures["goroutine_num"].as_u64().unwrap() > 1, "{figures}");
    assert!(figures["memory_alloc"].as_u64().unwrap() > 0, "{figures}");
}
