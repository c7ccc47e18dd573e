//! The proposer: finds the epoch, takes part in elections, and leads.
//!
//! `formation` finds or founds the epoch, `election` decides when to try, `prepare` is phase 1 and
//! `accept` is phase 2 of Paxos Made Simple; `spares` are the acceptors that phase 2 tells later.

mod accept;
mod election;
mod formation;
mod prepare;
mod queue;
mod spares;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::types::{
    AcceptorId, Ballot, Bug, Epoch, EpochDigest, Incarnation, Instant, LearnerId, LogLimits,
    NodeId, ProposerId, Quorum, SessionId, Slot, Tally, planted,
};

use self::accept::Leading;
use self::formation::Formation;
use self::prepare::Preparing;
use self::queue::Queue;
use super::event::{Event, StepDown};
use super::message::{Handback, Outbound, ToAcceptor, ToClient, ToProposer, ToWitness};

/// What a proposer is told at birth.
#[derive(Debug, Clone)]
pub struct ProposerConfig {
    /// Its id.
    pub me: ProposerId,
    /// Drawn at this start; never 0.
    pub incarnation: Incarnation,
    /// The cluster's name.
    pub cluster: String,
    /// The acceptors to form the cluster with; without effect once it is formed.
    pub acceptors: BTreeSet<AcceptorId>,
    /// The learners to form the cluster with.
    pub learners: BTreeSet<LearnerId>,
    /// The learners' memory to form the cluster with.
    pub limits: LogLimits,
    /// Milliseconds since 1970 at `Instant` zero: rounds start from the clock, as the seed has it.
    pub clock_ms_at_zero: u64,
    /// What may change while it runs.
    pub settings: ProposerSettings,
}

/// What a proposer can be told anew at any time. None of it bears on safety: it says how long to
/// wait and how much to take.
#[derive(Debug, Clone)]
pub struct ProposerSettings {
    /// How often a leader says that it lives.
    pub heartbeat: Duration,
    /// How long a silent leader is waited for.
    pub timeout: Duration,
    /// After this an unanswered message is sent again.
    pub resend: Duration,
    /// How long a leader that is asked to leave may finish what it has begun.
    pub drain: Duration,
    /// Slots in flight at most.
    pub window_slots: usize,
    /// How much later acceptors beyond a phase-2 quorum are told at most; zero: at once. Nor is it
    /// longer than a heartbeat.
    pub spare_delay: Duration,
    /// Bytes that must wait for a further slot to be worth opening beside one in flight, and as
    /// many more for each that is.
    pub batch_bytes_min: usize,
    /// Bytes of one batch at most; one command always fits.
    pub batch_bytes_max: usize,
    /// Commands of one batch at most.
    pub batch_commands_max: usize,
    /// Commands that wait for a slot at most.
    pub queue_commands_max: usize,
    /// Bytes that wait for a slot at most.
    pub queue_bytes_max: usize,
    /// Empty slots that one request to fill may make a leader close at most.
    pub fill_slots_max: u64,
}

/// Whom a leader tells, beside the acceptors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    /// The other proposers.
    pub proposers: BTreeSet<ProposerId>,
    /// Every learner, counted by the epoch or not.
    pub learners: BTreeSet<LearnerId>,
    /// Every gateway: the clients, and the proposers' own.
    pub gateways: BTreeSet<NodeId>,
}

impl Peers {
    /// The learner that is to count a proposal's votes, so that each need not be sent to every
    /// learner: the leader tells the others what was chosen. One of the epoch's where it can be:
    /// callers wait for it, and one that has joined may be far away. Absent while the leader can
    /// not reach them all.
    fn counting_learner(&self, epoch: &Epoch, up: &BTreeSet<NodeId>) -> Option<LearnerId> {
        let is_up = |learner: &LearnerId| up.contains(&learner.node());
        let of_epoch = self.learners.intersection(&epoch.learners).next();
        of_epoch.or(self.learners.first()).copied().filter(|_| self.learners.iter().all(is_up))
    }
}

/// What a proposer can be told.
#[derive(Debug, Clone)]
pub enum Input {
    /// A message.
    Received {
        /// From whom.
        from: NodeId,
        /// Under which epoch.
        epoch: Option<EpochDigest>,
        /// What it says.
        message: ToProposer,
    },
    /// Messages to this node can be sent now; earlier ones may be lost.
    LinkUp(NodeId),
    /// The connection to or from this node broke.
    LinkDown(NodeId),
    /// Whom to tell, from configuration and gossip.
    Peers(Peers),
    /// Other settings than before.
    Settings(ProposerSettings),
    /// Leave: finish, hand over, then [`Effect::Left`].
    Leave,
}

/// What a proposer wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a message.
    Send(Outbound),
    /// Tell what happened.
    Event(Event),
    /// It has handed over; the process may end.
    Left,
}

#[derive(Debug)]
struct Membership {
    epoch: Epoch,
    digest: EpochDigest,
    quorum: Quorum,
}

#[derive(Debug)]
enum Phase {
    /// The epoch is not known yet.
    Forming(Formation),
    /// Another leads, or nobody does.
    Following {
        /// When to ask the acceptors, unless a leader is heard of.
        ask_at: Instant,
    },
    /// The acceptors were asked whether they hear a leader.
    Asking {
        /// Which question.
        nonce: u64,
        /// Who said no.
        unled: Tally,
        /// When the question has failed.
        until: Instant,
    },
    /// Phase 1.
    Preparing(Preparing),
    /// Phase 2.
    Leading(Leading),
    /// It has handed over.
    Left,
}

/// A proposer. Proposers keep no disk: all that must outlive one is with the acceptors.
#[derive(Debug)]
pub struct Proposer {
    config: ProposerConfig,
    rng: ChaCha8Rng,
    peers: Peers,
    up: BTreeSet<NodeId>,
    membership: Option<Membership>,
    strangers: BTreeSet<AcceptorId>,
    highest_round: u64,
    /// Everything through this slot is chosen: a learner has delivered it.
    chosen_through: Slot,
    /// The first slot that a learner asked to be settled although it lies below.
    settle_from: Option<Slot>,
    /// The highest ballot that was seen leading, and when.
    followed: Option<(Ballot, Instant)>,
    deposed_at: Option<Instant>,
    heard: BTreeMap<AcceptorId, Instant>,
    queue: Queue,
    /// The newest message of each gateway's session.
    submitted: BTreeMap<NodeId, (SessionId, u64)>,
    nonce: u64,
    leaving: bool,
    phase: Phase,
}

/// What a proposer looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposerStatus {
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether it is between asking and leading.
    pub in_election: bool,
    /// The ballot of the leader it knows, itself included.
    pub leader: Option<Ballot>,
    /// The epoch it counts by.
    pub epoch: Option<EpochDigest>,
    /// The highest round seen.
    pub highest_round: u64,
    /// The lowest slot not known to be chosen.
    pub first_unchosen: Slot,
    /// Slots in flight.
    pub in_flight: usize,
    /// Commands that wait for a slot.
    pub queued: usize,
    /// The newest slot in flight: its slot, ballot, votes so far, and encoded batch.
    pub current: Option<Current>,
    /// Acceptors that count.
    pub acceptors: usize,
    /// Acceptors of the epoch that cannot be reached or do not vote.
    pub missing: BTreeSet<AcceptorId>,
}

/// The newest proposal in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Its slot.
    pub slot: Slot,
    /// Its ballot.
    pub ballot: Ballot,
    /// Its value.
    pub batch: crate::types::Batch,
    /// Acceptors that voted so far.
    pub votes: usize,
}

impl Proposer {
    /// A proposer that knows nothing yet.
    ///
    /// # Panics
    /// When its incarnation is 0, which marks ballots written by hand.
    #[must_use]
    pub fn new(config: ProposerConfig, now: Instant, seed: [u8; 32]) -> Self {
        assert!(config.incarnation.0 != 0, "incarnation 0 is for ballots written by hand");
        let formation = Formation::new(now);
        let mut rng = ChaCha8Rng::from_seed(seed);
        // Answers to a question of an earlier life must not fit a question of this one.
        let nonce = u64::from(rng.next_u32()) << 32;
        Self {
            queue: Queue::new(config.settings.queue_commands_max, config.settings.queue_bytes_max),
            config,
            rng,
            peers: Peers::default(),
            up: BTreeSet::new(),
            membership: None,
            strangers: BTreeSet::new(),
            highest_round: 0,
            chosen_through: Slot::ZERO,
            settle_from: None,
            followed: None,
            deposed_at: None,
            heard: BTreeMap::new(),
            submitted: BTreeMap::new(),
            nonce,
            leaving: false,
            phase: Phase::Forming(formation),
        }
    }

    /// Takes one input at `now` and appends what is to be done. After the last input that waits,
    /// call [`Proposer::flush`].
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Received { from, epoch, message } => {
                self.receive(now, from, epoch, message, out);
            }
            Input::LinkUp(node) => self.on_link_up(node, out),
            Input::LinkDown(node) => self.on_link_down(now, node),
            Input::Peers(peers) => self.peers = peers,
            Input::Settings(settings) => self.on_settings(now, settings),
            Input::Leave => self.on_leave(now, out),
        }
    }

    /// Ends a round of inputs: proposes what has come in, as one batch where it can.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.propose(now, out);
        self.tell_spares(now, out);
        self.finish_draining(now, out);
    }

    /// Does what is due at `now`; then too, flush.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Forming(_) => self.tick_formation(now, out),
            Phase::Following { .. } | Phase::Asking { .. } => self.tick_election(now, out),
            Phase::Preparing(_) => self.tick_preparing(now, out),
            Phase::Leading(_) => self.tick_leading(now, out),
            Phase::Left => {}
        }
    }

    /// When [`Proposer::tick`] wants to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Forming(formation) => Some(formation.ask_at),
            Phase::Following { ask_at } => Some(*ask_at),
            Phase::Asking { until, .. } => Some(*until),
            Phase::Preparing(preparing) => Some(preparing.deadline()),
            Phase::Leading(leading) => Some(leading.deadline(self.spare_delay())),
            Phase::Left => None,
        }
    }

    /// The epoch it counts by.
    #[must_use]
    pub fn epoch(&self) -> Option<EpochDigest> {
        self.membership.as_ref().map(|membership| membership.digest)
    }

    /// The epoch itself.
    #[must_use]
    pub fn formed(&self) -> Option<&Epoch> {
        self.membership.as_ref().map(|membership| &membership.epoch)
    }

    /// What it looks like from outside at `now`.
    #[must_use]
    pub fn status(&self, now: Instant) -> ProposerStatus {
        let leading = match &self.phase {
            Phase::Leading(leading) => Some(leading),
            Phase::Forming(_)
            | Phase::Following { .. }
            | Phase::Asking { .. }
            | Phase::Preparing(_)
            | Phase::Left => None,
        };
        ProposerStatus {
            is_leader: leading.is_some(),
            in_election: matches!(self.phase, Phase::Asking { .. } | Phase::Preparing(_)),
            leader: leading.map(|leading| leading.ballot).or_else(|| self.leader(now)),
            epoch: self.epoch(),
            highest_round: self.highest_round,
            first_unchosen: leading.map_or(self.chosen_through.next(), Leading::first_unchosen),
            in_flight: leading.map_or(0, Leading::in_flight),
            queued: self.queue.len(),
            current: leading.and_then(Leading::current),
            acceptors: self
                .membership
                .as_ref()
                .map_or(self.config.acceptors.len(), |m| m.epoch.acceptors.len()),
            missing: self.missing(now),
        }
    }

    fn receive(
        &mut self,
        now: Instant,
        from: NodeId,
        epoch: Option<EpochDigest>,
        message: ToProposer,
        out: &mut Vec<Effect>,
    ) {
        if let ToProposer::Identity(identity) = message {
            self.on_identity(now, identity, out);
            return;
        }
        if let ToProposer::Submit { session, number, commands } = message {
            // A gateway that has met no leader yet knows no epoch.
            if (epoch.is_none() || epoch == self.epoch()) && self.is_new(from, session, number) {
                self.on_submit(now, (from, number), commands, out);
            }
            return;
        }
        if epoch.is_none() || epoch != self.epoch() {
            return;
        }
        match message {
            ToProposer::Identity(_) | ToProposer::Submit { .. } => {}
            ToProposer::Promise {
                acceptor,
                ballot,
                from_slot,
                accepted,
                next_slot,
                trimmed_slot,
            } => {
                self.hear(acceptor, now);
                let page = prepare::Page { from_slot, accepted, next_slot, trimmed_slot };
                self.on_promise(now, acceptor, ballot, page, out);
            }
            ToProposer::Vote(vote) => {
                self.hear(vote.acceptor, now);
                self.on_vote(now, vote, out);
            }
            ToProposer::Nack { acceptor, ballot, slot, refusal } => {
                self.hear(acceptor, now);
                out.push(Effect::Event(Event::Refused { ballot, slot, peer: acceptor.node() }));
                self.on_nack(now, ballot, refusal, out);
            }
            ToProposer::Led { acceptor, nonce, led, promised } => {
                self.hear(acceptor, now);
                self.see(promised);
                self.on_led(now, acceptor, nonce, led, out);
            }
            ToProposer::HeartbeatAck { acceptor, ballot, pressure } => {
                self.hear(acceptor, now);
                if let Phase::Leading(leading) = &mut self.phase
                    && leading.ballot == ballot
                {
                    leading.on_pressure(acceptor, pressure);
                }
            }
            ToProposer::Heartbeat { ballot } => self.on_heartbeat(now, ballot, out),
            ToProposer::Resign { ballot } => self.on_resign(now, ballot, out),
            ToProposer::Fill { from_slot, through } => {
                self.on_fill(now, from_slot, through, out);
            }
            ToProposer::Delivered { slot, .. } => self.on_delivered(slot),
        }
    }

    /// Whoever was in time by the old timeout is in time by the new one, lest a shorter one deposes
    /// a leader that has done nothing wrong; and nobody waits longer than by the new settings.
    fn on_settings(&mut self, now: Instant, settings: ProposerSettings) {
        let old_timeout = self.config.settings.timeout;
        // Only by a shorter one: settings that come again and again must not keep a leader that
        // nobody answers.
        let is_shorter = settings.timeout < old_timeout;
        let renew = |at: &mut Instant| {
            if is_shorter && now.since(*at) <= old_timeout {
                *at = now;
            }
        };
        self.heard.values_mut().for_each(&renew);
        if let Some((_, at)) = &mut self.followed {
            renew(at);
        }
        self.queue.set_bounds(settings.queue_commands_max, settings.queue_bytes_max);
        let ProposerSettings { heartbeat, timeout, resend, .. } = settings;
        self.config.settings = settings;
        match &mut self.phase {
            Phase::Forming(formation) => formation.ask_at = formation.ask_at.min(now + resend),
            Phase::Following { ask_at } => *ask_at = (*ask_at).min(now + timeout * 3 / 2),
            Phase::Asking { until, .. } => *until = (*until).min(now + timeout),
            Phase::Preparing(preparing) => {
                preparing.hasten(now + resend, now + timeout * 5, now + heartbeat);
            }
            Phase::Leading(leading) => leading.hasten(now + heartbeat, renew),
            Phase::Left => {}
        }
    }

    fn on_link_up(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        self.up.insert(node);
        let acceptor = AcceptorId(node);
        if self.candidates().contains(&acceptor) {
            out.push(Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Identify)));
        }
        match &mut self.phase {
            Phase::Preparing(preparing) => preparing.resend_to(acceptor, out),
            Phase::Leading(leading) => {
                if let Some(membership) = &self.membership
                    && membership.epoch.acceptors.contains_key(&acceptor)
                {
                    leading.resend_to(acceptor, out);
                    let heartbeat = ToWitness::Heartbeat { ballot: leading.ballot };
                    out.push(Effect::Send(Outbound::Witness(acceptor, heartbeat)));
                }
                if self.peers.gateways.contains(&node) {
                    let leading = ToClient::Leading { ballot: leading.ballot };
                    out.push(Effect::Send(Outbound::Client(node, leading)));
                }
            }
            Phase::Forming(_) | Phase::Following { .. } | Phase::Asking { .. } | Phase::Left => {}
        }
    }

    fn on_link_down(&mut self, now: Instant, node: NodeId) {
        self.up.remove(&node);
        self.heard.remove(&AcceptorId(node));
        self.strangers.remove(&AcceptorId(node));
        self.on_leader_link_down(now, node);
    }

    /// Whether a gateway's message is newer than all it sent before: none is taken twice, so that a
    /// refusal means that no copy of it was proposed.
    fn is_new(&mut self, gateway: NodeId, session: SessionId, number: u64) -> bool {
        let is_new = self
            .submitted
            .get(&gateway)
            .is_none_or(|&(theirs, newest)| theirs != session || number > newest)
            || planted(Bug::TakeMessageTwice);
        if is_new {
            self.submitted.insert(gateway, (session, number));
        }
        is_new
    }

    fn on_delivered(&mut self, slot: Slot) {
        // What is in flight stays until a quorum at this ballot has it, or an acceptor has
        // forgotten it: the one learner that has it may be gone when another asks.
        self.chosen_through = self.chosen_through.max(slot);
        if let Phase::Leading(leading) = &mut self.phase {
            leading.on_delivered(slot);
        }
    }

    fn hear(&mut self, acceptor: AcceptorId, now: Instant) {
        self.heard.insert(acceptor, now);
    }

    fn see(&mut self, ballot: Option<Ballot>) {
        if let Some(ballot) = ballot {
            self.highest_round = self.highest_round.max(ballot.round);
        }
    }

    /// The acceptors to talk to: the epoch's, or before it is known the configured ones.
    fn candidates(&self) -> BTreeSet<AcceptorId> {
        self.membership.as_ref().map_or_else(
            || self.config.acceptors.clone(),
            |membership| membership.epoch.acceptors.keys().copied().collect(),
        )
    }

    /// Whether the acceptors of `tally` are a phase-1 quorum of the epoch.
    fn is_phase1(&self, tally: &Tally) -> bool {
        let Some(membership) = &self.membership else { return false };
        if planted(Bug::TrustReachable) {
            let is_up = |acceptor: &AcceptorId| self.up.contains(&acceptor.node());
            let reachable = membership.quorum.acceptors().iter().copied().filter(is_up).collect();
            return Quorum::majority(reachable).is_ok_and(|quorum| quorum.is_phase1(tally));
        }
        membership.quorum.is_phase1(tally)
    }

    /// The acceptors that were not heard of lately or do not vote.
    fn missing(&self, now: Instant) -> BTreeSet<AcceptorId> {
        let patience = self.config.settings.timeout * 3;
        self.candidates()
            .into_iter()
            .filter(|acceptor| {
                self.strangers.contains(acceptor)
                    || !self.up.contains(&acceptor.node())
                    || self.heard.get(acceptor).is_none_or(|&at| now.since(at) > patience)
            })
            .collect()
    }

    /// Why commands cannot be proposed here at `now`.
    fn handback(&self, now: Instant) -> Handback {
        if let Some(leader) = self.leader(now) {
            return Handback::NotLeader { leader: Some(leader.proposer) };
        }
        let acceptors = self.candidates().len();
        let need = self.membership.as_ref().map_or(acceptors, |m| m.quorum.phase1());
        let missing = self.missing(now);
        let have = acceptors - missing.len();
        if have < need {
            return Handback::NoQuorum { need, have, missing };
        }
        Handback::NotLeader { leader: None }
    }

    /// Leaves phase 1 or 2; the caller says what comes next.
    fn step_down(&mut self, now: Instant, cause: StepDown, out: &mut Vec<Effect>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Left);
        let reason = self.handback(now);
        if let Phase::Leading(leading) = phase {
            if planted(Bug::ReuseBallot) {
                self.highest_round = leading.ballot.round.saturating_sub(1);
            }
            out.push(Effect::Event(Event::SteppedDown { ballot: leading.ballot, cause }));
            for ((gateway, number), names) in leading.into_owners() {
                let (proposer, reason) = (self.config.me, reason.clone());
                let message = if planted(Bug::RefuseInFlight) {
                    ToClient::Refused { proposer, number, names, reason }
                } else {
                    ToClient::Abandoned { proposer, number, names, reason }
                };
                out.push(Effect::Send(Outbound::Client(gateway, message)));
            }
        }
    }

    fn hand_back_queue(&mut self, reason: &Handback, out: &mut Vec<Effect>) {
        for ((gateway, number), names) in self.queue.drain() {
            let proposer = self.config.me;
            let message = ToClient::Refused { proposer, number, names, reason: reason.clone() };
            out.push(Effect::Send(Outbound::Client(gateway, message)));
        }
    }
}
