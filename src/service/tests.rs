use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::*;
use crate::child_process::{Running, child, is_child, say};
use crate::config::{BindAddress, Value};
use crate::http::Listener;

/// What a child says of the sockets that it was given, where descriptor 0 of the shell is a TCP
/// listener.
fn told(test: &str, prelude: &str) -> (String, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = child(test, prelude);
    command.stdin(OwnedFd::from(listener));
    (Running::start(command).next(), address)
}

fn tell_of_listeners() {
    match listeners(&BindAddress::parse("127.0.0.1:0").unwrap()) {
        Ok(listeners) => {
            let addresses: Vec<String> = listeners
                .iter()
                .map(|listener| match listener {
                    Listener::Tcp(listener) => listener.local_addr().unwrap().to_string(),
                    Listener::Unix(_) => "unix".to_owned(),
                })
                .collect();
            say(&addresses.join(" "));
        }
        Err(error) => say(&error.to_string()),
    }
}

#[test]
fn sockets_of_systemd_are_taken() {
    if is_child() {
        return tell_of_listeners();
    }
    let test = "service::tests::sockets_of_systemd_are_taken";
    let prelude = "exec 3<&0 4<&0; export LISTEN_FDS=1 LISTEN_PID=";
    let (said, address) = told(test, &format!("{prelude}$$"));
    assert_eq!(said, address.to_string());
    let (said, address) = told(test, &format!("{prelude}$$ LISTEN_FDS=2"));
    assert_eq!(said, format!("{address} {address}"));
    let (said, address) = told(test, &format!("{prelude}1"));
    assert_ne!(said, address.to_string(), "they were another process's");
    let (said, _) = told(test, &format!("{prelude}$$; exec 3</dev/null"));
    assert_eq!(said, "cannot listen on descriptor 3 of LISTEN_FDS: it is not a socket");
}

#[test]
fn sockets_of_start_server_are_taken() {
    if is_child() {
        return tell_of_listeners();
    }
    let test = "service::tests::sockets_of_start_server_are_taken";
    let prelude = "exec 5<&0 6<&0; export SERVER_STARTER_PORT=";
    let (said, address) = told(test, &format!("{prelude}'8080=5;[::1]:80=6'"));
    assert_eq!(said, format!("{address} {address}"));
    let (said, _) = told(test, &format!("{prelude}'80=5;80=5'"));
    assert_eq!(
        said,
        "cannot listen on descriptor 5 of SERVER_STARTER_PORT (80=5): it is given twice"
    );
    let (said, address) = told(test, prelude);
    assert_ne!(said, address.to_string(), "an empty variable counts as unset");
}

#[test]
fn the_service_manager_is_told() {
    if is_child() {
        say(&format!("{:?}", systemd::beat_interval()));
        systemd::ready();
        systemd::stopping();
        return systemd::beat();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let test = "service::tests::the_service_manager_is_told";
    let mut command = child(test, "export WATCHDOG_USEC=3000000 WATCHDOG_PID=$$");
    command.env("NOTIFY_SOCKET", &path);
    let mut running = Running::start(command);
    assert_eq!(running.next(), "Some(1.5s)");
    let mut buffer = [0; 256];
    for expected in ["READY=1\n", "STOPPING=1\n", "WATCHDOG=1\n"] {
        let length = manager.recv(&mut buffer).unwrap();
        let told = std::str::from_utf8(&buffer[..length]).unwrap();
        assert_eq!(told, expected);
    }
}

#[test]
fn nobody_watches_unless_asked_to() {
    if is_child() {
        return say(&format!("{:?}", systemd::beat_interval()));
    }
    for variables in ["WATCHDOG_USEC=0", "WATCHDOG_USEC=3000000 WATCHDOG_PID=1", "X=1"] {
        let test = "service::tests::nobody_watches_unless_asked_to";
        let mut running = Running::start(child(test, &format!("export {variables}")));
        assert_eq!(running.next(), "None", "{variables}");
    }
}

#[test]
fn the_limit_of_descriptors_is_raised() {
    if is_child() {
        let limit = raise_descriptor_limit().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        return say(&format!("{} {}", limit == hard, soft == hard));
    }
    let test = "service::tests::the_limit_of_descriptors_is_raised";
    let mut running = Running::start(child(test, "ulimit -S -n 64"));
    assert_eq!(running.next(), "true true");
}
