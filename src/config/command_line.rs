//! From the arguments of the process to what it is asked to do.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::{ConfigError, Setting, Settings, TABLE, resolve};

/// What the command line asks for.
pub enum Command {
    /// Run the daemon.
    Run(Box<Settings>),
    /// Copy one store into another.
    Copy {
        /// Settings whose store is the source.
        from: Box<Settings>,
        /// Settings whose store is the target.
        to: Box<Settings>,
    },
    /// Print the version.
    Version,
    /// Print the license.
    License,
    /// Print the dependencies and their licenses.
    Credits,
    /// Print the help.
    Help,
}

/// What `arguments`, the program's name left out, and `environment` ask for.
///
/// # Errors
/// A flag that does not exist or a value that cannot be used, in words for the operator.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Command, ConfigError> {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.next_if(|argument| argument == "copy").is_some() {
        return parse_copy(lexopt::Parser::from_args(arguments), environment);
    }
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut given = BTreeMap::new();
    while let Some((source, flag, value)) = next_flag(&mut parser)? {
        let command = match flag.as_str() {
            "version" | "v" => Command::Version,
            "license" => Command::License,
            "credits" => Command::Credits,
            "help" | "h" => Command::Help,
            _ => {
                let setting = setting_of(&source, &flag)?;
                let text = match value {
                    Some(text) => text,
                    None => parser.value().and_then(text_of).map_err(describe)?,
                };
                (setting.check)(&text)
                    .map_err(|expected| setting.refuse(&source, &text, &expected))?;
                given.insert(setting.name, text);
                continue;
            }
        };
        if value.is_some() {
            return Err(ConfigError(format!("{source} takes no value")));
        }
        return Ok(command);
    }
    resolve(given, environment).map(|settings| Command::Run(Box::new(settings)))
}

/// `copy --from PLACE --to PLACE`.
fn parse_copy(
    mut parser: lexopt::Parser,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Command, ConfigError> {
    let (mut from, mut to) = (None, None);
    while let Some((source, flag, value)) = next_flag(&mut parser)? {
        let place = match flag.as_str() {
            "from" => &mut from,
            "to" => &mut to,
            "help" | "h" => return Ok(Command::Help),
            _ => return Err(ConfigError(format!("copy has no flag {source}; see --help"))),
        };
        let text = match value {
            Some(text) => text,
            None => parser.value().and_then(text_of).map_err(describe)?,
        };
        *place = Some(settings_of_place(&source, &text, environment)?);
    }
    let missing = |flag| ConfigError(format!("copy needs {flag} sqlite:PATH or mysql:DSN"));
    Ok(Command::Copy {
        from: Box::new(from.ok_or_else(|| missing("--from"))?),
        to: Box::new(to.ok_or_else(|| missing("--to"))?),
    })
}

/// Settings whose store is the one at `place`: `sqlite:PATH` or `mysql:DSN`. With nothing behind
/// the colon it is the one that the environment names, which keeps a password out of `ps`.
fn settings_of_place(
    source: &str,
    place: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, ConfigError> {
    let (driver, setting, rest) = match place.split_once(':') {
        Some(("sqlite", path)) => ("sqlite", "sqlite_path", path),
        Some(("mysql", dsn)) => ("mysql", "mysql_dsn", dsn),
        _ => return Err(ConfigError(format!("{source} is not sqlite:PATH or mysql:DSN"))),
    };
    let mut given = BTreeMap::from([("driver", driver.to_owned())]);
    if !rest.is_empty() {
        given.insert(setting, rest.to_owned());
        if driver == "mysql" {
            // All of it lies where the place says.
            given.insert("repository_mysql_dsn", String::new());
            given.insert("queue_mysql_dsn", String::new());
        }
    }
    resolve(given, environment)
}

/// The next flag as written, without its dashes, and the value behind its `=`. As Go's flags, a
/// long one may have a single dash, which `lexopt` would read as short flags in a row.
fn next_flag(
    parser: &mut lexopt::Parser,
) -> Result<Option<(String, String, Option<String>)>, ConfigError> {
    let Some(mut raw) = parser.try_raw_args() else {
        return Err(ConfigError("a flag takes no value".to_owned()));
    };
    let Some(argument) = raw.next() else { return Ok(None) };
    let argument = text_of(argument).map_err(describe)?;
    let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
    match name {
        Some(name) if !name.is_empty() && !name.starts_with('-') => {
            let (flag, value) = match name.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (name, None),
            };
            let dashes = &argument[..argument.len() - name.len()];
            Ok(Some((format!("{dashes}{flag}"), flag.to_owned(), value)))
        }
        _ => Err(ConfigError(format!("unexpected argument {argument:?}; see --help"))),
    }
}

fn setting_of(source: &str, flag: &str) -> Result<&'static Setting, ConfigError> {
    TABLE
        .iter()
        .find(|setting| setting.flag() == flag)
        .ok_or_else(|| ConfigError(format!("there is no flag {source}; see --help")))
}

fn text_of(text: OsString) -> Result<String, lexopt::Error> {
    text.into_string().map_err(lexopt::Error::NonUnicodeValue)
}

fn describe(error: lexopt::Error) -> ConfigError {
    ConfigError(error.to_string())
}
