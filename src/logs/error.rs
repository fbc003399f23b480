//! The error log: what the daemon itself has to say, through the macros of the crate `log`.
//!
//! - `log::warn!(queue = name; "…")` names the queue that a line is about.
//! - `log::error!(target: logs::FATAL, "…")` is a line of the level `fatal`.
//!
//! Of other crates only warnings and errors are shown: their chatter is theirs, and may hold
//! what is nobody's business.
//!
//! Of `simplelog` this uses what combines loggers, not those it has: they write in the caller,
//! know no JSON, leave out the queue, and let line breaks through.

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;

use log::kv::Key;
use log::{LevelFilter, Log, Metadata, Record};
use serde::{Serialize, Serializer};
use simplelog::SharedLogger;

use super::line::{self, Escaping};
use super::sink::Sink;
use crate::clock::{self, Rfc3339};
use crate::config::Level;

/// The target of lines that tell why the daemon ends.
pub const FATAL: &str = "fireworq::fatal";

/// The error log, to be given to the crate `log`.
#[derive(Clone)]
pub(super) struct ErrorLog {
    pub(super) sink: Arc<Sink>,
    pub(super) level: Level,
    pub(super) form: Form,
}

/// What its lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON, for a file.
    Json,
    /// Text for people.
    Plain,
    /// Text for people in front of a terminal.
    Coloured,
}

/// A line of JSON, its keys in the order in which they stand.
#[derive(Serialize)]
struct Line<'a> {
    level: Level,
    time: Rfc3339,
    message: Shown<&'a fmt::Arguments<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Shown<log::kv::Value<'a>>>,
}

/// A text that is shown as far as it goes: one that fails half-way would panic `serde_json`.
struct Shown<T>(T);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = write!(f, "{}", self.0);
        Ok(())
    }
}

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn level_of(metadata: &Metadata<'_>) -> Level {
    match metadata.level() {
        log::Level::Error if metadata.target() == FATAL => Level::Fatal,
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        log::Level::Info => Level::Info,
        log::Level::Debug | log::Level::Trace => Level::Debug,
    }
}

/// Whether a target is a module of this crate.
fn is_ours(target: &str) -> bool {
    let rest = target.strip_prefix("fireworq");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl Log for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = level_of(metadata);
        level >= self.level
            && (level >= Level::Warn || is_ours(metadata.target()))
            && metadata.level() <= log::Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = level_of(record.metadata());
        let time = clock::rfc3339_ms(clock::now_ms());
        let queue = record.key_values().get(Key::from_str("queue")).map(Shown);
        let message = Shown(record.args());
        match self.form {
            Form::Json => {
                line::append_json(&self.sink, &Line { level, time, message, queue });
            }
            Form::Plain | Form::Coloured => line::append(&self.sink, |line| {
                let word = word(level, self.form);
                // Into memory: it cannot fail.
                let _ = io::Write::write_fmt(line, format_args!("{time} {word} "));
                let mut text = Escaping(line);
                let _ = match queue {
                    Some(queue) => write!(text, "[{queue}] {message}"),
                    None => write!(text, "{message}"),
                };
            }),
        }
    }

    /// Lines are written as soon as may be; nobody waits for it.
    fn flush(&self) {}
}

impl SharedLogger for ErrorLog {
    fn level(&self) -> LevelFilter {
        match self.level {
            Level::Debug => LevelFilter::Debug,
            Level::Info => LevelFilter::Info,
            Level::Warn => LevelFilter::Warn,
            Level::Error | Level::Fatal => LevelFilter::Error,
        }
    }

    fn config(&self) -> Option<&simplelog::Config> {
        None
    }

    fn as_log(self: Box<Self>) -> Box<dyn Log> {
        self
    }
}

/// How a level is shown to people, all of the same width.
fn word(level: Level, form: Form) -> &'static str {
    match (form, level) {
        (Form::Coloured, Level::Debug) => "\x1b[2mDEBUG\x1b[0m",
        (Form::Coloured, Level::Info) => "\x1b[32mINFO \x1b[0m",
        (Form::Coloured, Level::Warn) => "\x1b[33mWARN \x1b[0m",
        (Form::Coloured, Level::Error) => "\x1b[31mERROR\x1b[0m",
        (Form::Coloured, Level::Fatal) => "\x1b[1;31mFATAL\x1b[0m",
        (_, Level::Debug) => "DEBUG",
        (_, Level::Info) => "INFO ",
        (_, Level::Warn) => "WARN ",
        (_, Level::Error) => "ERROR",
        (_, Level::Fatal) => "FATAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::testing::Lines;

    /// What comes of `log` in the given form, times replaced.
    fn logged(form: Form, level: Level, log: impl Fn(&dyn Log)) -> Vec<String> {
        log::set_max_level(LevelFilter::Trace);
        let lines = Lines::default();
        let error_log = ErrorLog { sink: lines.sink(), level, form };
        log(&error_log);
        let written = lines.after_close(&error_log.sink);
        written.iter().map(|line| without_time(line, form)).collect()
    }

    fn without_time(line: &str, form: Form) -> String {
        let start = if form == Form::Json { line.find("\"20").unwrap() + 1 } else { 0 };
        let length = line[start..].find(['"', ' ']).unwrap();
        let time = &line[start..start + length];
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time} in {line}");
        format!("{}T{}", &line[..start], &line[start + length..])
    }

    #[test]
    fn a_file_gets_json() {
        let written = logged(Form::Json, Level::Info, |to| {
            log::warn!(logger: to, "a \"b\"\nc");
            log::info!(logger: to, queue = "q\n1"; "hello {}", 1);
            log::error!(logger: to, target: FATAL, "over");
        });
        assert_eq!(
            written,
            [
                r#"{"level":"warn","time":"T","message":"a \"b\"\nc"}"#,
                r#"{"level":"info","time":"T","message":"hello 1","queue":"q\n1"}"#,
                r#"{"level":"fatal","time":"T","message":"over"}"#,
            ]
        );
    }

    #[test]
    fn people_get_text_that_cannot_forge_a_line() {
        let all = |to: &dyn Log| {
            log::warn!(logger: to, "a \"b\"\nc\u{1b}[0m");
            log::info!(logger: to, queue = "q\n1"; "hello {}", 1);
        };
        assert_eq!(
            logged(Form::Plain, Level::Info, all),
            [r#"T WARN  a "b"\nc\u{1b}[0m"#, r"T INFO  [q\n1] hello 1"]
        );
        assert_eq!(
            logged(Form::Coloured, Level::Warn, all),
            ["T \u{1b}[33mWARN \u{1b}[0m a \"b\"\\nc\\u{1b}[0m"]
        );
    }

    #[test]
    fn the_level_decides_what_is_shown() {
        let all = |to: &dyn Log| {
            log::trace!(logger: to, "trace");
            log::debug!(logger: to, "debug");
            log::info!(logger: to, "info");
            log::warn!(logger: to, "warn");
            log::error!(logger: to, "error");
            log::error!(logger: to, target: FATAL, "fatal");
        };
        let levels = [Level::Fatal, Level::Error, Level::Warn, Level::Info, Level::Debug];
        for (count, level) in (1..).zip(levels) {
            let written = logged(Form::Plain, level, all);
            assert_eq!(written.len(), count, "{level:?}: {written:?}");
        }
    }

    #[test]
    fn the_chatter_of_other_crates_is_left_out() {
        let written = logged(Form::Plain, Level::Debug, |to| {
            for target in ["mysql::conn", "ureq", "rustls::client", "polling", "fireworqs"] {
                log::info!(logger: to, target: target, "chatter");
                log::warn!(logger: to, target: target, "trouble");
            }
            log::debug!(logger: to, target: "fireworq", "ours");
            log::debug!(logger: to, target: "fireworq::http", "ours");
        });
        assert_eq!(written.iter().filter(|line| line.contains("trouble")).count(), 5);
        assert_eq!(written.iter().filter(|line| line.contains("ours")).count(), 2);
        assert_eq!(written.len(), 7, "{written:?}");
    }

    struct Panics;

    impl fmt::Display for Panics {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("meant")
        }
    }

    struct Fails;

    impl fmt::Display for Fails {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }

    struct Logs<'a>(&'a dyn Log);

    impl fmt::Display for Logs<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            log::info!(logger: self.0, "inner");
            f.write_str("outer")
        }
    }

    #[test]
    fn a_text_that_misbehaves_spoils_nothing() {
        for form in [Form::Json, Form::Plain] {
            let written = logged(form, Level::Info, |to| {
                let panics = || log::info!(logger: to, "{}", Panics);
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
                log::info!(logger: to, "{}", Fails);
                log::info!(logger: to, "{}", Logs(to));
            });
            let words = ["half", "inner", "outer"];
            assert_eq!(written.len(), words.len(), "{written:?}");
            for (line, word) in written.iter().zip(words) {
                assert!(line.contains(word), "{line}");
            }
        }
    }
}
