//! The statements of `sql/*.sql`, read once, and the little that has to be filled in. For every
//! store that speaks SQL.
//!
//! A file is a sequence of named statements. What stands before the first name, and whole
//! lines of comment, are for the reader:
//!
//! ```sql
//! -- name: delete_jobs
//! DELETE FROM {jobs} WHERE job_id IN ({rows: ?});
//! ```
//!
//! `{jobs}` and `{failures}` stand for a queue's two tables, quoted, `{jobs_key}` and
//! `{failures_key}` for their indexes, where these have names of their own. `{rows: item}` repeats
//! `item` once a row, with commas between; `{any: item}` does so with `OR`. A `?` is bound by the
//! driver, or, within a list, replaced by [`Statement::with`]: by numbers and by what the operator
//! wrote, never by what came from a client.
//!
//! A statement that the code names and the files lack fails the test of its declaration; one
//! that nobody uses is dead code to the compiler.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use crate::queue_definition::table_suffix;

/// Declares the statements of a file: a type with a field for each, and a static of that type.
macro_rules! statements {
    ($(#[$doc:meta])* $name:ident: $type:ident = $file:literal { $($statement:ident),+ $(,)? }) => {
        $(#[$doc])*
        pub(in crate::store) struct $type {
            $(pub(in crate::store) $statement: $crate::store::sql::Statement,)+
        }

        $(#[$doc])*
        pub(in crate::store) static $name: std::sync::LazyLock<$type> =
            std::sync::LazyLock::new(|| {
                let mut file = $crate::store::sql::parse_file(
                    include_str!(concat!("../../../sql/", $file)),
                );
                $type { $($statement: file.remove(stringify!($statement)).unwrap_or_default(),)+ }
            });

        #[cfg(test)]
        #[test]
        fn the_file_holds_the_declared_statements() {
            let file = $crate::store::sql::parse_file(
                include_str!(concat!("../../../sql/", $file)),
            );
            let declared: std::collections::BTreeSet<&str> =
                [$(stringify!($statement)),+].into_iter().collect();
            let written: std::collections::BTreeSet<&str> =
                file.keys().map(String::as_str).collect();
            assert_eq!(declared, written, "{}", $file);
        }
    };
}
pub(in crate::store) use statements;

/// The two tables of a queue and their indexes, quoted for SQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    jobs: String,
    failures: String,
    jobs_key: String,
    failures_key: String,
}

impl Tables {
    /// The tables of the queue called `queue`.
    pub fn of(queue: &str) -> Tables {
        // The suffix holds nothing but digits, small letters and underscores.
        let suffix = table_suffix(queue);
        Tables {
            jobs: format!("`fireworq_jq({suffix})`"),
            failures: format!("`fireworq_jq_fail({suffix})`"),
            jobs_key: format!("`fireworq_jq_key({suffix})`"),
            failures_key: format!("`fireworq_jq_fail_key({suffix})`"),
        }
    }
}

/// The queue, as its tables call it, that a table belongs to; `None` for any other table.
pub(in crate::store) fn queue_of_table(table: &str) -> Option<&str> {
    let rest =
        table.strip_prefix("fireworq_jq").map(|rest| rest.strip_prefix("_fail").unwrap_or(rest));
    let suffix = rest?.strip_prefix('(')?.strip_suffix(')')?;
    (table_suffix(suffix) == suffix).then_some(suffix)
}

/// One statement with its gaps.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Statement {
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Jobs,
    Failures,
    JobsKey,
    FailuresKey,
    List { separator: &'static str, item: String },
}

impl Statement {
    /// The statement where it concerns no queue and holds no list.
    pub fn text(&self) -> String {
        self.on(&Tables::default())
    }

    /// The statement for a queue. A list in it has one row.
    pub fn on(&self, tables: &Tables) -> String {
        self.repeated(tables, 1)
    }

    /// The statement for a queue with its list repeated `rows` times, to be bound row by row.
    pub fn repeated(&self, tables: &Tables, rows: usize) -> String {
        self.render(tables, |text, item, separator| {
            for row in 0..rows {
                if row > 0 {
                    text.push_str(separator);
                }
                text.push_str(item);
            }
        })
    }

    /// The statement for a queue with a row in its list for each of `rows`, whose values take
    /// the places of the `?`. Values are put into the text as they are.
    pub fn with<V: Display, const N: usize>(&self, tables: &Tables, rows: &[[V; N]]) -> String {
        self.render(tables, |text, item, separator| {
            for (number, row) in rows.iter().enumerate() {
                if number > 0 {
                    text.push_str(separator);
                }
                let mut values = row.iter();
                for (part_number, part) in item.split('?').enumerate() {
                    if part_number > 0 {
                        // Too few values are a mistake in the code; the server refuses the `?`.
                        match values.next() {
                            Some(value) => drop(write!(text, "{value}")),
                            None => text.push('?'),
                        }
                    }
                    text.push_str(part);
                }
            }
        })
    }

    /// The statement for each of several queues, put together into one that finds the rows of all.
    /// The numbers take the places of the `?` of each.
    pub fn union(&self, tables: &[Tables], numbers: &[u64]) -> String {
        let mut union = String::new();
        for tables in tables {
            if !union.is_empty() {
                union.push_str(" UNION ALL ");
            }
            let mut numbers = numbers.iter();
            for piece in self.on(tables).split_inclusive('?') {
                match (piece.strip_suffix('?'), numbers.next()) {
                    (Some(text), Some(number)) => drop(write!(union, "{text}{number}")),
                    _ => union.push_str(piece),
                }
            }
        }
        union
    }

    fn render(&self, tables: &Tables, list: impl Fn(&mut String, &str, &str)) -> String {
        let mut text = String::with_capacity(256);
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Jobs => text.push_str(&tables.jobs),
                Piece::Failures => text.push_str(&tables.failures),
                Piece::JobsKey => text.push_str(&tables.jobs_key),
                Piece::FailuresKey => text.push_str(&tables.failures_key),
                Piece::List { separator, item } => list(&mut text, item, separator),
            }
        }
        text
    }
}

/// The statements of a file by name.
pub fn parse_file(file: &str) -> BTreeMap<String, Statement> {
    let mut texts: Vec<(&str, String)> = Vec::new();
    for line in file.lines() {
        if let Some(name) = line.strip_prefix("-- name:") {
            texts.push((name.trim(), String::new()));
        } else if let Some((_, text)) = texts.last_mut()
            && !line.trim_start().starts_with("--")
            && !line.trim().is_empty()
        {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(line.trim());
        }
    }
    texts.into_iter().map(|(name, text)| (name.to_owned(), parse_statement(&text))).collect()
}

fn parse_statement(text: &str) -> Statement {
    let mut rest = text.trim_end_matches(';');
    let mut pieces = Vec::new();
    while let Some((before, after)) = rest.split_once('{') {
        let Some((gap, after_gap)) = after.split_once('}') else { break };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(parse_gap(gap));
        rest = after_gap;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Statement { pieces }
}

/// What stands for `{gap}`. An unknown one stays as it is, for the server to refuse.
fn parse_gap(gap: &str) -> Piece {
    let list = |separator, item: &str| Piece::List { separator, item: item.trim().to_owned() };
    match gap.split_once(':') {
        None if gap == "jobs" => Piece::Jobs,
        None if gap == "failures" => Piece::Failures,
        None if gap == "jobs_key" => Piece::JobsKey,
        None if gap == "failures_key" => Piece::FailuresKey,
        Some(("rows", item)) => list(", ", item),
        Some(("any", item)) => list(" OR ", item),
        _ => Piece::Text(format!("{{{gap}}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Statement {
        parse_statement(text)
    }

    #[test]
    fn a_file_is_a_sequence_of_named_statements() {
        let file = parse_file(
            "-- About this file.\n\n-- name: first\n-- Why.\nSELECT 1,\n    2;\n\n\
             -- name: second\nSELECT 3\n",
        );
        let texts: Vec<(&str, String)> =
            file.iter().map(|(name, statement)| (name.as_str(), statement.text())).collect();
        assert_eq!(texts, [("first", "SELECT 1, 2".into()), ("second", "SELECT 3".into())]);
    }

    #[test]
    fn tables_are_quoted_and_named_after_their_queue() {
        let text = statement("DELETE a FROM {jobs} a JOIN {failures} b").on(&Tables::of("my-Q"));
        assert_eq!(text, "DELETE a FROM `fireworq_jq(my__)` a JOIN `fireworq_jq_fail(my__)` b");
        assert!(!statement("{jobs}").on(&Tables::of("a`; DROP TABLE x; -- ")).contains(';'));
    }

    #[test]
    fn a_table_tells_its_queue() {
        for (table, queue) in [
            ("fireworq_jq(a_1)", Some("a_1")),
            ("fireworq_jq_fail(a_1)", Some("a_1")),
            ("fireworq_jq(A)", None),
            ("fireworq_jq_key(a)", None),
            ("fireworq_copied", None),
        ] {
            assert_eq!(queue_of_table(table), queue, "{table}");
        }
    }

    #[test]
    fn lists_are_repeated_to_be_bound() {
        let tables = Tables::of("q");
        let insert = statement("INSERT INTO {jobs} VALUES {rows: (?, 'claimed', ?)}");
        assert_eq!(
            insert.repeated(&tables, 2),
            "INSERT INTO `fireworq_jq(q)` VALUES (?, 'claimed', ?), (?, 'claimed', ?)"
        );
        assert_eq!(insert.on(&tables), insert.repeated(&tables, 1));
    }

    #[test]
    fn lists_are_filled_with_values() {
        let delete = statement("DELETE FROM {jobs} WHERE {any: (a = ? AND b = ?)} LIMIT ?");
        assert_eq!(
            delete.with(&Tables::of("q"), &[[1, 2], [u64::MAX, 0]]),
            "DELETE FROM `fireworq_jq(q)` WHERE (a = 1 AND b = 2) \
             OR (a = 18446744073709551615 AND b = 0) LIMIT ?"
        );
        assert_eq!(statement("({rows: ?})").with(&Tables::default(), &[["x"], ["y"]]), "(x, y)");
        // Too few values leave something that no server takes.
        assert_eq!(statement("{rows: ? + ?}").with(&Tables::default(), &[[1]]), "1 + ?");
    }

    #[test]
    fn a_statement_for_several_queues_is_one() {
        let select = statement("SELECT 1 FROM {jobs} WHERE a = ? LIMIT ?;");
        assert_eq!(
            select.union(&["a", "b"].map(Tables::of), &[7, 8]),
            "SELECT 1 FROM `fireworq_jq(a)` WHERE a = 7 LIMIT 8 \
             UNION ALL SELECT 1 FROM `fireworq_jq(b)` WHERE a = 7 LIMIT 8"
        );
        assert!(select.union(&[Tables::of("a")], &[7]).ends_with("WHERE a = 7 LIMIT ?"));
    }

    #[test]
    fn what_is_no_gap_stays_for_the_server_to_refuse() {
        for text in ["SELECT {what}", "SELECT {", "SELECT {all: ?}"] {
            assert_eq!(statement(text).text(), text);
        }
    }
}
