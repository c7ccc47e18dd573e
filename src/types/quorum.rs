//! Quorums that are known to intersect, and the counting of votes toward them.

use std::collections::BTreeSet;

use super::{AcceptorId, Bug, planted};

/// How many of which acceptors decide. It exists only if every phase-1 set meets every phase-2 set
/// (Flexible Paxos §3, which Paxos Made Simple §2.2 P2c needs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    acceptors: BTreeSet<AcceptorId>,
    phase1: usize,
    phase2: usize,
}

/// A quorum that would not be safe, or could never be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Nobody to ask.
    #[error("a quorum needs at least one acceptor")]
    NoAcceptors,
    /// More answers asked for than there are acceptors, or none.
    #[error("quorum sizes {phase1} and {phase2} do not fit {acceptors} acceptors")]
    Impossible {
        /// Answers wanted in phase 1.
        phase1: usize,
        /// Answers wanted in phase 2.
        phase2: usize,
        /// Acceptors there are.
        acceptors: usize,
    },
    /// A phase-1 set and a phase-2 set without a common member exist.
    #[error("quorums of {phase1} and {phase2} among {acceptors} acceptors need not meet")]
    Disjoint {
        /// Answers wanted in phase 1.
        phase1: usize,
        /// Answers wanted in phase 2.
        phase2: usize,
        /// Acceptors there are.
        acceptors: usize,
    },
}

impl Quorum {
    /// A quorum of `phase1` promises and of `phase2` votes among `acceptors`.
    ///
    /// # Errors
    /// When two such sets need not intersect, or cannot be had.
    pub fn new(
        acceptors: BTreeSet<AcceptorId>,
        phase1: usize,
        phase2: usize,
    ) -> Result<Self, QuorumError> {
        let count = acceptors.len();
        if count == 0 {
            return Err(QuorumError::NoAcceptors);
        }
        if !(1..=count).contains(&phase1) || !(1..=count).contains(&phase2) {
            return Err(QuorumError::Impossible { phase1, phase2, acceptors: count });
        }
        if phase1 + phase2 <= count {
            return Err(QuorumError::Disjoint { phase1, phase2, acceptors: count });
        }
        Ok(Self { acceptors, phase1, phase2 })
    }

    /// A simple majority for both phases.
    ///
    /// # Errors
    /// When `acceptors` is empty.
    pub fn majority(acceptors: BTreeSet<AcceptorId>) -> Result<Self, QuorumError> {
        let most = acceptors.len() / 2 + 1;
        if planted(Bug::HalfIsQuorum) {
            let half = acceptors.len().div_ceil(2);
            return Ok(Self { acceptors, phase1: half, phase2: half });
        }
        Self::new(acceptors, most, most)
    }

    /// The acceptors that count.
    #[must_use]
    pub fn acceptors(&self) -> &BTreeSet<AcceptorId> {
        &self.acceptors
    }

    /// Answers that phase 1 and a linearizable read need.
    #[must_use]
    pub fn phase1(&self) -> usize {
        self.phase1
    }

    /// Votes that make a value chosen.
    #[must_use]
    pub fn phase2(&self) -> usize {
        self.phase2
    }

    /// Whether `tally` is enough for phase 1.
    #[must_use]
    pub fn is_phase1(&self, tally: &Tally) -> bool {
        tally.count(self) >= self.phase1
    }

    /// Whether `tally` is enough for phase 2.
    #[must_use]
    pub fn is_phase2(&self, tally: &Tally) -> bool {
        tally.count(self) >= self.phase2
    }
}

/// Who has answered, each counted once. Acceptors outside of the quorum may be noted; they never
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally(u128);

impl Tally {
    /// Notes the answer of `acceptor`; whether it was its first.
    pub fn insert(&mut self, acceptor: AcceptorId) -> bool {
        let bit = 1_u128 << acceptor.node().get();
        let first = self.0 & bit == 0;
        self.0 |= bit;
        if !first && planted(Bug::CountTwice) {
            self.0 |= bit << 1;
        }
        first
    }

    /// Whether `acceptor` has answered.
    #[must_use]
    pub fn contains(self, acceptor: AcceptorId) -> bool {
        self.0 & (1_u128 << acceptor.node().get()) != 0
    }

    fn count(self, quorum: &Quorum) -> usize {
        quorum.acceptors.iter().filter(|&&acceptor| self.contains(acceptor)).count()
    }
}

impl FromIterator<AcceptorId> for Tally {
    fn from_iter<I: IntoIterator<Item = AcceptorId>>(acceptors: I) -> Self {
        let mut tally = Self::default();
        for acceptor in acceptors {
            tally.insert(acceptor);
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn acceptor(id: u64) -> AcceptorId {
        AcceptorId(NodeId::new(id).unwrap())
    }

    fn acceptors(count: u64) -> BTreeSet<AcceptorId> {
        (1..=count).map(acceptor).collect()
    }

    #[test]
    fn sets_that_need_not_meet_are_no_quorum() {
        assert_eq!(
            Quorum::new(acceptors(4), 2, 2),
            Err(QuorumError::Disjoint { phase1: 2, phase2: 2, acceptors: 4 })
        );
        assert!(Quorum::new(acceptors(4), 3, 2).is_ok());
        assert_eq!(Quorum::majority(BTreeSet::new()), Err(QuorumError::NoAcceptors));
    }

    #[test]
    fn a_vote_counts_once_and_a_stranger_never() {
        let quorum = Quorum::majority(acceptors(3)).unwrap();
        let mut tally = Tally::default();
        assert!(tally.insert(acceptor(1)));
        assert!(!tally.insert(acceptor(1)));
        tally.insert(acceptor(99));
        assert!(!quorum.is_phase2(&tally));
        tally.insert(acceptor(3));
        assert!(quorum.is_phase2(&tally));
    }
}
