//! The phi-accrual failure detector: how surprising a silence is, given the gaps seen before
//! (Hayashibara et al., 2004, with exponential gaps as in Cassandra).

use std::collections::VecDeque;
use std::f64::consts::LOG10_E;
use std::time::Duration;

use crate::types::Instant;

/// How many gaps are remembered.
const WINDOW: usize = 64;
/// How many gaps of the expected length stand in while few were seen.
const PRIOR: u32 = 8;

/// The gaps between news of one node, on the local clock.
#[derive(Debug, Clone)]
pub(super) struct Detector {
    last: Instant,
    gaps: VecDeque<Duration>,
    sum: Duration,
}

impl Detector {
    /// A detector that last heard news at `last`.
    pub(super) fn new(last: Instant) -> Self {
        Self { last, gaps: VecDeque::with_capacity(WINDOW), sum: Duration::ZERO }
    }

    /// Takes note of news at `now`. A gap counts for at most `cap`, so that an outage does not
    /// teach the detector to be patient.
    pub(super) fn observe(&mut self, now: Instant, cap: Duration) {
        let gap = now.since(self.last).min(cap);
        self.last = self.last.max(now);
        if self.gaps.len() == WINDOW
            && let Some(oldest) = self.gaps.pop_front()
        {
            self.sum = self.sum.saturating_sub(oldest);
        }
        self.gaps.push_back(gap);
        self.sum += gap;
    }

    /// The time since the last news.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.since(self.last)
    }

    /// The decimal logarithm of how unlikely the present silence is, where `expected` is the gap
    /// to expect before any was seen.
    pub(super) fn phi(&self, now: Instant, expected: Duration) -> f64 {
        let seen = u32::try_from(self.gaps.len()).expect("the window is small");
        let mean = (self.sum + expected * PRIOR) / (seen + PRIOR);
        LOG10_E * self.silence(now).as_secs_f64() / mean.as_secs_f64().max(f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(200);
    const CAP: Duration = Duration::from_secs(1);

    fn fed(gap: Duration) -> (Detector, Instant) {
        let mut now = Instant::default();
        let mut detector = Detector::new(now);
        for _ in 0..2 * WINDOW {
            now = now + gap;
            detector.observe(now, CAP);
        }
        (detector, now)
    }

    #[test]
    fn suspicion_grows_with_silence() {
        let (detector, now) = fed(GAP);
        assert!(detector.phi(now, GAP) < 0.01);
        assert!((detector.phi(now + GAP * 10, GAP) - 10.0 * LOG10_E).abs() < 0.01);
    }

    #[test]
    fn a_slower_rhythm_makes_it_more_patient() {
        let (fast, fast_now) = fed(GAP);
        let (slow, slow_now) = fed(GAP * 3);
        assert!(slow.phi(slow_now + CAP, GAP) < fast.phi(fast_now + CAP, GAP) / 2.0);
    }

    #[test]
    fn an_outage_counts_for_no_more_than_the_cap() {
        let (mut detector, now) = fed(GAP);
        let later = now + Duration::from_secs(3600);
        detector.observe(later, CAP);
        assert!(detector.phi(later + CAP * 3, GAP) > 6.0);
    }
}
