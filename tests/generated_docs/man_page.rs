//! The manual page `fireworq(8)`.

use std::fmt::Write;

use fireworq::config::TABLE;

const HEAD: &str = r#".SH NAME
fireworq \- job queue daemon that any language can use over HTTP
.SH SYNOPSIS
.B fireworq
.RI [ \-\-setting " " value ]...
.br
.B fireworq copy
.B \-\-from
.I place
.B \-\-to
.I place
.SH DESCRIPTION
A client hands in a job, a URL and a payload, over HTTP.
When the job is due,
.B fireworq
sends the payload to that URL.
It stores every job before it says yes, retries what fails, and gives each queue its own
concurrency and rate.
.PP
Jobs are kept in a file of its own, or in MySQL or MariaDB, where several nodes stand by for each
other.
.PP
Who can reach the API can make this host send HTTP requests to any address, read every payload and
delete every job.
There is no login: keep it on loopback or behind a firewall.
.PP
.B fireworq copy
copies definitions, jobs and failures from one store to another, neither in use.
A
.I place
is
.BI sqlite: path
or
.BI mysql: dsn\fR;
.B mysql:
alone takes the DSN from the environment.
.SH OPTIONS
Each setting is a flag and an environment variable:
.B \-\-queue\-default
is
.BR FIREWORQ_QUEUE_DEFAULT .
The flag wins over the variable, the variable over the default; an empty variable counts as unset.
.TP
.BR \-h ", " \-\-help
Print the help.
.TP
.BR \-v ", " \-\-version
Print the version.
.TP
.B \-\-license
Print the license.
.TP
.B \-\-credits
Print the dependencies and their licenses.
"#;

const TAIL: &str = r#".SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT ", " SIGHUP
Stop gracefully; a second one ends at once.
.TP
.B SIGUSR1
Reopen the log files.
.SH EXIT STATUS
0 after a stop, 1 where something failed, 2 for a setting that cannot be used.
.SH FILES
.TP
.I /etc/default/fireworq
The settings of the service, as variables.
.TP
.I /etc/default/fireworq\-NAME
Those of the instance
.BR fireworq@NAME.service .
.TP
.I /etc/fireworq
A place for passwords, readable by root and the group fireworq.
.TP
.I /var/lib/fireworq/fireworq.db
The jobs, where they are not in MySQL.
.TP
.I /var/log/fireworq
The queue log and the access log of the service. The error log goes to the journal.
.SH SEE ALSO
.BR curl (1),
.BR journalctl (1),
.BR systemctl (1),
.BR systemd.socket (5)
"#;

/// The page.
pub fn generate() -> String {
    let mut text = format!(
        ".\\\" Generated from the table in src/config.rs by `make docs`.\n\
         .TH FIREWORQ 8 \"\" \"Fireworq {}\" \"System Administration\"\n{HEAD}",
        env!("CARGO_PKG_VERSION")
    );
    let mut section = "";
    for setting in TABLE {
        if setting.section != section {
            section = setting.section;
            let _ = writeln!(text, ".SS {section}");
        }
        let flag = setting.flag();
        let (flag, value) = (escape(&flag), escape(setting.value_name));
        let _ = writeln!(text, ".TP\n.BI \\-\\-{flag} \" {value}\"");
        let default = match setting.default_in_words() {
            default if default.is_empty() => String::new(),
            default => format!(" [default: {default}]"),
        };
        let words = escape(&format!("{}{default}", setting.paragraph()).replace('`', ""));
        for sentence in words.replace(". ", ".\n").lines() {
            let _ = writeln!(text, "{sentence}");
        }
    }
    text + TAIL
}

/// `text` as it is printed: a plain hyphen would become another character, and a dot or a quote
/// at the start of a line a command.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
