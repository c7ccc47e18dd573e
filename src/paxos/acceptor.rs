//! The acceptor: a function from a request to one reply, which leaves only when it is durable.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{
    AcceptorId, Ballot, Batch, Bug, Epoch, EpochDigest, LearnerId, NodeId, Slot, StorageId, planted,
};

use super::journal::Pending;
use super::message::{Accepted, Identity, Refusal, ToAcceptor, Vote};
use super::record::{Record, Summary};

/// What an acceptor is told at birth.
#[derive(Debug, Clone)]
pub struct AcceptorConfig {
    /// Its id.
    pub me: AcceptorId,
    /// The cluster's name.
    pub cluster: String,
    /// The identity of its directory.
    pub storage: StorageId,
    /// Bytes of accepted values in one page of a promise; at least one value always fits.
    pub page_bytes: usize,
    /// How many slots beyond the highest known one it accepts.
    pub accept_window_slots: u64,
    /// How many slots the learners must be ahead of `trimmed_slot` before it trims again.
    pub trim_slots: u64,
}

/// A message to the acceptor, with its sender.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub from: NodeId,
    /// The epoch that the sender counts by.
    pub epoch: Option<EpochDigest>,
    /// What is asked.
    pub message: ToAcceptor,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Identify` and `Form`.
    Identity(Identity),
    /// Phase 1b; the fields are those of [`super::message::ToProposer::Promise`].
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// Where the page begins.
        from_slot: Slot,
        /// Accepted proposals of the page.
        accepted: Vec<Accepted>,
        /// Where the next page begins.
        next_slot: Option<Slot>,
        /// Chosen and forgotten through this slot.
        trimmed_slot: Slot,
    },
    /// Phase 2b, for the proposer and for the learners.
    Vote {
        /// The vote.
        vote: Vote,
        /// The one learner that counts it; all do where it is absent.
        learner: Option<LearnerId>,
    },
    /// A refused prepare, or accept where a slot is named.
    Nack {
        /// The ballot refused.
        ballot: Ballot,
        /// The slot refused.
        slot: Option<Slot>,
        /// Why.
        refusal: Refusal,
    },
    /// To `Mark`.
    Mark {
        /// The request's number.
        nonce: u64,
        /// The highest slot with a durable vote, or trimmed.
        slot: Slot,
    },
    /// To `Fetch`.
    Votes {
        /// Where the page begins.
        from_slot: Slot,
        /// The votes.
        votes: Vec<Accepted>,
        /// Where the next page begins.
        next_slot: Option<Slot>,
        /// Chosen and forgotten through this slot.
        trimmed_slot: Slot,
    },
    /// A watermark was noted; `trimmed` when it let the acceptor forget slots.
    Noted {
        /// Through which slot it has forgotten.
        trimmed: Option<Slot>,
    },
    /// The sender counts by another epoch, or this acceptor by none. Nothing was done.
    OtherEpoch,
}

/// Where an acceptor stands toward the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In no epoch yet: the cluster is being formed.
    Unformed,
    /// It votes under this epoch.
    Member(EpochDigest),
    /// The cluster was formed with another directory of this acceptor: this one does not vote.
    Stranger(EpochDigest),
}

#[derive(Debug, Clone)]
struct Membership {
    epoch: Epoch,
    digest: EpochDigest,
    active: bool,
}

/// The acceptor of Paxos Made Simple §2.2, for all slots at once. What it has promised and
/// voted changes in `step` and in `replay` only.
#[derive(Debug, Clone)]
pub struct Acceptor {
    config: AcceptorConfig,
    membership: Option<Membership>,
    stranger_to: Option<EpochDigest>,
    promised: Option<Ballot>,
    votes: BTreeMap<Slot, Accepted>,
    highest_voted: Slot,
    trimmed: Slot,
    durable: BTreeMap<LearnerId, (StorageId, Slot)>,
    /// Whether the journal has whole segments to give back.
    is_long: bool,
}

/// From this many segments on everything that can be trimmed is, however little it is.
const SEGMENTS_LONG: usize = 3;

impl Acceptor {
    /// An acceptor without a past.
    #[must_use]
    pub fn new(config: AcceptorConfig) -> Self {
        Self {
            config,
            membership: None,
            stranger_to: None,
            promised: None,
            votes: BTreeMap::new(),
            highest_voted: Slot::ZERO,
            trimmed: Slot::ZERO,
            durable: BTreeMap::new(),
            is_long: false,
        }
    }

    /// Takes pages and windows of another size from now on. A promise and a vote never ask for
    /// either, so nothing that was said depends on them.
    pub(super) fn set_limits(&mut self, page_bytes: usize, accept_window_slots: u64) {
        self.config.page_bytes = page_bytes;
        self.config.accept_window_slots = accept_window_slots;
    }

    /// The highest ballot promised.
    #[must_use]
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// The highest slot it ever voted in.
    #[must_use]
    pub fn highest_voted(&self) -> Slot {
        self.highest_voted
    }

    /// Slots through this one were chosen and forgotten.
    #[must_use]
    pub fn trimmed_slot(&self) -> Slot {
        self.trimmed
    }

    /// Its vote in the highest slot, if that is not trimmed.
    #[must_use]
    pub fn newest_vote(&self) -> Option<&Accepted> {
        self.votes.values().next_back()
    }

    /// Its vote in `slot`, if it has voted there and not trimmed it.
    #[must_use]
    pub fn vote_in(&self, slot: Slot) -> Option<&Accepted> {
        self.votes.get(&slot)
    }

    /// The epoch that it joined.
    #[must_use]
    pub fn formed(&self) -> Option<&Epoch> {
        self.membership.as_ref().map(|membership| &membership.epoch)
    }

    /// Where it stands toward the epoch.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.membership, self.stranger_to) {
            (Some(membership), _) => Standing::Member(membership.digest),
            (None, Some(digest)) => Standing::Stranger(digest),
            (None, None) => Standing::Unformed,
        }
    }

    /// The epoch's learners that lack more slots than a trim waits for, or most of those that this
    /// acceptor holds: those that keep the journal from shrinking.
    #[must_use]
    pub fn lagging_learners(&self) -> BTreeSet<LearnerId> {
        let Some(membership) = &self.membership else { return BTreeSet::new() };
        let held = self.highest_voted.beyond(self.trimmed);
        let most = self.config.trim_slots.min(held / 2);
        membership
            .epoch
            .learners
            .iter()
            .copied()
            .filter(|learner| {
                let through = self.durable.get(learner).map_or(Slot::ZERO, |&(_, slot)| slot);
                self.highest_voted.beyond(through) > most
            })
            .collect()
    }

    /// What a journal segment opens with.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::Acceptor {
            storage: self.config.storage,
            promised: self.promised,
            trimmed_slot: self.trimmed,
            highest_voted: self.highest_voted,
            epoch: self.membership.as_ref().map(|m| (m.epoch.clone(), m.active)),
        }
    }

    /// How many segments its journal has now.
    pub(super) fn on_journal(&mut self, segments: usize) {
        self.is_long = segments >= SEGMENTS_LONG;
    }

    /// Answers one request. The state has changed when this returns, the reply is sealed until the
    /// journal has its record; a positive answer carries its record also when it repeats one.
    pub(super) fn step(&mut self, request: &Request) -> Pending<Reply> {
        match &request.message {
            ToAcceptor::Identify => Pending::in_order(Reply::Identity(self.identity())),
            ToAcceptor::Form { epoch } => self.on_form(epoch),
            ToAcceptor::Prepare { .. }
            | ToAcceptor::Accept { .. }
            | ToAcceptor::Mark { .. }
            | ToAcceptor::Fetch { .. }
            | ToAcceptor::Durable { .. }
                if !self.shares_epoch(request.epoch) =>
            {
                Pending::in_order(Reply::OtherEpoch)
            }
            ToAcceptor::Prepare { ballot, from_slot } => self.on_prepare(*ballot, *from_slot),
            ToAcceptor::Accept { ballot, slot, first_unchosen, learner, batch } => {
                self.on_accept(*ballot, *slot, *first_unchosen, *learner, batch)
            }
            ToAcceptor::Mark { nonce } => {
                Pending::in_order(Reply::Mark { nonce: *nonce, slot: self.mark() })
            }
            ToAcceptor::Fetch { from_slot } => {
                let (votes, next_slot) = self.page(*from_slot);
                Pending::in_order(Reply::Votes {
                    from_slot: *from_slot,
                    votes,
                    next_slot,
                    trimmed_slot: self.trimmed,
                })
            }
            ToAcceptor::Durable { learner, storage, slot } => {
                self.on_durable(*learner, *storage, *slot)
            }
        }
    }

    /// Takes back one record of the journal. A summary tells the state after the batch that it
    /// opens, so records that follow it may be older: the highest counts.
    ///
    /// # Errors
    /// When the record is not this acceptor's: of another directory, epoch or role.
    pub(super) fn replay(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Summary(Summary::Acceptor {
                storage,
                promised,
                trimmed_slot,
                highest_voted,
                epoch,
            }) => {
                check(storage == self.config.storage, "it belongs to another directory")?;
                if let Some((epoch, active)) = epoch {
                    self.rejoin(epoch, active)?;
                }
                self.promised = self.promised.max(promised);
                self.highest_voted = self.highest_voted.max(highest_voted);
                self.forget_through(trimmed_slot.max(self.trimmed));
            }
            Record::Epoch { epoch, active } => self.rejoin(epoch, active)?,
            Record::Promise { .. } if planted(Bug::ForgetPromise) => {}
            Record::Promise { ballot } => {
                self.raise_promise(self.promised.map_or(ballot, |promised| promised.max(ballot)));
            }
            Record::Vote { ballot, slot, batch } => {
                self.raise_promise(self.promised.map_or(ballot, |promised| promised.max(ballot)));
                self.highest_voted = self.highest_voted.max(slot);
                if slot > self.trimmed {
                    self.votes.insert(slot, Accepted { slot, ballot, batch });
                }
            }
            Record::Trim { .. } if planted(Bug::ForgetTrim) => {}
            Record::Trim { slot } => self.forget_through(slot.max(self.trimmed)),
            Record::Summary(Summary::Learner { .. }) | Record::Entry { .. } => {
                return Err("it holds a learner's record".to_owned());
            }
        }
        Ok(())
    }

    fn rejoin(&mut self, epoch: Epoch, active: bool) -> Result<(), String> {
        let same = self.membership.as_ref().is_none_or(|joined| joined.epoch == epoch);
        check(same, "it names two epochs")?;
        self.join(epoch, active);
        Ok(())
    }

    fn identity(&self) -> Identity {
        Identity {
            acceptor: self.config.me,
            storage: self.config.storage,
            epoch: self.membership.as_ref().map(|m| m.epoch.clone()),
            active: self.membership.as_ref().is_some_and(|m| m.active),
        }
    }

    fn shares_epoch(&self, digest: Option<EpochDigest>) -> bool {
        self.membership.as_ref().is_some_and(|m| Some(m.digest) == digest)
    }

    /// The highest slot with a vote, or trimmed.
    fn mark(&self) -> Slot {
        let voted = if planted(Bug::MarkBelowNewestVote) {
            self.highest_voted.previous()
        } else {
            self.highest_voted
        };
        voted.max(self.trimmed)
    }

    fn on_form(&mut self, epoch: &Epoch) -> Pending<Reply> {
        let mine = epoch.acceptors.get(&self.config.me) == Some(&self.config.storage)
            || planted(Bug::WipedVotes);
        if epoch.cluster != self.config.cluster || !mine {
            self.stranger_to = Some(epoch.digest());
            return Pending::in_order(Reply::Identity(self.identity()));
        }
        if self.membership.is_none() {
            self.join(epoch.clone(), false);
        }
        match &self.membership {
            Some(joined) if joined.epoch == *epoch => Pending::after(
                Record::Epoch { epoch: epoch.clone(), active: joined.active },
                Reply::Identity(self.identity()),
            ),
            _ => Pending::in_order(Reply::Identity(self.identity())),
        }
    }

    fn on_prepare(&mut self, ballot: Ballot, from_slot: Slot) -> Pending<Reply> {
        if let Some(promised) = self.promised
            && ballot < promised
        {
            return nack(ballot, None, Refusal::Promised(promised));
        }
        self.raise_promise(ballot);
        let (accepted, next_slot) = self.page(from_slot);
        Pending::after(
            Record::Promise { ballot },
            Reply::Promise { ballot, from_slot, accepted, next_slot, trimmed_slot: self.trimmed },
        )
    }

    fn on_accept(
        &mut self,
        ballot: Ballot,
        slot: Slot,
        first_unchosen: Slot,
        learner: Option<LearnerId>,
        batch: &Batch,
    ) -> Pending<Reply> {
        if let Some(refusal) = self.refuses(ballot, slot, first_unchosen, batch) {
            return nack(ballot, Some(slot), refusal);
        }
        self.vote(Accepted { slot, ballot, batch: batch.clone() });
        assert!(self.promised == Some(ballot), "an accept raises the promise");
        let vote = Vote { acceptor: self.config.me, slot, ballot, digest: batch.digest() };
        Pending::after(
            Record::Vote { ballot, slot, batch: batch.clone() },
            Reply::Vote { vote, learner },
        )
    }

    fn refuses(
        &self,
        ballot: Ballot,
        slot: Slot,
        first_unchosen: Slot,
        batch: &Batch,
    ) -> Option<Refusal> {
        if let Some(promised) = self.promised
            && ballot < promised
            && !planted(Bug::AcceptBelowPromise)
        {
            return Some(Refusal::Promised(promised));
        }
        if ballot.is_manual() && self.promised != Some(ballot) {
            return Some(Refusal::NotPromised);
        }
        if slot <= self.trimmed {
            return Some(Refusal::Trimmed(self.trimmed));
        }
        // What the leader knows to be chosen lets an acceptor that was away take part at once.
        let known = if ballot.is_manual() { Slot::ZERO } else { first_unchosen };
        let limit = self.highest_voted.max(self.trimmed).max(known);
        let limit = limit.plus(self.config.accept_window_slots);
        if slot > limit {
            return Some(Refusal::BeyondWindow(limit));
        }
        match self.votes.get(&slot) {
            Some(vote) if vote.ballot == ballot && vote.batch != *batch => {
                Some(Refusal::OtherValue)
            }
            _ => None,
        }
    }

    fn on_durable(&mut self, learner: LearnerId, storage: StorageId, slot: Slot) -> Pending<Reply> {
        self.durable.insert(learner, (storage, slot));
        let through = self.majority_durable();
        // A few slots of large batches can fill a journal: it must not wait for many of them.
        let step = if self.is_long { 1 } else { self.config.trim_slots.max(1) };
        if through.beyond(self.trimmed) < step {
            return Pending::in_order(Reply::Noted { trimmed: None });
        }
        self.forget_through(through);
        Pending::after(Record::Trim { slot: through }, Reply::Noted { trimmed: Some(through) })
    }

    /// The highest slot that a majority of the epoch's learners has on disk.
    fn majority_durable(&self) -> Slot {
        let Some(membership) = &self.membership else { return Slot::ZERO };
        let mut slots: Vec<Slot> = membership
            .epoch
            .learners
            .iter()
            .map(|learner| self.durable.get(learner).map_or(Slot::ZERO, |&(_, slot)| slot))
            .collect();
        slots.sort_unstable_by(|a, b| b.cmp(a));
        let last = membership.epoch.learner_majority() - 1;
        let last = if planted(Bug::TrimWhatOneHolds) { 0 } else { last };
        slots.get(last).copied().unwrap_or(Slot::ZERO)
    }

    fn join(&mut self, epoch: Epoch, active: bool) {
        if let Some(joined) = &self.membership {
            assert!(joined.epoch == epoch, "an acceptor joins one epoch only");
        }
        let active = active || self.membership.as_ref().is_some_and(|m| m.active);
        self.membership = Some(Membership { digest: epoch.digest(), epoch, active });
        self.stranger_to = None;
    }

    fn raise_promise(&mut self, ballot: Ballot) {
        assert!(Some(ballot) >= self.promised, "promises only rise");
        self.promised = Some(ballot);
        // A proposer prepares only under an epoch that every acceptor has joined, so from its
        // first promise on an acceptor can vouch for the epoch.
        if let Some(membership) = &mut self.membership {
            membership.active = true;
        }
    }

    fn vote(&mut self, accepted: Accepted) {
        if !planted(Bug::AcceptWithoutPromise) {
            self.raise_promise(accepted.ballot);
        }
        self.highest_voted = self.highest_voted.max(accepted.slot);
        self.votes.insert(accepted.slot, accepted);
    }

    fn forget_through(&mut self, slot: Slot) {
        assert!(slot >= self.trimmed, "trimmed slots only rise");
        self.trimmed = slot;
        let kept = if planted(Bug::TrimOneTooMany) { slot.plus(2) } else { slot.next() };
        self.votes = self.votes.split_off(&kept);
    }

    fn page(&self, from_slot: Slot) -> (Vec<Accepted>, Option<Slot>) {
        let mut page: Vec<Accepted> = Vec::new();
        let mut bytes = 0;
        for (slot, accepted) in self.votes.range(from_slot..) {
            if bytes + accepted.batch.len() > self.config.page_bytes && !page.is_empty() {
                let is_last = planted(Bug::EndAfterOnePage);
                return (page, (!is_last).then_some(*slot));
            }
            // What a vote costs beside its value, so that pages of no-ops are bounded as well.
            bytes += accepted.batch.len() + 64;
            page.push(accepted.clone());
        }
        (page, None)
    }
}

fn check(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn nack(ballot: Ballot, slot: Option<Slot>, refusal: Refusal) -> Pending<Reply> {
    if let Refusal::Promised(promised) = refusal {
        assert!(promised > ballot, "a refusal names a higher ballot");
    }
    Pending::in_order(Reply::Nack { ballot, slot, refusal })
}
