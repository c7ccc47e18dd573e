//! The gateway: gives each command one name, retries it under that name until its outcome is known,
//! and never says more than it knows.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::types::{
    Ballot, Bug, Command, EpochDigest, IdempotencyKey, Index, Instant, Name, NodeId, Operation,
    ProposerId, Sequence, SessionId, Slot, planted,
};

use super::event::Event;
use super::log::{Outcome, Settled};
use super::message::{Handback, Notice, Outbound, Submission, ToClient, ToProposer};

/// What a gateway is told at birth.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The node it lives in: a client, or a proposer.
    pub me: NodeId,
    /// What may change while it runs.
    pub settings: ClientSettings,
}

/// What a gateway can be told anew at any time. It says how long to wait and how much to take; what
/// was taken keeps its name and its promise.
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// After this an attempt that was not answered is made again.
    pub retry: Duration,
    /// Commands whose outcome is open at most.
    pub in_flight_max: usize,
    /// Bytes of commands in one message at most; one command always fits.
    pub message_bytes_max: usize,
}

/// What a gateway can be told, beside [`Client::submit`] and [`Client::cancel`].
#[derive(Debug, Clone)]
pub enum Input {
    /// A message.
    Received {
        /// From whom.
        from: NodeId,
        /// Under which epoch.
        epoch: Option<EpochDigest>,
        /// What it says.
        message: ToClient,
    },
    /// Messages to this node can be sent now.
    LinkUp(NodeId),
    /// The connection to or from this node broke.
    LinkDown(NodeId),
    /// The proposers there are, from configuration and gossip.
    Proposers(BTreeSet<ProposerId>),
    /// Other settings than before.
    Settings(ClientSettings),
}

/// What a gateway wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a message.
    Send(Outbound),
    /// Tell what happened.
    Event(Event),
    /// The caller's answer, or after [`Answer::Unknown`] its correction.
    Done {
        /// The name that the caller knows.
        id: Name,
        /// What became of it.
        answer: Answer,
    },
}

/// What a gateway can say of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Chosen and delivered.
    Applied {
        /// Its first index.
        first: Index,
        /// Its last index.
        last: Index,
        /// The slot that carried it.
        slot: Slot,
        /// The ballot it was chosen under.
        ballot: Ballot,
    },
    /// An earlier command under the same idempotency key stands at these indices.
    Repeated {
        /// Its first index.
        first: Index,
        /// Its last index.
        last: Index,
    },
    /// The idempotency key was used with another value; nothing was applied.
    KeyReused,
    /// Certainly not applied, now or later: no attempt under its name ever reached an accept, or it
    /// was cancelled first.
    NotApplied {
        /// What the last proposer said; absent when none could be reached.
        reason: Option<Handback>,
    },
    /// An attempt may have reached an accept: it is being cancelled by name, and a later answer
    /// will say what became of it.
    Unknown {
        /// What the last proposer said.
        reason: Option<Handback>,
    },
    /// It was in doubt for so long that the learners have forgotten its session.
    Forgotten,
    /// The state of the target of a cancellation.
    Settled(Settled),
}

/// Too many commands are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} commands are in flight, the most there may be")]
pub struct InFlightError(pub usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Opens the session.
    Session,
    /// A caller waits until the deadline.
    Caller {
        /// When the caller stops waiting.
        deadline: Instant,
    },
    /// The caller was told that its outcome is unknown; it is not sent again.
    Doubted,
    /// Cancels a doubted command, to learn what became of it.
    Resolve {
        /// Which.
        doubted: Sequence,
    },
}

#[derive(Debug)]
struct Request {
    /// The session it is sent in: another than at first where that one was given up or evicted.
    session: SessionId,
    operation: Operation,
    purpose: Purpose,
    /// Attempts that were not refused: each may have reached an accept.
    outstanding: BTreeSet<(ProposerId, u64)>,
    retry_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Opening,
    Open,
}

/// A gateway.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    session: SessionId,
    state: Session,
    next_sequence: Sequence,
    next_message: u64,
    epoch: Option<EpochDigest>,
    proposers: BTreeSet<ProposerId>,
    up: BTreeSet<NodeId>,
    leader: Option<Ballot>,
    /// Whom to try next while no leader is known.
    turn: usize,
    /// Commands whose outcome is open, by sequence.
    open: BTreeMap<Sequence, Request>,
    /// Commands to send at the next flush.
    unsent: BTreeSet<Sequence>,
    /// When to look at a command again.
    timers: BTreeSet<(Instant, Sequence)>,
    last_reason: Option<Handback>,
    /// How many sessions were given up since the last one that was open.
    renewals: u32,
}

/// The sequence that opens a session.
const OPENING: Sequence = Sequence(0);

/// Bytes that a command needs in a message beside itself.
const SUBMISSION_BYTES: usize = 48;

/// Each renewal doubles the patience with the next session, so many times at most.
const RENEWALS_MAX: u32 = 5;

/// What a gateway looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientStatus {
    /// Commands whose outcome is open.
    pub in_flight: usize,
    /// The ballot of the leader it knows.
    pub leader: Option<Ballot>,
    /// Whether its session is open.
    pub ready: bool,
}

impl Client {
    /// A gateway with a session of its own, drawn from `seed`.
    #[must_use]
    pub fn new(config: ClientConfig, now: Instant, seed: [u8; 32]) -> Self {
        let mut life = [0; 16];
        ChaCha8Rng::from_seed(seed).fill_bytes(&mut life);
        let mut client = Self {
            config,
            session: SessionId::first_of(life),
            state: Session::Opening,
            next_sequence: Sequence(1),
            next_message: 1,
            epoch: None,
            proposers: BTreeSet::new(),
            up: BTreeSet::new(),
            leader: None,
            turn: 0,
            open: BTreeMap::new(),
            unsent: BTreeSet::new(),
            timers: BTreeSet::new(),
            last_reason: None,
            renewals: 0,
        };
        client.insert(now, OPENING, Operation::Open, Purpose::Session);
        client
    }

    /// Takes a write from a caller, who waits until `deadline`.
    ///
    /// # Errors
    /// When too many commands are open; nothing was taken then.
    pub fn submit(
        &mut self,
        now: Instant,
        values: Vec<Bytes>,
        key: Option<IdempotencyKey>,
        deadline: Instant,
    ) -> Result<Name, InFlightError> {
        if self.open.len() >= self.config.settings.in_flight_max {
            return Err(InFlightError(self.config.settings.in_flight_max));
        }
        Ok(self.add(now, Operation::Write { key, values }, Purpose::Caller { deadline }))
    }

    /// Makes sure what became, or will become, of `target`.
    ///
    /// # Errors
    /// When too many commands are open.
    pub fn cancel(
        &mut self,
        now: Instant,
        target: Name,
        deadline: Instant,
    ) -> Result<Name, InFlightError> {
        if self.open.len() >= self.config.settings.in_flight_max {
            return Err(InFlightError(self.config.settings.in_flight_max));
        }
        Ok(self.add(now, Operation::Cancel { target }, Purpose::Caller { deadline }))
    }

    /// Takes one input at `now`. After the last input that waits, call [`Client::flush`].
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Received { from, epoch, message } => {
                self.receive(now, from, epoch, message, out);
            }
            Input::LinkUp(node) => {
                self.up.insert(node);
            }
            Input::LinkDown(node) => self.on_link_down(now, node),
            Input::Proposers(proposers) => self.proposers = proposers,
            Input::Settings(settings) => self.on_settings(now, settings),
        }
    }

    /// Does what is due at `now`; then too, flush.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while let Some(&(at, sequence)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            let Some(request) = self.open.get(&sequence) else { continue };
            match request.purpose {
                Purpose::Caller { deadline } if deadline <= now => {
                    self.give_up(now, sequence, out);
                }
                // Another attempt would hardly be answered in time, and only make a certain answer
                // a doubtful one.
                Purpose::Caller { deadline }
                    if request.retry_at <= now
                        && request.outstanding.is_empty()
                        && deadline.since(now) < self.config.settings.retry / 4 =>
                {
                    self.retry_at(sequence, deadline);
                }
                Purpose::Doubted => {}
                Purpose::Caller { .. } | Purpose::Session | Purpose::Resolve { .. } => {
                    if request.retry_at <= now {
                        self.unsent.insert(sequence);
                    } else {
                        self.set_timer(sequence);
                    }
                }
            }
        }
    }

    /// When [`Client::tick`] wants to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// Sends what waits, as few messages as will carry it.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.unsent.is_empty() {
            return;
        }
        let unsent = std::mem::take(&mut self.unsent);
        let Some(to) = self.whom_to_ask() else {
            for sequence in unsent {
                self.retry_later(now, sequence);
            }
            return;
        };
        if unsent.contains(&OPENING) {
            self.renew_session();
        }
        let lowest_open =
            self.open.keys().copied().find(|&it| it > OPENING).unwrap_or(self.next_sequence);
        let mut commands = Vec::new();
        let mut bytes = 0;
        for sequence in unsent {
            self.retry_later(now, sequence);
            let Some(request) = self.open.get(&sequence) else { continue };
            let waits = self.state == Session::Opening && request.session == self.session;
            if waits && request.purpose != Purpose::Session {
                continue;
            }
            let name = Name { session: request.session, sequence };
            let origin = self.config.me;
            let operation = request.operation.clone();
            let command = Command { name, lowest_open, origin, operation }.to_bytes();
            // The longest command fits a frame, but perhaps not together with others.
            if bytes + command.len() > self.config.settings.message_bytes_max
                && !commands.is_empty()
            {
                self.send(to, std::mem::take(&mut commands), out);
                bytes = 0;
            }
            bytes += command.len() + SUBMISSION_BYTES;
            commands.push(Submission { name, command });
            if let Some(request) = self.open.get_mut(&sequence) {
                request.outstanding.insert((to, self.next_message));
            }
        }
        if !commands.is_empty() {
            self.send(to, commands, out);
        }
    }

    /// What it looks like from outside.
    #[must_use]
    pub fn status(&self) -> ClientStatus {
        ClientStatus {
            in_flight: self.open.len(),
            leader: self.leader,
            ready: self.state == Session::Open,
        }
    }

    /// The epoch of the leader it has met.
    #[must_use]
    pub fn epoch(&self) -> Option<EpochDigest> {
        self.epoch
    }

    fn send(&mut self, to: ProposerId, commands: Vec<Submission>, out: &mut Vec<Effect>) {
        let session = self.session.life();
        let submit = ToProposer::Submit { session, number: self.next_message, commands };
        self.next_message += 1;
        out.push(Effect::Send(Outbound::Proposer(to, submit)));
    }

    fn receive(
        &mut self,
        now: Instant,
        from: NodeId,
        epoch: Option<EpochDigest>,
        message: ToClient,
        out: &mut Vec<Effect>,
    ) {
        match message {
            ToClient::Notices { notices, .. } => {
                // The commands of a slot come together, and are one event.
                let mut told = None;
                for notice in notices {
                    let (slot, ballot) = (notice.slot, notice.ballot);
                    if self.on_notice(now, notice, out) && told.replace(slot) != Some(slot) {
                        out.push(Effect::Event(Event::Answered { slot, ballot }));
                    }
                }
            }
            ToClient::Refused { proposer, number, names, reason } => {
                // Where there is room, or a leader, is found by waiting, not by sending all of it
                // again at once: a leader that is found says so itself.
                let is_elsewhere = matches!(reason, Handback::NotLeader { .. });
                self.on_handback(now, proposer, reason);
                for name in names {
                    if self.on_refused((proposer, number), name) && is_elsewhere {
                        self.hasten(now, name.sequence);
                    }
                }
            }
            ToClient::Abandoned { proposer, names, reason, .. } => {
                self.on_handback(now, proposer, reason);
                for name in names {
                    self.hasten(now, name.sequence);
                }
            }
            ToClient::Leading { ballot } => {
                if ballot.proposer.node() == from {
                    self.epoch = epoch;
                    self.on_leading(ballot);
                }
            }
            ToClient::Pages { .. } => {}
        }
    }

    fn on_leading(&mut self, ballot: Ballot) {
        if Some(ballot) <= self.leader {
            return;
        }
        self.leader = Some(ballot);
        // A name is proposed once however often it is sent, so all that is open goes to the new
        // leader at once.
        self.send_all();
    }

    fn on_handback(&mut self, now: Instant, proposer: ProposerId, reason: Handback) {
        let was_leader = self.leader.is_some_and(|ballot| ballot.proposer == proposer);
        let is_leader = matches!(reason, Handback::Busy | Handback::JournalFull { .. });
        if was_leader && !is_leader {
            self.leader = None;
            self.hasten_all(now);
        }
        self.last_reason = Some(reason);
    }

    /// Forgets an attempt that was handed back; tells whether its command is still open.
    fn on_refused(&mut self, attempt: (ProposerId, u64), name: Name) -> bool {
        let request = self.open.get_mut(&name.sequence);
        let Some(request) = request.filter(|it| it.session == name.session) else { return false };
        request.outstanding.remove(&attempt);
        true
    }

    fn on_link_down(&mut self, now: Instant, node: NodeId) {
        self.up.remove(&node);
        if self.leader.is_some_and(|ballot| ballot.proposer.node() == node) {
            self.leader = None;
            self.hasten_all(now);
        }
    }

    /// Tells whether a caller is answered.
    fn on_notice(&mut self, now: Instant, notice: Notice, out: &mut Vec<Effect>) -> bool {
        let sequence = notice.name.sequence;
        let Some(request) = self.open.get(&sequence) else { return false };
        if request.session != notice.name.session {
            return false;
        }
        let Notice { slot, ballot, .. } = notice;
        let answer = match notice.outcome {
            Outcome::Refused => {
                self.on_evicted(now, sequence, out);
                return false;
            }
            Outcome::Opened => {
                self.state = Session::Open;
                self.close(sequence);
                self.send_all();
                out.push(Effect::Event(Event::SessionOpened));
                return false;
            }
            Outcome::Applied { first, last } => Answer::Applied { first, last, slot, ballot },
            Outcome::Repeated { first, last } => Answer::Repeated { first, last },
            Outcome::KeyReused => Answer::KeyReused,
            Outcome::Cancelled => Answer::NotApplied { reason: None },
            Outcome::Settled(settled) => match request.purpose {
                Purpose::Resolve { doubted } => {
                    self.close(sequence);
                    self.resolve(doubted, settled, notice, out);
                    return false;
                }
                Purpose::Session | Purpose::Caller { .. } | Purpose::Doubted => {
                    Answer::Settled(settled)
                }
            },
        };
        self.finish(sequence, answer, out);
        true
    }

    /// The cancellation of a doubted command was delivered.
    fn resolve(
        &mut self,
        doubted: Sequence,
        settled: Settled,
        notice: Notice,
        out: &mut Vec<Effect>,
    ) {
        let Notice { slot, ballot, .. } = notice;
        let answer = match settled {
            Settled::Applied { first, last } => Answer::Applied { first, last, slot, ballot },
            Settled::NotApplied => Answer::NotApplied { reason: None },
            Settled::Forgotten => Answer::Forgotten,
        };
        self.finish(doubted, answer, out);
    }

    /// The learners do not know the session any more, and never will again. A command whose one
    /// attempt this was is sent under a name of a new session; one with more attempts may have been
    /// applied by another of them, and nobody can tell any longer.
    fn on_evicted(&mut self, now: Instant, sequence: Sequence, out: &mut Vec<Effect>) {
        let Some(request) = self.open.get(&sequence) else { return };
        if request.session == self.session {
            out.push(Effect::Event(Event::SessionEvicted));
            self.open_next_session(now);
        }
        let session = self.session;
        let Some(request) = self.open.get_mut(&sequence) else { return };
        let repeats_harmlessly = matches!(request.operation, Operation::Cancel { .. });
        let is_certain = request.outstanding.len() <= 1 || planted(Bug::RenameInDoubt);
        if !is_certain && !repeats_harmlessly {
            self.finish(sequence, Answer::Forgotten, out);
            return;
        }
        if request.purpose == Purpose::Doubted {
            // Its only attempt was delivered as refused, and its caller has been told that no
            // other will follow.
            self.finish(sequence, Answer::NotApplied { reason: None }, out);
            return;
        }
        request.session = session;
        request.outstanding.clear();
        self.unsent.insert(sequence);
    }

    /// The caller has waited long enough.
    fn give_up(&mut self, now: Instant, sequence: Sequence, out: &mut Vec<Effect>) {
        let reason = self.last_reason.clone();
        let Some(request) = self.open.get_mut(&sequence) else { return };
        if request.outstanding.is_empty() || planted(Bug::DenyInDoubt) {
            self.finish(sequence, Answer::NotApplied { reason }, out);
            return;
        }
        let target = Name { session: request.session, sequence };
        out.push(Effect::Done { id: target.told(), answer: Answer::Unknown { reason } });
        if matches!(request.operation, Operation::Cancel { .. }) {
            self.close(sequence);
            return;
        }
        request.purpose = Purpose::Doubted;
        let purpose = Purpose::Resolve { doubted: sequence };
        self.unsent.remove(&sequence);
        self.add(now, Operation::Cancel { target }, purpose);
    }

    fn open_next_session(&mut self, now: Instant) {
        self.session = self.session.successor();
        self.state = Session::Opening;
        self.renewals = 0;
        self.insert(now, OPENING, Operation::Open, Purpose::Session);
    }

    /// Gives up a session whose opening has an attempt that may still be chosen, for the next one:
    /// a second copy of it, chosen after the session was evicted, would revive it without its
    /// memory, and with it every retry still under way. Nothing was sent in the former yet.
    fn renew_session(&mut self) {
        let Some(opening) = self.open.get_mut(&OPENING) else { return };
        if opening.outstanding.is_empty() || planted(Bug::ReopenSession) {
            return;
        }
        opening.outstanding.clear();
        self.renewals = self.renewals.saturating_add(1).min(RENEWALS_MAX);
        let former = self.session;
        self.session = former.successor();
        for request in self.open.values_mut().filter(|it| it.session == former) {
            request.session = self.session;
        }
    }

    fn add(&mut self, now: Instant, operation: Operation, purpose: Purpose) -> Name {
        let sequence = self.next_sequence;
        self.next_sequence = Sequence(sequence.0 + 1);
        self.insert(now, sequence, operation, purpose)
    }

    fn insert(
        &mut self,
        now: Instant,
        sequence: Sequence,
        operation: Operation,
        purpose: Purpose,
    ) -> Name {
        let request = Request {
            session: self.session,
            operation,
            purpose,
            outstanding: BTreeSet::new(),
            retry_at: now,
        };
        self.open.insert(sequence, request);
        self.unsent.insert(sequence);
        self.set_timer(sequence);
        Name { session: self.session, sequence }.told()
    }

    fn finish(&mut self, sequence: Sequence, answer: Answer, out: &mut Vec<Effect>) {
        if let Some(request) = self.close(sequence) {
            let name = Name { session: request.session, sequence };
            out.push(Effect::Done { id: name.told(), answer });
        }
    }

    fn close(&mut self, sequence: Sequence) -> Option<Request> {
        self.unsent.remove(&sequence);
        let request = self.open.remove(&sequence)?;
        self.timers.remove(&(due(&request), sequence));
        Some(request)
    }

    /// The leader, else each proposer that can be reached in turn.
    fn whom_to_ask(&mut self) -> Option<ProposerId> {
        if let Some(ballot) = self.leader {
            return Some(ballot.proposer);
        }
        let reachable: Vec<ProposerId> =
            self.proposers.iter().copied().filter(|it| self.up.contains(&it.node())).collect();
        self.turn += 1;
        reachable.get(self.turn % reachable.len().max(1)).copied()
    }

    fn send_all(&mut self) {
        let sendable = |request: &Request| request.purpose != Purpose::Doubted;
        let all = self.open.iter().filter(|(_, request)| sendable(request)).map(|(&it, _)| it);
        self.unsent.extend(all);
    }

    fn retry_later(&mut self, now: Instant, sequence: Sequence) {
        self.retry_at(sequence, self.patient_until(now, sequence));
    }

    /// When what was tried `now` is tried again.
    fn patient_until(&self, now: Instant, sequence: Sequence) -> Instant {
        // A session that was given up cannot be told open any more, so each waits twice as long.
        let doublings = if sequence == OPENING { self.renewals } else { 0 };
        now + self.config.settings.retry * 2_u32.pow(doublings)
    }

    /// Nobody waits longer for the next attempt than by the new settings.
    fn on_settings(&mut self, now: Instant, settings: ClientSettings) {
        self.config.settings = settings;
        let waits: Vec<(Sequence, Instant)> =
            self.open.iter().map(|(&sequence, request)| (sequence, request.retry_at)).collect();
        for (sequence, at) in waits {
            self.retry_at(sequence, at.min(self.patient_until(now, sequence)));
        }
    }

    /// Tries again soon, but not at once: who refused needs a moment to find the leader.
    fn hasten(&mut self, now: Instant, sequence: Sequence) {
        self.retry_at(sequence, now + self.config.settings.retry / 8);
    }

    fn hasten_all(&mut self, now: Instant) {
        let all: Vec<Sequence> = self.open.keys().copied().collect();
        for sequence in all {
            self.hasten(now, sequence);
        }
    }

    fn retry_at(&mut self, sequence: Sequence, at: Instant) {
        if let Some(request) = self.open.get_mut(&sequence) {
            self.timers.remove(&(due(request), sequence));
            request.retry_at = at;
            self.set_timer(sequence);
        }
    }

    fn set_timer(&mut self, sequence: Sequence) {
        if let Some(request) = self.open.get(&sequence)
            && request.purpose != Purpose::Doubted
        {
            self.timers.insert((due(request), sequence));
        }
    }
}

/// When a request must be looked at again.
fn due(request: &Request) -> Instant {
    match request.purpose {
        Purpose::Caller { deadline } => deadline.min(request.retry_at),
        Purpose::Session | Purpose::Doubted | Purpose::Resolve { .. } => request.retry_at,
    }
}
