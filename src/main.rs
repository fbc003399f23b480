//! The daemon: parse, start, wait, stop.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fireworq::config::{self, Command, Settings};
use fireworq::copy::{self, CopyError};
use fireworq::daemon::{Daemon, StartError};
use fireworq::logs::{self, Logs};
use fireworq::service::{self, PidFile, systemd};
use fireworq::signals::Signals;

/// For a daemon of which a thread has died.
const FAILED: u8 = 1;

/// Refuses variables of ours that are no text: what they say would be passed over in silence.
fn check_environment() -> Result<(), StartError> {
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("FIREWORQ_") && value.to_str().is_none() {
            return Err(StartError::Setting(format!("{name}: the value is not UTF-8")));
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let result = match config::parse(arguments, &|name| std::env::var(name).ok()) {
        Ok(Command::Run(settings)) => check_environment().and_then(|()| run(&settings)),
        Ok(Command::Copy { from, to }) => copy_store(&from, &to),
        Ok(command) => {
            print!("{}", config::text_of(&command));
            Ok(0)
        }
        Err(error) => Err(StartError::Setting(error.to_string())),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        eprintln!("fireworq: {error}");
        error.exit_code()
    }))
}

/// Copies one store into another, telling how far it is.
fn copy_store(from: &Settings, to: &Settings) -> Result<u8, StartError> {
    let mut told_at = Instant::now();
    let copied = copy::run(from, to, &mut |copied| {
        if told_at.elapsed() >= Duration::from_secs(1) {
            eprintln!("{copied} so far");
            told_at = Instant::now();
        }
    });
    let copied = copied.map_err(|error| match error {
        CopyError::Setting(text) => StartError::Setting(text),
        error => StartError::System(error.to_string()),
    })?;
    println!("copied: {copied}");
    Ok(0)
}

/// Runs the daemon to its end and answers its exit code.
fn run(settings: &Settings) -> Result<u8, StartError> {
    // Before anything else: a thread that is there already would take signals.
    let blocked = Signals::block()?;
    service::raise_descriptor_limit()?;
    let logs = Arc::new(Logs::start(settings)?);
    let reopened = Arc::clone(&logs);
    let signals = blocked.start(move || reopened.reopen())?;
    let code = serve(settings, &logs, &signals);
    if let (Err(error), false) = (&code, settings.error_log.is_empty()) {
        log::error!(target: logs::FATAL, "{error}");
    }
    logs.close();
    code
}

fn serve(settings: &Settings, logs: &Logs, signals: &Signals) -> Result<u8, StartError> {
    let listeners = service::listeners(&settings.bind)?;
    let pid_file = PidFile::create_if_named(&settings.pid)?;
    let daemon = Daemon::start(settings, logs, listeners)?;
    systemd::ready();
    let asked = daemon.wait(signals.stops());
    log::info!("stopping{}", asked.map_or(String::new(), |signal| format!(": {}", signal.name())));
    systemd::stopping();
    let timeout = Duration::from_secs(settings.shutdown_timeout.into());
    let cut_short = daemon.stop(Instant::now() + timeout, signals.stops());
    if let Some(pid_file) = pid_file {
        pid_file.remove();
    }
    let code = if asked.is_some() { 0 } else { FAILED };
    Ok(cut_short.map_or(code, |signal| signal.exit_code()))
}
