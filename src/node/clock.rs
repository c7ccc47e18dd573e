//! The one reader of real clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::types::Instant;

/// Nanoseconds of a year.
const YEAR_NANOS: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// A monotonic clock that starts with the process, and the wall clock for what people read.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Now, on the monotonic clock.
    #[must_use]
    pub fn now(self) -> Instant {
        let nanos = self.start.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// `at` as tokio's timers want it.
    #[must_use]
    pub fn to_tokio(self, at: Instant) -> tokio::time::Instant {
        // A deadline of "never" is out of the timer's range; a year from now is as good.
        let nanos = at.as_nanos().min(self.now().as_nanos().saturating_add(YEAR_NANOS));
        tokio::time::Instant::from_std(self.start + Duration::from_nanos(nanos))
    }

    /// Time since 1970, as this machine believes it.
    #[must_use]
    pub fn unix(self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Milliseconds since 1970, as this machine believes it.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.unix().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Milliseconds since 1970 as RFC 3339, in UTC.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = civil(unix_ms / 1000);
    let millis = unix_ms % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Milliseconds since 1970 as the original wrote times: `YYYY-MM-DD HH:MM:SS`, in UTC.
#[must_use]
pub fn date_time(unix_ms: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = civil(unix_ms / 1000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// The Gregorian date of a time, counted in eras of 400 years that begin in March, so that the leap
/// day is the last of its year.
fn civil(unix_s: u64) -> Civil {
    let days = unix_s / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    Civil {
        year: era * 400 + year_of_era + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * march_month + 2) / 5 + 1,
        hour: unix_s / 3600 % 24,
        minute: unix_s / 60 % 60,
        second: unix_s % 60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(rfc3339(1_795_478_399_999), "2026-11-23T23:59:59.999Z");
        assert_eq!(date_time(1_795_478_400_000), "2026-11-24 00:00:00");
    }
}
