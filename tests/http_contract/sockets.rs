//! Listening sockets that are passed in.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::http;
use crate::support::wait::{SOON, eventually};

/// A daemon under `timeout`, which ends it should the test process die. In its foreground mode, or
/// it would send a signal twice: to its child and to its process group.
struct Passed {
    child: Child,
}

impl Passed {
    /// Starts the daemon with `socket` as descriptor 3, by a line of shell that ends with `exec`.
    fn start(socket: OwnedFd, shell: &str, variables: &[(&str, &str)]) -> Passed {
        let line = format!("{shell} exec \"$@\" 3<&0 </dev/null");
        let child = Command::new("timeout")
            .args(["--foreground", "-s", "KILL", "60", "sh", "-c", &line, "sh"])
            .arg(env!("CARGO_BIN_EXE_fireworq"))
            .args(["--driver=in-memory", "--bind=127.0.0.1:1"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(variables.iter().copied())
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Passed { child }
    }

    /// Stops the daemon, to which `timeout` passes the signal on.
    fn stop(mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let code = eventually("the daemon ends", SOON, || self.child.try_wait().unwrap());
        assert_eq!(code.code(), Some(0));
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        if self.child.try_wait().unwrap().is_none() {
            let _ = kill(pid, Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The listener is open already, so that a connection waits until the daemon accepts it.
#[track_caller]
fn assert_served(address: SocketAddr) {
    let answer = http::get(address, "/version");
    assert!(answer.text().starts_with("Fireworq "), "{}", answer.text());
}

#[test]
fn start_server_passes_sockets() {
    for form in ["{}=3", "127.0.0.1:{}=3"] {
        let (listener, address) = listener();
        let value = form.replace("{}", &address.port().to_string());
        let daemon = Passed::start(listener.into(), "", &[("SERVER_STARTER_PORT", &value)]);
        assert_served(address);
        daemon.stop();
    }
}

#[test]
fn start_server_passes_unix_sockets() {
    use std::io::{Read, Write};

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let value = format!("{}=3", path.display());
    let daemon = Passed::start(listener.into(), "", &[("SERVER_STARTER_PORT", &value)]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET /version HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    daemon.stop();
}

#[test]
fn systemd_passes_sockets() {
    let (listener, address) = listener();
    let shell = "LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID;";
    let daemon = Passed::start(listener.into(), shell, &[]);
    assert_served(address);
    daemon.stop();
}

#[test]
fn what_is_no_socket_stops_the_start() {
    for value in ["80=9", "80=x", "80", "80=0"] {
        let (listener, _) = listener();
        let mut daemon = Passed::start(listener.into(), "", &[("SERVER_STARTER_PORT", value)]);
        let status = eventually("it ends", SOON, || daemon.child.try_wait().unwrap());
        assert!(matches!(status.code(), Some(1 | 2)), "{value}: {status}");
    }
}
