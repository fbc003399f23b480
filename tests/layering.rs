//! The rules of the house that no compiler checks: which module may use which, where the process
//! may be left, where `unsafe` may stand, how long files and lines are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

/// The longest file and the longest line.
const MAX_LINES: usize = 500;
const MAX_COLUMNS: usize = 100;
/// The one file that may hold `unsafe`: it makes an owned socket of a number that was passed in.
const UNSAFE_FILE: &str = "service/descriptors.rs";
/// The one file that may end the process.
const EXIT_FILE: &str = "main.rs";

/// A source file: its path below `src`, and its text.
struct Source {
    path: String,
    text: String,
}

/// A breach of a rule, as `path:line: what`.
type Breach = String;

#[test]
fn the_sources_keep_the_rules() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 10, "only {} sources were found", sources.len());
    let breaches = check(&sources);
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

/// All breaches of all rules.
fn check(sources: &[Source]) -> Vec<Breach> {
    let map = sources.iter().find(|source| source.path == "lib.rs").expect("lib.rs");
    let order = declared_modules(&map.text);
    sources.iter().flat_map(|source| check_source(source, &order)).collect()
}

fn check_source(source: &Source, order: &[String]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |line: usize, what: String| {
        breaches.push(format!("src/{}:{line}: {what}", source.path));
    };
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        breach(lines, format!("{lines} lines, at most {MAX_LINES}"));
    }
    for (number, line) in (1..).zip(source.text.lines()) {
        let columns = line.chars().count();
        if columns > MAX_COLUMNS {
            breach(number, format!("{columns} columns, at most {MAX_COLUMNS}"));
        }
    }
    let code = code_only(&source.text);
    for (number, line) in (1..).zip(code.lines()) {
        if words(line).any(|word| word == "unsafe") && source.path != UNSAFE_FILE {
            breach(number, "unsafe".to_owned());
        }
        let exits = line.contains("process::exit") || line.contains("process::abort");
        if exits && source.path != EXIT_FILE {
            breach(number, format!("ends the process outside {EXIT_FILE}"));
        }
    }
    let module = module_of(&source.path);
    match order.iter().position(|other| other == module) {
        Some(place) => {
            for (line, used) in used_modules(&code) {
                match order.iter().position(|other| *other == used) {
                    Some(other) if other > place => {
                        breach(line, format!("{module} uses {used}, which stands below it"));
                    }
                    _ => {}
                }
            }
        }
        // The map and the program use whatever they like.
        None if ["lib", "main"].contains(&module) => {}
        None => breach(1, format!("module {module} is not declared in lib.rs")),
    }
    breaches
}

/// The modules that a file declares, in order.
fn declared_modules(text: &str) -> Vec<String> {
    let code = code_only(text);
    code.lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let name = line.strip_prefix("pub mod ").or(line.strip_prefix("mod "))?;
            Some(name.strip_suffix(';')?.to_owned())
        })
        .collect()
}

/// The module right below the root that a file belongs to: `store/mysql/sql.rs` is in `store`.
fn module_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The modules right below the root that `code` names by `crate::`, with their lines. Both
/// `crate::x::y` and `crate::{x, y::z}`.
fn used_modules(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (start, found) in code.match_indices("crate::") {
        // Not the end of another word, as in `my_crate::`.
        if code[..start].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let rest = &code[start + found.len()..];
        let line = 1 + code[..start].matches('\n').count();
        match rest.strip_prefix('{') {
            Some(group) => used.extend(group_heads(group).map(|name| (line, name.to_owned()))),
            None => used.extend(words(rest).next().map(|name| (line, name.to_owned()))),
        }
    }
    used
}

/// The first word of each member of a group of `use`, up to the brace that closes it.
fn group_heads(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let mut end = group.len();
    let mut starts = vec![0];
    for (place, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                end = place;
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(place + 1),
            _ => {}
        }
    }
    starts.into_iter().filter_map(move |start| words(&group[start..end]).next())
}

/// The words of a text: names and keywords.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character| !is_word(character)).filter(|word| !word.is_empty())
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// The text without comments, texts in quotes and characters; line breaks stay.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skip_comment(rest).or_else(|| skip_quoted(rest, code.chars().next_back()));
        match skipped {
            Some(size) => {
                // Something stays, so that the words on both sides stay apart.
                code.push(' ');
                code.extend(rest[..size].chars().filter(|&character| character == '\n'));
                rest = &rest[size..];
            }
            None => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    code
}

/// How many bytes of a comment `text` starts with.
fn skip_comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let inside = text.strip_prefix("/*")?;
    Some(inside.find("*/").map_or(text.len(), |end| end + 4))
}

/// How many bytes of a text or character in quotes `text` starts with; `before` stands before it.
fn skip_quoted(text: &str, before: Option<char>) -> Option<usize> {
    if let Some(raw) = text.strip_prefix('r')
        && !before.is_some_and(|character| is_word(character) && character != 'b')
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let inside = raw[hashes..].strip_prefix('"')?;
        let end = inside.find(&format!("\"{}", "#".repeat(hashes)));
        return Some(end.map_or(text.len(), |end| 1 + hashes + 1 + end + 1 + hashes));
    }
    let quote = text.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    let mut characters = text.char_indices().skip(1);
    while let Some((place, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            _ if character == quote => return Some(place + 1),
            // A lifetime: two characters on there is no closing quote.
            _ if quote == '\''
                && text[1..].chars().nth(1) != Some('\'')
                && !text[1..].starts_with('\\') =>
            {
                return None;
            }
            _ => {}
        }
    }
    Some(text.len())
}

/// Every `.rs` file below a directory.
fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path: below, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// What [`check`] says about one file below a map of three modules.
fn breaches_of(path: &str, text: &str) -> Vec<Breach> {
    let map = "//! pub mod nothing;\npub mod low;\n\nmod middle;\npub mod high;\n";
    let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    check(&[file("lib.rs", map), file(path, text)])
}

#[test]
fn a_module_uses_only_those_above_it() {
    let low = "src/middle/part.rs:3: middle uses high, which stands below it";
    for text in [
        "use crate::low::X;\n\nuse crate::high::Y;",
        "\n\nfn f() { crate::high::g() }",
        "\n\npub(in crate::high) fn f() {}",
        "\n\nuse crate::{\n    low::{self, X},\n    high::Y,\n};",
        "\n\nuse crate::{low, high};",
        "//! It's\n\nfn f<'a>(x: &'a str) -> char { crate::high::g(x, '\"', b'\\'') }",
        "const X: &str = \"\\\"\n\"; const R: &str = r#\"\"\n\"#; use crate::high;",
    ] {
        assert_eq!(breaches_of("middle/part.rs", text), [low], "{text}");
    }
    for text in [
        "use crate::low::high;\nuse crate::middle::x;\nuse super::high;\nuse my_crate::high;",
        "// use crate::high;\n/* crate::high */ fn f() { \"crate::high\"; r\"crate::high\"; }",
        "use crate::{low::{high, x}, middle};",
        "pub(crate) fn high() {}",
    ] {
        assert_eq!(breaches_of("middle.rs", text), [""; 0], "{text}");
    }
    for path in ["main.rs", "high.rs"] {
        assert_eq!(breaches_of(path, "use crate::high;"), [""; 0]);
    }
}

#[test]
fn a_module_is_on_the_map() {
    let expected = ["src/other/part.rs:1: module other is not declared in lib.rs"];
    assert_eq!(breaches_of("other/part.rs", ""), expected);
}

#[test]
fn only_the_program_ends_the_process() {
    let text = "fn f() {\n    std::process::exit(1);\n}";
    assert_eq!(breaches_of("low.rs", text), ["src/low.rs:2: ends the process outside main.rs"]);
    assert_eq!(breaches_of("main.rs", text), [""; 0]);
    assert_eq!(breaches_of("low.rs", "// process::exit"), [""; 0]);
}

#[test]
fn only_one_file_is_unsafe() {
    let text = "fn f() { unsafe { g() } }";
    assert_eq!(breaches_of("low.rs", text), ["src/low.rs:1: unsafe"]);
    let in_the_file = breaches_of(UNSAFE_FILE, text);
    assert!(in_the_file.iter().all(|breach| !breach.ends_with("unsafe")), "{in_the_file:?}");
    assert_eq!(breaches_of("low.rs", "#![deny(unsafe_code)] // unsafe\n\"unsafe\""), [""; 0]);
}

#[test]
fn files_and_lines_are_short() {
    let line = |columns: usize| format!("// {}\n", "é".repeat(columns - 3));
    assert_eq!(breaches_of("low.rs", &line(100)), [""; 0]);
    let expected = ["src/low.rs:1: 101 columns, at most 100"];
    assert_eq!(breaches_of("low.rs", &line(101)), expected);
    assert_eq!(breaches_of("low.rs", &"\n".repeat(500)), [""; 0]);
    let expected = ["src/low.rs:501: 501 lines, at most 500"];
    assert_eq!(breaches_of("low.rs", &"\n".repeat(501)), expected);
}
