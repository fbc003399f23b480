//! The sockets that the API listens on: passed in by `start_server` or systemd, else bound here.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::descriptors;
use crate::config::BindAddress;
use crate::http::Listener;

/// Connections that wait to be accepted. The system cuts it down to its own limit.
const BACKLOG: i32 = 4096;

/// The variable in which `start_server` passes `port=descriptor;host:port=descriptor;…`.
const SERVER_STARTER_PORT: &str = "SERVER_STARTER_PORT";

/// The sockets to listen on: those of `start_server`, else those of systemd, else one bound to
/// the address `bind`. To be called once, at start.
///
/// # Errors
/// In words for the operator: the address is taken, or what was passed in is no
/// listening socket.
pub fn listeners(bind: &BindAddress) -> io::Result<Vec<Listener>> {
    if let Some(text) = std::env::var_os(SERVER_STARTER_PORT).filter(|text| !text.is_empty()) {
        return inherit(&from_start_server(&text.to_string_lossy())?);
    }
    // Empty where LISTEN_PID is another process's.
    let from_systemd: Vec<(String, i32)> = sd_notify::listen_fds()
        .map_err(|error| named("the sockets in LISTEN_FDS cannot be used", &error))?
        .map(|number| ("LISTEN_FDS".to_owned(), number))
        .collect();
    if !from_systemd.is_empty() {
        return inherit(&from_systemd);
    }
    listen(bind)
        .map(|listener| vec![Listener::Tcp(listener)])
        .map_err(|error| named(&format!("cannot listen on {bind}"), &error))
}

/// Takes over descriptors, each with where it comes from.
fn inherit(descriptors: &[(String, i32)]) -> io::Result<Vec<Listener>> {
    let take = |(source, number): &(String, i32)| {
        descriptors::take(*number).map_err(|error| {
            named(&format!("cannot listen on descriptor {number} of {source}"), &error)
        })
    };
    descriptors.iter().map(take).collect()
}

/// What the variable of `start_server` says: each descriptor with where it comes from.
fn from_start_server(text: &str) -> io::Result<Vec<(String, i32)>> {
    let descriptors: Vec<_> = text
        .split(';')
        .filter(|item| !item.is_empty())
        .map(|item| {
            // A path may hold an equals sign.
            let number = item.rsplit_once('=').and_then(|(_, number)| number.parse().ok());
            number
                .map(|number| (format!("{SERVER_STARTER_PORT} ({item})"), number))
                .ok_or_else(|| invalid(format!("{SERVER_STARTER_PORT}: no descriptor in {item:?}")))
        })
        .collect::<io::Result<_>>()?;
    if descriptors.is_empty() {
        return Err(invalid(format!("{SERVER_STARTER_PORT}: no descriptor in {text:?}")));
    }
    Ok(descriptors)
}

/// Binds `host:port`. No host means all interfaces, a name that has several addresses the first
/// of IPv4, else of IPv6, as with Go.
fn listen(address: &BindAddress) -> io::Result<TcpListener> {
    let (host, port) = (address.host.as_str(), address.port);
    if host.is_empty() {
        let everywhere = listen_at((Ipv6Addr::UNSPECIFIED, port).into());
        return match everywhere.as_ref().map_err(io::Error::raw_os_error) {
            // This host has no IPv6, or has it switched off.
            Err(Some(code))
                if code == Errno::EAFNOSUPPORT as i32 || code == Errno::EADDRNOTAVAIL as i32 =>
            {
                listen_at((Ipv4Addr::UNSPECIFIED, port).into())
            }
            _ => everywhere,
        };
    }
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    listen_at(*first.ok_or_else(|| invalid("the name has no address".to_owned()))?)
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process that has just ended must not keep its successor from the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// The error in words: `cannot listen on 127.0.0.1:8080: address already in use`.
fn named(what: &str, error: &io::Error) -> io::Error {
    let reason = match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_ascii_lowercase(),
        None => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{what}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value;

    fn bind(text: &str) -> BindAddress {
        BindAddress::parse(text).unwrap()
    }

    fn listen(text: &str) -> io::Result<TcpListener> {
        super::listen(&bind(text))
    }

    fn address(listener: &TcpListener) -> SocketAddr {
        listener.local_addr().unwrap()
    }

    #[test]
    fn an_address_is_bound() {
        let listeners = listeners(&bind("127.0.0.1:0")).unwrap();
        let [Listener::Tcp(listener)] = &listeners[..] else { panic!("{listeners:?}") };
        assert!(address(listener).ip().is_loopback() && address(listener).port() != 0);
        assert!(std::net::TcpStream::connect(address(listener)).is_ok());
        assert_eq!(address(&listen("localhost:0").unwrap()).ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(address(&listen("0.0.0.0:0").unwrap()).ip(), Ipv4Addr::UNSPECIFIED);
    }

    #[test]
    fn no_host_means_all_interfaces() {
        let listener = listen(":0").unwrap();
        assert!(address(&listener).ip().is_unspecified());
        assert!(std::net::TcpStream::connect(("127.0.0.1", address(&listener).port())).is_ok());
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        // Not every machine that tests run on has IPv6.
        if let Ok(listener) = listen("[::1]:0") {
            assert_eq!(address(&listener).ip(), Ipv6Addr::LOCALHOST);
        }
    }

    #[test]
    fn what_cannot_be_bound_is_told_in_words() {
        let taken = listen("127.0.0.1:0").unwrap();
        let text = address(&taken).to_string();
        let refused = listeners(&bind(&text)).unwrap_err().to_string();
        assert_eq!(refused, format!("cannot listen on {text}: address already in use"));
    }

    #[test]
    fn start_servers_variable_is_read() {
        let read = |text| {
            let numbers = from_start_server(text).map_err(|error| error.to_string())?;
            Ok::<Vec<i32>, String>(numbers.into_iter().map(|(_, number)| number).collect())
        };
        assert_eq!(read("8080=3").unwrap(), [3]);
        assert_eq!(
            read("8080=3;127.0.0.1:81=4;[::1]:82=5;/a=b;=6;").unwrap_err(),
            "SERVER_STARTER_PORT: no descriptor in \"/a=b\""
        );
        assert_eq!(read("8080=3;127.0.0.1:81=4;[::1]:82=5;/a=b/c.sock=6").unwrap(), [3, 4, 5, 6]);
        for text in [";", "8080", "8080=", "8080=x", "8080=99999999999"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
