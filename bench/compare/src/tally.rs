//! What the callers of a load saw: latencies, failures, and the longest time without an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

/// The longest latency that is told apart from longer ones; no caller waits longer.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// Decimal digits to which a latency is kept.
const DIGITS: u8 = 3;

/// From when and until when answers count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) end: Instant,
}

/// What was seen within a window.
#[derive(Debug)]
pub(crate) struct Tally {
    window: Window,
    latencies: Histogram<u64>,
    failed: BTreeMap<String, u64>,
    gap: Duration,
    granted_at: Instant,
}

/// The sum of a tally.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Requests that were granted.
    pub(crate) granted: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
    /// The longest time in which no request was granted.
    pub(crate) gap_us: u64,
    /// It had not ended at the end.
    pub(crate) is_gap_open: bool,
    /// Requests that were not granted, by what they came to.
    pub(crate) failed: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn new(window: Window) -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS);
        Self {
            window,
            latencies: latencies.expect("the bounds are in order"),
            failed: BTreeMap::new(),
            gap: Duration::ZERO,
            granted_at: window.from,
        }
    }

    /// A request that was asked at `since` was granted `now`.
    pub(crate) fn grant(&mut self, since: Instant, now: Instant) {
        if now < self.window.from || now > self.window.end {
            return;
        }
        self.close_gap(now);
        self.latencies.saturating_record(micros(now.saturating_duration_since(since)));
    }

    /// A request has failed, which counts also where it was asked within the window and its end
    /// came later, and in the warm-up: whatever goes wrong is told.
    pub(crate) fn fail(&mut self, why: String) {
        *self.failed.entry(why).or_default() += 1;
    }

    fn close_gap(&mut self, now: Instant) {
        self.gap = self.gap.max(now.saturating_duration_since(self.granted_at));
        self.granted_at = now;
    }

    /// The sum, at the end of the window.
    pub(crate) fn close(mut self) -> Seen {
        let before = self.gap;
        self.close_gap(self.window.end);
        Seen {
            is_gap_open: self.gap > before,
            granted: self.latencies.len(),
            p50_us: self.latencies.value_at_quantile(0.5),
            p99_us: self.latencies.value_at_quantile(0.99),
            max_us: self.latencies.max(),
            gap_us: micros(self.gap),
            failed: self.failed,
        }
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn only_answers_within_the_window_count() {
        let start = Instant::now();
        let mut tally = Tally::new(Window { from: start + ms(100), end: start + ms(200) });
        tally.grant(start, start + ms(99));
        tally.grant(start + ms(100), start + ms(120));
        tally.grant(start + ms(190), start + ms(201));
        let seen = tally.close();
        assert_eq!((seen.granted, seen.gap_us, seen.is_gap_open), (1, 80_000, true));
        assert!((19_900..=20_100).contains(&seen.p99_us), "{}", seen.p99_us);
    }

    #[test]
    fn a_gap_that_a_grant_has_ended_is_not_open() {
        let start = Instant::now();
        let mut tally = Tally::new(Window { from: start, end: start + ms(100) });
        tally.grant(start, start + ms(60));
        let seen = tally.close();
        assert_eq!((seen.gap_us, seen.is_gap_open), (60_000, false));
    }

    #[test]
    fn a_failure_is_counted_whenever_it_comes() {
        let start = Instant::now();
        let mut tally = Tally::new(Window { from: start, end: start + ms(50) });
        tally.fail("status 503".to_owned());
        tally.fail("status 503".to_owned());
        let seen = tally.close();
        assert_eq!(seen.failed, BTreeMap::from([("status 503".to_owned(), 2)]));
        assert_eq!((seen.granted, seen.gap_us), (0, 50_000));
    }
}
