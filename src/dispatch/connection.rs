//! How a connection to a worker is opened, and how one that was kept shows that it had died.
//!
//! `ureq` calls in here from the worker threads; nothing here outlives a connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, LazyBuffers, NextTimeout,
    RustlsConnector, SocksConnector, Transport,
};
use ureq::{Agent, Error, ProxyProtocol};

use super::resolver::{NameError, Names};
use super::tcp::{self, TcpConnection, is_end};

/// An agent that opens connections as this module says.
pub fn agent(config: Config, names: &Arc<Names>) -> Agent {
    let direct = Direct { names: Arc::clone(names), tls: RustlsConnector::default() };
    let connections = Connections {
        direct: Arc::new(direct),
        socks: SocksConnector::default(),
        tunnel: ConnectProxyConnector::default(),
    };
    Agent::with_parts(config, connections, LateResolver(Arc::clone(names)))
}

/// A kept connection was at its end before any byte of an answer: the worker closed it while the
/// request was on its way.
#[derive(Debug)]
pub struct Stale(io::Error);

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Stale {}

/// Whether `error` says that a kept connection had died, which is not the worker's failure.
pub fn is_stale(error: &Error) -> bool {
    matches!(error, Error::Other(inner) if inner.is::<Stale>())
}

/// `ureq` resolves before it looks for a kept connection; this leaves it to [`Direct`], which is
/// asked only where a connection is opened. The connector for SOCKS asks here for its proxy.
struct LateResolver(Arc<Names>);

impl Resolver for LateResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        match uri.scheme_str() {
            Some("http" | "https") => Ok(self.empty()),
            _ => addresses(&self.0, uri, timeout, self.empty()),
        }
    }
}

impl fmt::Debug for LateResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LateResolver")
    }
}

/// Puts the addresses of the host of `uri` into `found`, as many as fit.
fn addresses(
    names: &Names,
    uri: &Uri,
    timeout: NextTimeout,
    mut found: ResolvedSocketAddrs,
) -> Result<ResolvedSocketAddrs, Error> {
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => 1080,
    });
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        found.push(SocketAddr::new(address, port));
        return Ok(found);
    }
    let limit = match timeout.after {
        time::Duration::Exact(limit) => Some(limit),
        time::Duration::NotHappening => None,
    };
    let known = names.find(host, limit).map_err(|error| match error {
        NameError::TimedOut => Error::Timeout(timeout.reason),
        NameError::Failed(why) => Error::Io(io::Error::new(io::ErrorKind::NotFound, why)),
    })?;
    for address in known.iter() {
        if found.try_push(SocketAddr::new(*address, port)).is_err() {
            break;
        }
    }
    Ok(found)
}

/// Opens connections without a proxy, and those to proxies.
struct Direct {
    names: Arc<Names>,
    tls: RustlsConnector,
}

impl Direct {
    /// A connection to the host of `details.uri`, with TLS if its scheme is `https`.
    fn open(&self, details: &ConnectionDetails) -> Result<Box<dyn Transport>, Error> {
        let found = details.resolver.empty();
        let found = addresses(&self.names, details.uri, remaining(details)?, found)?;
        let stream = tcp::connect(&found, remaining(details)?)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let connection = TcpConnection::new(stream, buffers);
        (details.register_shutdown)(connection.shutdown_handle())?;
        self.secured(details, Box::new(connection))
    }

    /// `transport`, wrapped in TLS if the scheme of `details.uri` is `https`.
    fn secured(
        &self,
        details: &ConnectionDetails,
        transport: Box<dyn Transport>,
    ) -> Result<Box<dyn Transport>, Error> {
        if !details.needs_tls() {
            return Ok(transport);
        }
        // No request has TLS settings of its own. Where the connector is told that one might, it
        // hashes all root certificates, or reads them again.
        let mut shared = copy(details);
        shared.request_level = false;
        let secured = self.tls.connect(&shared, Some(transport))?;
        Ok(Box::new(secured.ok_or(Error::ConnectionFailed)?))
    }
}

/// What is left of the time to open a connection.
fn remaining(details: &ConnectionDetails) -> Result<NextTimeout, Error> {
    let mut timeout = details.timeout;
    if let (time::Duration::Exact(limit), time::Instant::Exact(begun)) =
        (timeout.after, details.now)
    {
        let left = limit.saturating_sub(Instant::elapsed(&begun));
        if left.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        timeout.after = time::Duration::Exact(left);
    }
    Ok(timeout)
}

/// The same details, without the addresses, which no one but [`Direct`] knows.
fn copy<'a>(details: &ConnectionDetails<'a>) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri: details.uri,
        addrs: details.resolver.empty(),
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: Arc::clone(&details.current_time),
        run_connector: Arc::clone(&details.run_connector),
        register_shutdown: Arc::clone(&details.register_shutdown),
    }
}

/// Opens connections to workers, through the proxy of the request's configuration if it has one.
struct Connections {
    direct: Arc<Direct>,
    socks: SocksConnector,
    tunnel: ConnectProxyConnector,
}

impl Connector for Connections {
    type Out = Watched;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Watched>, Error> {
        let transport = match details.config.proxy() {
            None => self.direct.open(details)?,
            Some(proxy) => match proxy.protocol() {
                ProxyProtocol::Http | ProxyProtocol::Https if details.needs_tls() => {
                    self.open_tunnel(details)?
                }
                ProxyProtocol::Http | ProxyProtocol::Https => {
                    self.open_forwarded(details, proxy.uri())?
                }
                _ => {
                    let transport = Connector::<()>::connect(&self.socks, details, None)?;
                    let transport = Box::new(transport.ok_or(Error::ConnectionFailed)?);
                    self.direct.secured(details, transport)?
                }
            },
        };
        Ok(Some(Watched::new(transport)))
    }
}

impl Connections {
    /// A connection whose bytes an HTTP proxy passes on unread.
    fn open_tunnel(&self, details: &ConnectionDetails) -> Result<Box<dyn Transport>, Error> {
        let direct = Arc::clone(&self.direct);
        let mut to_proxy = copy(details);
        to_proxy.run_connector = Arc::new(move |details| direct.open(details));
        let transport = Connector::<()>::connect(&self.tunnel, &to_proxy, None)?;
        let transport = Box::new(transport.ok_or(Error::ConnectionFailed)?);
        self.direct.secured(details, transport)
    }

    /// A connection to the HTTP proxy at `proxy`, which reads the requests and passes them on.
    fn open_forwarded(
        &self,
        details: &ConnectionDetails,
        proxy: &Uri,
    ) -> Result<Box<dyn Transport>, Error> {
        let mut to_proxy = copy(details);
        to_proxy.uri = proxy;
        let inner = self.direct.open(&to_proxy)?;
        let scheme = details.uri.scheme().unwrap_or(&Scheme::HTTP);
        let authority = details.uri.authority().ok_or(Error::ConnectionFailed)?;
        Ok(Box::new(Forwarded { inner, origin: format!("{scheme}://{authority}"), sending: false }))
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connections")
    }
}

/// A connection to a proxy that reads the requests: their first line names the whole URL.
struct Forwarded {
    inner: Box<dyn Transport>,
    /// What a path lacks to be a URL: `http://host:port`.
    origin: String,
    /// Whether a request has begun that is not answered yet.
    sending: bool,
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.sending {
            return self.inner.transmit_output(amount, timeout);
        }
        self.sending = true;
        let head = self.inner.buffers().output()[..amount].to_vec();
        // The head begins with `POST /path`.
        let path = head.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
        let whole = [&head[..path], self.origin.as_bytes(), &head[path..]].concat();
        let room = self.inner.buffers().output().len();
        for piece in whole.chunks(room) {
            self.inner.buffers().output()[..piece.len()].copy_from_slice(piece);
            self.inner.transmit_output(piece.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let progress = self.inner.await_input(timeout)?;
        self.sending = false;
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarded")
    }
}

/// A connection that knows whether a request is its first, and whether its answer has begun.
struct Watched {
    inner: Box<dyn Transport>,
    /// Whether an earlier request was answered over this connection.
    reused: bool,
    /// Whether a byte has come since the last write.
    answered: bool,
    /// Why the request could not be written to its end.
    cut: Option<io::Error>,
}

impl Watched {
    fn new(inner: Box<dyn Transport>) -> Watched {
        Watched { inner, reused: false, answered: false, cut: None }
    }

    /// The error for an end of the connection before any byte of an answer.
    fn without_answer(&mut self, end: io::Error) -> Error {
        let end = self.cut.take().unwrap_or(end);
        if self.reused { Error::Other(Box::new(Stale(end))) } else { Error::Io(end) }
    }
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.answered {
            self.answered = false;
            self.reused = true;
        }
        if self.cut.is_some() {
            return Ok(());
        }
        match self.inner.transmit_output(amount, timeout) {
            // The worker may have answered before it had read everything: that answer counts.
            Err(Error::Io(error)) if is_end(&error) => {
                self.cut = Some(error);
                Ok(())
            }
            result => result,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        match self.inner.await_input(timeout) {
            Ok(true) => {
                self.answered = true;
                Ok(true)
            }
            Ok(false) if !self.answered => {
                let end = "the connection was closed without an answer";
                Err(self.without_answer(io::Error::new(io::ErrorKind::UnexpectedEof, end)))
            }
            Err(Error::Io(error)) if !self.answered && is_end(&error) => {
                Err(self.without_answer(error))
            }
            result => result,
        }
    }

    fn is_open(&mut self) -> bool {
        self.cut.is_none() && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}
