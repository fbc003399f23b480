//! The names of locks.
//!
//! They are the server's, not the database's: one name space for all that runs on it. MySQL takes
//! at most 64 characters and ignores case; MariaDB looks at case.
//!
//! A lock stands for the rows of a table. Older databases hold queues that share one; a primary for
//! each would put back to waiting what the other runs. So such queues share a lock, and one of them
//! runs the jobs of all. Under the original's names that cannot be.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::queue_definition::table_suffix;

/// The longest name that MySQL takes, in characters.
const MAX_LENGTH: usize = 64;
/// How much of a hash a name holds, in bytes: two names meet by chance once in 2^64 or so.
const HASH_LENGTH: usize = 20;

/// How the locks of queues are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// `fireworq:<database>:<queue, as in the names of its tables>`, or a hash of that where it is
    /// too long.
    Own,
    /// `fireworq_jq(<queue>)`, as nodes of the original name them.
    Original,
}

impl Naming {
    /// The name of a queue's lock, where `database` holds the queue.
    pub(super) fn queue_lock(self, database: &str, queue: &str) -> String {
        match self {
            Naming::Own => own_name(database, queue),
            Naming::Original => format!("fireworq_jq({queue})"),
        }
    }
}

/// Equal only for equal databases and tables: the colon is encoded wherever it is part of a name,
/// and `#` never follows `fireworq` in the plain form.
fn own_name(database: &str, queue: &str) -> String {
    let plain = format!("fireworq:{}:{}", encoded(database), table_suffix(queue));
    if plain.len() <= MAX_LENGTH {
        return plain;
    }
    format!("fireworq#{}", hex(&Sha256::digest(plain)[..HASH_LENGTH]))
}

/// The name of a fence lock, which only the session that drew `random` ever takes.
pub(super) fn fence_lock(random: [u8; 16]) -> String {
    format!("fireworq!{}", hex(&random))
}

/// `text` in characters that have no case: lower-case letters, digits and a few marks stand for
/// themselves, every other byte is `%` and two lower-case hexadecimal digits.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex(&[byte]));
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn plain_names_are_readable() {
        assert_eq!(Naming::Own.queue_lock("jobs", "default"), "fireworq:jobs:default");
        assert_eq!(Naming::Own.queue_lock("jobs", "my-queue.v2"), "fireworq:jobs:my_queue_v2");
        assert_eq!(Naming::Own.queue_lock("Jobs", "a:b"), "fireworq:%4aobs:a_b");
        assert_eq!(Naming::Own.queue_lock("あ", "あ"), "fireworq:%e3%81%82:_");
    }

    #[test]
    fn the_originals_names_are_kept_as_they_are() {
        assert_eq!(Naming::Original.queue_lock("jobs", "My'Queue"), "fireworq_jq(My'Queue)");
    }

    #[test]
    fn queues_that_share_their_tables_share_their_lock() {
        let lock = |queue| Naming::Own.queue_lock("d", queue);
        assert_eq!(lock("my-queue"), lock("my.queue"));
        assert_ne!(lock("my-queue"), lock("my-Queue"));
    }

    #[test]
    fn different_tables_have_different_names_even_without_case() {
        let long = "x".repeat(46);
        let longer = format!("{}y", "x".repeat(45));
        let pairs = [
            ("d", "q"),
            ("d", "Q"),
            ("D", "q"),
            ("d:q", "q"),
            ("d", "q:q"),
            ("d:q:q", ""),
            ("d", "%51"),
            ("d", "ああ"),
            ("a-database-with-a-rather-long-name", long.as_str()),
            ("a-database-with-a-rather-long-name", longer.as_str()),
            ("A-database-with-a-rather-long-name", long.as_str()),
        ];
        let names = pairs.map(|(database, queue)| Naming::Own.queue_lock(database, queue));
        let folded: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(folded.len(), pairs.len(), "{names:?}");
        for name in &names {
            assert!(name.chars().count() <= MAX_LENGTH, "{name}");
            assert_eq!(*name, name.to_lowercase());
        }
    }

    #[test]
    fn a_name_of_the_longest_length_is_not_hashed() {
        let queue = "q".repeat(MAX_LENGTH - "fireworq:d:".len());
        assert!(Naming::Own.queue_lock("d", &queue).starts_with("fireworq:d:"));
        assert!(Naming::Own.queue_lock("d", &format!("{queue}q")).starts_with("fireworq#"));
    }

    #[test]
    fn a_fence_never_has_the_name_of_a_queues_lock() {
        let fence = fence_lock([0xab; 16]);
        assert_eq!(fence, format!("fireworq!{}", "ab".repeat(16)));
        assert!(fence.len() <= MAX_LENGTH);
        assert_ne!(Naming::Own.queue_lock("", ""), fence_lock([0; 16]));
    }
}
