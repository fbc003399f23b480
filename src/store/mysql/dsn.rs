//! The address of a database in Go's form:
//! `user:password@tcp(host:port)/database?option=value&…`.
//!
//! Pure: text in, [`Dsn`] out. The errors never repeat a part of the text that may hold the
//! password, and a [`Dsn`] has no `Debug` that shows it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 3306;
const DEFAULT_SOCKET: &str = "/tmp/mysql.sock";

/// Where a database lies and how to open a session of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    /// Whom to log in as; empty for the server's anonymous user.
    pub user: String,
    /// The password; empty for none. Never shown.
    pub password: String,
    /// Where the server listens.
    pub address: Address,
    /// The database; never empty.
    pub database: String,
    /// What is said behind the `?`.
    pub options: Options,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or an IP address (IPv6 without brackets), and a port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(String),
}

/// The options of a DSN that have a meaning here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The longest time to connect; `None` for our own.
    pub timeout: Option<Duration>,
    /// The longest time to wait for bytes from the server; `None` for our own.
    pub read_timeout: Option<Duration>,
    /// The longest time to hand bytes to the server; `None` for our own.
    pub write_timeout: Option<Duration>,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// The largest packet to send, in bytes; `None` for what the server allows.
    pub max_allowed_packet: Option<usize>,
    /// The session's character set.
    pub charset: Option<String>,
    /// The session's collation.
    pub collation: Option<String>,
    /// Whether the password may be sent as it is, where the server asks for that.
    pub allow_cleartext_passwords: bool,
    /// A file with the server's public key, which encrypts the password where there is no TLS.
    pub server_public_key: Option<PathBuf>,
    /// Session variables, in order, with their values as SQL.
    pub session_variables: Vec<(String, String)>,
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// No.
    #[default]
    Off,
    /// Yes, and the server's certificate is checked.
    Verified,
    /// Yes, whatever the certificate.
    Unverified,
    /// If the server can, whatever the certificate.
    Preferred,
}

/// What is wrong with a DSN. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDsn(pub String);

impl fmt::Display for InvalidDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidDsn {}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

/// `user@host:port/database`, without the password and the options.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.user.is_empty() {
            write!(f, "{}@", self.user)?;
        }
        write!(f, "{}/{}", self.address, self.database)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix({path})"),
        }
    }
}

impl Dsn {
    /// Reads a DSN.
    ///
    /// # Errors
    /// The text has not the form of a DSN, names no database, or an option's value cannot be
    /// understood.
    pub fn parse(text: &str) -> Result<Dsn, InvalidDsn> {
        let (account_and_address, database_and_options) = split_at_database(text)?;
        let (account, address) = match account_and_address.rsplit_once('@') {
            Some((account, address)) => (account, address),
            None => ("", account_and_address),
        };
        let (user, password) = account.split_once(':').unwrap_or((account, ""));
        let (database, options) =
            database_and_options.split_once('?').unwrap_or((database_and_options, ""));
        let database = percent_decode_str(database).decode_utf8_lossy().into_owned();
        if database.is_empty() {
            return Err(invalid("a DSN must name a database: …/database"));
        }
        Ok(Dsn {
            user: user.to_owned(),
            password: password.to_owned(),
            address: parse_address(address)?,
            database,
            options: parse_options(options)?,
        })
    }
}

fn invalid(text: impl Into<String>) -> InvalidDsn {
    InvalidDsn(text.into())
}

/// Splits at the `/` before the database: the last one before the query. One behind a `?` is part
/// of an option's value, unless what lies before it ends in an address: then the `?` is the
/// password's.
fn split_at_database(text: &str) -> Result<(&str, &str), InvalidDsn> {
    if !text.contains('/') {
        return Err(invalid("a DSN must hold a / before the name of the database"));
    }
    text.rmatch_indices('/')
        .map(|(at, _)| (&text[..at], &text[at + 1..]))
        // Without a `?` behind it, what follows is not a database but a password with a `/`.
        .scan(false, |is_found, (left, right)| {
            let is_last = !std::mem::replace(is_found, true);
            (is_last || right.contains('?')).then_some((left, right))
        })
        .find(|(left, _)| {
            let address = left.rsplit_once('@').map_or(*left, |(_, address)| address);
            address_parts(address).is_some()
        })
        .ok_or_else(|| {
            invalid("the address of a DSN must be tcp(host:port), unix(/path), or left out")
        })
}

/// The network and the text in the parentheses, if `text` has the form of an address.
fn address_parts(text: &str) -> Option<(&str, &str)> {
    let (network, inner) = match text.split_once('(') {
        Some((network, rest)) => (network, rest.strip_suffix(')')?),
        None => (text, ""),
    };
    // Without a network's name there is nothing that parentheses could belong to.
    let known = matches!(network, "tcp" | "unix") || text.is_empty();
    known.then_some((network, inner))
}

fn parse_address(text: &str) -> Result<Address, InvalidDsn> {
    match address_parts(text) {
        Some(("unix", "")) => Ok(Address::Unix(DEFAULT_SOCKET.to_owned())),
        Some(("unix", path)) => Ok(Address::Unix(path.to_owned())),
        Some((_, host_and_port)) => parse_host_and_port(host_and_port),
        None => Err(invalid("the address of a DSN must be tcp(host:port) or unix(/path)")),
    }
}

fn parse_host_and_port(text: &str) -> Result<Address, InvalidDsn> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or_else(|| invalid("the IPv6 address of a DSN lacks its closing ]"))?;
        match (rest, rest.strip_prefix(':')) {
            ("", _) => (host, ""),
            (_, Some(port)) => (host, port),
            (_, None) => return Err(invalid("the port of a DSN must follow a colon")),
        }
    } else if text.matches(':').count() > 1 {
        // An IPv6 address without brackets leaves no room for a port.
        (text, "")
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    let host = if host.is_empty() { DEFAULT_HOST } else { host };
    let port = match port {
        "" => DEFAULT_PORT,
        digits => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| invalid("the port of a DSN must be a number from 1 to 65535"))?,
    };
    Ok(Address::Tcp(host.to_owned(), port))
}

fn parse_options(text: &str) -> Result<Options, InvalidDsn> {
    let mut options = Options::default();
    // An item without `=` is ignored, as in Go.
    for (name, raw) in text.split('&').filter_map(|item| item.split_once('=')) {
        let value = decode_value(name, raw)?;
        match name {
            "timeout" => options.timeout = parse_timeout(name, &value)?,
            "readTimeout" => options.read_timeout = parse_timeout(name, &value)?,
            "writeTimeout" => options.write_timeout = parse_timeout(name, &value)?,
            "tls" => options.tls = parse_tls(&value)?,
            "maxAllowedPacket" => {
                let bytes: usize = value
                    .parse()
                    .map_err(|_| invalid("maxAllowedPacket must be a number of bytes"))?;
                options.max_allowed_packet = Some(bytes).filter(|bytes| *bytes > 0);
            }
            "charset" => options.charset = first_of_list(&value),
            "collation" => options.collation = Some(value).filter(|value| !value.is_empty()),
            "allowCleartextPasswords" => {
                options.allow_cleartext_passwords = parse_bool(name, &value)?;
            }
            "serverPubKey" => {
                options.server_public_key =
                    Some(value).filter(|value| !value.is_empty()).map(PathBuf::from);
            }
            // They steer what Go's driver does with times, results and files; there is nothing
            // here that they could steer.
            "parseTime"
            | "interpolateParams"
            | "clientFoundRows"
            | "multiStatements"
            | "allowNativePasswords"
            | "allowOldPasswords"
            | "allowAllFiles"
            | "checkConnLiveness"
            | "columnsWithAlias"
            | "rejectReadOnly" => {
                parse_bool(name, &value)?;
            }
            "loc" | "" => {}
            _ => options.session_variables.push((name.to_owned(), value)),
        }
    }
    Ok(options)
}

/// Percent-decodes a value; `+` stands for a space, as in every query string.
fn decode_value(name: &str, raw: &str) -> Result<String, InvalidDsn> {
    let spaced = raw.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(|value| value.into_owned())
        .map_err(|_| invalid(format!("{name} of a DSN is not UTF-8 once decoded")))
}

/// The first of several character sets; the others are for servers from before `utf8mb4`.
fn first_of_list(value: &str) -> Option<String> {
    value.split(',').next().map(str::to_owned).filter(|first| !first.is_empty())
}

fn parse_bool(name: &str, value: &str) -> Result<bool, InvalidDsn> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(invalid(format!("{name} of a DSN must be true or false"))),
    }
}

fn parse_tls(value: &str) -> Result<Tls, InvalidDsn> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(Tls::Verified),
        "0" | "false" => Ok(Tls::Off),
        "skip-verify" => Ok(Tls::Unverified),
        "preferred" => Ok(Tls::Preferred),
        _ => Err(invalid("tls of a DSN must be true, false, skip-verify or preferred")),
    }
}

/// A Go duration; 0 stands for no limit of the DSN's own.
fn parse_timeout(name: &str, value: &str) -> Result<Option<Duration>, InvalidDsn> {
    parse_duration(value)
        .map(|duration| Some(duration).filter(|duration| !duration.is_zero()))
        .ok_or_else(|| {
            invalid(format!("{name} of a DSN must be a duration such as 5s, 500ms or 1m30s"))
        })
}

/// `1h2m3.5s` and the like; a number without a unit only if it is 0.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_length = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after_number) = rest.split_at(number_length);
        let unit_length = after_number
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after_number.len());
        let (unit, after_unit) = after_number.split_at(unit_length);
        seconds += number.parse::<f64>().ok()? * unit_seconds(unit)?;
        rest = after_unit;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-9),
        "us" | "µs" | "μs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
