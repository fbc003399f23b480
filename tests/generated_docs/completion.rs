//! What a shell suggests after `fireworq`: in bash, zsh and fish.

use std::collections::BTreeMap;
use std::fmt::Write;

use fireworq::config::{Setting, TABLE};

const NOTE: &str = "# Generated from the table in src/config.rs by `make docs`.\n";

/// The flags that print something.
const PRINTING: [(&str, &str); 4] = [
    ("help", "print the help"),
    ("version", "print the version"),
    ("license", "print the license"),
    ("credits", "print the dependencies and their licenses"),
];

const COPY: &str = "copy one store into another";

/// What can be suggested for a value.
enum Values {
    Words(&'static str),
    Files,
    Anything,
}

fn values(setting: &Setting) -> Values {
    match words(setting.value_name) {
        Some(words) => Values::Words(words),
        None if setting.value_name == "FILE" => Values::Files,
        None => Values::Anything,
    }
}

/// The values of a kind that has few.
pub fn words(value_name: &str) -> Option<&'static str> {
    match value_name {
        "BOOL" => Some("true false"),
        "DRIVER" => Some("mysql sqlite in-memory"),
        "LEVEL" => Some("debug info warn error fatal"),
        _ => None,
    }
}

/// The first sentence of what a setting means, without what a shell would take for its own.
fn summary(setting: &Setting) -> String {
    let paragraph = setting.paragraph();
    let end = paragraph.find([';', ':']).into_iter().chain(paragraph.find(". ")).min();
    let first = &paragraph[..end.unwrap_or(paragraph.len())];
    first.trim_end_matches('.').replace(['`', '\'', '[', ']', '"'], "")
}

/// For bash.
pub fn bash() -> String {
    let mut cases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for setting in TABLE {
        let action = match values(setting) {
            Values::Words(words) => format!("COMPREPLY=($(compgen -W '{words}' -- \"$current\"))"),
            Values::Files => {
                "compopt -o filenames\n        COMPREPLY=($(compgen -f -- \"$current\"))".to_owned()
            }
            Values::Anything => "COMPREPLY=()".to_owned(),
        };
        cases.entry(action).or_default().push(format!("--{}", setting.flag()));
    }
    let mut text = format!(
        "# shellcheck shell=bash disable=SC2207\n{NOTE}\
         _fireworq() {{\n    local current=${{COMP_WORDS[COMP_CWORD]}} \
         previous=${{COMP_WORDS[COMP_CWORD-1]}}\n    case $previous in\n"
    );
    for (action, flags) in &cases {
        let _ = write!(
            text,
            "    {})\n        {action}\n        return ;;\n",
            flags.join(" | \\\n    ")
        );
    }
    text.push_str(
        "    --from | --to)\n        \
         COMPREPLY=($(compgen -W 'sqlite: mysql:' -- \"$current\"))\n        return ;;\n    esac\n    \
         if [[ ${COMP_WORDS[1]} == copy && $COMP_CWORD -gt 1 ]]; then\n        \
         COMPREPLY=($(compgen -W '--from --to --help' -- \"$current\"))\n        return\n    fi\n    \
         local words='",
    );
    let flags = TABLE.iter().map(Setting::flag);
    let printing = PRINTING.map(|(flag, _)| flag.to_owned());
    for flag in flags.chain(printing) {
        let _ = write!(text, "--{flag}\n        ");
    }
    let text = text.trim_end().to_owned();
    text + "'\n    [[ $COMP_CWORD -eq 1 ]] && words+=' copy'\n    \
            COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}\n\
            complete -F _fireworq fireworq\n"
}

/// For zsh.
pub fn zsh() -> String {
    let mut text = format!(
        "#compdef fireworq\n{NOTE}\
         if (( CURRENT > 2 )) && [[ $words[2] == copy ]]; then\n    \
         _arguments '2:command:(copy)' '--from[the source]:place:(sqlite\\: mysql\\:)' \\\n        \
         '--to[the target]:place:(sqlite\\: mysql\\:)' '--help[print the help]'\n    return\nfi\n\
         _arguments \\\n    '1:command:((copy\\:\"{COPY}\"))' \\\n"
    );
    for (flag, meaning) in PRINTING {
        let _ = writeln!(text, "    '(- *)--{flag}[{meaning}]' \\");
    }
    let flags: Vec<String> = TABLE
        .iter()
        .map(|setting| {
            let action = match values(setting) {
                Values::Words(words) => format!("({words})"),
                Values::Files => "_files".to_owned(),
                Values::Anything => " ".to_owned(),
            };
            // A colon would end the name of the value.
            let name = setting.value_name.replace(':', "\\:");
            let summary = summary(setting);
            format!("    '--{}=[{summary}]:{name}:{action}'", setting.flag())
        })
        .collect();
    text + &flags.join(" \\\n") + "\n"
}

/// For fish.
pub fn fish() -> String {
    let mut text = format!(
        "{NOTE}complete -c fireworq -f\n\
         complete -c fireworq -n __fish_use_subcommand -a copy -d '{COPY}'\n\
         complete -c fireworq -n '__fish_seen_subcommand_from copy' \
         -l from -x -a 'sqlite: mysql:' -d 'the source'\n\
         complete -c fireworq -n '__fish_seen_subcommand_from copy' \
         -l to -x -a 'sqlite: mysql:' -d 'the target'\n"
    );
    for (flag, meaning) in PRINTING {
        let _ = writeln!(text, "complete -c fireworq -l {flag} -d '{meaning}'");
    }
    for setting in TABLE {
        let values = match values(setting) {
            Values::Words(words) => format!("-x -a '{words}'"),
            Values::Files => "-r -F".to_owned(),
            Values::Anything => "-x".to_owned(),
        };
        let (flag, summary) = (setting.flag(), summary(setting));
        let _ = writeln!(
            text,
            "complete -c fireworq -n 'not __fish_seen_subcommand_from copy' \
             -l {flag} {values} -d '{summary}'"
        );
    }
    text
}
