//! Votes, counted per (slot, ballot, acceptor), once; and the values they name.

use std::collections::BTreeMap;

use crate::types::{Ballot, Batch, BatchDigest, Bug, Quorum, Slot, Tally, planted};

use crate::paxos::message::{Accepted, Vote};

#[derive(Debug, Default)]
struct Proposal {
    digest: Option<BatchDigest>,
    votes: Tally,
    batch: Option<Batch>,
    /// Its leader has counted a quorum.
    is_chosen: bool,
}

/// The votes and values of slots that are not delivered yet.
#[derive(Debug, Default)]
pub(super) struct Votes {
    slots: BTreeMap<Slot, BTreeMap<Ballot, Proposal>>,
}

impl Votes {
    /// Counts a vote; one that names another value than the first of its ballot is not counted.
    pub(super) fn count(&mut self, vote: Vote) {
        let proposal = self.proposal(vote.slot, vote.ballot);
        if *proposal.digest.get_or_insert(vote.digest) == vote.digest {
            proposal.votes.insert(vote.acceptor);
        }
    }

    /// Keeps the value of a proposal, without a vote.
    pub(super) fn keep(&mut self, accepted: Accepted) {
        let proposal = self.proposal(accepted.slot, accepted.ballot);
        if proposal.batch.is_none() {
            proposal.batch = Some(accepted.batch);
        }
    }

    /// Takes the word of a leader, which has counted a quorum of votes for this.
    pub(super) fn choose(&mut self, accepted: Accepted) {
        let proposal = self.proposal(accepted.slot, accepted.ballot);
        proposal.batch = Some(accepted.batch);
        proposal.is_chosen = true;
    }

    /// The batch chosen for `slot`, if a quorum voted for it at one ballot, here or as its leader
    /// counted, and its value is here.
    /// It is taken out, and everything else about the slot is forgotten.
    pub(super) fn take_chosen(&mut self, slot: Slot, quorum: &Quorum) -> Option<(Ballot, Batch)> {
        let proposals = self.slots.get_mut(&slot)?;
        if let Some((&ballot, told)) = proposals.iter_mut().find(|(_, it)| it.is_chosen) {
            let batch = told.batch.take();
            self.slots.remove(&slot);
            return batch.map(|batch| (ballot, batch));
        }
        let (&ballot, chosen) =
            proposals.iter().find(|(_, proposal)| quorum.is_phase2(&proposal.votes))?;
        let digest = chosen.digest?;
        // Its voters may have accepted the same value again at a higher ballot by now, and tell it
        // under that one.
        let batch = proposals
            .values()
            .filter_map(|proposal| proposal.batch.as_ref())
            .find(|batch| batch.digest() == digest || planted(Bug::SkipDigest))
            .cloned();
        if batch.is_none() {
            // Not the value that was voted for: the right one is fetched from a voter.
            for proposal in proposals.values_mut().filter(|it| it.digest == Some(digest)) {
                proposal.batch = None;
            }
        }
        let batch = batch?;
        self.slots.remove(&slot);
        Some((ballot, batch))
    }

    /// Forgets everything through `slot`.
    pub(super) fn forget_through(&mut self, slot: Slot) {
        self.slots = self.slots.split_off(&slot.next());
    }

    fn proposal(&mut self, slot: Slot, ballot: Ballot) -> &mut Proposal {
        let proposals = self.slots.entry(slot).or_default();
        let first = proposals.keys().next().copied().filter(|_| planted(Bug::MixBallots));
        proposals.entry(first.unwrap_or(ballot)).or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;

    use super::*;
    use crate::types::{AcceptorId, Incarnation, NodeId, ProposerId};

    #[test]
    fn a_value_is_taken_from_a_higher_ballot_at_which_it_was_accepted_again() {
        let (first, second) = (ballot(1), ballot(2));
        let batch = Batch::from_bytes(Bytes::from_static(b"value"));
        let mut votes = Votes::default();
        for id in [1, 2] {
            votes.count(vote(id, first, batch.digest()));
        }
        // Its value was lost on the way, and nobody holds it under that ballot any more.
        assert_eq!(votes.take_chosen(Slot::FIRST, &quorum()), None);
        votes.count(vote(1, second, batch.digest()));
        votes.keep(Accepted { slot: Slot::FIRST, ballot: second, batch: batch.clone() });
        assert_eq!(votes.take_chosen(Slot::FIRST, &quorum()), Some((first, batch)));
    }

    fn acceptor(id: u64) -> AcceptorId {
        AcceptorId(NodeId::new(id).unwrap())
    }

    fn ballot(round: u64) -> Ballot {
        let proposer = ProposerId(NodeId::new(9).unwrap());
        Ballot { round, proposer, incarnation: Incarnation(1) }
    }

    fn quorum() -> Quorum {
        Quorum::majority(BTreeSet::from([1, 2, 3].map(acceptor))).unwrap()
    }

    fn vote(id: u64, ballot: Ballot, digest: BatchDigest) -> Vote {
        Vote { acceptor: acceptor(id), slot: Slot::FIRST, ballot, digest }
    }
}
