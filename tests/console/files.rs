//! How the console's files are served.

use crate::stores::Store;
use crate::support::http;

#[test]
fn the_page_and_its_files_come_with_a_strict_policy() {
    let node = Store::Sqlite.shared();
    for (path, kind) in [
        ("/console", "text/html; charset=utf-8"),
        ("/console/main.js", "text/javascript; charset=utf-8"),
        ("/console/console.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let answer = node.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("Content-Type"), Some(kind));
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(answer.header("Referrer-Policy"), Some("no-referrer"));
        assert_eq!(answer.header("Cache-Control"), Some("no-cache"));
        let policy = answer.header("Content-Security-Policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let node = Store::Sqlite.shared();
    let tag = node.get("/console").header("ETag").unwrap().to_owned();
    let headers = [("If-None-Match", tag.as_str())];
    let answer = http::request(node.address(), "GET", "/console", &headers, "");
    assert_eq!((answer.status, answer.body.len()), (304, 0));
    assert_eq!(answer.header("ETag"), Some(tag.as_str()));
    let answer = http::request(node.address(), "GET", "/console/main.js", &headers, "");
    assert_eq!(answer.status, 200);
}

#[test]
fn what_is_no_file_of_the_console_is_404() {
    let node = Store::Sqlite.shared();
    for path in ["/console/x", "/console/..%2fmain.rs", "/console/index.html", "/console/a/b"] {
        assert_eq!(node.get(path).status, 404, "{path}");
    }
    let answer = node.get("/console/");
    assert_eq!((answer.status, answer.header("Location")), (308, Some("../console")));
    assert_eq!(node.post("/console", "").status, 405);
}
