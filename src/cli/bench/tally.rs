//! What the callers of a load saw: latencies, failures, and the longest time without an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

/// The longest latency that is told apart from longer ones; no caller waits longer.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// Decimal digits to which a latency is kept.
const DIGITS: u8 = 3;

/// Which kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Write,
    Read,
}

/// How an exchange ended.
pub(super) type Outcome = Result<(), String>;

/// What was seen of one kind of request.
#[derive(Debug)]
pub(super) struct Seen {
    /// In microseconds, of the requests that were granted.
    pub(super) latencies: Histogram<u64>,
    /// The others, by what they came to.
    pub(super) failures: BTreeMap<String, u64>,
    /// The longest time in which no request was granted.
    pub(super) gap: Duration,
    /// When that began, from the start of the count.
    pub(super) gap_at: Duration,
    granted_at: Instant,
}

/// What was seen from a moment on.
#[derive(Debug)]
pub(super) struct Tally {
    /// From when on answers count.
    from: Instant,
    seen: BTreeMap<Kind, Seen>,
}

impl Tally {
    /// Counts `kinds` of requests by answers that come at `from` or later.
    pub(super) fn new(from: Instant, kinds: &[Kind]) -> Self {
        let seen = kinds.iter().map(|kind| (*kind, Seen::new(from))).collect();
        Self { from, seen }
    }

    /// A request of `kind` that counts from `since` has ended `now`.
    pub(super) fn note(&mut self, kind: Kind, since: Instant, now: Instant, outcome: Outcome) {
        if now < self.from {
            return;
        }
        let Some(seen) = self.seen.get_mut(&kind) else { return };
        match outcome {
            Ok(()) => {
                seen.close_gap(self.from, now);
                seen.granted_at = now;
                seen.latencies.saturating_record(micros(now.saturating_duration_since(since)));
            }
            Err(failure) => *seen.failures.entry(failure).or_default() += 1,
        }
    }

    /// Requests that were granted so far.
    pub(super) fn granted(&self) -> u64 {
        self.seen.values().map(|seen| seen.latencies.len()).sum()
    }

    /// The sum at the moment `now`, and how long it was counted.
    pub(super) fn close(mut self, now: Instant) -> (BTreeMap<Kind, Seen>, Duration) {
        for seen in self.seen.values_mut() {
            seen.close_gap(self.from, now);
        }
        (self.seen, now.saturating_duration_since(self.from))
    }
}

impl Seen {
    fn new(from: Instant) -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS);
        Self {
            latencies: latencies.expect("the bounds are in order"),
            failures: BTreeMap::new(),
            gap: Duration::ZERO,
            gap_at: Duration::ZERO,
            granted_at: from,
        }
    }

    fn close_gap(&mut self, from: Instant, now: Instant) {
        let gap = now.saturating_duration_since(self.granted_at);
        if gap > self.gap {
            self.gap = gap;
            self.gap_at = self.granted_at.saturating_duration_since(from);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn only_answers_after_the_warm_up_count() {
        let start = Instant::now();
        let mut tally = Tally::new(start + ms(100), &[Kind::Write]);
        tally.note(Kind::Write, start, start + ms(99), Ok(()));
        tally.note(Kind::Write, start + ms(90), start + ms(110), Ok(()));
        assert_eq!(tally.granted(), 1);
        let (seen, counted) = tally.close(start + ms(150));
        let latencies = &seen[&Kind::Write].latencies;
        assert!((19_900..=20_100).contains(&latencies.max()), "{}", latencies.max());
        assert_eq!(counted, ms(50));
    }

    #[test]
    fn the_longest_gap_is_told_also_when_it_lasts_to_the_end() {
        let start = Instant::now();
        let at = |at| start + ms(at);
        let mut tally = Tally::new(start, &[Kind::Write, Kind::Read]);
        for answer in [10, 20, 70, 80] {
            tally.note(Kind::Write, at(answer - 5), at(answer), Ok(()));
        }
        tally.note(Kind::Write, at(75), at(90), Err("503".to_owned()));
        tally.note(Kind::Read, at(0), at(10), Ok(()));
        let (seen, _) = tally.close(at(100));
        assert_eq!((seen[&Kind::Write].gap, seen[&Kind::Write].gap_at), (ms(50), ms(20)));
        assert_eq!((seen[&Kind::Read].gap, seen[&Kind::Read].gap_at), (ms(90), ms(10)));
        assert_eq!(seen[&Kind::Write].failures, BTreeMap::from([("503".to_owned(), 1)]));
    }
}
