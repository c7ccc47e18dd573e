//! Phase 1: once a leadership, for every slot from the first unchosen one on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::types::{AcceptorId, Ballot, Batch, Bug, Instant, Quorum, Slot, Tally, planted};

use super::accept::Leading;
use super::{Effect, Event, Phase, Proposer};
use crate::paxos::message::{Accepted, Outbound, ToAcceptor, ToWitness};

/// One page of a promise.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) from_slot: Slot,
    pub(super) accepted: Vec<Accepted>,
    pub(super) next_slot: Option<Slot>,
    pub(super) trimmed_slot: Slot,
}

/// Phase 1 under way.
#[derive(Debug)]
pub(super) struct Preparing {
    pub(super) ballot: Ballot,
    from_slot: Slot,
    /// Where the next page of each acceptor begins that has promised but has more to tell.
    pages: BTreeMap<AcceptorId, Slot>,
    /// Who has promised, to the last page.
    complete: Tally,
    /// The acceptors that have been asked.
    asked: BTreeSet<AcceptorId>,
    /// The accepted proposal of the highest ballot in each slot, and who reported it.
    best: BTreeMap<Slot, (Accepted, Tally)>,
    trimmed: Slot,
    resend_at: Instant,
    give_up_at: Instant,
    heartbeat_at: Instant,
}

impl Preparing {
    pub(super) fn deadline(&self) -> Instant {
        self.resend_at.min(self.give_up_at)
    }

    /// Asks again, gives up and lets itself be heard at these moments, if not sooner.
    pub(super) fn hasten(
        &mut self,
        resend_at: Instant,
        give_up_at: Instant,
        heartbeat_at: Instant,
    ) {
        self.resend_at = self.resend_at.min(resend_at);
        self.give_up_at = self.give_up_at.min(give_up_at);
        self.heartbeat_at = self.heartbeat_at.min(heartbeat_at);
    }

    fn wanted_from(&self, acceptor: AcceptorId) -> Option<Slot> {
        if self.complete.contains(acceptor) || !self.asked.contains(&acceptor) {
            return None;
        }
        Some(self.pages.get(&acceptor).copied().unwrap_or(self.from_slot))
    }

    /// Asks `acceptor` for what it still owes.
    pub(super) fn resend_to(&self, acceptor: AcceptorId, out: &mut Vec<Effect>) {
        if let Some(from_slot) = self.wanted_from(acceptor) {
            let prepare = ToAcceptor::Prepare { ballot: self.ballot, from_slot };
            out.push(Effect::Send(Outbound::Acceptor(acceptor, prepare)));
        }
    }

    fn take(&mut self, acceptor: AcceptorId, page: Page) {
        if !planted(Bug::ProposeBelowTrimmed) {
            self.trimmed = self.trimmed.max(page.trimmed_slot);
        }
        for accepted in page.accepted {
            match self.best.get_mut(&accepted.slot) {
                Some((best, voters)) if best.ballot == accepted.ballot => {
                    voters.insert(acceptor);
                }
                Some((best, _)) if best.ballot > accepted.ballot => {}
                Some(_) if planted(Bug::SkipHighestAccepted) => {}
                Some(_) | None => {
                    let voters = Tally::from_iter([acceptor]);
                    self.best.insert(accepted.slot, (accepted, voters));
                }
            }
        }
        if let Some(next) = page.next_slot {
            self.pages.insert(acceptor, next);
        } else {
            self.pages.remove(&acceptor);
            self.complete.insert(acceptor);
        }
    }

    /// The value rule (PMS §2.2, P2c): for every open slot the accepted value of the highest
    /// ballot, a no-op where there is none. A slot that a whole quorum accepted at that one ballot
    /// is chosen already and stays as it is. Returns what to propose, and the slot after the last.
    fn settle(self, quorum: &Quorum) -> (BTreeMap<Slot, Batch>, Slot) {
        let first = self.from_slot.max(self.trimmed.next());
        let highest = self.best.keys().next_back().filter(|_| !planted(Bug::StartInOpenSlots));
        let next_slot = highest.map_or(first, |&highest| first.max(highest.next()));
        let mut open = BTreeMap::new();
        let mut best = self.best;
        let mut slot = first;
        while slot < next_slot {
            match best.remove(&slot) {
                Some((_, voters)) if quorum.is_phase2(&voters) => {}
                Some((accepted, _)) if !planted(Bug::NoopOverAccepted) => {
                    open.insert(slot, accepted.batch);
                }
                Some(_) | None => {
                    open.insert(slot, Batch::noop());
                }
            }
            slot = slot.next();
        }
        (open, next_slot)
    }
}

impl Proposer {
    /// Begins phase 1 with a ballot above every one seen.
    pub(super) fn prepare(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let clock_ms = u64::try_from(now.since(Instant::default()).as_millis()).unwrap_or(0);
        let clock_ms = self.config.clock_ms_at_zero.saturating_add(clock_ms);
        let clock_ms = if planted(Bug::ReuseBallot) { 0 } else { clock_ms };
        self.highest_round = clock_ms.max(self.highest_round.saturating_add(1));
        assert!(self.highest_round <= Ballot::ROUND_MAX, "the ballot space is used up");
        let ballot = Ballot {
            round: self.highest_round,
            proposer: self.config.me,
            incarnation: self.config.incarnation,
        };
        let unchosen = self.chosen_through.next();
        let from_slot = self.settle_from.map_or(unchosen, |slot| slot.min(unchosen));
        let preparing = Preparing {
            ballot,
            from_slot,
            pages: BTreeMap::new(),
            complete: Tally::default(),
            asked: self.candidates(),
            best: BTreeMap::new(),
            trimmed: Slot::ZERO,
            resend_at: now + self.config.settings.resend,
            give_up_at: now + self.patience(),
            heartbeat_at: now,
        };
        out.push(Effect::Event(Event::Prepares { ballot, from_slot }));
        for &acceptor in &preparing.asked {
            preparing.resend_to(acceptor, out);
        }
        self.phase = Phase::Preparing(preparing);
    }

    pub(super) fn tick_preparing(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Phase::Preparing(preparing) = &mut self.phase else { return };
        if now >= preparing.give_up_at {
            self.follow(now, out);
        } else if now >= preparing.resend_at {
            preparing.resend_at = now + self.config.settings.resend;
            for &acceptor in &preparing.asked {
                preparing.resend_to(acceptor, out);
            }
        }
    }

    pub(super) fn on_promise(
        &mut self,
        now: Instant,
        acceptor: AcceptorId,
        ballot: Ballot,
        page: Page,
        out: &mut Vec<Effect>,
    ) {
        // A late promise for an abandoned ballot changes nothing, nor does a page sent twice.
        let Phase::Preparing(preparing) = &mut self.phase else { return };
        let is_late = preparing.ballot != ballot && !planted(Bug::LatePromise);
        if is_late || preparing.wanted_from(acceptor) != Some(page.from_slot) {
            return;
        }
        preparing.take(acceptor, page);
        let is_complete = preparing.complete.contains(acceptor);
        if is_complete {
            out.push(Effect::Event(Event::Promised { ballot, acceptor }));
        } else {
            preparing.resend_to(acceptor, out);
        }
        let complete = preparing.complete;
        if self.is_phase1(&complete) {
            self.lead(now, out);
        } else if !is_complete {
            self.stay_in_front(now, out);
        }
    }

    /// Many pages take longer than any timeout. While they come, the acceptors are told that one is
    /// about to lead, or each proposer in turn would begin anew and none would ever end.
    fn stay_in_front(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let give_up_at = now + self.patience();
        let Phase::Preparing(preparing) = &mut self.phase else { return };
        preparing.give_up_at = give_up_at;
        if now < preparing.heartbeat_at {
            return;
        }
        preparing.heartbeat_at = now + self.config.settings.heartbeat;
        for &acceptor in &preparing.asked {
            let heartbeat = ToWitness::Heartbeat { ballot: preparing.ballot };
            out.push(Effect::Send(Outbound::Witness(acceptor, heartbeat)));
        }
    }

    /// How long phase 1 may go without news.
    fn patience(&mut self) -> Duration {
        self.config.settings.timeout * 4 + self.jitter(self.config.settings.timeout)
    }

    pub(super) fn lead(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(membership) = &self.membership else { return };
        let phase = std::mem::replace(&mut self.phase, Phase::Left);
        let Phase::Preparing(preparing) = phase else {
            unreachable!("only a proposer in phase 1 becomes leader")
        };
        let ballot = preparing.ballot;
        let first = preparing.from_slot.max(preparing.trimmed.next());
        self.chosen_through = self.chosen_through.max(first.previous());
        let promised = preparing.complete;
        let (open, next_slot) = preparing.settle(&membership.quorum);
        out.push(Effect::Event(Event::Elected { ballot, next_slot }));
        let leading = Leading::new(now, ballot, open, next_slot, &membership.quorum, &promised);
        self.phase = Phase::Leading(leading);
        self.followed = None;
        self.settle_from = None;
        self.send_heartbeats(now, out);
    }
}
