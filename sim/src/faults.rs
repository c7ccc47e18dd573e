//! What goes wrong, and what must be true when it no longer does.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use paxosd::paxos::journal::JournalError;
use paxosd::types::{LearnerId, NodeId, Role};
use rand::RngExt;

use crate::chance::{Chance, Of};
use crate::disk::Disk;
use crate::host::{Arrival, Host};
use crate::network::Route;
use crate::options::{FaultKind, Options};
use crate::trace::Kind;
use crate::world::{Doom, Happening, Liveness, World};

/// How long the cluster may take to recover before it is probed.
const RECOVERY: Duration = Duration::from_secs(3);
/// How long after the probe all must be well.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a proposer that was asked to leave may take.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// What may be lost for ever: no cluster survives more.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Acceptors that may yet lose their directory or stay dead.
    acceptors: u64,
    /// Learners that may.
    learners: u64,
    /// Nodes whose directory may turn out damaged.
    rotten: BTreeSet<NodeId>,
    /// Whether a leader was ever elected: the cluster is formed for good.
    pub(crate) is_formed: bool,
    /// Whether directories were deleted before: then it may have to be formed anew by hand.
    is_doubtful: bool,
}

impl Budget {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            acceptors: (options.acceptors - 1) / 2,
            learners: u64::from(options.listed(Role::Learner) > 1),
            rotten: BTreeSet::new(),
            is_formed: false,
            is_doubtful: false,
        }
    }
}

impl World {
    /// One fault strikes, and the next is planned.
    pub(crate) fn on_strike(&mut self) {
        if self.workload.is_quiet {
            return;
        }
        self.strikes += 1;
        let number = self.strikes;
        let mut chance = self.chances.of(Of::Strike(number));
        let pause = self.options.fault_pause.mul_f64(chance.random_range(0.1..1.9));
        self.schedule(pause, Happening::Strike);
        let nth = chance.random_range(0..self.options.faults.len().max(1));
        let Some(&kind) = self.options.faults.iter().nth(nth) else { return };
        if !self.plan.keeps_fault(number) {
            return;
        }
        self.trace.note(self.now, None, (Kind::Strikes, &[number]), || {
            format!("fault {number}: {}", kind.name())
        });
        if let Some(schedule) = self.trace.schedule() {
            schedule.faults.push(number);
        }
        if self.strike(kind, &mut chance) {
            *self.counters.faults.entry(kind.name()).or_default() += 1;
        }
    }

    /// Whether the fault could strike.
    fn strike(&mut self, kind: FaultKind, chance: &mut Chance) -> bool {
        match kind {
            FaultKind::Crash => {
                self.any_up(chance, |_| true).is_some_and(|id| self.crash_and_return(id, chance))
            }
            FaultKind::MassCrash => self.mass_crash(chance),
            FaultKind::Pause => self.any_up(chance, |_| true).is_some_and(|id| {
                self.pause(id, chance.millis(5..=1_500));
                true
            }),
            FaultKind::Leave => self.any_up(chance, proposes).is_some_and(|id| {
                let now = self.now;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.leaves_since.get_or_insert(now);
                }
                self.give(id, Arrival::Leave);
                true
            }),
            FaultKind::Reset => {
                for _ in 0..chance.random_range(1..=5) {
                    if let Some(route) = self.any_route(chance) {
                        self.break_link(route);
                    }
                }
                true
            }
            FaultKind::Partition => self.partition(chance),
            FaultKind::TornWrite => {
                let doom = match chance.random_range(0..3_u32) {
                    0 => Doom::InWrite,
                    1 => Doom::BetweenSegments,
                    _ => Doom::BetweenParts,
                };
                let id = self.any_up(chance, has_disk);
                if let Some(node) = id.and_then(|id| self.nodes.get_mut(&id)) {
                    node.doom = Some(doom);
                }
                // It is counted when the node dies.
                false
            }
            FaultKind::SyncError => self.any_up(chance, has_disk).is_some_and(|id| {
                self.with_disk(id, |disk| disk.is_failing = true);
                true
            }),
            FaultKind::DiskFull => self.any_up(chance, has_disk).is_some_and(|id| {
                self.with_disk(id, |disk| disk.is_full = true);
                self.schedule(chance.millis(100..=2_000), Happening::RoomAgain(id));
                true
            }),
            FaultKind::SlowDisk => self.any_up(chance, has_disk).is_some_and(|id| {
                self.set_slowness(id, chance.random_range(10..=200));
                self.schedule(chance.millis(100..=2_000), Happening::FastAgain(id));
                true
            }),
            FaultKind::BitRot => self.rot(chance),
            FaultKind::Wipe => self.wipe(chance),
        }
    }

    fn any_up(&self, chance: &mut Chance, of: impl Fn(Role) -> bool) -> Option<NodeId> {
        let up = self.nodes.iter().filter(|(_, it)| it.liveness == Liveness::Up && of(it.role));
        chance.any(up.map(|(&id, _)| id))
    }

    fn any_route(&self, chance: &mut Chance) -> Option<Route> {
        let from = self.any_up(chance, |_| true)?;
        let to = self.any_up(chance, |_| true)?;
        (from != to).then_some(Route { from, to })
    }

    pub(crate) fn crash_and_return(&mut self, id: NodeId, chance: &mut Chance) -> bool {
        self.crash(id);
        self.schedule(chance.millis(5..=2_000), Happening::Start(id));
        true
    }

    fn mass_crash(&mut self, chance: &mut Chance) -> bool {
        let share = chance.random_range(0.3..1.0);
        let all: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in all {
            let mut chance = chance.fork(id.get().into());
            if self.is_up(id) && chance.random_bool(share) {
                self.crash_and_return(id, &mut chance);
            }
        }
        true
    }

    fn partition(&mut self, chance: &mut Chance) -> bool {
        let all: Vec<(NodeId, Role)> =
            self.nodes.iter().map(|(&id, node)| (id, node.role)).collect();
        let both = |set: &mut BTreeSet<Route>, a: NodeId, b: NodeId| {
            set.insert(Route { from: a, to: b });
            set.insert(Route { from: b, to: a });
        };
        let mut routes = BTreeSet::new();
        match chance.random_range(0..8_u32) {
            // One node alone, of a role drawn first: there are far fewer gateways than acceptors.
            0 => {
                let role = any_role(chance);
                let Some(alone) = self.any_up(chance, |it| it == role) else { return false };
                for &(other, _) in &all {
                    both(&mut routes, alone, other);
                }
            }
            // Two halves, cut both ways or one way.
            cut @ (1 | 2) => {
                let is_left = |id: &NodeId| chance.fork(id.get().into()).random_bool(0.5);
                let left: BTreeSet<NodeId> =
                    all.iter().map(|&(id, _)| id).filter(is_left).collect();
                for &from in &left {
                    for &(to, _) in all.iter().filter(|(id, _)| !left.contains(id)) {
                        if cut == 1 {
                            both(&mut routes, from, to);
                        } else {
                            routes.insert(Route { from, to });
                        }
                    }
                }
            }
            // Quorum loss: one proposer alone reaches the acceptors.
            3 => {
                let Some(hub) = self.any_up(chance, proposes) else { return false };
                for &(from, _) in all.iter().filter(|&&(id, role)| proposes(role) && id != hub) {
                    for &(to, _) in all.iter().filter(|&&(_, role)| role == Role::Acceptor) {
                        both(&mut routes, from, to);
                    }
                }
            }
            // Each proposer reaches its own part of the others: constrained and chained elections.
            4 => {
                for &(from, _) in all.iter().filter(|&&(_, role)| proposes(role)) {
                    for &(to, _) in all.iter().filter(|&&(id, _)| id != from) {
                        let way = u64::from(from.get()) << 8 | u64::from(to.get());
                        if chance.fork(way).random_bool(0.4) {
                            both(&mut routes, from, to);
                        }
                    }
                }
            }
            // One node without its likes and without another role: such as a leader that hears
            // gateways and no acceptor.
            5 => {
                let (role, lost) = (any_role(chance), any_role(chance));
                let Some(lonely) = self.any_up(chance, |it| it == role) else { return false };
                for &(other, _) in all.iter().filter(|(_, of)| *of == lost || *of == role) {
                    both(&mut routes, lonely, other);
                }
            }
            // A few single ways.
            _ => {
                for _ in 0..chance.random_range(1..=6) {
                    routes.extend(self.any_route(chance));
                }
            }
        }
        self.network.block(&routes);
        self.trace
            .note(self.now, None, (Kind::Partitions, &[]), || format!("partition: {routes:?}"));
        let breaks = chance.random_bool(0.5);
        let span = chance.millis(50..=2_500);
        for &route in routes.iter().filter(|_| breaks) {
            self.schedule(chance.millis(20..=1_000), Happening::Break(route));
        }
        self.schedule(span, Happening::Unblock(routes));
        true
    }

    /// Takes one unit of what may be lost for a node of this role; whether there was one.
    fn spend(&mut self, role: Role) -> bool {
        let left = match role {
            Role::Acceptor => &mut self.budget.acceptors,
            Role::Learner => &mut self.budget.learners,
            Role::Proposer | Role::Client => return false,
        };
        let has = *left > 0;
        *left = left.saturating_sub(1);
        has
    }

    fn rot(&mut self, chance: &mut Chance) -> bool {
        let Some(id) = self.any_up(chance, has_disk) else { return false };
        let role = self.role(id);
        if !self.budget.is_formed || !self.spend(role) {
            return false;
        }
        self.crash(id);
        let node = self.nodes.get(&id);
        let has_rotted = node.is_some_and(|node| node.disk.borrow_mut().rot(chance));
        self.trace.note(self.now, Some(id), (Kind::Rots, &[]), || format!("rots: {has_rotted}"));
        self.budget.rotten.insert(id);
        if role == Role::Learner {
            self.oracle.on_learner_wiped(LearnerId(id));
        }
        self.schedule(chance.millis(5..=2_000), Happening::Start(id));
        has_rotted
    }

    fn wipe(&mut self, chance: &mut Chance) -> bool {
        let is_early = !self.budget.is_formed;
        let Some(id) = self.any_up(chance, has_disk) else { return false };
        let role = self.role(id);
        if is_early && !self.options.wipes_early || !self.spend(role) {
            return false;
        }
        self.budget.is_doubtful |= is_early && role == Role::Acceptor;
        self.crash(id);
        self.renew_disk(id);
        self.schedule(chance.millis(5..=2_000), Happening::Start(id));
        true
    }

    fn renew_disk(&mut self, id: NodeId) {
        self.trace.note(self.now, Some(id), (Kind::LosesDirectory, &[]), || {
            "loses its directory".to_owned()
        });
        let disk = Disk::new(self.storage_id(id), self.options.segment_bytes);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk = Rc::new(RefCell::new(disk));
            if node.role == Role::Learner {
                self.oracle.on_learner_wiped(LearnerId(id));
            }
        }
    }

    fn role(&self, id: NodeId) -> Role {
        self.nodes.get(&id).map_or(Role::Client, |node| node.role)
    }

    /// A node did not start: its disk still fails, or its directory is damaged as it was to be.
    pub(crate) fn on_failed_start(&mut self, id: NodeId, error: &JournalError) {
        self.trace.note(self.now, Some(id), (Kind::DoesNotStart, &[]), || {
            format!("does not start: {error}")
        });
        let is_damage = match error {
            JournalError::Damaged { .. }
            | JournalError::Missing { .. }
            | JournalError::Refused { .. } => true,
            JournalError::Storage { .. }
            | JournalError::TooLarge { .. }
            | JournalError::SegmentSize { .. } => false,
        };
        if is_damage && !self.budget.rotten.remove(&id) {
            self.oracle.accuse("what was kept reads back", format!("node {id}: {error}"));
            return;
        }
        if is_damage && self.role(id) == Role::Acceptor {
            self.lose(id);
            return;
        }
        if is_damage {
            self.renew_disk(id);
        } else {
            self.crash(id);
        }
        let after = self.chances.node(id).millis(50..=500);
        self.schedule(after, Happening::Start(id));
    }

    /// Faults end; by the seed's choice a minority stays dead.
    pub(crate) fn on_heal(&mut self) {
        self.trace.note(self.now, None, (Kind::Heals, &[]), || "faults end".to_owned());
        self.workload.is_quiet = true;
        let all: Vec<NodeId> = self.nodes.keys().copied().collect();
        for &id in &all {
            self.with_disk(id, |disk| {
                disk.is_full = false;
                disk.is_failing = false;
            });
            self.set_slowness(id, 1);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.doom = None;
            }
            self.resume(id);
        }
        let flights = self.network.heal(self.now, &self.options);
        self.launch(flights);
        if self.options.leaves_some_dead {
            self.leave_some_dead(&all);
        }
        self.schedule(RECOVERY, Happening::Probe);
    }

    fn leave_some_dead(&mut self, all: &[NodeId]) {
        // With one of two learners gone nothing is trimmed, and a small journal would fill up.
        let can_trim =
            self.options.listed(Role::Learner) > 2 || self.options.journal_bytes_max > 1 << 21;
        if !self.budget.is_formed {
            return;
        }
        let chance = self.chances.of(Of::Heal);
        for &id in all {
            let role = self.role(id);
            let stays = chance.fork(id.get().into()).random_bool(0.5);
            if role == Role::Learner && !can_trim || stays {
                continue;
            }
            if self.nodes.get(&id).is_some_and(|node| node.liveness != Liveness::Lost)
                && self.spend(role)
            {
                self.lose(id);
            }
        }
    }

    /// The cluster has had time: every gateway writes, every learner reads.
    pub(crate) fn on_probe(&mut self) {
        let stays = self.nodes.iter().find(|(_, node)| {
            node.leaves_since.is_some_and(|since| self.now.since(since) > LEAVE_MAX)
        });
        if let Some((id, _)) = stays {
            let detail = format!("proposer {id} was asked to leave and has not left");
            self.oracle.accuse("a leave ends", detail);
        }
        self.is_healed = true;
        for gateway in self.clients() {
            self.probe_write(gateway);
        }
        for learner in self.learners() {
            if self.is_up(learner.node()) {
                self.probe_read(learner.node());
            }
        }
        self.schedule(PATIENCE, Happening::Judge);
    }

    /// Time is up.
    pub(crate) fn on_judge(&mut self) {
        if self.budget.is_doubtful && self.counters.slots == 0 {
            // Directories vanished while the cluster was being formed: a person has to look.
            self.workload.give_up();
            return;
        }
        let mut missing = self.workload.missing();
        for (id, node) in &self.nodes {
            if let Some(lack) = self.lack(node.host.as_ref()) {
                missing.push(format!("node {id} {lack}"));
            }
        }
        self.oracle.accuse("progress after the faults", missing.join("; "));
    }

    /// Whether every node that lives has all that was answered, and nobody is left in doubt.
    pub(crate) fn is_well(&self) -> bool {
        self.workload.has_given_up()
            || self.nodes.values().all(|node| self.lack(node.host.as_ref()).is_none())
    }

    fn lack(&self, host: Option<&Host>) -> Option<String> {
        match host? {
            Host::Learner(host) => {
                let index = host.learner().status().delivered_index;
                let answered = self.oracle.answered();
                (index < answered).then(|| format!("has delivered {index} of {answered}"))
            }
            Host::Client(host) => {
                let open = host.client().status().in_flight;
                (open > 0).then(|| format!("has {open} commands in doubt"))
            }
            Host::Proposer(_) | Host::Acceptor(_) => None,
        }
    }
}

fn has_disk(role: Role) -> bool {
    matches!(role, Role::Acceptor | Role::Learner)
}

fn any_role(chance: &mut Chance) -> Role {
    match chance.random_range(0..4_u32) {
        0 => Role::Proposer,
        1 => Role::Acceptor,
        2 => Role::Learner,
        _ => Role::Client,
    }
}

fn proposes(role: Role) -> bool {
    role == Role::Proposer
}
