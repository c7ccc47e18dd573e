//! The witness beside an acceptor: whether a leader is heard, although the disk may be slow.

use std::time::Duration;

use crate::types::{Ballot, Instant, NodeId};

/// Says *led* only while it has heard, within the timeout, a heartbeat with a ballot at or above
/// the acceptor's promise, over a link that is up, from a leader that has not resigned. Whatever it
/// says, safety rests on the promises alone.
#[derive(Debug, Clone)]
pub struct Witness {
    timeout: Duration,
    /// Until then it may have started too late to hear a leader that lives.
    quiet_until: Instant,
    promised: Option<Ballot>,
    heard: Option<(Ballot, Instant)>,
    resigned: Option<Ballot>,
}

impl Witness {
    /// A witness that knows nothing. It waits one timeout before it says *not led*, because a
    /// leader may be alive whose heartbeat it has not heard yet.
    #[must_use]
    pub fn new(now: Instant, timeout: Duration) -> Self {
        Self { timeout, quiet_until: now + timeout, promised: None, heard: None, resigned: None }
    }

    /// Waits for `timeout` from now on. A leader that was in time by the old one is by this too.
    pub fn set_timeout(&mut self, now: Instant, timeout: Duration) {
        // Only then: settings that come again and again must not keep a leader that is silent.
        if timeout < self.timeout
            && let Some((_, at)) = &mut self.heard
            && now.since(*at) <= self.timeout
        {
            *at = now;
        }
        self.timeout = timeout;
        self.quiet_until = self.quiet_until.min(now + timeout);
    }

    /// The acceptor's durable promise is at least this.
    pub fn on_promise(&mut self, ballot: Ballot) {
        self.promised = self.promised.max(Some(ballot));
    }

    /// A leader says that it lives.
    pub fn on_heartbeat(&mut self, now: Instant, ballot: Ballot) {
        // A higher ballot whose holder has fallen silent must not hide the leader that speaks.
        let is_better =
            |(heard, at): (Ballot, Instant)| ballot >= heard || now.since(at) > self.timeout;
        if self.heard.is_none_or(is_better) {
            self.heard = Some((ballot, now));
        }
    }

    /// The leader of `ballot` leaves.
    pub fn on_resign(&mut self, ballot: Ballot) {
        self.resigned = self.resigned.max(Some(ballot));
    }

    /// The link from `node` is broken: if it led, it is not heard any more.
    pub fn on_link_down(&mut self, node: NodeId) {
        if self.heard.is_some_and(|(ballot, _)| ballot.proposer.node() == node) {
            self.heard = None;
        }
    }

    /// The ballot of the leader it hears.
    #[must_use]
    pub fn leader(&self, now: Instant) -> Option<Ballot> {
        let (ballot, at) = self.heard?;
        let is_fresh = now.since(at) <= self.timeout;
        let is_current = Some(ballot) >= self.promised && Some(ballot) > self.resigned;
        (is_fresh && is_current).then_some(ballot)
    }

    /// Whether a proposer that asks should keep waiting.
    #[must_use]
    pub fn is_led(&self, now: Instant) -> bool {
        self.leader(now).is_some() || now < self.quiet_until
    }

    /// The highest ballot it knows to be promised.
    #[must_use]
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, ProposerId};

    #[test]
    fn a_longer_timeout_brings_the_silence_of_a_start_not_back() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut witness = Witness::new(at(0), Duration::from_millis(300));
        assert!(!witness.is_led(at(60_000)));
        witness.set_timeout(at(60_000), Duration::from_secs(120));
        assert!(!witness.is_led(at(60_001)));
    }

    #[test]
    fn the_same_settings_again_and_again_keep_no_silent_leader() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let timeout = Duration::from_millis(300);
        let mut witness = Witness::new(at(0), timeout);
        witness.on_heartbeat(at(1_000), Ballot::from_proposal_number(501).unwrap());
        for ms in [1_100, 1_200, 1_300] {
            witness.set_timeout(at(ms), timeout);
        }
        assert!(witness.is_led(at(1_300)) && !witness.is_led(at(1_301)));
    }

    const TIMEOUT: Duration = Duration::from_millis(300);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn ballot(round: u64) -> Ballot {
        let proposer = ProposerId(NodeId::new(1).unwrap());
        Ballot { round, proposer, incarnation: Incarnation(1) }
    }

    fn settled() -> Witness {
        Witness::new(at(0), TIMEOUT)
    }

    #[test]
    fn after_a_start_it_waits_one_timeout() {
        let witness = settled();
        assert!(witness.is_led(at(299)));
        assert!(!witness.is_led(at(300)));
    }

    #[test]
    fn a_heartbeat_counts_for_one_timeout() {
        let mut witness = settled();
        witness.on_heartbeat(at(1000), ballot(5));
        assert!(witness.is_led(at(1300)));
        assert!(!witness.is_led(at(1301)));
    }

    #[test]
    fn a_shorter_timeout_deposes_nobody_who_was_in_time() {
        let mut witness = settled();
        witness.on_heartbeat(at(1000), ballot(5));
        witness.set_timeout(at(1290), TIMEOUT / 3);
        assert!(witness.is_led(at(1390)));
        assert!(!witness.is_led(at(1391)));
        witness.on_heartbeat(at(2000), ballot(5));
        witness.set_timeout(at(2101), TIMEOUT);
        assert!(witness.is_led(at(2300)));
        assert!(!witness.is_led(at(2301)));
    }

    #[test]
    fn a_heartbeat_below_the_promise_does_not_count() {
        let mut witness = settled();
        witness.on_promise(ballot(6));
        witness.on_heartbeat(at(1000), ballot(5));
        assert!(!witness.is_led(at(1000)));
    }

    #[test]
    fn a_leader_is_heard_again_when_a_higher_ballot_has_fallen_silent() {
        let mut witness = settled();
        witness.on_heartbeat(at(1000), ballot(6));
        witness.on_heartbeat(at(1300), ballot(5));
        assert_eq!(witness.leader(at(1300)), Some(ballot(6)));
        witness.on_heartbeat(at(1301), ballot(5));
        assert_eq!(witness.leader(at(1301)), Some(ballot(5)));
    }

    #[test]
    fn a_leader_that_resigned_is_not_heard() {
        let mut witness = settled();
        witness.on_heartbeat(at(1000), ballot(5));
        witness.on_resign(ballot(5));
        witness.on_heartbeat(at(1001), ballot(5));
        assert!(!witness.is_led(at(1001)));
        witness.on_heartbeat(at(1002), ballot(6));
        assert!(witness.is_led(at(1002)));
    }

    #[test]
    fn a_leader_whose_link_broke_is_not_heard() {
        let mut witness = settled();
        witness.on_heartbeat(at(1000), ballot(5));
        witness.on_link_down(NodeId::new(2).unwrap());
        assert!(witness.is_led(at(1000)));
        witness.on_link_down(NodeId::new(1).unwrap());
        assert!(!witness.is_led(at(1000)));
    }
}
