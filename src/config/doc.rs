//! `--help` and `doc/config.md`, made from the table of settings.

use std::fmt::Write;

use super::{Command, Default, Setting, TABLE};

impl Setting {
    /// The default in words: the value in backquotes, or the rule, or nothing.
    pub fn default_in_words(&self) -> String {
        match self.default {
            Default::Fixed("") => String::new(),
            Default::Fixed(text) => format!("`{text}`"),
            Default::Derived { rule, .. } => rule.to_owned(),
        }
    }

    /// The doc as one paragraph.
    pub fn paragraph(&self) -> String {
        self.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
    }
}

/// What a command other than running the daemon prints.
pub fn text_of(command: &Command) -> String {
    match command {
        Command::Run(_) | Command::Copy { .. } => String::new(),
        Command::Version => concat!("Fireworq ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
        Command::License => include_str!("../../LICENSE").to_owned(),
        Command::Credits => include_str!("../../doc/credits.md").to_owned(),
        Command::Help => help(),
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "Fireworq is a job queue daemon that any language can use over HTTP.\n\
         \n\
         Usage: fireworq [--SETTING VALUE]...\n\
         \x20      fireworq copy --from PLACE --to PLACE\n\
         \n\
         The first runs the daemon. The second copies definitions, jobs and failures from\n\
         one store to another, neither in use; a PLACE is sqlite:PATH or mysql:DSN, and\n\
         mysql: alone takes the DSN from the environment.\n\
         \n\
         Each setting is also an environment variable: --queue-default is\n\
         FIREWORQ_QUEUE_DEFAULT. Flags win over variables.\n\
         \n\
         \x20 -h, --help       print this help\n\
         \x20 -v, --version    print the version\n\
         \x20     --license    print the license\n\
         \x20     --credits    print the dependencies and their licenses\n",
    );
    let mut section = "";
    for setting in TABLE {
        if setting.section != section {
            section = setting.section;
            let _ = write!(text, "\n{section}:\n");
        }
        let _ = writeln!(text, "  --{} {}", setting.flag(), setting.value_name);
        let mut words = setting.paragraph();
        let default = setting.default_in_words();
        if !default.is_empty() {
            let _ = write!(words, " [default: {default}]");
        }
        for line in wrap(&words.replace('`', ""), 70) {
            let _ = writeln!(text, "      {line}");
        }
    }
    text.push_str(
        "\nSignals: TERM, INT and HUP stop gracefully, a second one at once;\n\
         USR1 reopens the log files.\n",
    );
    text
}

/// The text of `doc/config.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Settings\n\
         \n\
         <!-- Generated from the table in src/config.rs by `make docs`. -->\n\
         \n\
         Setting `x_y` is the flag `--x-y VALUE` (also `--x-y=VALUE`, and with one dash) and the\n\
         environment variable `FIREWORQ_X_Y`. The command line wins over the environment, the\n\
         environment over the default; an empty variable counts as unset. A value that cannot be\n\
         used stops the start with a message and exit code 2.\n",
    );
    let mut section = "";
    for setting in TABLE {
        if setting.section != section {
            section = setting.section;
            let _ = write!(
                text,
                "\n## {section}\n\n| setting | default | meaning |\n| --- | --- | --- |\n"
            );
        }
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            setting.name,
            setting.default_in_words(),
            setting.paragraph()
        );
    }
    text
}

/// `text` in lines of at most `width` characters, broken at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
