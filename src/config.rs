//! The settings. The table below is the only place where one is declared: flags, environment
//! variables, `--help`, `doc/config.md` and `GET /settings` all come from it.
//!
//! A setting `x_y` is the flag `--x-y VALUE` and the variable `FIREWORQ_X_Y`. The command line
//! wins over the environment, the environment over the default.

mod command_line;
mod doc;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use command_line::{Command, parse};
pub use doc::{help, markdown, text_of};
pub use value::{BindAddress, Driver, DsnText, Level, Value};

/// One row of the table.
pub struct Setting {
    /// Its name, as in `GET /settings`.
    pub name: &'static str,
    /// The part of the help and the docs where it stands.
    pub section: &'static str,
    /// What a value is called in the help.
    pub value_name: &'static str,
    /// What it is without a flag and a variable.
    pub default: Default,
    /// What it means, in sentences.
    pub doc: &'static str,
    /// Whether a value may hold a password, and so is shown masked.
    pub secret: bool,
    /// Checks a value's text; the error says what was expected.
    check: fn(&str) -> Result<(), String>,
}

/// Where a setting's default comes from.
pub enum Default {
    /// A fixed text.
    Fixed(&'static str),
    /// Another setting, or the environment.
    Derived {
        /// The rule, in words for the docs.
        rule: &'static str,
        /// The rule. It sees the settings that stand above in the table.
        from: fn(&Texts) -> String,
    },
}

/// The values of the settings as texts.
pub struct Texts {
    values: BTreeMap<&'static str, String>,
    /// Those that come from a flag or a variable.
    given: BTreeSet<&'static str>,
    /// Whether the variable `DEBUG` is not empty.
    debug: bool,
}

impl Texts {
    fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }
}

/// A setting whose value cannot be used. Stops the start with exit code 2.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

macro_rules! settings {
    (@default $text:literal) => { Default::Fixed($text) };
    (@default ($rule:literal, $from:expr)) => { Default::Derived { rule: $rule, from: $from } };
    ($(
        [$section:literal]
        $(
            $(#[doc = $doc:literal])+
            $name:ident : $kind:ty, $value_name:literal = $default:tt;
        )+
    )+) => {
        /// The settings in force.
        pub struct Settings {
            $($($(#[doc = $doc])+ pub $name: $kind,)+)+
            texts: Texts,
        }

        /// Every setting, in the order of the help and the docs.
        pub const TABLE: &[Setting] = &[$($(Setting {
            name: stringify!($name),
            section: $section,
            value_name: $value_name,
            default: settings!(@default $default),
            doc: concat!($($doc, "\n"),+),
            secret: <$kind as Value>::IS_SECRET,
            check: |text| <$kind as Value>::parse(text).map(drop),
        }),+),+];

        impl Settings {
            fn from_texts(texts: Texts) -> Result<Settings, String> {
                Ok(Settings {
                    $($($name: <$kind as Value>::parse(texts.get(stringify!($name)))?,)+)+
                    texts,
                })
            }
        }
    };
}

settings! {
    ["API"]
    /// Address and port of the HTTP API. Whoever can reach it can make this host send
    /// HTTP requests: keep it on loopback or behind a firewall. Ignored where listening sockets
    /// are passed in by systemd or start_server.
    bind: BindAddress, "ADDRESS:PORT" = "127.0.0.1:8080";
    /// Whether API connections are kept open between requests.
    keep_alive: bool, "BOOL" = "true";
    /// API connections open at once; one more is answered 503 and closed.
    max_connections: u32, "NUMBER" = "20000";
    /// The largest head of a request, in bytes; over it: 431.
    max_header_size: usize, "BYTES" = "65536";
    /// The largest body of a request, in bytes; over it: 413.
    max_body_size: usize, "BYTES" = "33554432";
    /// Bodies in memory altogether, in bytes; over it: 503. As many again may be those of large
    /// answers that their clients have not read yet.
    max_body_memory: usize, "BYTES" = "268435456";
    /// How long a request may take to arrive, in seconds; then: 408.
    request_timeout: u32, "SECONDS" = "30";
    /// How long a connection may be idle between two requests, in seconds.
    idle_timeout: u32, "SECONDS" = "120";
    /// How long a client may take to read its answer, in seconds.
    response_timeout: u32, "SECONDS" = "30";

    ["Store"]
    /// The DSN of the MySQL database for queues and definitions:
    /// `user:password@tcp(host:port)/database?option=value`.
    mysql_dsn: DsnText, "DSN" = "tcp(localhost:3306)/fireworq";
    /// The DSN for the definitions of queues and routings, where it is not `mysql_dsn`.
    repository_mysql_dsn: DsnText, "DSN" = "";
    /// The DSN for the jobs of all queues, where it is not `mysql_dsn`.
    queue_mysql_dsn: DsnText, "DSN" = "";
    /// A file that holds the password of DSNs without one, which so stands neither in a command
    /// line nor in the environment. A line break at its end is not part of it.
    mysql_password_file: String, "FILE" = "";
    /// Which store keeps the jobs: `mysql`; `sqlite`, a file of this machine; or `in-memory`, which
    /// keeps nothing over a restart.
    driver: Driver, "DRIVER" = ("`mysql` if a DSN is set, else `sqlite`", default_driver);
    /// The file of the driver `sqlite`, created with its folder if missing. It has to lie on a
    /// disk of this machine. A second daemon on it stands by, and takes over when the first ends.
    sqlite_path: String, "FILE" = "fireworq.db";
    /// How long a node that fell silent stays primary for its queues, in seconds. Another node
    /// takes over within this time and a little.
    mysql_lease_time: u32, "SECONDS" = "10";
    /// Whether queues are locked under the names that the original uses, for running mixed with
    /// its nodes. They are the same for every database of a server.
    mysql_lock_compat: bool, "BOOL" = "false";
    /// A file of root certificates (PEM) to trust, beside the usual ones, where the DSN asks
    /// for TLS.
    mysql_tls_ca: String, "FILE" = "";
    /// How often a node looks whether definitions have changed on another one, in milliseconds.
    config_refresh_interval: u32, "MILLISECONDS" = "1000";

    ["Queues"]
    /// The queue of jobs whose category has no routing; created if missing. Empty: such jobs
    /// are refused.
    queue_default: String, "NAME" = ("empty with `mysql`, else `default`", default_queue);
    /// The polling interval of queues that do not say, in milliseconds.
    queue_default_polling_interval: u32, "MILLISECONDS" = "200";
    /// The number of workers of queues that do not say.
    queue_default_max_workers: u32, "NUMBER" = "20";
    /// How long a failure stays in the failure log of its queue, in seconds; 0 for no limit.
    failure_log_max_age: u32, "SECONDS" = "0";
    /// How many failures the failure log of a queue keeps, the latest ones; 0 for no limit.
    failure_log_max_count: u32, "NUMBER" = "0";

    ["Dispatch"]
    /// Whether connections to workers are kept open between jobs.
    dispatch_keep_alive: bool, "BOOL" = ("as `keep_alive`", |texts| texts.get("keep_alive").into());
    /// Idle connections kept for each worker host.
    dispatch_max_conns_per_host: usize, "NUMBER" = "10";
    /// How long an idle connection to a worker is kept, in seconds; 0 for no limit. Less than the
    /// workers' own limit spares requests into connections about to close.
    dispatch_idle_conn_timeout: u32, "SECONDS" = "2";
    /// The `User-Agent` of requests to workers.
    dispatch_user_agent: String, "TEXT" =
        ("`Fireworq/<version>`", |_| concat!("Fireworq/", env!("CARGO_PKG_VERSION")).into());
    /// The time that a worker may take for a job whose `timeout` is 0, in seconds; 0 for no
    /// limit, so that a worker that never answers holds its place for ever.
    dispatch_default_timeout: u32, "SECONDS" = "0";
    /// The largest answer of a worker that is read, in bytes; over it the try is a failure.
    dispatch_max_response_size: usize, "BYTES" = "1048576";
    /// The longest message of a worker that is kept, in bytes; the rest is cut off.
    dispatch_max_message_size: usize, "BYTES" = "65536";

    ["Logs"]
    /// The file of the access log; none: standard output.
    access_log: String, "FILE" = "";
    /// The `tag` in its lines.
    access_log_tag: String, "TEXT" = "fireworq.access";
    /// The file of the queue log; none: standard output.
    queue_log: String, "FILE" = "";
    /// The `tag` in its lines.
    queue_log_tag: String, "TEXT" = "fireworq.queue";
    /// The least level of the queue log: `debug`, `info`, `warn`, `error`, `fatal`, or 0 to 4.
    queue_log_level: Level, "LEVEL" = ("`info`, or `debug` if `DEBUG` is not empty", default_level);
    /// The longest `payload` and `message` in a line of the queue log, in bytes; what is longer
    /// is cut and marked. 0 for no limit. Log shippers split long lines.
    queue_log_max_field_size: usize, "BYTES" = "0";
    /// The file of the error log; none: standard error.
    error_log: String, "FILE" = "";
    /// The least level of the error log.
    error_log_level: Level, "LEVEL" = ("`info`, or `debug` if `DEBUG` is not empty", default_level);

    ["Process"]
    /// A file that the process id is written to.
    pid: String, "FILE" = "";
    /// How long a stop waits for requests and running jobs, in seconds.
    shutdown_timeout: u32, "SECONDS" = "30";
}

fn default_driver(texts: &Texts) -> String {
    let dsns = ["mysql_dsn", "repository_mysql_dsn", "queue_mysql_dsn"];
    let driver = if dsns.iter().any(|name| texts.given.contains(*name)) {
        Driver::Mysql
    } else {
        Driver::Sqlite
    };
    driver.to_string()
}

fn default_queue(texts: &Texts) -> String {
    let name = if texts.get("driver").eq_ignore_ascii_case("mysql") { "" } else { "default" };
    name.to_owned()
}

fn default_level(texts: &Texts) -> String {
    if texts.debug { "debug".to_owned() } else { "info".to_owned() }
}

impl Settings {
    /// Every setting's name and value, in the order of the table, passwords masked.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String)> {
        TABLE.iter().map(|setting| {
            let text = self.texts.get(setting.name);
            let shown = if setting.secret { mask_password(text) } else { text.to_owned() };
            (setting.name, shown)
        })
    }

    /// The DSN of the database with the definitions.
    pub fn repository_dsn(&self) -> &str {
        first_given(&self.repository_mysql_dsn, &self.mysql_dsn)
    }

    /// The DSN of the database with the jobs.
    pub fn queue_dsn(&self) -> &str {
        first_given(&self.queue_mysql_dsn, &self.mysql_dsn)
    }
}

fn first_given<'a>(text: &'a DsnText, otherwise: &'a DsnText) -> &'a str {
    if text.as_str().is_empty() { otherwise.as_str() } else { text.as_str() }
}

/// The settings that come of the flags given and the environment.
fn resolve(
    mut given: BTreeMap<&'static str, String>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, ConfigError> {
    for setting in TABLE {
        if given.contains_key(setting.name) {
            continue;
        }
        let variable = setting.variable();
        if let Some(text) = environment(&variable).filter(|text| !text.is_empty()) {
            (setting.check)(&text)
                .map_err(|expected| setting.refuse(&variable, &text, &expected))?;
            given.insert(setting.name, text);
        }
    }
    let debug = environment("DEBUG").is_some_and(|text| !text.is_empty());
    let mut texts = Texts { given: given.keys().copied().collect(), values: given, debug };
    for setting in TABLE {
        if texts.given.contains(setting.name) {
            continue;
        }
        let text = match setting.default {
            Default::Fixed(text) => text.to_owned(),
            Default::Derived { from, .. } => from(&texts),
        };
        texts.values.insert(setting.name, text);
    }
    Settings::from_texts(texts).map_err(ConfigError)
}

impl Setting {
    /// The environment variable: `FIREWORQ_X_Y`.
    pub fn variable(&self) -> String {
        format!("FIREWORQ_{}", self.name.to_uppercase())
    }

    /// The flag, without its dashes: `x-y`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    fn refuse(&self, source: &str, text: &str, expected: &str) -> ConfigError {
        let shown = if self.secret { mask_password(text) } else { text.to_owned() };
        ConfigError(format!("{source}: {shown:?} is not {expected}"))
    }
}

/// A DSN with its password replaced, for the eyes of others. The password lies between the first
/// `:` and the last `@` before the last `/`, and so may hold any character. Values of options go
/// too, since a key may be among them.
fn mask_password(dsn: &str) -> String {
    let end_of_address = dsn.rfind('/').unwrap_or(dsn.len());
    let Some(at) = dsn[..end_of_address].rfind('@') else { return dsn.to_owned() };
    match dsn[..at].find(':') {
        Some(colon) => format!("{}:***{}", &dsn[..colon], &dsn[at..]),
        None => dsn.to_owned(),
    }
}

#[cfg(test)]
mod tests;
