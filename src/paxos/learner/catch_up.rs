//! Fetching what is missing: from the acceptors, or from another learner; and asking the leader to
//! settle what nobody can tell.

use std::collections::BTreeMap;

use crate::types::{AcceptorId, Bug, Instant, LearnerId, Slot, planted};

use super::{
    Accepted, Effect, Event, Learner, LearnerSettings, Outbound, ToAcceptor, ToLearner, ToProposer,
    deliver_one, note_checkpoint, tell,
};
use crate::paxos::message::Vote;

/// So often the pause between two questions to the leader is doubled.
const FILLS_DOUBLED: u32 = 3;

/// What this learner lacks, and what it does about it.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// The highest slot it has heard of.
    pub(super) target: Slot,
    /// Since when the next slot has been missing.
    stuck_since: Instant,
    fetch_at: Instant,
    fill_at: Instant,
    /// The acceptors have forgotten the slots through this one: they were chosen, and are with the
    /// other learners.
    trimmed: Slot,
    /// How many times it was fetched since the last progress.
    attempts: usize,
    /// How many times a learner was asked, ever: each in turn, whatever the one before had, or two
    /// that lack the same would feed each other and never ask who has it.
    learners_asked: usize,
    /// How many times the leader was asked to settle it since then.
    fills: u32,
}

impl CatchUp {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            target: Slot::ZERO,
            stuck_since: now,
            fetch_at: now,
            fill_at: now,
            trimmed: Slot::ZERO,
            attempts: 0,
            learners_asked: 0,
            fills: 0,
        }
    }

    pub(super) fn aim(&mut self, slot: Slot) {
        self.target = self.target.max(slot);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.fetch_at.min(self.fill_at)
    }

    /// Something is missing from now on. It may well be on its way.
    pub(super) fn on_lag(&mut self, now: Instant, settings: &LearnerSettings) {
        self.stuck_since = now;
        self.fetch_at = now + settings.gap;
        self.fill_at = now + settings.fill_after;
    }

    /// Nothing is asked later than `settings` would have it from now on.
    pub(super) fn hasten(&mut self, now: Instant, settings: &LearnerSettings) {
        self.fetch_at = self.fetch_at.min(now + settings.gap.max(settings.resend));
        self.fill_at = self.fill_at.min(now + settings.fill_after);
    }

    pub(super) fn on_progress(&mut self, now: Instant) {
        self.stuck_since = now;
        self.attempts = 0;
        self.fills = 0;
        self.fill_at = self.fill_at.min(now);
    }
}

impl Learner {
    /// The highest slot it has heard of, where that is not delivered yet.
    pub(super) fn lag_through(&self) -> Option<Slot> {
        self.membership.as_ref()?;
        let target = self.catch_up.target;
        (target > self.delivered_slot()).then_some(target)
    }

    pub(super) fn tick_catch_up(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(target) = self.lag_through() else { return };
        let stuck = now.since(self.catch_up.stuck_since);
        if now >= self.catch_up.fetch_at {
            self.catch_up.fetch_at = now + self.config.settings.gap;
            if stuck >= self.config.settings.gap {
                self.catch_up.fetch_at = now + self.config.settings.resend;
                self.fetch(out);
            }
        }
        if now >= self.catch_up.fill_at {
            // Settling may cost the leader a phase 1, which does not help a learner that the
            // acceptors cannot reach: it asks ever more seldom.
            let patience =
                self.config.settings.fill_after * (1 << self.catch_up.fills.min(FILLS_DOUBLED));
            self.catch_up.fill_at = now + patience;
            let slot = self.delivered_slot().next();
            // No leader can settle what is trimmed; to ask would only disturb it.
            if stuck >= self.config.settings.fill_after && slot > self.catch_up.trimmed {
                self.catch_up.fills += 1;
                out.push(Effect::Event(Event::AsksFill { slot }));
                for &proposer in &self.proposers {
                    let fill = ToProposer::Fill { from_slot: slot, through: target };
                    out.push(Effect::Send(Outbound::Proposer(proposer, fill)));
                }
            }
        }
    }

    /// Asks for what comes next: another learner where the acceptors have forgotten it or the lag
    /// is long, since one learner's word is enough where several acceptors' votes are needed.
    fn fetch(&mut self, out: &mut Vec<Effect>) {
        let from_slot = self.delivered_slot().next();
        let is_long =
            self.catch_up.target.beyond(from_slot) > self.config.settings.window_slots / 2;
        let is_trimmed = self.catch_up.trimmed >= from_slot;
        let attempt = self.catch_up.attempts;
        self.catch_up.attempts += 1;
        let is_learners_turn =
            if is_trimmed { attempt % 4 != 3 } else { attempt % 2 == usize::from(!is_long) };
        if is_learners_turn && !self.learners.is_empty() {
            let turn = self.catch_up.learners_asked % self.learners.len();
            self.catch_up.learners_asked += 1;
            if let Some(learner) = self.learners.iter().copied().nth(turn) {
                self.fetch_entries(learner, from_slot, out);
            }
            return;
        }
        out.push(Effect::Event(Event::Fetches { slot: from_slot, peer: None }));
        for acceptor in self.acceptors() {
            out.push(Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Fetch { from_slot })));
        }
    }

    fn fetch_entries(&self, learner: LearnerId, from_slot: Slot, out: &mut Vec<Effect>) {
        out.push(Effect::Event(Event::Fetches { slot: from_slot, peer: Some(learner.node()) }));
        let fetch = ToLearner::FetchEntries { learner: self.config.me, from_slot };
        out.push(Effect::Send(Outbound::Learner(learner, fetch)));
    }

    pub(super) fn on_votes(
        &mut self,
        now: Instant,
        acceptor: AcceptorId,
        votes: Vec<Accepted>,
        next_slot: Option<Slot>,
        trimmed_slot: Slot,
        out: &mut Vec<Effect>,
    ) {
        self.catch_up.trimmed = self.catch_up.trimmed.max(trimmed_slot);
        self.catch_up.aim(trimmed_slot);
        if let Some(more) = next_slot {
            self.catch_up.aim(more);
        }
        let before = self.delivered_slot();
        let window_end = before.next().plus(self.config.settings.window_slots);
        let mut has_more = next_slot.is_some();
        for accepted in votes {
            has_more |= accepted.slot >= window_end;
            self.catch_up.aim(accepted.slot);
            if accepted.slot <= before || accepted.slot >= window_end {
                continue;
            }
            let Accepted { slot, ballot, ref batch } = accepted;
            self.votes.count(Vote { acceptor, slot, ballot, digest: batch.digest() });
            self.votes.keep(accepted);
        }
        self.deliver(now, out);
        // A page that brought progress and is not the end is followed at once.
        if has_more && self.delivered_slot() > before {
            self.catch_up.fetch_at = now + self.config.settings.resend;
            self.fetch(out);
        }
    }

    pub(super) fn on_entries(
        &mut self,
        now: Instant,
        learner: LearnerId,
        entries: Vec<Accepted>,
        delivered_slot: Slot,
        out: &mut Vec<Effect>,
    ) {
        self.catch_up.aim(delivered_slot);
        let Some(log) = &mut self.log else { return };
        let before = log.slot();
        let mut notices = BTreeMap::new();
        for entry in entries {
            // What another learner delivered was chosen; only the next slot can be taken.
            if entry.slot == log.slot().next() || planted(Bug::TakeAnyEntry) {
                let before = log.index();
                deliver_one(log, entry.ballot, entry.batch, &mut notices, out);
                note_checkpoint(
                    &mut self.checkpoints,
                    self.config.settings.checkpoint_indices,
                    before,
                    log,
                );
            }
        }
        let after = log.slot();
        let index = log.index();
        if after == before {
            if delivered_slot <= before {
                // It has nothing either: on to the next.
                self.catch_up.fetch_at = now;
            }
            return;
        }
        tell(self.config.me, &notices, out);
        self.votes.forget_through(after);
        self.catch_up.on_progress(now);
        self.reads.release(after, index, out);
        self.share_checkpoints(out);
        if delivered_slot > after {
            self.catch_up.fetch_at = now + self.config.settings.resend;
            self.fetch_entries(learner, after.next(), out);
        }
    }
}
