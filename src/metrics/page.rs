//! The text that Prometheus reads, in its own format or in OpenMetrics.
//!
//! Both tell families one after the other: what a metric is, then its samples. In OpenMetrics a
//! counter's family lacks the `_total` of its samples, a unit is named, and the text has an end.

use std::fmt::Write;

use super::instrument::Reading;
use super::table::{Kind, Metric};

/// In which of its two formats a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus's text format.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The media type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text";

impl Form {
    /// The form that an `Accept` header prefers: OpenMetrics where it is named, and not for less
    /// than plain text.
    pub fn accepted(accept: Option<&str>) -> Form {
        let weight = |wanted: &[&str]| {
            let ranges = accept.unwrap_or_default().split(',');
            let weights = ranges.filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next()?.to_ascii_lowercase();
                wanted.contains(&name.as_str()).then(|| weight_of(parts))
            });
            weights.fold(0.0, f64::max)
        };
        let open_metrics = weight(&[OPEN_METRICS]);
        let named = open_metrics > 0.0;
        match named && open_metrics >= weight(&["text/plain", "text/*"]) {
            true => Form::OpenMetrics,
            false => Form::Prometheus,
        }
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The weight that the parameters of a media range give it: 1 if they say nothing of it.
fn weight_of<'a>(parameters: impl Iterator<Item = &'a str>) -> f64 {
    let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    let weight = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.map_or(1.0, |(_, value)| value.trim().parse().unwrap_or(0.0))
}

/// Labels as they stand between the braces: `queue="q",outcome="success"`.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

/// A page that is being written.
pub struct Page {
    form: Form,
    text: String,
}

impl Page {
    /// An empty page.
    pub fn new(form: Form) -> Page {
        Page { form, text: String::with_capacity(64 << 10) }
    }

    /// Begins a family. All its samples follow before the next one begins.
    pub fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let (name, kind) = match (self.form, metric.kind) {
            (Form::OpenMetrics, Kind::Info) => (metric.family_name(), "info"),
            (Form::OpenMetrics, _) => (metric.family_name(), metric.kind.word()),
            // The older format knows no information: a figure that is always 1.
            (Form::Prometheus, Kind::Info) => (metric.name, Kind::Gauge.word()),
            (Form::Prometheus, _) => (metric.name, metric.kind.word()),
        };
        // Writing to a text cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {}", metric.help);
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if let (Form::OpenMetrics, Some(unit)) = (self.form, metric.unit) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        Family { text: &mut self.text, metric, ends: Vec::new() }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, metric: &'static Metric, value: impl Into<Value>) {
        self.family(metric).sample("", value);
    }

    /// The page as a whole.
    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// A sample's value: counted, or measured.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// Counted.
    Whole(u64),
    /// Measured, in the metric's unit.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

/// A family that is being written.
pub struct Family<'p> {
    text: &'p mut String,
    metric: &'static Metric,
    /// What follows the labels of each bucket, for the scale that was met first.
    ends: Vec<String>,
}

impl Family<'_> {
    /// A sample, with labels as [`labels`] makes them.
    pub fn sample(&mut self, labels: &str, value: impl Into<Value>) {
        self.begin("", labels);
        self.end(value.into());
    }

    /// A histogram, likewise.
    pub fn histogram(&mut self, labels: &str, reading: &Reading) {
        let scale = reading.scale;
        if self.ends.is_empty() {
            let bounds = scale.bounds.iter().map(|bound| shown(*bound, scale.units));
            let bounds = bounds.chain(["+Inf".to_owned()]);
            self.ends = bounds.map(|bound| format!("le=\"{bound}\"}} ")).collect();
        }
        let comma = if labels.is_empty() { "" } else { "," };
        let mut cumulated = 0;
        for (end, count) in self.ends.iter().zip(reading.buckets) {
            cumulated += count;
            for part in [self.metric.name, "_bucket{", labels, comma, end] {
                self.text.push_str(part);
            }
            push_whole(self.text, cumulated);
            self.text.push('\n');
        }
        self.begin("_sum", labels);
        #[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
        let sum = reading.sum as f64 / scale.units as f64;
        self.end(Value::Real(sum));
        self.begin("_count", labels);
        self.end(Value::Whole(cumulated));
    }

    fn begin(&mut self, suffix: &str, labels: &str) {
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        if !labels.is_empty() {
            for part in ["{", labels, "}"] {
                self.text.push_str(part);
            }
        }
        self.text.push(' ');
    }

    fn end(&mut self, value: Value) {
        match value {
            Value::Whole(value) => push_whole(self.text, value),
            Value::Real(value) => {
                let _ = write!(self.text, "{value}");
            }
        }
        self.text.push('\n');
    }
}

/// A number's digits; several times faster than formatting it, and a page has thousands.
fn push_whole(text: &mut String, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    text.extend(digits[start..].iter().map(|digit| char::from(*digit)));
}

/// A bound as OpenMetrics wants it, `1.0` and not `1`, in both formats: series keep their names
/// when the format changes.
fn shown(bound: u64, units: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "bounds are small")]
    let bound = bound as f64 / units as f64;
    format!("{bound:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::instrument::{Histogram, ROWS};
    use crate::metrics::table;

    #[test]
    fn openmetrics_for_those_who_ask() {
        for (accept, expected) in [
            (None, Form::Prometheus),
            (Some("*/*"), Form::Prometheus),
            (Some("text/html, */*;q=0.8"), Form::Prometheus),
            (Some("application/openmetrics-text"), Form::OpenMetrics),
            (Some("application/openmetrics-text; q=0"), Form::Prometheus),
            (Some("text/plain, application/openmetrics-text;q=0.5"), Form::Prometheus),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.5,\
                     text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
                ),
                Form::OpenMetrics,
            ),
            (Some("Application/OpenMetrics-Text;Q=0.3, text/*;q=0.2"), Form::OpenMetrics),
        ] {
            assert_eq!(Form::accepted(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn no_value_breaks_out_of_its_quotes() {
        let text = labels(&[("queue", "a\"b\\c\nd"), ("outcome", "é")]);
        assert_eq!(text, r#"queue="a\"b\\c\nd",outcome="é""#);
    }

    #[test]
    fn numbers_are_whole() {
        let mut text = String::new();
        for value in [0, 7, 10, 1234, u64::MAX] {
            push_whole(&mut text, value);
            text.push(' ');
        }
        assert_eq!(text, "0 7 10 1234 18446744073709551615 ");
        assert_eq!(
            (shown(1_000_000, 1_000_000), shown(2_500, 1_000_000)),
            ("1.0".to_owned(), "0.0025".to_owned())
        );
    }

    #[test]
    fn a_page_in_both_forms() {
        let write = |form| {
            let mut page = Page::new(form);
            page.family(&table::JOBS_PUSHED).sample(&labels(&[("queue", "q")]), 3_u64);
            page.family(&table::BUILD_INFO).sample(&labels(&[("version", "1.2")]), true);
            page.single(&table::PROCESS_CPU_SECONDS, 1.5);
            page.finish()
        };
        let help = |metric: &Metric| metric.help;
        let (pushed, build, cpu) = (
            help(&table::JOBS_PUSHED),
            help(&table::BUILD_INFO),
            help(&table::PROCESS_CPU_SECONDS),
        );
        assert_eq!(
            write(Form::Prometheus),
            format!(
                "# HELP fireworq_jobs_pushed_total {pushed}\n\
                 # TYPE fireworq_jobs_pushed_total counter\n\
                 fireworq_jobs_pushed_total{{queue=\"q\"}} 3\n\
                 # HELP fireworq_build_info {build}\n# TYPE fireworq_build_info gauge\n\
                 fireworq_build_info{{version=\"1.2\"}} 1\n\
                 # HELP process_cpu_seconds_total {cpu}\n\
                 # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n"
            )
        );
        assert_eq!(
            write(Form::OpenMetrics),
            format!(
                "# HELP fireworq_jobs_pushed {pushed}\n# TYPE fireworq_jobs_pushed counter\n\
                 fireworq_jobs_pushed_total{{queue=\"q\"}} 3\n\
                 # HELP fireworq_build {build}\n# TYPE fireworq_build info\n\
                 fireworq_build_info{{version=\"1.2\"}} 1\n\
                 # HELP process_cpu_seconds {cpu}\n# TYPE process_cpu_seconds counter\n\
                 # UNIT process_cpu_seconds seconds\nprocess_cpu_seconds_total 1.5\n# EOF\n"
            )
        );
    }

    #[test]
    fn buckets_are_cumulated() {
        let histogram = Histogram::new(&ROWS);
        [1, 3, 1000].into_iter().for_each(|rows| histogram.observe(rows));
        let mut page = Page::new(Form::Prometheus);
        page.family(&table::STORE_COMMIT_ROWS).histogram("", &histogram.read());
        let text = page.finish();
        let name = table::STORE_COMMIT_ROWS.name;
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples[0], format!("{name}_bucket{{le=\"1.0\"}} 1"));
        assert_eq!(samples[2], format!("{name}_bucket{{le=\"4.0\"}} 2"));
        assert_eq!(samples[10], format!("{name}_bucket{{le=\"+Inf\"}} 3"));
        assert_eq!(samples[11..], [format!("{name}_sum 1004"), format!("{name}_count 3")]);
    }
}
