//! `/etc/default/fireworq`: every setting as a comment with its default, for the service.

use std::fmt::Write;

use fireworq::config::{Default, Setting, TABLE};

use super::packaged::packaged;

const HEAD: &str = "\
# The settings of the service fireworq, each with its default. fireworq(8) tells more.
#
# Remove the # before a line to change its setting, then: systemctl restart fireworq
# which refuses no connection and loses no job.
";

/// The file.
pub fn generate() -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for setting in TABLE {
        if setting.section != section {
            section = setting.section;
            let _ = write!(text, "\n#\n# {section}\n#\n");
        }
        text.push('\n');
        let mut words = setting.paragraph();
        if let Some(packaged) = packaged(setting.name) {
            words = format!("{words} {}", packaged.note).trim_end().to_owned();
        } else if let Default::Derived { rule, .. } = setting.default {
            let _ = write!(words, " Default: {rule}.");
        }
        for line in wrap(&words.replace('`', ""), 96) {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "#{}={}", setting.variable(), quote(default(setting)));
    }
    text
}

fn default(setting: &Setting) -> &'static str {
    match (packaged(setting.name).and_then(|packaged| packaged.value), &setting.default) {
        (Some(value), _) => value,
        (None, Default::Fixed(text)) => text,
        (None, Default::Derived { .. }) => "",
    }
}

/// A value as systemd and a shell both read it.
fn quote(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    if value.chars().all(is_plain) { value.to_owned() } else { format!("'{value}'") }
}

/// `text` in lines of at most `width` characters, broken at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
