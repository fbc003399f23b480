//! Flags, variables and what ends a start.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use mysql::prelude::Queryable;

use crate::node::Node;
use crate::stores::Store;
use crate::support::daemon::Options;
use crate::support::wait::{SOON, eventually, until};

/// No variables.
const NONE: &[(&str, &str)] = &[];

/// What a process that has ended left.
struct Ended {
    code: i32,
    output: String,
    errors: String,
}

/// Runs the binary with these arguments and nothing in its environment.
///
/// # Panics
/// It does not end by itself.
#[track_caller]
fn run<V: AsRef<OsStr>>(arguments: &[&str], variables: &[(&str, V)]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| std::fs::File::create(directory.path().join(name)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fireworq"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(file("output"))
        .stderr(file("errors"))
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + SOON;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if std::time::Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments:?} does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    Ended { code: status.code().unwrap(), output: read("output"), errors: read("errors") }
}

#[test]
fn what_only_prints_goes_to_standard_output() {
    let version = concat!("Fireworq ", env!("CARGO_PKG_VERSION"), "\n");
    for flag in ["--version", "-v", "-version"] {
        let ended = run(&[flag], NONE);
        assert_eq!((ended.code, ended.output.as_str()), (0, version), "{flag}");
        assert_eq!(ended.errors, "");
    }
    let help = run(&["--help"], NONE);
    assert_eq!((help.code, help.errors.as_str()), (0, ""));
    for flag in ["-h", "-help"] {
        assert_eq!(run(&[flag], NONE).output, help.output, "{flag}");
    }
    for text in ["--bind", "--mysql-dsn", "FIREWORQ_QUEUE_DEFAULT", "127.0.0.1:8080", "--license"] {
        assert!(help.output.contains(text), "the help does not tell of {text}");
    }
    let license = run(&["--license"], NONE);
    assert_eq!(license.code, 0);
    assert!(license.output.contains("Apache License"), "{}", license.output);
    let credits = run(&["--credits"], NONE);
    assert_eq!(credits.code, 0);
    for name in ["serde_json", "ureq", "mysql", "MIT"] {
        assert!(credits.output.contains(name), "the credits do not tell of {name}");
    }
}

#[test]
fn a_bad_setting_stops_the_start() {
    for (flag, value, expected) in [
        ("keep-alive", "maybe", "boolean"),
        ("queue-log-level", "loud", "level"),
        ("error-log-level", "5", "level"),
        ("driver", "postgres", "driver"),
        ("config-refresh-interval", "soon", "number"),
        ("queue-default-max-workers", "-1", "number"),
        ("queue-default-polling-interval", "4294967296", "number"),
        ("shutdown-timeout", "1.5", "number"),
        ("max-body-size", "", "number"),
    ] {
        let dashed = format!("--{flag}");
        let ended = run(&[&dashed, value, "--driver=in-memory", "--bind=127.0.0.1:0"], NONE);
        assert_eq!(ended.code, 2, "{flag}: {}", ended.errors);
        assert_eq!(ended.output, "");
        assert!(ended.errors.contains(flag), "{flag}: {}", ended.errors);
        assert!(ended.errors.contains(&format!("{value:?}")), "{flag}: {}", ended.errors);
        assert!(ended.errors.contains(expected), "{flag}: {}", ended.errors);
        // An empty variable counts as unset, and the flag `--driver` would win.
        if value.is_empty() || flag == "driver" {
            continue;
        }
        let variable = format!("FIREWORQ_{}", flag.replace('-', "_").to_uppercase());
        let ended = run(&["--driver=in-memory", "--bind=127.0.0.1:0"], &[(&variable, value)]);
        assert_eq!(ended.code, 2, "{variable}: {}", ended.errors);
        assert!(ended.errors.contains(&variable), "{}", ended.errors);
    }
}

#[test]
fn a_bad_command_line_stops_the_start() {
    for arguments in [
        &["--no-such-flag"][..],
        &["--no-such-flag=1"],
        &["--bind"],
        &["stray"],
        &["--version=1"],
        &["-x"],
        &["--"],
        &["-"],
    ] {
        let ended = run(arguments, NONE);
        assert_eq!(ended.code, 2, "{arguments:?}: {}{}", ended.output, ended.errors);
        assert!(!ended.errors.is_empty());
        assert_eq!(ended.output, "");
    }
}

#[test]
fn an_address_that_cannot_be_bound_is_exit_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["--driver=in-memory", "--bind", &address], NONE);
    assert_eq!(ended.code, 1, "{}", ended.errors);
    assert!(ended.errors.contains(&address), "{}", ended.errors);
    assert!(ended.errors.to_lowercase().contains("in use"), "{}", ended.errors);
    let ended = run(&["--driver=in-memory", "--bind=192.0.2.1:1"], NONE);
    assert_eq!(ended.code, 1, "{}", ended.errors);
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"] {
        let ended = run(&["--driver=in-memory", "--bind", address], NONE);
        assert!(matches!(ended.code, 1 | 2), "{address}: {}", ended.code);
        assert!(ended.errors.contains(address), "{}", ended.errors);
    }
}

#[test]
fn a_bad_dsn_is_exit_2_and_its_password_stays_hidden() {
    for dsn in [
        "u:s3cr3t@tcp(127.0.0.1:1)",
        "u:s3cr3t@tcp(127.0.0.1:1/db",
        "u:s3cr3t@tcp(127.0.0.1:99999)/db",
        "u:s3cr3t@udp(127.0.0.1:1)/db",
        "u:s3cr3t@tcp(127.0.0.1:1)/db?timeout=soon",
        "u:s3cr3t@tcp(127.0.0.1:1)/db?tls=perhaps",
        "u:s3cr3t@tcp(127.0.0.1:1)/",
    ] {
        for flag in ["--mysql-dsn", "--queue-mysql-dsn"] {
            let ended = run(&[flag, dsn, "--bind=127.0.0.1:0"], NONE);
            assert_eq!(ended.code, 2, "{dsn}: {}", ended.errors);
            assert!(!ended.errors.is_empty());
            let shown = ended.output + &ended.errors;
            assert!(!shown.contains("s3cr3t"), "{dsn}: {shown}");
        }
    }
}

#[test]
fn what_cannot_be_a_default_queue_stops_the_start() {
    for name in ["q".repeat(47), "..".to_owned()] {
        let ended = run(&["--driver=in-memory", "--queue-default", &name], NONE);
        assert_eq!(ended.code, 2, "{name}");
        assert!(ended.errors.contains("queue_default: "), "{}", ended.errors);
    }
}

#[test]
fn a_variable_that_is_no_text_stops_the_start() {
    let ended = run(&[], &[("FIREWORQ_SQLITE_PATH", OsStr::from_bytes(b"/tmp/\xff.db"))]);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("FIREWORQ_SQLITE_PATH"), "{}", ended.errors);
}

#[test]
fn an_address_that_is_none_is_told_by_its_setting() {
    let ended = run(&["--driver=in-memory", "--bind", "nonsense"], NONE);
    assert_eq!(ended.code, 2);
    assert!(ended.errors.contains("bind"), "{}", ended.errors);
}

#[test]
fn flags_have_all_their_forms() {
    for arguments in [
        ["--queue-default-max-workers", "5"].as_slice(),
        &["--queue-default-max-workers=5"],
        &["-queue-default-max-workers", "5"],
        &["-queue-default-max-workers=5"],
        // The last one wins.
        &["--queue-default-max-workers=4", "-queue-default-max-workers=5"],
    ] {
        // Refused for its last argument only: everything before was understood.
        let arguments = [arguments, &["--max-body-size=x"]].concat();
        let ended = run(&arguments, NONE);
        assert_eq!(ended.code, 2);
        assert!(ended.errors.contains("max-body-size"), "{arguments:?}: {}", ended.errors);
    }
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let options = Options::new()
        .flag("driver", "in-memory")
        .flag("queue-default-max-workers", "3")
        .variable("FIREWORQ_QUEUE_DEFAULT_MAX_WORKERS", "4")
        .variable("FIREWORQ_QUEUE_DEFAULT_POLLING_INTERVAL", "123")
        .variable("FIREWORQ_QUEUE_DEFAULT", "")
        .variable("FIREWORQ_KEEP_ALIVE", "NO");
    let node = Node::new(options.start());
    let settings = node.get("/settings").json();
    for (name, value) in [
        ("queue_default_max_workers", "3"),
        ("queue_default_polling_interval", "123"),
        ("queue_default", "default"),
    ] {
        assert_eq!(settings[name], value, "{name}");
    }
    let definition = node.put("/queue/q", "{}").json();
    assert_eq!(definition["max_workers"], 3);
    assert_eq!(definition["polling_interval"], 123);
    let mut client = node.connect();
    client.send(b"GET /version HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(client.receive().unwrap().header("Connection"), Some("close"));
}

#[test]
fn the_process_id_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("missing/folder/pid");
    let place = Store::InMemory.place();
    let mut node = Node::new(place.options(&[&format!("pid={}", file.display())]).start());
    let text = eventually("the file is there", SOON, || std::fs::read_to_string(&file).ok());
    assert_eq!(text, format!("{}\n", node.pid()));
    assert_eq!(node.stop(), 0);
    let unwritable = format!("--pid={}/x", file.display());
    std::fs::write(&file, "").unwrap();
    let ended = run(&["--driver=in-memory", "--bind=127.0.0.1:0", &unwritable], NONE);
    assert!(ended.code != 0);
    assert!(ended.errors.contains(file.to_str().unwrap()), "{}", ended.errors);
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start() {
    for flag in ["access-log", "queue-log", "error-log"] {
        let argument = format!("--{flag}=/dev/null/x");
        let ended = run(&["--driver=in-memory", "--bind=127.0.0.1:0", &argument], NONE);
        assert!(ended.code != 0);
        assert!(ended.errors.contains("/dev/null/x"), "{flag}: {}", ended.errors);
    }
}

#[test]
fn a_refused_login_is_told_without_the_password() {
    let server = crate::support::mariadb::shared();
    let database = server.create_database();
    let dsn = database.dsn().replace("root@", "nobody:s3cr3t@");
    let node = Node::new(Options::on(&dsn).start());
    until("the refusal is told", SOON, || node.errors().contains("Access denied"));
    let errors = node.errors();
    assert!(errors.contains("nobody"), "{errors}");
    assert!(!errors.contains("s3cr3t"), "{errors}");
    assert_eq!(node.get("/version").status, 200);
    let answer = node.get("/queues");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.text().contains("s3cr3t"), "{}", answer.text());
    assert!(!node.get("/settings").text().contains("s3cr3t"));
}

#[test]
fn the_password_comes_from_a_file() {
    let server = crate::support::mariadb::shared();
    let database = server.create_database();
    let name = &database.name;
    let mut root = server.conn();
    for statement in [
        format!("CREATE USER {name}@'%' IDENTIFIED BY 's3cr3t:/@ '"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON {name}.* TO {name}@'%'"),
    ] {
        root.query_drop(statement).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "s3cr3t:/@ \n").unwrap();
    let dsn = database.dsn().replace("root@", &format!("{name}@"));
    let path = file.to_str().unwrap();
    let node = Node::new(Options::on(&dsn).flag("mysql-password-file", path).start());
    assert_eq!(node.put("/queue/q", "{}").status, 200, "{}", node.errors());
    let shown = node.get("/settings");
    assert_eq!(shown.json()["mysql_password_file"], path);
    assert!(!shown.text().contains("s3cr3t") && !node.errors().contains("s3cr3t"));
    // A password in the DSN wins.
    let wrong = dsn.replace(&format!("{name}@"), &format!("{name}:wrong@"));
    let node = Node::new(Options::on(&wrong).flag("mysql-password-file", path).start());
    until("the refusal is told", SOON, || node.errors().contains("Access denied"));
    let refused = |expected: &str| {
        let flag = format!("--mysql-password-file={path}");
        let ended = run(&["--mysql-dsn", &dsn, &flag, "--bind=127.0.0.1:0"], NONE);
        assert_eq!(ended.code, 2, "{}", ended.errors);
        assert!(ended.errors.contains(path) && ended.errors.contains(expected), "{}", ended.errors);
    };
    std::fs::write(&file, "\r\n").unwrap();
    refused("it holds no password");
    std::fs::remove_file(&file).unwrap();
    refused("No such file");
}

/// The reason of an end stands in the error log too, where that is a file.
#[test]
fn a_failed_start_is_told_in_the_error_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("error.log");
    let argument = format!("--error-log={}", file.display());
    let ended = run(&["--driver=in-memory", "--bind", &address, &argument], NONE);
    assert_eq!(ended.code, 1);
    assert!(ended.errors.contains(&address), "{}", ended.errors);
    let log = std::fs::read_to_string(&file).unwrap();
    let last = log.lines().last().expect("a line");
    let line: serde_json::Value = serde_json::from_str(last).expect(last);
    assert_eq!(line["level"], "fatal", "{last}");
    assert!(line["message"].as_str().unwrap().contains(&address), "{last}");
}
