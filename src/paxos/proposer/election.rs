//! When to try to lead: a proposer asks before it deposes.

use std::time::Duration;

use rand::RngExt;

use crate::types::{AcceptorId, Ballot, Bug, Instant, NodeId, ProposerId, Tally, planted};

use super::{Effect, Event, Phase, Proposer, StepDown};
use crate::paxos::message::{Outbound, Refusal, ToProposer, ToWitness};

impl Proposer {
    /// The ballot of the leader it follows, while that was heard of within the timeout.
    pub(super) fn leader(&self, now: Instant) -> Option<Ballot> {
        let (ballot, at) = self.followed?;
        (now.since(at) <= self.config.settings.timeout).then_some(ballot)
    }

    /// Waits: for the leader it follows if there is one, else for its next turn to ask. Commands
    /// that waited for its own leadership go back.
    pub(super) fn follow(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if !self.queue.is_empty() {
            let reason = self.handback(now);
            self.hand_back_queue(&reason, out);
        }
        if self.leaving {
            // Deposed while it drained: there is nothing left to hand over.
            self.phase = Phase::Left;
            out.push(Effect::Left);
            return;
        }
        let wait = match self.leader(now) {
            Some(_) => self.config.settings.timeout + self.jitter(self.config.settings.timeout / 2),
            None => self.jitter(self.config.settings.timeout / 2),
        };
        self.phase = Phase::Following { ask_at: now + wait };
    }

    pub(super) fn tick_election(&mut self, now: Instant, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::Following { ask_at } if now >= ask_at => self.ask(now, out),
            Phase::Asking { until, .. } if now >= until => self.follow(now, out),
            Phase::Forming(_)
            | Phase::Following { .. }
            | Phase::Asking { .. }
            | Phase::Preparing(_)
            | Phase::Leading(_)
            | Phase::Left => {}
        }
    }

    fn ask(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.nonce += 1;
        let nonce = self.nonce;
        for acceptor in self.candidates() {
            out.push(Effect::Send(Outbound::Witness(acceptor, ToWitness::AskLed { nonce })));
        }
        out.push(Effect::Event(Event::Asks));
        let until =
            now + self.config.settings.timeout / 2 + self.jitter(self.config.settings.timeout / 2);
        self.phase = Phase::Asking { nonce, unled: Tally::default(), until };
    }

    pub(super) fn on_led(
        &mut self,
        now: Instant,
        acceptor: AcceptorId,
        nonce: u64,
        led: bool,
        out: &mut Vec<Effect>,
    ) {
        let Phase::Asking { nonce: asked, unled, .. } = &mut self.phase else { return };
        if nonce != *asked || led {
            return;
        }
        unled.insert(acceptor);
        let unled = *unled;
        if self.is_phase1(&unled) {
            self.prepare(now, out);
        }
    }

    /// Another proposer says that it leads.
    pub(super) fn on_heartbeat(&mut self, now: Instant, ballot: Ballot, out: &mut Vec<Effect>) {
        self.see(Some(ballot));
        if self.followed.is_some_and(|(followed, _)| ballot < followed) {
            return;
        }
        let is_news = self.followed.is_none_or(|(followed, _)| ballot > followed);
        match &self.phase {
            Phase::Leading(leading) if leading.ballot > ballot => return,
            Phase::Preparing(preparing) if preparing.ballot > ballot => return,
            Phase::Left => return,
            Phase::Forming(_) => {}
            Phase::Following { .. } | Phase::Asking { .. } => {
                self.followed = Some((ballot, now));
                self.follow(now, out);
            }
            Phase::Preparing(_) | Phase::Leading(_) => {
                self.followed = Some((ballot, now));
                self.step_down(now, StepDown::Deposed(ballot), out);
                self.follow(now, out);
            }
        }
        if is_news {
            out.push(Effect::Event(Event::Follows { ballot }));
        }
    }

    /// The leader leaves and chose this proposer to follow it.
    pub(super) fn on_resign(&mut self, now: Instant, ballot: Ballot, out: &mut Vec<Effect>) {
        self.see(Some(ballot));
        if self.followed.is_some_and(|(followed, _)| followed <= ballot) {
            self.followed = None;
        }
        match self.phase {
            Phase::Following { .. } | Phase::Asking { .. } => {
                self.prepare(now, out);
                if planted(Bug::HandOverWithoutPhase1) {
                    self.lead(now, out);
                }
            }
            Phase::Forming(_) | Phase::Preparing(_) | Phase::Leading(_) | Phase::Left => {}
        }
    }

    /// The link to the leader broke: asks soon, with a little jitter so that two seldom collide.
    pub(super) fn on_leader_link_down(&mut self, now: Instant, node: NodeId) {
        if self.followed.is_some_and(|(ballot, _)| ballot.proposer == ProposerId(node)) {
            self.followed = None;
            if let Phase::Following { .. } = self.phase {
                let wait = self.jitter(self.config.settings.heartbeat / 2);
                self.phase = Phase::Following { ask_at: now + wait };
            }
        }
    }

    /// An acceptor refused a ballot of this proposer.
    pub(super) fn on_nack(
        &mut self,
        now: Instant,
        ballot: Ballot,
        refusal: Refusal,
        out: &mut Vec<Effect>,
    ) {
        if let Refusal::Promised(promised) = refusal {
            self.see(Some(promised));
        }
        match &mut self.phase {
            Phase::Preparing(preparing) if preparing.ballot == ballot => {
                // Only a promise refuses a prepare; its holder goes first, and jitter parts them.
                self.follow(now, out);
            }
            Phase::Leading(leading) if leading.ballot == ballot => match refusal {
                Refusal::Promised(promised) => self.on_deposed(now, promised, out),
                Refusal::Trimmed(slot) => leading.settle_through(slot),
                Refusal::BeyondWindow(_) | Refusal::OtherValue | Refusal::NotPromised => {}
            },
            Phase::Forming(_)
            | Phase::Following { .. }
            | Phase::Asking { .. }
            | Phase::Preparing(_)
            | Phase::Leading(_)
            | Phase::Left => {}
        }
    }

    /// A leader refused with a higher ballot tries at once above it. One that was deposed twice
    /// within a timeout has met a rival and waits with jitter instead, so that no two leaders
    /// depose one another for ever.
    fn on_deposed(&mut self, now: Instant, by: Ballot, out: &mut Vec<Effect>) {
        let again = self.deposed_at.is_some_and(|at| now.since(at) < self.config.settings.timeout);
        self.deposed_at = Some(now);
        self.step_down(now, StepDown::Deposed(by), out);
        if again || self.leaving || self.leader(now).is_some() {
            self.follow(now, out);
        } else {
            self.prepare(now, out);
        }
    }

    /// Leaves: at once when there is nothing to hand over, else after a bounded time.
    pub(super) fn on_leave(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.leaving = true;
        if let Phase::Leading(leading) = &mut self.phase {
            leading.drain_until(now + self.config.settings.drain);
            self.finish_draining(now, out);
        } else {
            let reason = self.handback(now);
            self.hand_back_queue(&reason, out);
            self.phase = Phase::Left;
            out.push(Effect::Left);
        }
    }

    /// Hands over when nothing is in flight any more or the time is up.
    pub(super) fn finish_draining(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Phase::Leading(leading) = &self.phase else { return };
        let is_idle = leading.in_flight() == 0 && self.queue.is_empty();
        if !leading.is_draining() || !(is_idle || leading.drain_is_over(now)) {
            return;
        }
        let ballot = leading.ballot;
        self.tell_spares(now, out);
        for acceptor in self.candidates() {
            out.push(Effect::Send(Outbound::Witness(acceptor, ToWitness::Resign { ballot })));
        }
        let successor =
            self.peers.proposers.iter().copied().find(|other| self.up.contains(&other.node()));
        if let Some(successor) = successor {
            let resign = ToProposer::Resign { ballot };
            out.push(Effect::Send(Outbound::Proposer(successor, resign)));
        }
        self.step_down(now, StepDown::Resigned, out);
        let reason = self.handback(now);
        self.hand_back_queue(&reason, out);
        out.push(Effect::Left);
    }

    pub(super) fn jitter(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.random_range(0.0..1.0))
    }
}
