//! How the text of a setting becomes a value.

use std::fmt;
use std::str::FromStr;

/// A type that a setting can have.
pub trait Value: Sized {
    /// Whether the text may hold a password.
    const IS_SECRET: bool = false;

    /// The value that `text` stands for.
    ///
    /// # Errors
    /// What was expected, to follow "is not".
    fn parse(text: &str) -> Result<Self, String>;
}

impl Value for String {
    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

/// Where to listen: a host, which may be empty, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// A name or an address, without brackets. Empty for all interfaces.
    pub host: String,
    /// 0 for one that the system chooses.
    pub port: u16,
}

impl Value for BindAddress {
    fn parse(text: &str) -> Result<BindAddress, String> {
        let read = || {
            let (host, port) = text.rsplit_once(':')?;
            let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host = inside.or((!host.contains(':')).then_some(host))?;
            Some(BindAddress { host: host.to_owned(), port: port.parse().ok()? })
        };
        read().ok_or_else(|| {
            "an address and a port, such as 127.0.0.1:8080, [::1]:8080 or :8080".to_owned()
        })
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindAddress { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// The text of a DSN, which may hold a password and so has no `Debug` and no `Display`.
pub struct DsnText(String);

impl DsnText {
    /// The text, password included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for DsnText {
    const IS_SECRET: bool = true;

    fn parse(text: &str) -> Result<DsnText, String> {
        Ok(DsnText(text.to_owned()))
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "on" => Ok(true),
            "false" | "f" | "0" | "no" | "off" => Ok(false),
            _ => Err("a boolean (true, false, 1, 0, t, f, yes, no, on, off)".to_owned()),
        }
    }
}

fn number<T: FromStr>(text: &str, most: impl fmt::Display) -> Result<T, String> {
    // `from_str` takes a plus sign, which no other way of writing a setting does.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| format!("a whole number from 0 to {most}"))
}

impl Value for u32 {
    fn parse(text: &str) -> Result<u32, String> {
        number(text, u32::MAX)
    }
}

impl Value for usize {
    fn parse(text: &str) -> Result<usize, String> {
        number(text, usize::MAX)
    }
}

/// Which store keeps the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A MySQL or MariaDB server.
    Mysql,
    /// A file of SQLite.
    Sqlite,
    /// The daemon's own memory.
    InMemory,
}

impl Value for Driver {
    fn parse(text: &str) -> Result<Driver, String> {
        match text.to_ascii_lowercase().as_str() {
            "mysql" => Ok(Driver::Mysql),
            "sqlite" => Ok(Driver::Sqlite),
            "in-memory" => Ok(Driver::InMemory),
            _ => Err("a driver (mysql, sqlite, in-memory)".to_owned()),
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Driver::Mysql => "mysql",
            Driver::Sqlite => "sqlite",
            Driver::InMemory => "in-memory",
        })
    }
}

/// The weight of a line in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What goes as it should.
    Info,
    /// What an operator should look at some day.
    Warn,
    /// What an operator should look at now.
    Error,
    /// What ends the daemon.
    Fatal,
}

impl Value for Level {
    fn parse(text: &str) -> Result<Level, String> {
        match text.to_ascii_lowercase().as_str() {
            "debug" | "0" => Ok(Level::Debug),
            "info" | "1" => Ok(Level::Info),
            "warn" | "warning" | "2" => Ok(Level::Warn),
            "error" | "3" => Ok(Level::Error),
            "fatal" | "4" => Ok(Level::Fatal),
            _ => Err("a level (debug, info, warn, error, fatal, or 0 to 4)".to_owned()),
        }
    }
}
