//! The world: one queue of events on a virtual clock; every node, link and disk; and the oracle
//! that looks on.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use paxosd::gossip::Gossip;
use paxosd::paxos::acceptor::Reply;
use paxosd::paxos::event::Event as CoreEvent;
use paxosd::paxos::message::{Envelope, Message, Outbound, ToWitness};
use paxosd::types::{AcceptorId, Instant, LearnerId, NodeId, ProposerId, Role, Slot, StorageId};
use rand::RngExt;

use crate::chance::{Chances, Of, Source};
use crate::disk::Disk;
use crate::faults::Budget;
use crate::gossip::Word;
use crate::host::{Arrival, Host, Output, SharedDisk, ids, proposal};
use crate::network::{Flight, Network, Route};
use crate::options::{FaultKind, Options};
use crate::oracle::{Oracle, Subject};
use crate::plan::Plan;
use crate::report::{ACCEPTORS, CLIENTS, Counters, LEARNERS, PROPOSERS, Report};
use crate::trace::{Keeps, Kept, Kind, Trace, What};
use crate::workload::Workload;

/// Events of one run at most: more mean that something turns in a circle.
const EVENTS_MAX: u64 = 3_000_000;

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A message arrives.
    Arrive(Flight),
    /// A node takes what has arrived.
    Turn(NodeId, u64),
    /// A node's timer rings.
    Ring(NodeId, u64),
    /// A node's disk is done.
    DiskDone(NodeId, u64),
    /// A node learns that a connection broke.
    Broken { node: NodeId, peer: NodeId },
    /// A connection is tried.
    Connect(Route),
    /// A connection breaks.
    Break(Route),
    /// A node starts.
    Start(NodeId),
    /// A node runs on.
    Resume(NodeId),
    /// A partition ends.
    Unblock(BTreeSet<Route>),
    /// A disk has room again.
    RoomAgain(NodeId),
    /// A disk is fast again.
    FastAgain(NodeId),
    /// A node dies in the middle of what its disk is doing.
    Die(NodeId, u64),
    /// A node that has handed over ends.
    Exit(NodeId, u64),
    /// Something goes wrong.
    Strike,
    /// A caller does something at a gateway.
    Think(NodeId),
    /// A node's gossip may be due.
    GossipDue(NodeId, u64),
    /// What a node says in gossip arrives.
    Word(Route, Word),
    /// A caller's read reaches a learner.
    Read { learner: NodeId, token: u64 },
    /// A learner's answer reaches the caller.
    ReadAnswered { learner: NodeId, token: u64, index: paxosd::types::Index },
    /// The caller of a read stops waiting.
    ReadForgotten { learner: NodeId, token: u64 },
    /// Faults end.
    Heal,
    /// The cluster has had time to recover.
    Probe,
    /// All must be well by now.
    Judge,
}

/// Whether a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    Up,
    /// It stands still; its connections and disk do not.
    Paused,
    Down,
    /// It is down for good.
    Lost,
}

/// What a node is to die in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doom {
    /// Its next write.
    InWrite,
    /// The next write for which it opens a segment or gives one up.
    BetweenSegments,
    /// A turn that is too long for one segment, and is written in parts.
    BetweenParts,
}

/// A node, through all its lives.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) role: Role,
    pub(crate) liveness: Liveness,
    /// Counts its starts.
    pub(crate) life: u64,
    pub(crate) host: Option<Host>,
    pub(crate) gossip: Option<Gossip>,
    /// Counts what its gossip drew chance for.
    pub(crate) words: u64,
    pub(crate) disk: SharedDisk,
    pub(crate) slowness: u32,
    /// Since when it has been asked to leave.
    pub(crate) leaves_since: Option<Instant>,
    pub(crate) doom: Option<Doom>,
    inbox: Vec<Arrival>,
    has_turn: bool,
    rings_at: Option<Instant>,
    /// What its disk finished while it stood still.
    disk_waits: bool,
}

/// An event in the queue: ordered by time, then by when it was put there.
#[derive(Debug)]
struct Queued {
    at: Instant,
    number: u64,
    happening: Happening,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The world of one plan.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) plan: Plan,
    pub(crate) chances: Chances,
    pub(crate) options: Options,
    pub(crate) network: Network,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) workload: Workload,
    pub(crate) budget: Budget,
    pub(crate) counters: Counters,
    pub(crate) is_healed: bool,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    elections: u64,
    /// Faults drawn by now.
    pub(crate) strikes: u64,
    /// The node that acts.
    actor: Option<NodeId>,
}

impl World {
    /// The world that `plan` determines, before anything has started.
    pub(crate) fn new(plan: &Plan, keeps: Keeps) -> Self {
        let source = Source::new(plan.seed, &plan.schedule);
        let chances = Chances::new(source.clone());
        let mut options = Options::draw(&mut chances.of(Of::Options));
        plan.reduce(&mut options);
        let acceptors = usize::try_from(options.acceptors).unwrap_or(usize::MAX);
        let counted = listed_learners(&options);
        let oracle = Oracle::new(acceptors, counted, options.limits);
        let mut world = Self {
            now: Instant::default(),
            network: Network::new(source, plan.messages.clone()),
            nodes: BTreeMap::new(),
            oracle,
            trace: Trace::new(keeps),
            workload: Workload::default(),
            budget: Budget::new(&options),
            counters: Counters::default(),
            is_healed: false,
            queue: BinaryHeap::new(),
            queued: 0,
            elections: 0,
            strikes: 0,
            actor: None,
            plan: plan.clone(),
            chances,
            options,
        };
        world.trace.note(world.now, None, (Kind::Begins, &[plan.seed]), || {
            format!("{:#?}", world.options)
        });
        world.populate();
        world
    }

    /// Runs until a rule is broken or all is well in the end.
    pub(crate) fn run(&mut self) {
        while self.oracle.violation().is_none() {
            let Some(Reverse(Queued { at, happening, .. })) = self.queue.pop() else {
                self.oracle.accuse("progress", "nothing is left to happen".to_owned());
                return;
            };
            self.now = at;
            self.counters.events += 1;
            if self.counters.events > EVENTS_MAX {
                self.oracle.accuse("progress", format!("more than {EVENTS_MAX} events"));
                return;
            }
            self.happen(happening);
            if self.is_healed && self.workload.is_over() && self.is_well() {
                return;
            }
        }
    }

    /// What became of it.
    pub(crate) fn into_report(self) -> Report {
        let mut counters = self.counters;
        counters.leader_changes = self.elections.saturating_sub(1);
        let Kept { hash, lines, moments, schedule } = self.trace.finish();
        let violation = self.oracle.violation().cloned();
        let subject = Subject { actor: self.actor, ..self.oracle.subject() };
        let (sizes, chaos_ms) = Plan::left_of(&self.options);
        let plan = self.plan;
        Report {
            plan,
            sizes,
            chaos_ms,
            violation,
            subject,
            counters,
            hash,
            lines,
            moments,
            schedule,
        }
    }

    pub(crate) fn schedule(&mut self, after: Duration, happening: Happening) {
        self.schedule_at(self.now + after, happening);
    }

    pub(crate) fn schedule_at(&mut self, at: Instant, happening: Happening) {
        self.queued += 1;
        let at = at.max(self.now);
        self.queue.push(Reverse(Queued { at, number: self.queued, happening }));
    }

    pub(crate) fn acceptors(&self) -> BTreeSet<AcceptorId> {
        ids(ACCEPTORS, self.options.acceptors, AcceptorId)
    }

    pub(crate) fn learners(&self) -> BTreeSet<LearnerId> {
        ids(LEARNERS, self.options.learners, LearnerId)
    }

    /// The learners that count.
    pub(crate) fn listed_learners(&self) -> BTreeSet<LearnerId> {
        listed_learners(&self.options)
    }

    pub(crate) fn clients(&self) -> BTreeSet<NodeId> {
        ids(CLIENTS, self.options.clients, |id| id)
    }

    pub(crate) fn storage_id(&mut self, id: NodeId) -> StorageId {
        StorageId(uuid::Uuid::from_u128(self.chances.node(id).random()))
    }

    fn populate(&mut self) {
        let roles: Vec<(NodeId, Role)> = [
            (PROPOSERS, self.options.proposers, Role::Proposer),
            (ACCEPTORS, self.options.acceptors, Role::Acceptor),
            (LEARNERS, self.options.learners, Role::Learner),
            (CLIENTS, self.options.clients, Role::Client),
        ]
        .into_iter()
        .flat_map(|(first, count, role)| ids(first, count, |id| (id, role)))
        .collect();
        for &(id, role) in &roles {
            let disk = Disk::new(self.storage_id(id), self.options.segment_bytes);
            let node = Node {
                role,
                liveness: Liveness::Down,
                life: 0,
                host: None,
                gossip: None,
                words: 0,
                disk: Rc::new(RefCell::new(disk)),
                slowness: 1,
                leaves_since: None,
                doom: None,
                inbox: Vec::new(),
                has_turn: false,
                rings_at: None,
                disk_waits: false,
            };
            self.nodes.insert(id, node);
            let after = self.chances.node(id).millis(0..=500);
            self.schedule(after, Happening::Start(id));
            if role == Role::Client {
                let after = self.chances.node(id).millis(0..=1_000);
                self.schedule(after, Happening::Think(id));
            }
        }
        for &(from, role) in &roles {
            for &(to, other) in &roles {
                if from != to && speaks_to(role, other) {
                    let route = Route { from, to };
                    let after = self.network.chance(route).millis(0..=800);
                    self.schedule(after, Happening::Connect(route));
                }
            }
        }
        let after = self.options.fault_pause;
        self.schedule(after, Happening::Strike);
        self.schedule(self.options.chaos, Happening::Heal);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(flight) => self.on_arrive(flight),
            Happening::Turn(id, life) => self.on_turn(id, life),
            Happening::Ring(id, life) => self.on_ring(id, life),
            Happening::DiskDone(id, life) => self.on_disk_done(id, life),
            Happening::Broken { node, peer } => self.give(node, Arrival::LinkDown(peer)),
            Happening::Connect(route) => self.on_connect(route),
            Happening::Break(route) => self.break_link(route),
            Happening::Start(id) => self.start(id),
            Happening::Resume(id) => self.resume(id),
            Happening::Unblock(routes) => {
                self.trace.note(self.now, None, (Kind::Unblocks, &[]), || {
                    format!("partition ends: {routes:?}")
                });
                let flights = self.network.unblock(self.now, &routes, &self.options);
                self.launch(flights);
            }
            Happening::RoomAgain(id) => self.with_disk(id, |disk| disk.is_full = false),
            Happening::FastAgain(id) => self.set_slowness(id, 1),
            Happening::Die(id, life) => self.on_die(id, life),
            Happening::Exit(id, life) => self.on_exit(id, life),
            Happening::Strike => self.on_strike(),
            Happening::Think(id) => self.on_think(id),
            Happening::GossipDue(id, life) => self.on_gossip_due(id, life),
            Happening::Word(route, word) => self.on_word(route, word),
            Happening::Read { learner, token } => self.on_read(learner, token),
            Happening::ReadAnswered { learner, token, index } => {
                self.actor = Some(learner);
                self.on_read_answered(learner, token, index);
            }
            Happening::ReadForgotten { learner, token } => self.on_read_forgotten(learner, token),
            Happening::Heal => self.on_heal(),
            Happening::Probe => self.on_probe(),
            Happening::Judge => {
                self.actor = None;
                self.on_judge();
            }
        }
    }

    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.liveness == Liveness::Up)
    }

    pub(crate) fn with_disk(&mut self, id: NodeId, act: impl FnOnce(&mut Disk)) {
        if let Some(node) = self.nodes.get(&id) {
            act(&mut node.disk.borrow_mut());
        }
    }

    pub(crate) fn set_slowness(&mut self, id: NodeId, slowness: u32) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.slowness = slowness;
        }
    }

    /// Puts something before a node's next turn.
    pub(crate) fn give(&mut self, id: NodeId, arrival: Arrival) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.host.is_none() {
            return;
        }
        node.inbox.push(arrival);
        self.plan_turn(id);
    }

    fn plan_turn(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let waits = node.host.as_ref().is_none_or(Host::waits_for_disk);
        if node.has_turn || node.inbox.is_empty() || waits || node.liveness != Liveness::Up {
            return;
        }
        node.has_turn = true;
        let life = node.life;
        let nanos = self.chances.node(id).random_range(1_000..=100_000);
        let after = Duration::from_nanos(nanos);
        self.schedule(after, Happening::Turn(id, life));
    }

    fn on_arrive(&mut self, flight: Flight) {
        let id = flight.id;
        let Route { from, to } = id.route;
        let Some(envelope) = self.network.arrive(flight, &self.options) else { return };
        let kind = kind(&envelope.message);
        self.trace.note(self.now, Some(to), (Kind::Arrives, &[from.get().into(), kind]), || {
            format!("<- {from}: {:?}", envelope.message)
        });
        self.trace.keep(self.now, to, || What::Receives(id));
        let is_up = self.is_up(to);
        if let Message::Witness(message) = &envelope.message
            && is_up
        {
            self.ask_witness(to, from, message);
            return;
        }
        self.give(to, Arrival::Message(envelope));
    }

    /// A witness answers outside of its acceptor's turns.
    fn ask_witness(&mut self, id: NodeId, from: NodeId, message: &ToWitness) {
        let now = self.now;
        self.actor = Some(id);
        let host = self.nodes.get_mut(&id).and_then(|node| node.host.as_mut());
        if let Some(Host::Acceptor(acceptor)) = host {
            let out = acceptor.on_witness(now, from, message);
            self.carry_out(id, out);
        }
    }

    fn on_turn(&mut self, id: NodeId, life: u64) {
        let now = self.now;
        self.actor = Some(id);
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else { return };
        node.has_turn = false;
        if node.liveness != Liveness::Up {
            return;
        }
        let Some(host) = &mut node.host else { return };
        let arrivals = std::mem::take(&mut node.inbox);
        let out = host.turn(now, arrivals);
        self.carry_out(id, out);
        self.plan_ring(id);
    }

    fn on_ring(&mut self, id: NodeId, life: u64) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else { return };
        if node.rings_at != Some(now) || node.liveness != Liveness::Up {
            return;
        }
        node.rings_at = None;
        self.give(id, Arrival::Timer);
    }

    fn plan_ring(&mut self, id: NodeId) {
        let soon = self.now + Duration::from_micros(1);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let at = node.host.as_ref().and_then(Host::deadline).map(|at| at.max(soon));
        if at == node.rings_at {
            return;
        }
        node.rings_at = at;
        let life = node.life;
        if let Some(at) = at {
            self.schedule_at(at, Happening::Ring(id, life));
        }
    }

    fn on_disk_done(&mut self, id: NodeId, life: u64) {
        let now = self.now;
        self.actor = Some(id);
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else { return };
        if node.liveness == Liveness::Paused {
            node.disk_waits = true;
            return;
        }
        let Some(host) = &mut node.host else { return };
        let out = host.on_disk_done(now);
        self.carry_out(id, out);
        self.plan_turn(id);
        self.plan_ring(id);
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(outbound) => self.send(id, outbound),
                Output::Event(event) => self.on_event(id, &event),
                Output::Left => {
                    self.trace.note(self.now, Some(id), (Kind::Leaves, &[]), || "left".to_owned());
                    // What it said last is still on its way: a process that ends in order lets its
                    // links carry that first.
                    let after = self.chances.node(id).millis(1..=100);
                    let life = self.life(id);
                    self.schedule(after, Happening::Exit(id, life));
                }
                Output::DiskStarted => self.on_disk_started(id),
                Output::Failed(error) => {
                    self.trace
                        .note(self.now, Some(id), (Kind::Fails, &[]), || format!("fails: {error}"));
                    self.crash(id);
                    let after = self.chances.node(id).millis(10..=1_000);
                    self.schedule(after, Happening::Start(id));
                    return;
                }
                Output::Early => {
                    self.oracle.accuse("no reply before its sync", format!("node {id}"));
                }
                Output::Replied(reply) => self.on_replied(AcceptorId(id), &reply),
                Output::Delivered(delivered) => {
                    self.oracle.on_delivered(LearnerId(id), &delivered);
                    self.counters.slots = self.counters.slots.max(delivered.slot.get());
                }
                Output::Hash(slot, hash) => self.oracle.on_hash(LearnerId(id), slot, hash),
                Output::Durable(slot) => self.oracle.on_durable(LearnerId(id), slot),
                Output::Ready(token, index) => {
                    let latency = self.options.latency.clone();
                    let after = self.chances.node(id).random_range(latency);
                    let token = token.0;
                    self.schedule(after, Happening::ReadAnswered { learner: id, token, index });
                }
                Output::Diverged(other, index) => {
                    self.oracle.on_diverged(LearnerId(id), other, index);
                }
                Output::Named(operation, name) => self.on_named(operation, name),
                Output::Turned(operation) => self.on_turned(operation),
                Output::Done(name, answer) => self.on_done(id, name, &answer),
            }
        }
    }

    fn send(&mut self, from: NodeId, outbound: Outbound) {
        let (to, message) = outbound.into_parts();
        if let Message::Acceptor(message) = &message
            && let Some((ballot, slot, batch)) = proposal(message)
        {
            self.oracle.on_proposal(ballot, slot, batch);
        }
        let epoch = self.nodes.get(&from).and_then(|it| it.host.as_ref()).and_then(Host::epoch);
        let route = Route { from, to };
        let told = self.trace.keeps_moments().then(|| message.clone());
        let envelope = Envelope { from, epoch, message };
        let (id, fate, flights) = self.network.send(self.now, route, envelope, &self.options);
        if fate.is_unruly()
            && let Some(schedule) = self.trace.schedule()
        {
            schedule.messages.push(id);
        }
        if let Some(message) = told {
            self.trace.keep(self.now, from, || What::Sends { id, message, fate });
        }
        self.launch(flights);
    }

    pub(crate) fn launch(&mut self, flights: Vec<Flight>) {
        for flight in flights {
            self.schedule_at(flight.at, Happening::Arrive(flight));
        }
    }

    fn on_event(&mut self, id: NodeId, event: &CoreEvent) {
        if matches!(event, CoreEvent::Elected { .. }) {
            self.elections += 1;
            self.budget.is_formed = true;
        }
        if let CoreEvent::Elected { ballot, .. } | CoreEvent::Follows { ballot } = event {
            self.gossip_leader(id, *ballot);
        }
        let slot = event.slot().map_or(0, Slot::get);
        let round = event.ballot().map_or(0, |ballot| ballot.round);
        self.trace.note(self.now, Some(id), (Kind::Tells, &[slot, round]), || format!("{event}"));
        self.trace.keep(self.now, id, || What::Tells(event.clone()));
    }

    fn on_disk_started(&mut self, id: NodeId) {
        let mut after = Duration::from_micros(1);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let life = node.life;
        let disk = node.disk.borrow();
        let is_busy = disk.is_busy();
        if is_busy {
            after = self.chances.node(id).random_range(self.options.sync.clone());
            after *= node.slowness;
        }
        let dies = match node.doom {
            Some(Doom::InWrite) => is_busy,
            Some(Doom::BetweenSegments) => disk.turns_segments(),
            Some(Doom::BetweenParts) => disk.is_in_parts(),
            None => false,
        };
        drop(disk);
        if dies {
            node.doom = None;
            self.schedule(after / 2, Happening::Die(id, life));
        }
        self.schedule(after, Happening::DiskDone(id, life));
    }

    fn on_die(&mut self, id: NodeId, life: u64) {
        let mut chance = self.chances.node(id).fork(life);
        if self.life(id) == life && self.crash_and_return(id, &mut chance) {
            *self.counters.faults.entry(FaultKind::TornWrite.name()).or_default() += 1;
        }
    }

    fn on_exit(&mut self, id: NodeId, life: u64) {
        if self.life(id) == life {
            self.stop(id);
            let after = self.chances.node(id).millis(10..=2_000);
            self.schedule(after, Happening::Start(id));
        }
    }

    fn life(&self, id: NodeId) -> u64 {
        self.nodes.get(&id).map_or(0, |node| node.life)
    }

    fn on_replied(&mut self, acceptor: AcceptorId, reply: &Reply) {
        let Some(node) = self.nodes.get(&acceptor.node()) else { return };
        let storage = node.disk.borrow().id;
        let who = (acceptor, storage);
        match reply {
            Reply::Vote { vote, .. } => self.oracle.on_vote(storage, *vote),
            Reply::Promise { ballot, from_slot, accepted, next_slot, trimmed_slot } => {
                let page = (*from_slot, *next_slot);
                self.oracle.on_promise(who, *ballot, page, accepted, *trimmed_slot);
            }
            Reply::Votes { votes, .. } => self.oracle.on_votes(acceptor, votes),
            Reply::Mark { slot, .. } => self.oracle.on_mark(who, *slot),
            Reply::Noted { trimmed: Some(through) } => self.oracle.on_trim(who, *through),
            Reply::Noted { trimmed: None }
            | Reply::Identity(_)
            | Reply::Nack { .. }
            | Reply::OtherEpoch => {}
        }
    }

    fn on_connect(&mut self, route: Route) {
        let Route { from, to } = route;
        let is_alive = |id: &NodeId| self.nodes.get(id).is_some_and(|node| node.host.is_some());
        let is_lost =
            |id: &NodeId| self.nodes.get(id).is_some_and(|node| node.liveness == Liveness::Lost);
        if self.network.is_up(route) || is_lost(&from) || is_lost(&to) {
            return;
        }
        let back = Route { from: to, to: from };
        if !self.nodes.get(&from).is_some_and(|node| node.liveness == Liveness::Up)
            || !is_alive(&to)
            || !self.knows(from, to)
            || self.network.is_blocked(route)
            || self.network.is_blocked(back)
        {
            let after = self.network.chance(route).millis(20..=250);
            self.schedule(after, Happening::Connect(route));
            return;
        }
        self.network.connect(route);
        self.trace.note(self.now, Some(from), (Kind::Connects, &[to.get().into()]), || {
            format!("connects to {to}")
        });
        self.give(from, Arrival::LinkUp(to));
    }

    /// A connection ends; both ends hear of it, each in its time, before it comes again.
    pub(crate) fn break_link(&mut self, route: Route) {
        if !self.network.disconnect(route) {
            return;
        }
        let Route { from, to } = route;
        self.trace.note(self.now, Some(from), (Kind::Loses, &[to.get().into()]), || {
            format!("loses {to}")
        });
        let mut last = Duration::ZERO;
        for (node, peer) in [(from, to), (to, from)] {
            let chance = self.network.chance(route);
            let is_prompt = chance.random_bool(0.5);
            let after = chance.millis(if is_prompt { 0..=2 } else { 10..=400 });
            last = last.max(after);
            self.schedule(after, Happening::Broken { node, peer });
        }
        let after = last + self.network.chance(route).millis(1..=100);
        self.schedule(after, Happening::Connect(route));
    }

    /// A node dies, and what it had begun on its disk with it.
    pub(crate) fn crash(&mut self, id: NodeId) {
        self.stop(id);
        if let Some(node) = self.nodes.get(&id) {
            node.disk.borrow_mut().crash(self.chances.node(id));
        }
    }

    fn stop(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.liveness == Liveness::Lost {
            return;
        }
        self.trace.note(self.now, Some(id), (Kind::Dies, &[]), || "dies".to_owned());
        node.liveness = Liveness::Down;
        node.life += 1;
        node.host = None;
        node.gossip = None;
        node.inbox.clear();
        node.has_turn = false;
        node.rings_at = None;
        node.disk_waits = false;
        node.leaves_since = None;
        let others: Vec<NodeId> = self.nodes.keys().copied().collect();
        for other in others {
            self.break_link(Route { from: id, to: other });
            self.break_link(Route { from: other, to: id });
        }
        self.on_gateway_stopped(id);
    }

    /// A node is gone for good.
    pub(crate) fn lose(&mut self, id: NodeId) {
        self.crash(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.liveness = Liveness::Lost;
        }
    }

    pub(crate) fn pause(&mut self, id: NodeId, span: Duration) {
        if let Some(node) = self.nodes.get_mut(&id)
            && node.liveness == Liveness::Up
        {
            node.liveness = Liveness::Paused;
            self.trace.note(self.now, Some(id), (Kind::Stalls, &[]), || "stands still".to_owned());
            self.schedule(span, Happening::Resume(id));
        }
    }

    pub(crate) fn resume(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.liveness != Liveness::Paused {
            return;
        }
        node.liveness = Liveness::Up;
        node.rings_at = None;
        let life = node.life;
        let disk_waits = std::mem::take(&mut node.disk_waits);
        self.trace.note(self.now, Some(id), (Kind::RunsOn, &[]), || "runs on".to_owned());
        if disk_waits {
            self.on_disk_done(id, life);
        }
        // Witness messages that came meanwhile are answered now.
        let inbox = self.nodes.get_mut(&id).map(|node| std::mem::take(&mut node.inbox));
        for arrival in inbox.into_iter().flatten() {
            if let Arrival::Message(Envelope { from, message: Message::Witness(message), .. }) =
                &arrival
            {
                self.ask_witness(id, *from, message);
            } else {
                self.give(id, arrival);
            }
        }
        self.plan_turn(id);
        self.plan_ring(id);
    }

    fn start(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        if node.liveness != Liveness::Down || node.host.is_some() {
            return;
        }
        let (role, disk) = (node.role, Rc::clone(&node.disk));
        self.actor = Some(id);
        let gossip = self.new_gossip(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.gossip = Some(gossip);
        }
        let host = match role {
            Role::Proposer => Ok(self.new_proposer(ProposerId(id))),
            Role::Acceptor => self.new_acceptor(AcceptorId(id), disk),
            Role::Learner => self.new_learner(LearnerId(id), disk),
            Role::Client => Ok(self.new_client(id)),
        };
        match host {
            Ok(host) => {
                let Some(node) = self.nodes.get_mut(&id) else { return };
                node.host = Some(host);
                node.liveness = Liveness::Up;
                let life = node.life;
                self.trace
                    .note(self.now, Some(id), (Kind::Starts, &[life]), || format!("starts {role}"));
                self.plan_ring(id);
                self.plan_gossip(id);
            }
            Err(error) => self.on_failed_start(id, &error),
        }
    }
}

fn listed_learners(options: &Options) -> BTreeSet<LearnerId> {
    ids(LEARNERS, options.listed(Role::Learner), LearnerId)
}

/// Whether nodes of these roles keep a connection.
fn speaks_to(from: Role, to: Role) -> bool {
    match from {
        Role::Proposer | Role::Learner => true,
        Role::Acceptor => matches!(to, Role::Proposer | Role::Learner),
        Role::Client => matches!(to, Role::Proposer),
    }
}

/// A number for the trace's hash: which message, in a few bits.
fn kind(message: &Message) -> u64 {
    match message {
        Message::Acceptor(_) => 1,
        Message::Witness(_) => 2,
        Message::Proposer(_) => 3,
        Message::Learner(_) => 4,
        Message::Client(_) => 5,
    }
}
