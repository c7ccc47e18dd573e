//! The hosts: each drives one role of the core as the daemon does, in turns over what has arrived,
//! and tells the world what is to be done.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use paxosd::paxos::acceptor::{AcceptorConfig, Reply, Request, Standing};
use paxosd::paxos::client::{self, Answer, Client};
use paxosd::paxos::durable::Durable;
use paxosd::paxos::event::Event;
use paxosd::paxos::journal::{JournalError, Position, read_batch};
use paxosd::paxos::learner::{self, Learner, LearnerConfig, ReadToken};
use paxosd::paxos::log::{Delivered, Snapshot};
use paxosd::paxos::message::{
    Accepted, Envelope, JournalPressure, Message, Outbound, ToAcceptor, ToLearner, ToProposer,
    ToWitness,
};
use paxosd::paxos::proposer::{self, Peers, Proposer};
use paxosd::paxos::record::Record;
use paxosd::paxos::store::{Entry, Mark, Store};
use paxosd::paxos::witness::Witness;
use paxosd::types::{
    AcceptorId, Batch, Epoch, EpochDigest, IdempotencyKey, Index, Instant, LearnerId, Name, NodeId,
    ProposerId, Role, Slot,
};

use crate::disk::{Disk, SimStorage};
use crate::oracle::OperationId;
use crate::report::role_of;

/// A disk that outlives its node.
pub(crate) type SharedDisk = Rc<RefCell<Disk>>;

/// The nodes that one knows of, without itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    proposers: BTreeSet<ProposerId>,
    learners: BTreeSet<LearnerId>,
    clients: BTreeSet<NodeId>,
}

impl Known {
    /// These nodes.
    pub(crate) fn of(nodes: impl Iterator<Item = NodeId>) -> Self {
        let mut known = Self::default();
        for id in nodes {
            match role_of(id) {
                Role::Proposer => drop(known.proposers.insert(ProposerId(id))),
                Role::Learner => drop(known.learners.insert(LearnerId(id))),
                Role::Client => drop(known.clients.insert(id)),
                Role::Acceptor => {}
            }
        }
        known
    }

    fn peers(self) -> Peers {
        Peers { proposers: self.proposers, learners: self.learners, gateways: self.clients }
    }
}

/// What waits for a node's next turn.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A message.
    Message(Envelope),
    /// Messages can be sent there now.
    LinkUp(NodeId),
    /// A connection there or from there broke.
    LinkDown(NodeId),
    /// A caller writes.
    Submit { id: OperationId, values: Vec<Bytes>, key: Option<IdempotencyKey>, deadline: Instant },
    /// A caller wants to be certain of a command.
    Cancel { id: OperationId, target: Name, deadline: Instant },
    /// A caller reads.
    Read(ReadToken),
    /// Its caller has gone.
    Forget(ReadToken),
    /// The operator wants the node to leave.
    Leave,
    /// It knows of other nodes now.
    Known(Known),
    /// Its timer rang.
    Timer,
}

/// What a turn wants done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send this.
    Send(Outbound),
    /// The core tells.
    Event(Event),
    /// The proposer has handed over.
    Left,
    /// The disk is at work; call [`Host::on_disk_done`] when it is done.
    DiskStarted,
    /// The disk failed: the process ends.
    Failed(JournalError),
    /// An acceptor's reply has left it.
    Replied(Reply),
    /// A reply would leave before its sync.
    Early,
    /// A slot was delivered.
    Delivered(Box<Delivered>),
    /// The state hash after the newest slot.
    Hash(Slot, u128),
    /// Slots are on the learner's disk.
    Durable(Slot),
    /// A read may be served.
    Ready(ReadToken, Index),
    /// Learners disagree.
    Diverged(LearnerId, Index),
    /// The gateway took an operation under this name.
    Named(OperationId, Name),
    /// The gateway took no operation.
    Turned(OperationId),
    /// The gateway answers.
    Done(Name, Answer),
}

/// A role with its surroundings.
#[derive(Debug)]
pub(crate) enum Host {
    Proposer(Box<Proposer>),
    Acceptor(Box<AcceptorHost>),
    Learner(Box<LearnerHost>),
    Client(Box<ClientHost>),
}

impl Host {
    /// Takes all that has arrived in one turn.
    pub(crate) fn turn(&mut self, now: Instant, arrivals: Vec<Arrival>) -> Vec<Output> {
        match self {
            Self::Proposer(proposer) => turn_proposer(proposer, now, arrivals),
            Self::Acceptor(acceptor) => acceptor.turn(arrivals),
            Self::Learner(learner) => learner.turn(now, arrivals),
            Self::Client(client) => client.turn(now, arrivals),
        }
    }

    /// When its timer should ring.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Proposer(proposer) => proposer.deadline(),
            Self::Acceptor(_) => None,
            Self::Learner(learner) => learner.learner.deadline(),
            Self::Client(client) => client.client.deadline(),
        }
    }

    /// The epoch that its messages carry.
    pub(crate) fn epoch(&self) -> Option<EpochDigest> {
        match self {
            Self::Proposer(proposer) => proposer.epoch(),
            Self::Acceptor(acceptor) => acceptor.epoch(),
            Self::Learner(learner) => learner.learner.epoch(),
            Self::Client(client) => client.client.epoch(),
        }
    }

    /// What its disk was doing is done.
    pub(crate) fn on_disk_done(&mut self, now: Instant) -> Vec<Output> {
        match self {
            Self::Acceptor(acceptor) => acceptor.on_disk_done(),
            Self::Learner(learner) => learner.on_disk_done(now),
            Self::Proposer(_) | Self::Client(_) => Vec::new(),
        }
    }

    /// Whether a turn must wait for the disk.
    pub(crate) fn waits_for_disk(&self) -> bool {
        match self {
            Self::Acceptor(acceptor) => acceptor.is_writing,
            Self::Proposer(_) | Self::Learner(_) | Self::Client(_) => false,
        }
    }
}

fn turn_proposer(proposer: &mut Proposer, now: Instant, arrivals: Vec<Arrival>) -> Vec<Output> {
    let mut effects = Vec::new();
    for arrival in arrivals {
        let input = match arrival {
            Arrival::Message(Envelope { from, epoch, message: Message::Proposer(message) }) => {
                proposer::Input::Received { from, epoch, message }
            }
            Arrival::LinkUp(node) => proposer::Input::LinkUp(node),
            Arrival::LinkDown(node) => proposer::Input::LinkDown(node),
            Arrival::Leave => proposer::Input::Leave,
            Arrival::Known(known) => proposer::Input::Peers(known.peers()),
            Arrival::Timer => {
                proposer.tick(now, &mut effects);
                continue;
            }
            Arrival::Message(_)
            | Arrival::Submit { .. }
            | Arrival::Cancel { .. }
            | Arrival::Read(_)
            | Arrival::Forget(_) => continue,
        };
        proposer.step(now, input, &mut effects);
    }
    proposer.flush(now, &mut effects);
    let output = effects.into_iter().map(|effect| match effect {
        proposer::Effect::Send(outbound) => Output::Send(outbound),
        proposer::Effect::Event(event) => Output::Event(event),
        proposer::Effect::Left => Output::Left,
    });
    output.collect()
}

/// A proposer that is told its peers.
pub(crate) fn start_proposer(
    config: proposer::ProposerConfig,
    known: Known,
    now: Instant,
    seed: [u8; 32],
) -> Host {
    let mut proposer = Proposer::new(config, now, seed);
    proposer.step(now, proposer::Input::Peers(known.peers()), &mut Vec::new());
    Host::Proposer(Box::new(proposer))
}

/// An acceptor with its journal and its witness.
#[derive(Debug)]
pub(crate) struct AcceptorHost {
    me: AcceptorId,
    durable: Option<Durable<SimStorage>>,
    witness: Witness,
    disk: SharedDisk,
    learners: BTreeSet<LearnerId>,
    journal_bytes_max: u64,
    is_writing: bool,
    /// Replies of the turn whose sync is under way.
    held: Vec<(NodeId, Reply)>,
}

impl AcceptorHost {
    /// Replays the journal.
    pub(crate) fn start(
        config: AcceptorConfig,
        disk: SharedDisk,
        known: Known,
        journal_bytes_max: u64,
        (now, timeout): (Instant, std::time::Duration),
    ) -> Result<Self, JournalError> {
        let me = config.me;
        let (durable, _) = Durable::open(config, SimStorage(Rc::clone(&disk)))?;
        let mut witness = Witness::new(now, timeout);
        if let Some(promised) = durable.acceptor().promised() {
            witness.on_promise(promised);
        }
        // What recovery cleared and synced is done before the node takes part.
        disk.borrow_mut().settle();
        Ok(Self {
            me,
            durable: Some(durable),
            witness,
            disk,
            learners: known.learners,
            journal_bytes_max,
            is_writing: false,
            held: Vec::new(),
        })
    }

    /// The acceptor, to look at.
    pub(crate) fn durable(&self) -> Option<&Durable<SimStorage>> {
        self.durable.as_ref()
    }

    fn epoch(&self) -> Option<EpochDigest> {
        match self.durable.as_ref()?.acceptor().standing() {
            Standing::Member(digest) => Some(digest),
            Standing::Unformed | Standing::Stranger(_) => None,
        }
    }

    /// Answers beside the journal.
    pub(crate) fn on_witness(
        &mut self,
        now: Instant,
        from: NodeId,
        message: &ToWitness,
    ) -> Vec<Output> {
        let to = ProposerId(from);
        let acceptor = self.me;
        let reply = match *message {
            ToWitness::Heartbeat { ballot } => {
                self.witness.on_heartbeat(now, ballot);
                ToProposer::HeartbeatAck { acceptor, ballot, pressure: self.pressure() }
            }
            ToWitness::AskLed { nonce } => ToProposer::Led {
                acceptor,
                nonce,
                led: self.witness.is_led(now),
                promised: self.witness.promised(),
            },
            ToWitness::Resign { ballot } => {
                self.witness.on_resign(ballot);
                return Vec::new();
            }
        };
        vec![Output::Send(Outbound::Proposer(to, reply))]
    }

    fn pressure(&self) -> JournalPressure {
        let Some(durable) = &self.durable else { return JournalPressure::default() };
        JournalPressure {
            full: durable.journal_bytes() >= self.journal_bytes_max,
            lagging: durable.acceptor().lagging_learners(),
        }
    }

    fn turn(&mut self, arrivals: Vec<Arrival>) -> Vec<Output> {
        let mut requests = Vec::new();
        for arrival in arrivals {
            match arrival {
                Arrival::Message(Envelope { from, epoch, message: Message::Acceptor(message) }) => {
                    requests.push((from, Request { from, epoch, message }));
                }
                Arrival::LinkDown(node) => self.witness.on_link_down(node),
                Arrival::Known(known) => self.learners = known.learners,
                Arrival::Message(_)
                | Arrival::LinkUp(_)
                | Arrival::Submit { .. }
                | Arrival::Cancel { .. }
                | Arrival::Read(_)
                | Arrival::Forget(_)
                | Arrival::Leave
                | Arrival::Timer => {}
            }
        }
        if requests.is_empty() {
            return Vec::new();
        }
        let Some(durable) = self.durable.take() else { return Vec::new() };
        match durable.turn(requests) {
            Err(error) => vec![Output::Failed(error)],
            Ok((durable, replies)) => {
                self.durable = Some(durable);
                self.held = replies;
                self.is_writing = true;
                let early = self.disk.borrow().is_dirty().then_some(Output::Early);
                early.into_iter().chain([Output::DiskStarted]).collect()
            }
        }
    }

    fn on_disk_done(&mut self) -> Vec<Output> {
        self.disk.borrow_mut().settle();
        self.is_writing = false;
        if let Some(promised) = self.durable.as_ref().and_then(|it| it.acceptor().promised()) {
            self.witness.on_promise(promised);
        }
        let mut out = Vec::new();
        for (to, reply) in std::mem::take(&mut self.held) {
            out.push(Output::Replied(reply.clone()));
            self.send(to, reply, &mut out);
        }
        out
    }

    /// Each reply goes to the one that asked, a vote to the learners as well.
    fn send(&self, to: NodeId, reply: Reply, out: &mut Vec<Output>) {
        let acceptor = self.me;
        let proposer = ProposerId(to);
        let learner = LearnerId(to);
        let outbound = match reply {
            Reply::Identity(identity) if role_of(to) == Role::Proposer => {
                Outbound::Proposer(proposer, ToProposer::Identity(identity))
            }
            Reply::Identity(identity) => Outbound::Learner(learner, ToLearner::Identity(identity)),
            Reply::Promise { ballot, from_slot, accepted, next_slot, trimmed_slot } => {
                let promise = ToProposer::Promise {
                    acceptor,
                    ballot,
                    from_slot,
                    accepted,
                    next_slot,
                    trimmed_slot,
                };
                Outbound::Proposer(proposer, promise)
            }
            Reply::Vote { vote, learner } => {
                let all = learner.is_none().then_some(&self.learners).into_iter().flatten();
                for &learner in learner.iter().chain(all) {
                    out.push(Output::Send(Outbound::Learner(learner, ToLearner::Vote(vote))));
                }
                Outbound::Proposer(proposer, ToProposer::Vote(vote))
            }
            Reply::Nack { ballot, slot, refusal } => {
                let nack = ToProposer::Nack { acceptor, ballot, slot, refusal };
                Outbound::Proposer(proposer, nack)
            }
            Reply::Mark { nonce, slot } => {
                Outbound::Learner(learner, ToLearner::Mark { acceptor, nonce, slot })
            }
            Reply::Votes { from_slot, votes, next_slot, trimmed_slot } => {
                let votes =
                    ToLearner::Votes { acceptor, from_slot, votes, next_slot, trimmed_slot };
                Outbound::Learner(learner, votes)
            }
            Reply::Noted { .. } | Reply::OtherEpoch => return,
        };
        out.push(Output::Send(outbound));
    }
}

/// A learner with its log on disk.
#[derive(Debug)]
pub(crate) struct LearnerHost {
    me: LearnerId,
    learner: Learner,
    store: Option<Store<SimStorage>>,
    disk: SharedDisk,
    marks: Vec<Mark>,
    entries_bytes: usize,
    is_writing: bool,
    /// What the write under way makes durable.
    under_way: Option<Snapshot>,
    durable: Slot,
    epoch: Option<Epoch>,
    waiting: Vec<Entry>,
    writes: u64,
}

impl LearnerHost {
    /// Reads the log back.
    pub(crate) fn start(
        config: LearnerConfig,
        disk: SharedDisk,
        known: Known,
        entries_bytes: usize,
        now: Instant,
    ) -> Result<Self, JournalError> {
        let me = config.me;
        let checkpoint = disk.borrow().checkpoint.clone();
        let storage = SimStorage(Rc::clone(&disk));
        let (store, kept) = Store::open(config.storage, storage, checkpoint.as_deref())?;
        disk.borrow_mut().settle();
        let durable = store.slot();
        let mut learner = Learner::new(config, now, kept.state);
        let Known { learners, proposers, .. } = known;
        learner.step(now, learner::Input::Peers { learners, proposers }, &mut Vec::new());
        Ok(Self {
            me,
            learner,
            store: Some(store),
            disk,
            marks: kept.marks,
            entries_bytes,
            is_writing: false,
            under_way: None,
            durable,
            epoch: None,
            waiting: Vec::new(),
            writes: 0,
        })
    }

    /// The learner, to look at.
    pub(crate) fn learner(&self) -> &Learner {
        &self.learner
    }

    fn turn(&mut self, now: Instant, arrivals: Vec<Arrival>) -> Vec<Output> {
        let mut effects = Vec::new();
        for arrival in arrivals {
            let input = match arrival {
                Arrival::Message(Envelope { from, epoch, message: Message::Learner(message) }) => {
                    learner::Input::Received { from, epoch, message }
                }
                Arrival::LinkUp(node) => learner::Input::LinkUp(node),
                Arrival::Read(token) => learner::Input::Read(token),
                Arrival::Forget(token) => learner::Input::Forget(token),
                Arrival::Known(Known { learners, proposers, .. }) => {
                    learner::Input::Peers { learners, proposers }
                }
                Arrival::Timer => {
                    self.learner.tick(now, &mut effects);
                    continue;
                }
                Arrival::Message(_)
                | Arrival::LinkDown(_)
                | Arrival::Submit { .. }
                | Arrival::Cancel { .. }
                | Arrival::Leave => continue,
            };
            self.learner.step(now, input, &mut effects);
        }
        self.learner.flush(now, &mut effects);
        let mut out = self.carry_out(now, effects);
        self.write(&mut out);
        out
    }

    fn carry_out(&mut self, now: Instant, effects: Vec<learner::Effect>) -> Vec<Output> {
        let mut out = Vec::new();
        let mut has_delivered = false;
        for effect in effects {
            match effect {
                learner::Effect::Send(outbound) => out.push(Output::Send(outbound)),
                learner::Effect::Event(event) => out.push(Output::Event(event)),
                learner::Effect::Epoch(epoch) => self.epoch = Some(epoch),
                learner::Effect::Deliver(delivered) => {
                    has_delivered = true;
                    let at_ms = now.as_nanos() / 1_000_000;
                    self.waiting.push(Entry { delivered: delivered.clone(), at_ms });
                    out.push(Output::Delivered(Box::new(delivered)));
                }
                learner::Effect::Ready { token, index } => out.push(Output::Ready(token, index)),
                learner::Effect::SendEntries { to, from_slot } => {
                    out.extend(self.entries(to, from_slot));
                }
                learner::Effect::Diverged { learner, index } => {
                    out.push(Output::Diverged(learner, index));
                }
            }
        }
        if has_delivered && let Some(log) = self.learner.log() {
            out.push(Output::Hash(log.slot(), log.hash()));
        }
        out
    }

    /// Writes what waits, unless a write is under way.
    fn write(&mut self, out: &mut Vec<Output>) {
        if self.is_writing || self.epoch.is_none() && self.waiting.is_empty() {
            return;
        }
        let Some(store) = self.store.take() else { return };
        let written = match self.epoch.take() {
            Some(epoch) => store.keep_epoch(epoch),
            None => Ok(store),
        };
        let entries = std::mem::take(&mut self.waiting);
        match written.and_then(|store| store.append(&entries)) {
            Err(error) => out.push(Output::Failed(error)),
            Ok((store, marks)) => {
                self.store = Some(store);
                self.marks.extend(marks);
                self.under_way = self.learner.log().map(paxosd::paxos::log::Log::snapshot);
                self.is_writing = true;
                out.push(Output::DiskStarted);
            }
        }
    }

    fn on_disk_done(&mut self, now: Instant) -> Vec<Output> {
        self.disk.borrow_mut().settle();
        self.is_writing = false;
        self.writes += 1;
        let Some(store) = &self.store else { return Vec::new() };
        let slot = store.slot();
        self.durable = slot;
        // All that was delivered when the write began is durable now, so that state is one to keep.
        if self.writes.is_multiple_of(8)
            && let Some(snapshot) = &self.under_way
        {
            self.disk.borrow_mut().checkpoint = store.checkpoint(snapshot);
        }
        let mut effects = Vec::new();
        self.learner.step(now, learner::Input::Durable(slot), &mut effects);
        self.learner.flush(now, &mut effects);
        let mut out = vec![Output::Durable(slot)];
        out.extend(self.carry_out(now, effects));
        self.write(&mut out);
        out
    }

    /// A page of durable entries, read from the disk.
    fn entries(&self, to: LearnerId, from_slot: Slot) -> Option<Output> {
        let storage = SimStorage(Rc::clone(&self.disk));
        let until = self.marks.partition_point(|mark| mark.slot <= from_slot);
        let mut position = self.marks.get(until.checked_sub(1)?)?.position;
        let mut entries: Vec<Accepted> = Vec::new();
        let mut bytes = 0;
        while bytes < self.entries_bytes {
            let Some((records, next)) = read_frame(&storage, position) else { break };
            position = next;
            for record in records {
                let Record::Entry { slot, ballot, batch, .. } = record else { continue };
                let expected = entries.last().map_or(from_slot, |last| last.slot.next());
                if slot == expected && slot <= self.durable {
                    bytes += batch.len() + 64;
                    entries.push(Accepted { slot, ballot, batch });
                }
            }
        }
        let learner = self.me;
        let delivered_slot = self.learner.status().delivered_slot;
        let message = ToLearner::Entries { learner, entries, delivered_slot };
        Some(Output::Send(Outbound::Learner(to, message)))
    }
}

/// The batch at `position`, or the one that opens the next segment where this one ends there.
fn read_frame(storage: &SimStorage, position: Position) -> Option<(Vec<Record>, Position)> {
    use paxosd::paxos::journal::Storage as _;
    let frame =
        read_batch(position, |offset, length| storage.read(position.generation, offset, length))
            .or_else(|_| {
                let generation = position.generation.next();
                let position = Position { generation, offset: 0 };
                read_batch(position, |offset, length| storage.read(generation, offset, length))
            });
    frame.ok().map(|frame| (frame.records, frame.next))
}

/// A gateway.
#[derive(Debug)]
pub(crate) struct ClientHost {
    client: Client,
}

impl ClientHost {
    pub(crate) fn start(
        config: client::ClientConfig,
        known: Known,
        now: Instant,
        seed: [u8; 32],
    ) -> Self {
        let mut client = Client::new(config, now, seed);
        client.step(now, client::Input::Proposers(known.proposers), &mut Vec::new());
        Self { client }
    }

    /// The gateway, to look at.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    fn turn(&mut self, now: Instant, arrivals: Vec<Arrival>) -> Vec<Output> {
        let mut effects = Vec::new();
        let mut out = Vec::new();
        for arrival in arrivals {
            let input = match arrival {
                Arrival::Message(Envelope { from, epoch, message: Message::Client(message) }) => {
                    client::Input::Received { from, epoch, message }
                }
                Arrival::LinkUp(node) => client::Input::LinkUp(node),
                Arrival::LinkDown(node) => client::Input::LinkDown(node),
                Arrival::Known(known) => client::Input::Proposers(known.proposers),
                Arrival::Submit { id, values, key, deadline } => {
                    let named = self.client.submit(now, values, key, deadline);
                    out.push(named.map_or(Output::Turned(id), |name| Output::Named(id, name)));
                    continue;
                }
                Arrival::Cancel { id, target, deadline } => {
                    let named = self.client.cancel(now, target, deadline);
                    out.push(named.map_or(Output::Turned(id), |name| Output::Named(id, name)));
                    continue;
                }
                Arrival::Timer => {
                    self.client.tick(now, &mut effects);
                    continue;
                }
                Arrival::Message(_) | Arrival::Read(_) | Arrival::Forget(_) | Arrival::Leave => {
                    continue;
                }
            };
            self.client.step(now, input, &mut effects);
        }
        self.client.flush(now, &mut effects);
        out.extend(effects.into_iter().map(|effect| match effect {
            client::Effect::Send(outbound) => Output::Send(outbound),
            client::Effect::Event(event) => Output::Event(event),
            client::Effect::Done { id, answer } => Output::Done(id, answer),
        }));
        out
    }
}

/// What a proposal says, where a message is one.
pub(crate) fn proposal(message: &ToAcceptor) -> Option<(paxosd::types::Ballot, Slot, &Batch)> {
    match message {
        ToAcceptor::Accept { ballot, slot, batch, .. } => Some((*ballot, *slot, batch)),
        ToAcceptor::Identify
        | ToAcceptor::Form { .. }
        | ToAcceptor::Prepare { .. }
        | ToAcceptor::Mark { .. }
        | ToAcceptor::Fetch { .. }
        | ToAcceptor::Durable { .. } => None,
    }
}

/// Ids by number, of whatever role.
pub(crate) fn ids<T: Ord>(first: u64, count: u64, of: impl Fn(NodeId) -> T) -> BTreeSet<T> {
    (first..first + count).filter_map(|id| NodeId::new(id).ok()).map(of).collect()
}

/// Which names belong to which operations of the workload.
pub(crate) type Names = BTreeMap<Name, OperationId>;
