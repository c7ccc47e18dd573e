//! Phase 2: a batch a slot, many slots in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::types::{
    AcceptorId, Ballot, Batch, BatchDigest, Bug, Instant, LearnerId, Name, Quorum, Slot, Tally,
    planted,
};

use super::queue::{Owner, Source, by_source};
use super::spares::Spares;
use super::{Current, Effect, Event, Phase, Proposer, StepDown};
use crate::paxos::message::{
    Accepted, Handback, JournalPressure, Outbound, Submission, ToAcceptor, ToClient, ToLearner,
    ToProposer, ToWitness, Vote,
};

#[derive(Debug)]
struct InFlight {
    batch: Batch,
    digest: BatchDigest,
    votes: Tally,
    voters: usize,
    owners: Vec<Owner>,
    /// The one learner that counts the votes, see [`ToAcceptor::Accept`].
    learner: Option<LearnerId>,
    sent_at: Instant,
    /// How many times it was sent again because its time was up.
    resends: u32,
}

/// Each time a proposal is sent again doubles the patience with it, so many times at most. An
/// acceptor writes every copy: where the disks are slow, more copies would make them slower.
const RESENDS_DOUBLING: u32 = 4;

/// Phase 2 under way.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) ballot: Ballot,
    /// Values of earlier ballots that phase 1 found, to be proposed first.
    open: BTreeMap<Slot, Batch>,
    next_slot: Slot,
    in_flight: BTreeMap<Slot, InFlight>,
    /// The commands in flight, or chosen and not delivered yet, so that a retry of one is not
    /// proposed again: slow learners would fall behind ever further.
    names: BTreeSet<Name>,
    /// Those that are chosen and not known to be delivered.
    undelivered: BTreeMap<Slot, Vec<Name>>,
    /// A learner has delivered through this slot.
    delivered: Slot,
    acceptors: BTreeSet<AcceptorId>,
    spares: Spares,
    heard: BTreeMap<AcceptorId, Instant>,
    pressure: BTreeMap<AcceptorId, JournalPressure>,
    heartbeat_at: Instant,
    draining_until: Option<Instant>,
}

impl Leading {
    pub(super) fn new(
        now: Instant,
        ballot: Ballot,
        open: BTreeMap<Slot, Batch>,
        next_slot: Slot,
        quorum: &Quorum,
        promised: &Tally,
    ) -> Self {
        let acceptors = quorum.acceptors().clone();
        Self {
            ballot,
            open,
            next_slot,
            in_flight: BTreeMap::new(),
            names: BTreeSet::new(),
            undelivered: BTreeMap::new(),
            delivered: Slot::ZERO,
            // The quorum that promised was heard just now; the others get the same patience.
            heard: acceptors.iter().map(|&acceptor| (acceptor, now)).collect(),
            acceptors,
            spares: Spares::new(quorum, promised),
            pressure: BTreeMap::new(),
            heartbeat_at: now,
            draining_until: None,
        }
    }

    pub(super) fn deadline(&self, spare_delay: Duration) -> Instant {
        let dues = [self.draining_until, self.spares.due_at(spare_delay)];
        dues.into_iter().flatten().fold(self.heartbeat_at, Instant::min)
    }

    /// Says that it lives at `heartbeat_at`, if not sooner; `renew` is for when each was heard.
    pub(super) fn hasten(&mut self, heartbeat_at: Instant, renew: impl Fn(&mut Instant)) {
        self.heartbeat_at = self.heartbeat_at.min(heartbeat_at);
        self.heard.values_mut().for_each(renew);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len() + self.open.len()
    }

    /// The lowest slot not known to be chosen.
    pub(super) fn first_unchosen(&self) -> Slot {
        let in_flight = self.in_flight.keys().next().copied().unwrap_or(self.next_slot);
        let open = self.open.keys().next().copied().unwrap_or(self.next_slot);
        in_flight.min(open)
    }

    pub(super) fn current(&self) -> Option<Current> {
        let (&slot, newest) = self.in_flight.iter().next_back()?;
        Some(Current {
            slot,
            ballot: self.ballot,
            batch: newest.batch.clone(),
            votes: newest.voters,
        })
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining_until.is_some()
    }

    pub(super) fn drain_until(&mut self, until: Instant) {
        self.draining_until = Some(until);
    }

    pub(super) fn drain_is_over(&self, now: Instant) -> bool {
        self.draining_until.is_some_and(|until| now >= until)
    }

    pub(super) fn on_pressure(&mut self, acceptor: AcceptorId, pressure: JournalPressure) {
        self.pressure.insert(acceptor, pressure);
    }

    /// Everything through `slot` is chosen, as others know.
    pub(super) fn settle_through(&mut self, slot: Slot) {
        let rest = self.in_flight.split_off(&slot.next());
        let settled = std::mem::replace(&mut self.in_flight, rest);
        for name in settled.into_values().flat_map(InFlight::into_names) {
            self.names.remove(&name);
        }
        self.open = self.open.split_off(&slot.next());
    }

    /// A learner has delivered everything through `slot`, and the origins are told: a retry that
    /// comes now has missed that, and is answered by being delivered again.
    pub(super) fn on_delivered(&mut self, slot: Slot) {
        self.delivered = self.delivered.max(slot);
        let rest = self.undelivered.split_off(&slot.next());
        for name in std::mem::replace(&mut self.undelivered, rest).into_values().flatten() {
            self.names.remove(&name);
        }
    }

    fn await_delivery(&mut self, slot: Slot, chosen: InFlight) {
        let names = chosen.into_names();
        if slot > self.delivered {
            self.undelivered.insert(slot, names.collect());
        } else {
            names.for_each(|name| {
                self.names.remove(&name);
            });
        }
    }

    /// Sends `acceptor` what it has not voted for.
    pub(super) fn resend_to(&self, acceptor: AcceptorId, out: &mut Vec<Effect>) {
        let first_unchosen = self.first_unchosen();
        for (&slot, proposal) in &self.in_flight {
            proposal.resend_to(acceptor, self.ballot, slot, first_unchosen, out);
        }
    }

    /// Sends again what was not chosen within `patience`, the first time; then ever more seldom.
    fn resend_overdue(&mut self, now: Instant, patience: Duration, out: &mut Vec<Effect>) {
        let first_unchosen = self.first_unchosen();
        for (&slot, proposal) in &mut self.in_flight {
            if now.since(proposal.sent_at) < patience * 2_u32.pow(proposal.resends) {
                continue;
            }
            proposal.sent_at = now;
            proposal.resends = (proposal.resends + 1).min(RESENDS_DOUBLING);
            for &acceptor in &self.acceptors {
                proposal.resend_to(acceptor, self.ballot, slot, first_unchosen, out);
            }
        }
    }

    /// Names in flight, by the message that brought them.
    pub(super) fn into_owners(self) -> BTreeMap<Source, Vec<Name>> {
        by_source(self.in_flight.into_values().flat_map(|proposal| proposal.owners))
    }

    /// The learners that keep a whole quorum's journals from being trimmed, once those are full.
    fn full_because_of(&self, quorum: &Quorum) -> Option<BTreeSet<LearnerId>> {
        let open: Tally = self
            .acceptors
            .iter()
            .copied()
            .filter(|acceptor| !self.pressure.get(acceptor).is_some_and(|it| it.full))
            .collect();
        if quorum.is_phase2(&open) {
            return None;
        }
        Some(self.pressure.values().flat_map(|it| it.lagging.iter().copied()).collect())
    }
}

impl InFlight {
    fn into_names(self) -> impl Iterator<Item = Name> {
        self.owners.into_iter().map(|(_, name)| name)
    }

    fn accept(&self, ballot: Ballot, slot: Slot, first_unchosen: Slot) -> ToAcceptor {
        let (learner, batch) = (self.learner, self.batch.clone());
        ToAcceptor::Accept { ballot, slot, first_unchosen, learner, batch }
    }

    /// Whether `learner` counts the votes itself.
    fn counts(&self, learner: LearnerId) -> bool {
        self.learner.is_none_or(|it| it == learner)
    }

    /// Tells the value to `learners`.
    fn tell(
        &self,
        learners: impl Iterator<Item = LearnerId>,
        message: fn(Accepted) -> ToLearner,
        ballot: Ballot,
        slot: Slot,
        out: &mut Vec<Effect>,
    ) {
        for learner in learners {
            let accepted = Accepted { slot, ballot, batch: self.batch.clone() };
            out.push(Effect::Send(Outbound::Learner(learner, message(accepted))));
        }
    }

    fn resend_to(
        &self,
        acceptor: AcceptorId,
        ballot: Ballot,
        slot: Slot,
        first_unchosen: Slot,
        out: &mut Vec<Effect>,
    ) {
        if !self.votes.contains(acceptor) {
            let accept = self.accept(ballot, slot, first_unchosen);
            out.push(Effect::Send(Outbound::Acceptor(acceptor, accept)));
        }
    }
}

impl Proposer {
    /// Takes commands from a gateway: into the queue if this proposer leads or is about to.
    pub(super) fn on_submit(
        &mut self,
        now: Instant,
        source: Source,
        commands: Vec<Submission>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(reason) = self.refuses_commands(now) {
            let names = commands.iter().map(|it| it.name).collect();
            self.refuse(source, names, reason, out);
            return;
        }
        let mut refused = Vec::new();
        for Submission { name, command } in commands {
            let is_in_flight = match &self.phase {
                Phase::Leading(leading) => leading.names.contains(&name),
                Phase::Forming(_)
                | Phase::Following { .. }
                | Phase::Asking { .. }
                | Phase::Preparing(_)
                | Phase::Left => false,
            };
            if is_in_flight || self.queue.contains(name) {
                continue;
            }
            if let Err((_, name)) = self.queue.push((source, name), command) {
                refused.push(name);
            }
        }
        if !refused.is_empty() {
            self.refuse(source, refused, Handback::Busy, out);
        }
    }

    fn refuse(
        &self,
        (gateway, number): Source,
        names: Vec<Name>,
        reason: Handback,
        out: &mut Vec<Effect>,
    ) {
        let message = ToClient::Refused { proposer: self.config.me, number, names, reason };
        out.push(Effect::Send(Outbound::Client(gateway, message)));
    }

    fn refuses_commands(&self, now: Instant) -> Option<Handback> {
        if self.leaving {
            return Some(Handback::NotLeader { leader: None });
        }
        match &self.phase {
            Phase::Preparing(_) => None,
            Phase::Leading(leading) => {
                let membership = self.membership.as_ref()?;
                leading
                    .full_because_of(&membership.quorum)
                    .map(|lagging| Handback::JournalFull { lagging })
            }
            Phase::Forming(_) | Phase::Following { .. } | Phase::Asking { .. } | Phase::Left => {
                Some(self.handback(now))
            }
        }
    }

    /// Fills the window: first what phase 1 found, then what waits. What arrives while the window
    /// is full is the next batch; so is what is too little for a slot of its own beside those in
    /// flight. A slot costs about the same whatever it carries, and the acceptors sync one turn
    /// after the other: it would only wait at theirs.
    pub(super) fn propose(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let spare_delay = self.spare_delay();
        let Some(membership) = &self.membership else { return };
        let Phase::Leading(leading) = &mut self.phase else { return };
        while leading.in_flight.len() < self.config.settings.window_slots {
            let (slot, batch, owners) = if let Some((slot, batch)) = leading.open.pop_first() {
                (slot, batch, Vec::new())
            } else if !self.queue.is_worth_a_slot(&self.config.settings, leading.in_flight.len()) {
                return;
            } else {
                let (batch, owners) = self.queue.take_batch(
                    self.config.settings.batch_bytes_max,
                    self.config.settings.batch_commands_max,
                );
                let slot = leading.next_slot;
                leading.next_slot = slot.next();
                (slot, batch, owners)
            };
            leading.names.extend(owners.iter().map(|&(_, name)| name));
            let ballot = leading.ballot;
            let proposal = InFlight {
                digest: batch.digest(),
                batch,
                votes: Tally::default(),
                voters: 0,
                owners,
                learner: self.peers.counting_learner(&membership.epoch, &self.up),
                sent_at: now,
                resends: 0,
            };
            out.push(Effect::Event(Event::Proposed { ballot, slot, bytes: proposal.batch.len() }));
            let first_unchosen = leading.first_unchosen().min(slot);
            let is_thrifty = !spare_delay.is_zero() && leading.spares.exist(&membership.quorum);
            for &acceptor in &leading.acceptors {
                if !is_thrifty || !leading.spares.contains(acceptor) {
                    let accept = proposal.accept(ballot, slot, first_unchosen);
                    out.push(Effect::Send(Outbound::Acceptor(acceptor, accept)));
                }
            }
            if is_thrifty {
                let accept = proposal.accept(ballot, slot, first_unchosen);
                leading.spares.owe(accept, proposal.batch.len(), now);
            }
            let counting = self.peers.learners.iter().copied().filter(|&it| proposal.counts(it));
            proposal.tell(counting, ToLearner::Proposed, ballot, slot, out);
            let displaced = leading.in_flight.insert(slot, proposal);
            assert!(displaced.is_none(), "one batch per slot and ballot");
        }
    }

    /// Tells the spares what they are owed: in time, or at once where one in front cannot vote, and
    /// before this leader leaves.
    pub(super) fn tell_spares(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let spare_delay = self.spare_delay();
        let Some(membership) = &self.membership else { return };
        let Phase::Leading(leading) = &mut self.phase else { return };
        let can_vote = |acceptor: AcceptorId| {
            self.up.contains(&acceptor.node()) && !self.strangers.contains(&acceptor)
        };
        let is_due = leading.spares.due_at(spare_delay).is_some_and(|at| at <= now);
        let mut front = leading.acceptors.iter().filter(|&&it| !leading.spares.contains(it));
        if is_due || leading.is_draining() || !front.all(|&it| can_vote(it)) {
            leading.spares.tell(&membership.quorum, out);
        }
        leading.spares.choose(&membership.quorum, can_vote);
    }

    /// How much later spares are told. A slot that the front does not choose waits for so long.
    pub(super) fn spare_delay(&self) -> Duration {
        self.config.settings.spare_delay.min(self.config.settings.heartbeat)
    }

    pub(super) fn on_vote(&mut self, now: Instant, vote: Vote, out: &mut Vec<Effect>) {
        let spare_delay = self.spare_delay();
        let Some(membership) = &self.membership else { return };
        let Phase::Leading(leading) = &mut self.phase else { return };
        if vote.ballot != leading.ballot {
            return;
        }
        let Some(proposal) = leading.in_flight.get_mut(&vote.slot) else { return };
        if proposal.digest != vote.digest || !proposal.votes.insert(vote.acceptor) {
            return;
        }
        proposal.voters += 1;
        let is_chosen = membership.quorum.is_phase2(&proposal.votes);
        if is_chosen || planted(Bug::TellBeforeChosen) {
            let others = self.peers.learners.iter().copied().filter(|&it| !proposal.counts(it));
            proposal.tell(others, ToLearner::Chosen, vote.ballot, vote.slot, out);
        }
        if !is_chosen {
            return;
        }
        let (votes, since) = (proposal.votes, proposal.sent_at);
        if !spare_delay.is_zero() && leading.spares.is_front_late(&votes, since, now, spare_delay) {
            leading.spares.tell(&membership.quorum, out);
            leading.spares.choose(&membership.quorum, |acceptor| votes.contains(acceptor));
        }
        if let Some(chosen) = leading.in_flight.remove(&vote.slot) {
            leading.await_delivery(vote.slot, chosen);
        }
        out.push(Effect::Event(Event::Chosen { ballot: vote.ballot, slot: vote.slot }));
        let chosen_through = leading.first_unchosen().previous();
        self.chosen_through = self.chosen_through.max(chosen_through);
    }

    /// A learner cannot tell what was chosen in some slots.
    pub(super) fn on_fill(
        &mut self,
        now: Instant,
        from_slot: Slot,
        through: Slot,
        out: &mut Vec<Effect>,
    ) {
        let Phase::Leading(leading) = &mut self.phase else { return };
        // A vote beyond the last proposal can be left over from a leader that is gone: close it.
        let limit = leading.next_slot.plus(self.config.settings.fill_slots_max);
        while leading.next_slot <= through && leading.next_slot < limit {
            leading.open.insert(leading.next_slot, Batch::noop());
            leading.next_slot = leading.next_slot.next();
        }
        // Below its first unchosen slot it holds no values, and who voted for them may be gone:
        // only another phase 1 can tell. From there on it proposes and sends again as it is.
        let is_below = from_slot < leading.first_unchosen() && !leading.is_draining();
        let is_settled =
            self.deposed_at.is_some_and(|at| now.since(at) < self.config.settings.timeout);
        if is_below && !is_settled {
            self.settle_from = Some(from_slot);
            self.deposed_at = Some(now);
            self.step_down(now, StepDown::Fill, out);
            self.prepare(now, out);
        }
    }

    pub(super) fn tick_leading(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.finish_draining(now, out);
        let Some(membership) = &self.membership else { return };
        let Phase::Leading(leading) = &mut self.phase else { return };
        if now < leading.heartbeat_at {
            return;
        }
        for (&acceptor, &at) in &self.heard {
            leading.heard.insert(acceptor, at);
        }
        let answering: Tally = leading
            .heard
            .iter()
            .filter(|&(_, &at)| now.since(at) <= self.config.settings.timeout)
            .map(|(&acceptor, _)| acceptor)
            .collect();
        if !membership.quorum.is_phase2(&answering) {
            self.step_down(now, StepDown::NoQuorum, out);
            self.follow(now, out);
            return;
        }
        leading.resend_overdue(now, self.config.settings.resend, out);
        self.send_heartbeats(now, out);
    }

    pub(super) fn send_heartbeats(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Phase::Leading(leading) = &mut self.phase else { return };
        leading.heartbeat_at = now + self.config.settings.heartbeat;
        let ballot = leading.ballot;
        let first_unchosen = leading.first_unchosen();
        for &acceptor in &leading.acceptors {
            // One that is silent may have lost its directory, and the question with it.
            let heard = leading.heard.get(&acceptor);
            if heard.is_none_or(|&at| now.since(at) > self.config.settings.timeout) {
                out.push(Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Identify)));
            }
            let heartbeat = ToWitness::Heartbeat { ballot };
            out.push(Effect::Send(Outbound::Witness(acceptor, heartbeat)));
        }
        for &proposer in self.peers.proposers.iter().filter(|&&it| it != self.config.me) {
            let heartbeat = ToProposer::Heartbeat { ballot };
            out.push(Effect::Send(Outbound::Proposer(proposer, heartbeat)));
        }
        for &learner in &self.peers.learners {
            let heartbeat = ToLearner::Heartbeat { ballot, first_unchosen };
            out.push(Effect::Send(Outbound::Learner(learner, heartbeat)));
        }
        for &gateway in &self.peers.gateways {
            out.push(Effect::Send(Outbound::Client(gateway, ToClient::Leading { ballot })));
        }
    }
}
