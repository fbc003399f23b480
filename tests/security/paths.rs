//! Paths that would like to lead elsewhere, and URLs that are none of a worker's.

use crate::support::daemon::Options;
use crate::support::http;

#[test]
fn a_path_is_what_it_is() {
    let node = Options::new().flag("driver", "in-memory").start();
    for path in [
        "/queue/../version",
        "/./version",
        "//version",
        "/version/",
        "/version/.",
        "/version%00",
        "/%76ersion/..",
        "/queues/..%2fversion",
        "/..;/version",
        "/etc/passwd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/queue/default/../../settings",
        "/VERSION",
        "/version;a=b",
        "\\version",
        "/\\version",
    ] {
        let answer = http::get(node.address(), path);
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    // An encoded slash is a character of a name and separates nothing.
    assert_eq!(http::put(node.address(), "/queue/a%2fstats", "{}").status, 200);
    assert_eq!(http::get(node.address(), "/queue/a/stats").status, 404);
    assert_eq!(http::get(node.address(), "/queue/a%2fstats").json()["name"], "a/stats");
    assert_eq!(http::put(node.address(), "/queue/%2e%2e%2f%2e%2e", "{}").status, 200);
}

#[test]
fn a_name_leads_out_of_no_folder() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("below/jobs.db");
    let node = Options::new().flag("sqlite-path", file.to_str().unwrap()).start();
    for queue in ["..%2f..%2fout", "%2ftmp%2fout", "a%60%3bDROP%20TABLE%20x", "a'%22%60--"] {
        assert_eq!(http::put(node.address(), &format!("/queue/{queue}"), "{}").status, 200);
        let body = format!(r#"{{"queue_name":"{}"}}"#, "default");
        assert_eq!(http::put(node.address(), &format!("/routing/{queue}"), body).status, 200);
    }
    let outside: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(outside.len(), 1, "{outside:?}");
}

#[test]
fn a_job_goes_to_http_and_https_only() {
    let node = Options::new().flag("driver", "in-memory").start();
    for url in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:3306/_x",
        "unix:/run/x.sock",
        "data:text/plain,x",
        "javascript:1",
        "http:",
        "http://",
        "http:///x",
        "//127.0.0.1/",
        "/x",
        "127.0.0.1:80",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://a b/",
        "http://\u{0}/",
        " ",
    ] {
        let body = serde_json::json!({ "url": url }).to_string();
        let answer = http::post(node.address(), "/job/c", body);
        assert_eq!(answer.status, 400, "{url:?}: {answer:?}");
    }
}
