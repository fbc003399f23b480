//! Opens sessions of one database, all alike.
//!
//! Every session of the daemon comes from here, pooled ones and those that hold locks, since
//! one alone without these settings can block the others for hours: a client that falls silent
//! inside a transaction keeps its row locks until its session's `wait_timeout`. Waits are short on
//! both sides, so that no call hangs; a time-out of the DSN can make them shorter, not longer.
//! Session variables of the DSN are set first, so that they cannot undo what is set here.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use mysql::{Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};

use super::dsn::{Address, Dsn, Tls};
use super::resolver;
use crate::config::ConfigError;
use crate::metrics::STORE;
use crate::store::sql::{Tables, statements};

/// How long finding the server and connecting to it may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
/// How long a session waits for bytes from the server, and so the longest that a statement may
/// run, but for sessions of [`Connector::connect_to_wait`]. A push may have to wait for two, its
/// own and that before it, and is to be answered within 5 s.
pub const READ_TIMEOUT: Duration = Duration::from_millis(2300);
/// How long a session waits until the server takes bytes.
pub const WRITE_TIMEOUT: Duration = Duration::from_millis(2300);
/// How long a statement waits for a lock on rows or a table, in seconds; less than
/// [`READ_TIMEOUT`], so that the server says what happened and the session stays.
const LOCK_WAIT_S: u64 = 1;
/// The largest packet that is read: a failure with its payload and result is below 34 MB.
const MAX_PACKET_READ: usize = 64 << 20;
/// Prepared statements kept a session: the sizes of batches, for the queues in use.
const PREPARED_STATEMENTS: usize = 128;
/// Silence after which the kernel asks whether the server is there, in milliseconds.
const KEEPALIVE_MS: u32 = 5_000;

statements! {
    /// What every session is told, and transactions.
    SESSION: SessionStatements = "session.sql" {
        set_charset, set_collation, set_variables, set_isolation, set_safety, server_limits,
        begin, commit, rollback, now,
    }
}

/// Opens sessions of one database, all with the same safe session settings and time-outs.
pub struct Connector {
    options: Opts,
    address: Address,
    tls: Tls,
    connect_timeout: Duration,
    database: String,
    described: String,
    max_packet_sent: Option<usize>,
    max_silence: Duration,
}

impl Connector {
    /// A connector for the database of `dsn`. Nothing is connected yet. A session that falls
    /// silent for `lease_time` (at least 1 s) is ended by the server. `tls_ca` is a file of root
    /// certificates (PEM) to trust beside the usual ones.
    ///
    /// # Errors
    /// A file that is needed cannot be read.
    pub fn new(
        dsn: &Dsn,
        lease_time: Duration,
        tls_ca: Option<&Path>,
    ) -> Result<Connector, ConfigError> {
        let options = &dsn.options;
        for file in options.server_public_key.as_deref().into_iter().chain(tls_ca) {
            std::fs::File::open(file)
                .map_err(|error| ConfigError(format!("cannot read {}: {error}", file.display())))?;
        }
        let connect_timeout = at_most(options.timeout, CONNECT_TIMEOUT);
        let attributes = HashMap::from([("program_name", "fireworq")]);
        let mut builder = OptsBuilder::new()
            .user(given(&dsn.user))
            .pass(given(&dsn.password))
            .db_name(Some(dsn.database.as_str()))
            .tcp_connect_timeout(Some(connect_timeout))
            .read_timeout(Some(at_most(options.read_timeout, READ_TIMEOUT)))
            .write_timeout(Some(at_most(options.write_timeout, WRITE_TIMEOUT)))
            .tcp_keepalive_time_ms(Some(KEEPALIVE_MS))
            .tcp_keepalive_probe_interval_secs(Some(1))
            .tcp_keepalive_probe_count(Some(3))
            .tcp_user_timeout_ms(Some(KEEPALIVE_MS))
            // Else it moves to the socket that the server names, perhaps another server's.
            .prefer_socket(false)
            .max_allowed_packet(Some(MAX_PACKET_READ))
            .stmt_cache_size(PREPARED_STATEMENTS)
            .connect_attrs(Some(attributes))
            .enable_cleartext_plugin(options.allow_cleartext_passwords)
            .server_key_path(options.server_public_key.clone())
            .ssl_opts(tls_options(options.tls, tls_ca))
            .init(session_settings(dsn, lease_time));
        builder = match &dsn.address {
            Address::Unix(path) => builder.socket(Some(path.as_str())),
            Address::Tcp(host, port) => {
                builder.ip_or_hostname(Some(bracketed(host))).tcp_port(*port)
            }
        };
        if options.tls != Tls::Off {
            // A second attempt finds it installed, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(Connector {
            options: builder.into(),
            address: dsn.address.clone(),
            tls: options.tls,
            connect_timeout,
            database: dsn.database.clone(),
            described: dsn.to_string(),
            max_packet_sent: options.max_allowed_packet,
            max_silence: max_silence(lease_time),
        })
    }

    /// Opens a session.
    ///
    /// # Errors
    /// The server cannot be reached, refuses us, or refuses a session variable of the DSN.
    pub fn connect(&self) -> Result<Conn, Error> {
        self.connect_with(&self.options)
    }

    /// Opens a session whose statements may take up to `read_timeout`, for one that waits inside
    /// `GET_LOCK`.
    ///
    /// # Errors
    /// As [`connect`](Connector::connect).
    pub fn connect_to_wait(&self, read_timeout: Duration) -> Result<Conn, Error> {
        let builder = OptsBuilder::from_opts(self.options.clone());
        self.connect_with(&builder.read_timeout(Some(read_timeout)).into())
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// User, host, port and database. No password.
    pub fn describe(&self) -> String {
        self.described.clone()
    }

    /// The largest packet that the DSN lets us send, in bytes; `None` for the server's limit.
    pub(super) fn max_packet_sent(&self) -> Option<usize> {
        self.max_packet_sent
    }

    /// How long a session may be idle before the server ends it.
    pub(super) fn max_silence(&self) -> Duration {
        self.max_silence
    }

    fn connect_with(&self, options: &Opts) -> Result<Conn, Error> {
        let opened = match &self.address {
            Address::Tcp(host, port) => self.connect_to_host(options, host, *port),
            Address::Unix(_) => Conn::new(options.clone()),
        };
        match &opened {
            Ok(_) => STORE.connections_opened.add(1),
            Err(_) => STORE.connection_errors.add(1),
        }
        opened
    }

    /// Tries the host's addresses in turn, since a name such as `localhost` may have some where
    /// nobody listens, and the driver by itself tries the first only.
    fn connect_to_host(&self, options: &Opts, host: &str, port: u16) -> Result<Conn, Error> {
        let deadline = Instant::now() + self.connect_timeout;
        let addresses = resolver::resolve(host, port, self.connect_timeout)?;
        if self.tls == Tls::Verified {
            // The driver checks the certificate against the name that it connects to, so it has
            // to be given the name, and looks it up once more.
            return Conn::new(options.clone());
        }
        let mut failure = None;
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now());
            if failure.is_some() && left.is_zero() {
                break;
            }
            let within = left.max(Duration::from_millis(1));
            match self.connect_to_address(options, address, within) {
                Err(error @ (Error::IoError(_) | Error::DriverError(_))) => failure = Some(error),
                answer => return answer,
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::IoError(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{host} has no address"),
            ))
        }))
    }

    fn connect_to_address(
        &self,
        options: &Opts,
        address: SocketAddr,
        within: Duration,
    ) -> Result<Conn, Error> {
        let builder = OptsBuilder::from_opts(options.clone())
            .ip_or_hostname(Some(bracketed(&address.ip().to_string())))
            .tcp_connect_timeout(Some(within));
        match Conn::new(builder.clone()) {
            Err(Error::DriverError(DriverError::TlsNotSupported)) if self.tls == Tls::Preferred => {
                Conn::new(builder.ssl_opts(None))
            }
            answer => answer,
        }
    }
}

/// What a fresh session is told, in order.
fn session_settings(dsn: &Dsn, lease_time: Duration) -> Vec<String> {
    let none = Tables::default();
    let options = &dsn.options;
    let mut settings = Vec::new();
    match (&options.charset, &options.collation) {
        (Some(charset), None) => settings.push(SESSION.set_charset.with(&none, &[[charset]])),
        (charset, Some(collation)) => {
            // A collation's name begins with that of its character set.
            let own = collation.split_once('_').map_or(collation.as_str(), |(own, _)| own);
            let charset = charset.as_deref().unwrap_or(own);
            settings.push(SESSION.set_collation.with(&none, &[[charset, collation]]));
        }
        (None, None) => {}
    }
    let variables: Vec<[&str; 2]> = options
        .session_variables
        .iter()
        .map(|(name, value)| [name.as_str(), value.as_str()])
        .collect();
    if !variables.is_empty() {
        settings.push(SESSION.set_variables.with(&none, &variables));
    }
    let silence_s = max_silence(lease_time).as_secs();
    settings.push(SESSION.set_isolation.text());
    settings.push(
        SESSION
            .set_safety
            .with(&none, &[[silence_s, silence_s, silence_s, LOCK_WAIT_S, LOCK_WAIT_S]]),
    );
    settings
}

fn tls_options(tls: Tls, ca: Option<&Path>) -> Option<SslOpts> {
    let verified = || SslOpts::default().with_root_cert_path(ca.map(Path::to_path_buf));
    match tls {
        Tls::Off => None,
        Tls::Verified => Some(verified()),
        Tls::Unverified | Tls::Preferred => Some(
            verified()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
    }
}

/// The server counts in whole seconds, from 1.
fn max_silence(lease_time: Duration) -> Duration {
    Duration::from_secs(lease_time.as_secs().max(1))
}

fn at_most(given: Option<Duration>, limit: Duration) -> Duration {
    given.map_or(limit, |given| given.min(limit))
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The driver takes IPv6 addresses in brackets only.
fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dsn: &str, lease_time: Duration) -> Vec<String> {
        session_settings(&Dsn::parse(dsn).unwrap(), lease_time)
    }

    #[test]
    fn what_the_dsn_sets_comes_first_and_cannot_undo_what_is_safe() {
        let all = settings(
            "/db?charset=utf8mb4&collation=utf8mb4_bin&wait_timeout=28800\
             &time_zone=%27Asia/Tokyo%27",
            Duration::from_secs(10),
        );
        assert_eq!(
            all,
            [
                "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
                "SET wait_timeout = 28800, time_zone = 'Asia/Tokyo'",
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                "SET wait_timeout = 10, net_read_timeout = 10, net_write_timeout = 10, \
                 innodb_lock_wait_timeout = 1, lock_wait_timeout = 1, \
                 time_zone = '+00:00', autocommit = 1",
            ]
        );
        assert_eq!(settings("/db", Duration::ZERO).len(), 2);
        assert!(settings("/db", Duration::ZERO)[1].contains("wait_timeout = 1,"));
        assert_eq!(settings("/db?charset=latin1", Duration::ZERO)[0], "SET NAMES latin1");
        let binary = &settings("/db?collation=binary", Duration::ZERO)[0];
        assert_eq!(binary, "SET NAMES binary COLLATE binary");
    }

    #[test]
    fn a_time_out_of_the_dsn_can_only_be_shorter() {
        let dsn = Dsn::parse("/db?timeout=500ms&readTimeout=1s&writeTimeout=1h").unwrap();
        let connector = Connector::new(&dsn, Duration::from_secs(10), None).unwrap();
        let options = &connector.options;
        assert_eq!(options.get_tcp_connect_timeout(), Some(Duration::from_millis(500)));
        assert_eq!(options.get_read_timeout(), Some(&Duration::from_secs(1)));
        assert_eq!(options.get_write_timeout(), Some(&WRITE_TIMEOUT));
    }

    #[test]
    fn a_missing_file_is_found_before_the_start() {
        let dsn = Dsn::parse("/db?tls=true").unwrap();
        let missing = Path::new("/nonexistent/ca.pem");
        let error = Connector::new(&dsn, Duration::from_secs(10), Some(missing)).err().unwrap();
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
    }
}
