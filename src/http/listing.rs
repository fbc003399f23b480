//! Pages of jobs and failures: the query parameters, the cursor, and reading a page without
//! holding more than a bound of it in memory.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::value::RawValue;

use super::api::Call;
use crate::failure_log::{MAX_PAGE_BYTES, next_read};
use crate::job::{Failure, Job};
use crate::store::{Direction, Page, Position, StoreError};

/// Rows of a page whose request does not say.
const DEFAULT_LIMIT: usize = 100;
/// Rows of a page at the most.
pub(super) const MAX_LIMIT: usize = 10_000;
/// Rows that are read first: few, since nobody knows yet how large they are.
const FIRST_READ: usize = 4;

/// The page that a request asks for; nonsense falls back to the defaults.
pub(super) fn page_of(call: &Call) -> Page {
    let limit = call.query("limit").and_then(|text| text.parse().ok()).filter(|n| *n > 0);
    let direction = match call.query("order").as_deref() {
        Some("asc") => Direction::Ascending,
        _ => Direction::Descending,
    };
    Page {
        limit: limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
        after: call.query("cursor").and_then(|text| decode_cursor(&text)),
        direction,
    }
}

/// A position as clients get it.
pub(super) fn encode_cursor(position: Position) -> String {
    STANDARD.encode(format!("{},{}", position.at_ms, position.id))
}

/// The position of a cursor; `None` for what is none.
pub(super) fn decode_cursor(text: &str) -> Option<Position> {
    let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    let (at_ms, id) = std::str::from_utf8(&bytes).ok()?.split_once(',')?;
    Some(Position { at_ms: at_ms.parse().ok()?, id: id.parse().ok()? })
}

/// A row of a listing.
pub(super) trait Row {
    /// About how many bytes it takes.
    fn bytes(&self) -> usize;
}

impl Row for Job {
    fn bytes(&self) -> usize {
        self.payload.len() + self.url.len() + self.category.len()
    }
}

impl Row for Failure {
    fn bytes(&self) -> usize {
        self.payload.len() + self.result.len() + self.url.len() + self.category.len()
    }
}

/// Reads a page with `read`, and the cursor behind it, `""` where nothing follows. `position`
/// tells where a row stands.
pub(super) fn read_page<T: Row>(
    page: &Page,
    position: impl Fn(&T) -> Position,
    read: impl Fn(&Page) -> Result<Vec<T>, StoreError>,
) -> Result<(Vec<T>, String), StoreError> {
    let mut rows: Vec<T> = Vec::new();
    let mut bytes = 0;
    let mut wanted = FIRST_READ;
    let mut after = page.after;
    loop {
        // One more than the page holds tells whether another one follows.
        let limit = wanted.min(page.limit + 1 - rows.len());
        let read = read(&Page { limit, after, ..*page })?;
        let is_end = read.len() < limit;
        bytes += read.iter().map(Row::bytes).sum::<usize>();
        rows.extend(read);
        after = rows.last().map(&position).or(after);
        if rows.len() > page.limit {
            rows.truncate(page.limit);
        } else if is_end {
            return Ok((rows, String::new()));
        } else if bytes < MAX_PAGE_BYTES {
            wanted = next_read(wanted, rows.len(), bytes);
            continue;
        }
        let cursor = rows.last().map(|row| encode_cursor(position(row))).unwrap_or_default();
        return Ok((rows, cursor));
    }
}

/// Stored bytes as JSON: as they are where they are JSON, else a JSON string of them.
pub(super) fn raw_json(bytes: &[u8]) -> Cow<'_, RawValue> {
    // A `RawValue` must be all there is: white space around it is left out.
    if let Ok(raw) = serde_json::from_slice::<&RawValue>(bytes) {
        return Cow::Borrowed(raw);
    }
    let text = String::from_utf8_lossy(bytes);
    let owned = match serde_json::from_str::<&RawValue>(&text) {
        Ok(raw) => raw.to_owned(),
        Err(_) => serde_json::value::to_raw_value(&*text).unwrap_or_default(),
    };
    Cow::Owned(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Small(u64);

    impl Row for Small {
        fn bytes(&self) -> usize {
            1
        }
    }

    struct Large(u64);

    impl Row for Large {
        fn bytes(&self) -> usize {
            MAX_PAGE_BYTES
        }
    }

    fn page(limit: usize) -> Page {
        Page { limit, after: None, direction: Direction::Ascending }
    }

    fn ids(total: u64, page: &Page) -> impl Iterator<Item = u64> {
        let first = page.after.map_or(0, |position| position.id + 1);
        (first..total).take(page.limit)
    }

    fn walk<T: Row>(limit: usize, total: u64, row: fn(u64) -> T, id: fn(&T) -> u64) -> Vec<usize> {
        let (mut sizes, mut seen, mut page) = (Vec::new(), Vec::new(), page(limit));
        loop {
            let position = |row: &T| Position { at_ms: 7, id: id(row) };
            let read = |page: &Page| Ok(ids(total, page).map(row).collect());
            let (rows, cursor) = read_page(&page, position, read).unwrap();
            sizes.push(rows.len());
            seen.extend(rows.iter().map(id));
            if cursor.is_empty() {
                assert_eq!(seen, (0..total).collect::<Vec<_>>());
                return sizes;
            }
            page.after = decode_cursor(&cursor);
        }
    }

    #[test]
    fn a_walk_sees_each_row_once() {
        let small = |limit, total| walk(limit, total, Small, |row| row.0);
        assert_eq!(small(10, 25), [10, 10, 5]);
        assert_eq!(small(10, 20), [10, 10]);
        assert_eq!(small(100, 0), [0]);
        assert_eq!(small(1000, 1000), [1000]);
        assert_eq!(small(1, 2), [1, 1]);
    }

    #[test]
    fn a_page_of_large_rows_ends_early() {
        assert_eq!(walk(100, 10, Large, |row| row.0), [4, 4, 2]);
    }

    #[test]
    fn any_text_is_a_cursor_or_none() {
        let corpus: [&[u8]; 5] = [
            b"MTQ5ODQzODMxNDUzNyw0Mg==",
            b"MCww",
            b"MTg0NDY3NDQwNzM3MDk1NTE2MTUsMTg0NDY3NDQwNzM3MDk1NTE2MTU=",
            b"LTEsMQ==",
            b"1,2",
        ];
        crate::fuzz::run(&corpus, |text, _| {
            let position = decode_cursor(&String::from_utf8_lossy(text));
            if let Some(position) = position {
                assert_eq!(decode_cursor(&encode_cursor(position)), Some(position));
            }
            format!("{} {}", position.is_some(), text.len().min(99))
        });
    }

    #[test]
    fn a_cursor_is_base64_of_time_and_id() {
        let position = Position { at_ms: 1_498_438_314_537, id: 42 };
        assert_eq!(encode_cursor(position), "MTQ5ODQzODMxNDUzNyw0Mg==");
        assert_eq!(decode_cursor("MTQ5ODQzODMxNDUzNyw0Mg=="), Some(position));
        assert_eq!(decode_cursor("MTQ5ODQzODMxNDUzNyw0Mg"), Some(position));
        for nonsense in ["", "x", "bm9uc2Vuc2U=", "LTEsMQ==", "\u{e9}"] {
            assert_eq!(decode_cursor(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn payloads_are_shown_as_json() {
        for (stored, shown) in [
            (r#"{"a": 1.0}"#, r#"{"a": 1.0}"#),
            (" [1] \n", "[1]"),
            ("hello\n", r#""hello\n""#),
            ("", r#""""#),
        ] {
            assert_eq!(raw_json(stored.as_bytes()).get(), shown);
        }
        assert_eq!(raw_json(b"\xff").get(), "\"\u{fffd}\"");
    }
}
