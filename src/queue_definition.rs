//! What a queue and a routing are, and which of them are acceptable.
//!
//! Pure: the rules hold for every store, so that a queue can move from one to another.

use std::fmt;

/// The longest queue name, in characters: a MySQL table name has at most 64, of which
/// `fireworq_jq_fail()` takes 18.
pub const MAX_QUEUE_NAME_CHARS: usize = 46;
/// The longest category, in bytes: the column is a `varchar(255)` of bytes.
pub const MAX_CATEGORY_BYTES: usize = 255;
/// The polling interval of every throttled queue, in milliseconds, whatever was asked for.
pub const THROTTLED_POLLING_INTERVAL_MS: u32 = 100;

/// A queue as it is defined.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueDefinition {
    /// Its name, acceptable to [`validate_queue_name`] unless it comes from an older database.
    pub name: String,
    /// How often the primary looks for due jobs, in milliseconds; 0 (in older databases only)
    /// means the default.
    pub polling_interval_ms: u32,
    /// How many jobs run at once; 0 (in older databases only) means the default.
    pub max_workers: u32,
    /// How many jobs start a second; 0 for no limit. Single precision: the column is a `FLOAT`.
    pub max_dispatches_per_second: f32,
    /// How many jobs may start at once after a pause; 0 exactly if there is no limit.
    pub max_burst_size: u32,
}

/// What a client asks of a queue; what it leaves out is taken from the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueueRequest {
    /// See [`QueueDefinition::polling_interval_ms`]; 0 counts as left out.
    pub polling_interval_ms: Option<u32>,
    /// See [`QueueDefinition::max_workers`]; 0 counts as left out.
    pub max_workers: Option<u32>,
    /// See [`QueueDefinition::max_dispatches_per_second`].
    pub max_dispatches_per_second: Option<f64>,
    /// See [`QueueDefinition::max_burst_size`].
    pub max_burst_size: Option<u32>,
}

/// The values for what a [`QueueRequest`] leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDefaults {
    /// From the setting `queue_default_polling_interval`, in milliseconds.
    pub polling_interval_ms: u32,
    /// From the setting `queue_default_max_workers`.
    pub max_workers: u32,
}

/// Which queue the jobs of a category go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The category.
    pub job_category: String,
    /// The queue.
    pub queue_name: String,
}

/// Why a definition is refused, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

impl QueueDefinition {
    /// The definition that `request` asks for.
    ///
    /// # Errors
    /// The name is not acceptable, or the throttle is half given or negative.
    pub fn new(
        name: &str,
        request: QueueRequest,
        defaults: QueueDefaults,
    ) -> Result<QueueDefinition, Invalid> {
        validate_queue_name(name)?;
        let rate = request.max_dispatches_per_second.unwrap_or(0.0);
        let burst = request.max_burst_size.unwrap_or(0);
        if rate.is_nan() || rate < 0.0 {
            return Err(Invalid("max_dispatches_per_second must not be negative".into()));
        }
        // The column's precision: a rate that is 0 or infinite there is none.
        #[expect(clippy::cast_possible_truncation, reason = "the column is a FLOAT")]
        let stored_rate = rate as f32;
        if rate > 0.0 && !(stored_rate.is_normal()) {
            return Err(Invalid(format!("max_dispatches_per_second is out of range: {rate}")));
        }
        match (stored_rate > 0.0, burst > 0) {
            (true, false) => {
                return Err(Invalid(
                    "max_burst_size must be at least 1 where max_dispatches_per_second is set"
                        .into(),
                ));
            }
            (false, true) => {
                return Err(Invalid(
                    "max_dispatches_per_second must be set where max_burst_size is".into(),
                ));
            }
            _ => {}
        }
        let polling_interval_ms = if stored_rate > 0.0 {
            THROTTLED_POLLING_INTERVAL_MS
        } else {
            given(request.polling_interval_ms).unwrap_or(defaults.polling_interval_ms)
        };
        Ok(QueueDefinition {
            name: name.to_owned(),
            polling_interval_ms,
            max_workers: given(request.max_workers).unwrap_or(defaults.max_workers),
            max_dispatches_per_second: stored_rate,
            max_burst_size: burst,
        })
    }

    /// Whether its jobs are started at a limited rate.
    pub fn is_throttled(&self) -> bool {
        self.max_dispatches_per_second > 0.0 && self.max_burst_size > 0
    }
}

/// A number that was given; 0 stands for "the default", as in the original.
fn given(value: Option<u32>) -> Option<u32> {
    value.filter(|&v| v != 0)
}

/// Checks the name of a queue.
///
/// # Errors
/// It is empty, too long for its table, holds a control character, or is what clients take out of
/// a path.
pub fn validate_queue_name(name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid("the name of a queue must not be empty".into()));
    }
    let chars = name.chars().count();
    if chars > MAX_QUEUE_NAME_CHARS {
        return Err(Invalid(format!(
            "a queue's name has at most {MAX_QUEUE_NAME_CHARS} characters; this one has {chars}"
        )));
    }
    if name == "." || name == ".." {
        // No client would send it as it is, so that nobody could push to it or delete it.
        return Err(Invalid(format!("{name} is no name for a queue: it is a step in a path")));
    }
    if name.chars().any(char::is_control) {
        return Err(Invalid("the name of a queue must not hold control characters".into()));
    }
    Ok(())
}

/// Checks a category.
///
/// # Errors
/// It is empty or too long for its column.
pub fn validate_category(category: &str) -> Result<(), Invalid> {
    if category.is_empty() {
        return Err(Invalid("a category must not be empty".into()));
    }
    if category.len() > MAX_CATEGORY_BYTES {
        return Err(Invalid(format!(
            "a category has at most {MAX_CATEGORY_BYTES} bytes; this one has {}",
            category.len()
        )));
    }
    Ok(())
}

/// The part of a queue's table names that comes from the queue's name: every character outside
/// `[0-9a-z_]` becomes one `_`. Two queues whose names meet here would share their tables.
pub fn table_suffix(queue_name: &str) -> String {
    queue_name
        .chars()
        .map(|c| if matches!(c, '0'..='9' | 'a'..='z' | '_') { c } else { '_' })
        .collect()
}

/// The defined queue, if any, that a new queue called `name` would share its tables with.
pub fn shares_tables_with<'a>(
    name: &str,
    mut defined: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let suffix = table_suffix(name);
    defined.find(|other| *other != name && table_suffix(other) == suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: QueueDefaults = QueueDefaults { polling_interval_ms: 200, max_workers: 20 };

    fn define(request: QueueRequest) -> Result<QueueDefinition, Invalid> {
        QueueDefinition::new("q", request, DEFAULTS)
    }

    #[test]
    fn what_is_left_out_takes_the_defaults() {
        let q = define(QueueRequest::default()).unwrap();
        assert_eq!((q.polling_interval_ms, q.max_workers), (200, 20));
        assert!(!q.is_throttled());
        let zeros = QueueRequest {
            polling_interval_ms: Some(0),
            max_workers: Some(0),
            max_dispatches_per_second: Some(0.0),
            max_burst_size: Some(0),
        };
        assert_eq!(define(zeros).unwrap(), q);
    }

    #[test]
    fn a_throttled_queue_polls_every_100_ms() {
        let request = QueueRequest {
            polling_interval_ms: Some(5000),
            max_dispatches_per_second: Some(2.5),
            max_burst_size: Some(5),
            ..QueueRequest::default()
        };
        let q = define(request).unwrap();
        assert!(q.is_throttled());
        assert_eq!(q.polling_interval_ms, THROTTLED_POLLING_INTERVAL_MS);
    }

    #[test]
    fn half_a_throttle_is_refused() {
        for (rate, burst) in
            [(1.0, 0), (0.0, 1), (-1.0, 1), (-1.0, 0), (f64::NAN, 1), (1e60, 1), (1e-60, 1)]
        {
            let request = QueueRequest {
                max_dispatches_per_second: Some(rate),
                max_burst_size: Some(burst),
                ..QueueRequest::default()
            };
            assert!(define(request).is_err(), "rate {rate}, burst {burst}");
        }
    }

    #[test]
    fn names_are_limited() {
        assert!(validate_queue_name(&"あ".repeat(46)).is_ok());
        assert!(validate_queue_name(&"a".repeat(47)).is_err());
        assert!(validate_queue_name("").is_err());
        assert!(validate_queue_name("a\nb").is_err());
        assert!(validate_queue_name(".").is_err() && validate_queue_name("..").is_err());
        assert!(validate_queue_name("...").is_ok());
        assert!(validate_queue_name("a b.c-d/é").is_ok());
        assert!(validate_category(&"c".repeat(255)).is_ok());
        assert!(validate_category(&"c".repeat(256)).is_err());
        assert!(validate_category("").is_err());
    }

    #[test]
    fn tables_are_named_as_in_the_original() {
        assert_eq!(table_suffix("my-queue.v2"), "my_queue_v2");
        assert_eq!(table_suffix("MyQueue"), "_y_ueue");
        assert_eq!(table_suffix("あ"), "_");
        assert_eq!(shares_tables_with("a-b", ["a-b", "c", "a.b"].into_iter()), Some("a.b"));
        assert_eq!(shares_tables_with("a-b", ["a-b", "c"].into_iter()), None);
    }
}
