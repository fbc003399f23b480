//! What the service sets other than the daemon's own defaults, and that its units agree with it.

use std::path::Path;

use fireworq::config::{self, Command, TABLE};

use super::completion;

/// A setting of which the service's file has something of its own to say.
pub struct Packaged {
    name: &'static str,
    /// The value that the units set; `None` where they leave the default.
    pub value: Option<&'static str>,
    /// A sentence for the service's file.
    pub note: &'static str,
}

const fn set(name: &'static str, value: &'static str, note: &'static str) -> Packaged {
    Packaged { name, value: Some(value), note }
}

const fn note(name: &'static str, note: &'static str) -> Packaged {
    Packaged { name, value: None, note }
}

const PACKAGED: &[Packaged] = &[
    note(
        "bind",
        "The service gets its socket from fireworq.socket: change the address there, with \
         systemctl edit fireworq.socket.",
    ),
    note(
        "mysql_password_file",
        "A place for it: /etc/fireworq/mysql-password, of the group fireworq and with mode 0640.",
    ),
    set("sqlite_path", "/var/lib/fireworq/fireworq.db", ""),
    set("access_log", "/var/log/fireworq/access.log", ""),
    set("queue_log", "/var/log/fireworq/queue.log", ""),
    set("queue_log_max_field_size", "2048", ""),
    note("error_log", "There the journal takes it."),
    note("shutdown_timeout", "The unit's TimeoutStopSec (45 s) has to be longer."),
];

/// What the service has to say of a setting.
pub fn packaged(name: &str) -> Option<&'static Packaged> {
    PACKAGED.iter().find(|packaged| packaged.name == name)
}

fn unit(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    std::fs::read_to_string(&file).unwrap()
}

/// The lines of a unit that set something, with `%i` taken out of paths.
fn lines(name: &str) -> Vec<String> {
    let is_set = |line: &&str| !line.is_empty() && !line.starts_with(['#', '[']);
    unit(name).lines().filter(is_set).map(|line| line.replace("/%i", "")).collect()
}

#[test]
fn the_units_set_what_their_file_says() {
    let mut expected: Vec<String> = PACKAGED
        .iter()
        .filter_map(|packaged| {
            let setting = TABLE.iter().find(|setting| setting.name == packaged.name).unwrap();
            let value = packaged.value?;
            Some(format!("Environment={}={value}", setting.variable()))
        })
        .collect();
    expected.sort();
    for name in ["fireworq.service", "fireworq@.service"] {
        let mut set = lines(name);
        set.retain(|line| line.starts_with("Environment="));
        set.sort();
        assert_eq!(set, expected, "{name}");
    }
}

#[test]
fn an_instance_is_as_confined_as_the_service() {
    let own = ["Description=", "Requires=", "After=", "EnvironmentFile=", "ConditionPathExists="];
    let shared = |name| {
        let mut lines = lines(name);
        lines.retain(|line| !own.iter().any(|key| line.starts_with(key)));
        lines
    };
    assert_eq!(shared("fireworq.service"), shared("fireworq@.service"));
}

#[test]
fn what_is_suggested_is_taken() {
    for setting in TABLE {
        for word in completion::words(setting.value_name).unwrap_or_default().split(' ') {
            let flag = format!("--{}={word}", setting.flag());
            if !word.is_empty() {
                let command = config::parse([flag.clone().into()], &|_| None);
                assert!(matches!(command, Ok(Command::Run(_))), "{flag}");
            }
        }
    }
}
