//! The clocks: the time of day for people, and the time that passes for deadlines.
//!
//! What is due when is decided by the store's clock, never by the time of day here.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::time::ClockId;
use serde::{Serialize, Serializer};

/// The time of day, in milliseconds since 1970. It may jump.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_ms)
}

/// The time since the machine started, in milliseconds. It never jumps, and goes on while the
/// machine is suspended, as the clocks of other machines do.
pub fn boottime_ms() -> u64 {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    match ClockId::CLOCK_BOOTTIME.now() {
        Ok(time) => whole_ms(Duration::from(time)),
        // Only kernels before 2.6.39 lack this clock. Theirs stands still while suspended.
        Err(_) => whole_ms(STARTED.get_or_init(Instant::now).elapsed()),
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time as RFC 3339 down to milliseconds, in this node's zone: `2017-06-26T00:51:54.537+09:00`,
/// or with `Z` where the offset is 0. A time after the year 9999 is shown as the calendar's last.
///
/// The zone is that of the variable `TZ`, else the system's, as it was when first asked for.
pub fn rfc3339_ms(ms_since_1970: u64) -> Rfc3339 {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    Rfc3339::in_zone(ms_since_1970, ZONE.get_or_init(TimeZone::system))
}

/// The time that a text tells, as RFC 3339 or as a number of milliseconds since 1970; `None` for
/// what is neither. A time before 1970 is 0. A `+` of the offset may have become a space, as it
/// does in a query string that was not encoded.
pub fn parse_ms(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let time = text.parse::<Timestamp>().or_else(|_| text.replace(' ', "+").parse()).ok()?;
    Some(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

/// A time that shows itself as RFC 3339, and so in JSON. See [`rfc3339_ms`].
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339 {
    civil: jiff::civil::DateTime,
    offset_minutes: i32,
}

impl Rfc3339 {
    fn in_zone(ms_since_1970: u64, zone: &TimeZone) -> Rfc3339 {
        let timestamp = i64::try_from(ms_since_1970)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::MAX);
        let offset = zone.to_offset(timestamp);
        Rfc3339 { civil: offset.to_datetime(timestamp), offset_minutes: offset.seconds() / 60 }
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = (self.civil.date(), self.civil.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}",
            date.year(),
            date.month(),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.millisecond(),
        )?;
        if self.offset_minutes == 0 {
            return f.write_str("Z");
        }
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let minutes = self.offset_minutes.abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ms: u64, zone: &str) -> String {
        Rfc3339::in_zone(ms, &TimeZone::get(zone).unwrap()).to_string()
    }

    #[test]
    fn times_are_read() {
        for (text, ms) in [
            ("1498438314537", 1_498_438_314_537),
            ("0", 0),
            ("2017-06-26T09:51:54.537+09:00", 1_498_438_314_537),
            ("2017-06-26T09:51:54.537 09:00", 1_498_438_314_537),
            ("2017-06-26T00:51:54.537Z", 1_498_438_314_537),
            ("2017-06-26 00:51:54Z", 1_498_438_314_000),
            ("1969-12-31T23:59:59Z", 0),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
        for text in ["", "x", "-1", "2017-06-26", "2017-06-26T00:51:54", "99999999999999999999"] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_carries_its_zones_offset() {
        assert_eq!(shown(1_498_405_914_537, "Asia/Tokyo"), "2017-06-26T00:51:54.537+09:00");
        assert_eq!(shown(1_498_405_914_537, "America/St_Johns"), "2017-06-25T13:21:54.537-02:30");
        assert_eq!(shown(1_498_405_914_007, "UTC"), "2017-06-25T15:51:54.007Z");
        assert_eq!(shown(1_498_405_914_000, "Europe/London"), "2017-06-25T16:51:54.000+01:00");
        assert_eq!(shown(1_514_764_800_000, "Europe/London"), "2018-01-01T00:00:00.000Z");
        assert_eq!(shown(0, "UTC"), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_last() {
        assert!(shown(u64::MAX, "UTC").starts_with("9999-12-30T"));
        assert!(shown(u64::MAX, "Asia/Tokyo").starts_with("9999-12-31T"));
    }

    #[test]
    fn a_time_is_a_string_in_json() {
        let json = serde_json::to_string(&rfc3339_ms(now_ms())).unwrap();
        assert!(json.starts_with("\"20") && json.ends_with('"'), "{json}");
    }

    #[test]
    fn the_time_since_start_never_goes_back() {
        let first = boottime_ms();
        assert!(first > 0);
        assert!(boottime_ms() >= first);
    }
}
