//! Real MariaDB servers, each in a directory of its own and on a free port of the loopback device.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::guard::{Guarded, Process};
use super::wait::{SOON, eventually};

const MISSING: &str = "MariaDB is needed for this test and is not installed: \
                       run `make test`, or install the package mariadb-server";
/// A port is free when it is looked for and may be taken when it is used: so many new attempts.
const PORTS_TRIED: usize = 5;
/// How long a statement of a test may take before the test fails.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server. Dropping it ends it and removes its directory; should the test process die
/// first, both happen all the same.
pub struct MariaDb {
    // The order of the fields is the order of the end: first the process, then its directory.
    process: Mutex<Process>,
    port: u16,
    options: Vec<String>,
    directory: TempDir,
    databases: AtomicU32,
}

/// A database of a server, with nothing in it. It goes with the server.
pub struct Database {
    /// Its name.
    pub name: String,
    port: u16,
}

/// The server that the tests of this binary share. Not to be killed or paused.
pub fn shared() -> &'static MariaDb {
    static SHARED: OnceLock<MariaDb> = OnceLock::new();
    SHARED.get_or_init(MariaDb::start)
}

impl MariaDb {
    /// Starts a server of one's own.
    pub fn start() -> MariaDb {
        MariaDb::start_with(&[])
    }

    /// Starts a server of one's own with further options, such as `--max-connections=20`.
    pub fn start_with(options: &[&str]) -> MariaDb {
        let directory = tempfile::Builder::new().prefix("fireworq-mariadb-").tempdir().unwrap();
        install(directory.path());
        let options: Vec<String> = options.iter().map(|&text| text.to_owned()).collect();
        for _ in 0..PORTS_TRIED {
            let port = free_port();
            let process = run(directory.path(), port, &options);
            if let Some(process) = ready(process, port, directory.path()) {
                let process = Mutex::new(process);
                let databases = AtomicU32::new(0);
                return MariaDb { process, port, options, directory, databases };
            }
        }
        panic!("MariaDB does not start:\n{}", errors(directory.path()));
    }

    /// A new, empty database.
    pub fn create_database(&self) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("test_{number}");
        self.conn().query_drop(format!("CREATE DATABASE {name}")).unwrap();
        Database { name, port: self.port }
    }

    /// A connection as root, in no database.
    pub fn conn(&self) -> Conn {
        connect(self.port, None).unwrap()
    }

    /// The port that it listens on, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server itself.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Ends it without any warning, as a crash does.
    pub fn kill9(&self) {
        self.process().kill9();
    }

    /// Starts it again after [`kill9`](MariaDb::kill9), on the same port and data.
    pub fn restart(&self) {
        let mut process = self.process();
        assert!(process.exit_code().is_some(), "the server still runs");
        // Something may use the port for a moment while the server is down.
        *process = eventually("MariaDB starts again", SOON, || {
            ready(run(self.path(), self.port, &self.options), self.port, self.path())
        });
    }

    /// Freezes it: its sockets stay open, nothing answers.
    pub fn pause(&self) {
        self.process().signal(Signal::SIGSTOP);
    }

    /// Lets it go on after [`pause`](MariaDb::pause).
    pub fn resume(&self) {
        self.process().signal(Signal::SIGCONT);
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// Where it is, in the form of the setting `mysql_dsn`.
    pub fn dsn(&self) -> String {
        self.dsn_at(self.port)
    }

    /// The same through another port, such as a proxy's.
    pub fn dsn_at(&self, port: u16) -> String {
        format!("root@tcp(127.0.0.1:{port})/{}", self.name)
    }

    /// A connection as root, also where the server has just been broken.
    pub fn conn(&self) -> Conn {
        eventually("a connection", SOON, || connect(self.port, Some(&self.name)).ok())
    }
}

fn connect(port: u16, database: Option<&str>) -> mysql::Result<Conn> {
    let options = OptsBuilder::new()
        .ip_or_hostname(Some("127.0.0.1"))
        .tcp_port(port)
        .user(Some("root"))
        .db_name(database)
        // Or the crate moves over to the socket that the server names.
        .prefer_socket(false)
        .tcp_connect_timeout(Some(SOON))
        .read_timeout(Some(STATEMENT_TIMEOUT))
        .write_timeout(Some(STATEMENT_TIMEOUT));
    Conn::new(options)
}

/// Options of both the installation and the server: small, and for whoever runs the tests.
fn common_options(directory: &Path) -> Vec<String> {
    let mut options = vec![
        "--no-defaults".to_owned(),
        format!("--datadir={}", directory.join("data").display()),
        // A server that starts removes the temporary tables that it finds, its neighbour's too.
        format!("--tmpdir={}", directory.display()),
        "--innodb-buffer-pool-size=64M".to_owned(),
        "--innodb-log-file-size=32M".to_owned(),
        "--skip-name-resolve".to_owned(),
    ];
    // The server refuses to run as root unless told so; root is common in CI.
    if directory.metadata().unwrap().uid() == 0 {
        options.push("--user=root".to_owned());
    }
    options
}

/// Makes the server's own tables, with a root that needs no password.
fn install(directory: &Path) {
    let script = ["mariadb-install-db", "mysql_install_db"].into_iter().find_map(program);
    let output = Command::new(script.expect(MISSING))
        .args(common_options(directory))
        .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
        .output()
        .expect(MISSING);
    assert!(
        output.status.success(),
        "mariadb-install-db: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(directory: &Path, port: u16, options: &[String]) -> Process {
    let server = ["mariadbd", "mysqld"].into_iter().find_map(program);
    let errors = File::options().append(true).create(true).open(directory.join("errors")).unwrap();
    Guarded::new(server.expect(MISSING))
        .arguments(common_options(directory))
        .arguments([
            format!("--socket={}", directory.join("socket").display()),
            format!("--pid-file={}", directory.join("pid").display()),
            format!("--port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--innodb-flush-log-at-trx-commit=1".to_owned(),
        ])
        .arguments(options)
        .in_directory(directory)
        .start(errors)
}

/// The server once it answers; `None` if it ends before.
fn ready(mut process: Process, port: u16, directory: &Path) -> Option<Process> {
    let data = directory.join("data");
    eventually("MariaDB answers", SOON, || {
        if process.exit_code().is_some() {
            return Some(false);
        }
        let found: Option<String> =
            connect(port, None).ok()?.query_first("SELECT @@datadir").ok()?;
        // Whoever else may have taken the port is not ours.
        Some(found.is_some_and(|found| Path::new(&found) == data))
    })
    .then_some(process)
}

fn errors(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("errors")).unwrap_or_default()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The path of a program. Servers lie in directories that are not in everybody's path.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(Into::into))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
