//! Ballots: totally ordered, and never used twice.

use std::fmt;

use super::{NodeId, ProposerId};

/// A number drawn at each start of a proposer. It makes the reuse of a ballot impossible although
/// proposers keep no disk. 0 marks a ballot that a person wrote by hand over HTTP; no node draws
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u64);

/// The number of a proposal (Paxos Made Simple §2.2: "different proposals have different numbers").
///
/// The order of the fields is the order of ballots. Shown to people as
/// `round * 100 + proposer`, the seed's `proposal_number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Starts from the clock in milliseconds and only ever rises.
    pub round: u64,
    /// Whose ballot it is; two proposers never share one.
    pub proposer: ProposerId,
    /// Which start of that proposer; two lives of a proposer never share one.
    pub incarnation: Incarnation,
}

/// A `proposal_number` whose two last digits name no node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("proposal number {0} does not end in a proposer id from 01 to 99")]
pub struct ParseBallotError(pub u64);

impl Ballot {
    /// The highest round whose `proposal_number` still fits in 64 bits.
    pub const ROUND_MAX: u64 = u64::MAX / 100 - 1;

    /// The number shown to people: `round * 100 + proposer`.
    #[must_use]
    pub fn proposal_number(self) -> u64 {
        self.round.saturating_mul(100).saturating_add(u64::from(self.proposer.node().get()))
    }

    /// The ballot a person means by `number`: with incarnation 0, which no node uses.
    ///
    /// # Errors
    /// When the two last digits are 00.
    pub fn from_proposal_number(number: u64) -> Result<Self, ParseBallotError> {
        let proposer = NodeId::new(number % 100).map_err(|_| ParseBallotError(number))?;
        Ok(Self {
            round: number / 100,
            proposer: ProposerId(proposer),
            incarnation: Incarnation(0),
        })
    }

    /// Whether a person wrote it by hand.
    #[must_use]
    pub const fn is_manual(self) -> bool {
        self.incarnation.0 == 0
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.proposal_number().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(round: u64, proposer: u64, incarnation: u64) -> Ballot {
        Ballot {
            round,
            proposer: ProposerId(NodeId::new(proposer).unwrap()),
            incarnation: Incarnation(incarnation),
        }
    }

    #[test]
    fn ballots_are_ordered_by_round_then_proposer_then_incarnation() {
        assert!(ballot(2, 1, 0) > ballot(1, 99, 9));
        assert!(ballot(2, 2, 0) > ballot(2, 1, 9));
        assert!(ballot(2, 2, 2) > ballot(2, 2, 1));
    }

    #[test]
    fn a_proposal_number_is_the_round_and_the_proposer() {
        assert_eq!(ballot(17, 3, 5).proposal_number(), 1703);
        assert_eq!(Ballot::from_proposal_number(1703), Ok(ballot(17, 3, 0)));
        assert_eq!(Ballot::from_proposal_number(1700), Err(ParseBallotError(1700)));
    }
}
