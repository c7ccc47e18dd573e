//! Linearizable reads without a leader: a quorum says how far the votes reach, the learner delivers
//! through there, then answers. Reads that wait share the next round.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{AcceptorId, Bug, Index, Instant, Slot, Tally, planted};

use super::{Effect, Learner, Outbound, ToAcceptor};

/// The host's name for a waiting read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadToken(pub u64);

#[derive(Debug)]
struct Round {
    nonce: u64,
    tokens: BTreeSet<ReadToken>,
    answers: Tally,
    highest: Slot,
    resend_at: Instant,
}

/// The reads that wait.
#[derive(Debug)]
pub(super) struct Reads {
    nonce: u64,
    /// Arrived while a round was under way: that one may have asked before they arrived.
    next_round: BTreeSet<ReadToken>,
    round: Option<Round>,
    /// Wait until the slot is delivered.
    until_delivered: BTreeMap<Slot, BTreeSet<ReadToken>>,
}

impl Reads {
    pub(super) fn new(nonce: u64) -> Self {
        Self { nonce, next_round: BTreeSet::new(), round: None, until_delivered: BTreeMap::new() }
    }

    pub(super) fn wait(&mut self, token: ReadToken) {
        match &mut self.round {
            Some(round) if planted(Bug::ReadJoinsRound) => round.tokens.insert(token),
            Some(_) | None => self.next_round.insert(token),
        };
    }

    pub(super) fn forget(&mut self, token: ReadToken) {
        self.next_round.remove(&token);
        if let Some(round) = &mut self.round {
            round.tokens.remove(&token);
        }
        self.until_delivered.retain(|_, tokens| {
            tokens.remove(&token);
            !tokens.is_empty()
        });
    }

    pub(super) fn waiting(&self) -> usize {
        self.next_round.len()
            + self.round.as_ref().map_or(0, |round| round.tokens.len())
            + self.until_delivered.values().map(BTreeSet::len).sum::<usize>()
    }

    /// Asks again at `resend_at`, if not sooner.
    pub(super) fn hasten(&mut self, resend_at: Instant) {
        if let Some(round) = &mut self.round {
            round.resend_at = round.resend_at.min(resend_at);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.resend_at)
    }

    /// Answers what waited for `slot` or less.
    pub(super) fn release(&mut self, slot: Slot, index: Index, out: &mut Vec<Effect>) {
        let rest = self.until_delivered.split_off(&slot.next());
        for tokens in std::mem::replace(&mut self.until_delivered, rest).into_values() {
            out.extend(tokens.into_iter().map(|token| Effect::Ready { token, index }));
        }
    }
}

impl Learner {
    /// Begins a round for the reads that wait, unless one is under way or nothing is known yet.
    pub(super) fn start_round(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let can_start = self.membership.is_some()
            && self.reads.round.is_none()
            && !self.reads.next_round.is_empty();
        if !can_start {
            return;
        }
        if planted(Bug::ReadWithoutRound) {
            let index = self.status().delivered_index;
            let tokens = std::mem::take(&mut self.reads.next_round).into_iter();
            out.extend(tokens.map(|token| Effect::Ready { token, index }));
            return;
        }
        self.reads.nonce += 1;
        let round = Round {
            nonce: self.reads.nonce,
            tokens: std::mem::take(&mut self.reads.next_round),
            answers: Tally::default(),
            highest: Slot::ZERO,
            resend_at: now + self.config.settings.resend,
        };
        self.ask_marks(&round, out);
        self.reads.round = Some(round);
    }

    pub(super) fn tick_round(&mut self, now: Instant, out: &mut Vec<Effect>) {
        match self.reads.round.take() {
            None => {}
            Some(round) if round.tokens.is_empty() => {}
            Some(mut round) => {
                if now >= round.resend_at {
                    round.resend_at = now + self.config.settings.resend;
                    self.ask_marks(&round, out);
                }
                self.reads.round = Some(round);
            }
        }
        self.start_round(now, out);
    }

    pub(super) fn on_mark(
        &mut self,
        now: Instant,
        acceptor: AcceptorId,
        nonce: u64,
        slot: Slot,
        out: &mut Vec<Effect>,
    ) {
        let Some(membership) = &self.membership else { return };
        let Some(round) = &mut self.reads.round else { return };
        if round.nonce != nonce || !round.answers.insert(acceptor) {
            return;
        }
        round.highest = round.highest.max(slot);
        if !membership.quorum.is_phase1(&round.answers) && !planted(Bug::ReadFromOne) {
            return;
        }
        let Some(round) = self.reads.round.take() else { return };
        self.catch_up.aim(round.highest);
        let until = if planted(Bug::ReadUndelivered) { Slot::ZERO } else { round.highest };
        self.reads.until_delivered.entry(until).or_default().extend(round.tokens);
        if let Some(log) = &self.log {
            self.reads.release(log.slot(), log.index(), out);
        }
        self.start_round(now, out);
    }

    fn ask_marks(&self, round: &Round, out: &mut Vec<Effect>) {
        for acceptor in self.acceptors().filter(|&acceptor| !round.answers.contains(acceptor)) {
            let mark = ToAcceptor::Mark { nonce: round.nonce };
            out.push(Effect::Send(Outbound::Acceptor(acceptor, mark)));
        }
    }
}
