//! Who does the harm: one fault after the other, drawn by a seed, each of them seen to have bitten.

use std::collections::BTreeMap;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use paxosd::types::{NodeId, Role};
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Resource, Rlimit, prlimit};

use super::cluster::Cluster;
use super::proxy::{Harm, Line, Network, Passage, Trouble};
use super::record::Record;

/// Faults at work at once, at most.
const AT_ONCE_MAX: usize = 2;

/// How long a fault lasts, in milliseconds. Links that are silent for 5 s are given up, so some
/// links outlive their trouble and others do not.
const LASTS_MS: std::ops::Range<u64> = 400..2500;
const LASTS_LONG_MS: std::ops::Range<u64> = 5000..8000;
const LONG_ONE_IN: u32 = 12;

/// Between two steps, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 200..1200;

/// By how much a delayed line is late, in milliseconds.
const DELAY_MS: std::ops::Range<u64> = 20..400;

/// Room that a disk has left when it is about to be full: more than its log will need to say so.
const ROOM_BYTES: u64 = 16 << 10;

/// How long a node with a full disk may go on, for want of something to write.
const FULL_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);

const EVERY_ROLE: [Role; 4] = [Role::Proposer, Role::Acceptor, Role::Learner, Role::Client];

/// What can be done to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// kill -9 of any node.
    Kill,
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of all acceptors.
    KillAcceptors,
    /// kill -9 of all ten.
    KillAll,
    /// SIGSTOP of any node, and SIGCONT.
    Stop,
    /// SIGSTOP of the leader, and SIGCONT.
    StopLeader,
    /// No byte of one node reaches another.
    CutOneWay,
    /// Neither of two nodes hears the other.
    CutBothWays,
    /// Nobody hears the leader.
    MuteLeader,
    /// The leader hears nobody.
    DeafenLeader,
    /// Both.
    IsolateLeader,
    /// Two halves that do not hear each other.
    Partition,
    /// Connections of a node break, and new ones break at once.
    BreakLinks,
    /// Some lines are slow, each of them in one direction.
    Delay,
    /// A disk that takes no more, until room is made.
    FillDisk,
}

impl Fault {
    pub(crate) const ALL: [Self; 15] = [
        Self::Kill,
        Self::KillLeader,
        Self::KillAcceptors,
        Self::KillAll,
        Self::Stop,
        Self::StopLeader,
        Self::CutOneWay,
        Self::CutBothWays,
        Self::MuteLeader,
        Self::DeafenLeader,
        Self::IsolateLeader,
        Self::Partition,
        Self::BreakLinks,
        Self::Delay,
        Self::FillDisk,
    ];
}

/// A fault at work.
struct Active {
    fault: Fault,
    until: Instant,
    remedy: Remedy,
}

/// How a fault is ended, and seen to have been one.
enum Remedy {
    /// Nodes that are gone are started.
    Start(Vec<String>),
    /// A node that stands still goes on.
    Continue(String),
    /// Lines are mended. Each group of them must have been hurt.
    Mend { trouble: Trouble, groups: Vec<(Harm, Vec<Line>)> },
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    /// How often each fault was seen to have bitten.
    counts: BTreeMap<Fault, u64>,
    /// Faults that found nothing to hurt.
    pub(crate) without_effect: u64,
    /// Processes that were killed.
    pub(crate) killed: u64,
}

/// The hand that hurts a cluster.
pub(crate) struct Nemesis<'a> {
    cluster: &'a mut Cluster,
    network: &'a mut Network,
    record: &'a Record,
    chance: ChaCha8Rng,
    began: Instant,
    active: Vec<Active>,
    deeds: Deeds,
}

impl<'a> Nemesis<'a> {
    pub(crate) fn new(
        cluster: &'a mut Cluster,
        network: &'a mut Network,
        record: &'a Record,
        chance: ChaCha8Rng,
    ) -> Self {
        let (began, deeds) = (Instant::now(), Deeds::default());
        Self { cluster, network, record, chance, began, active: Vec::new(), deeds }
    }

    /// Hurts the cluster for `lasts`, or until everything was done to it once, if that is within
    /// twice the time; and then ends everything that is at work.
    pub(crate) fn rage(mut self, lasts: Duration) -> Deeds {
        let goes_on = |nemesis: &Self| {
            let elapsed = nemesis.began.elapsed();
            let spares = || Fault::ALL.into_iter().any(|fault| nemesis.deeds.count(fault) == 0);
            elapsed < lasts || elapsed < 2 * lasts && spares()
        };
        while goes_on(&self) {
            let due = self.active.iter().position(|active| active.until <= Instant::now());
            if let Some(position) = due {
                let active = self.active.remove(position);
                self.heal(active);
            } else if self.active.len() < AT_ONCE_MAX {
                let fault = self.next_fault();
                self.strike(fault);
            }
            std::thread::sleep(Duration::from_millis(self.chance.random_range(PAUSE_MS)));
            self.cluster.check_running("it was hurt");
        }
        self.heal_all();
        self.deeds
    }

    /// One that did not bite yet, else any.
    fn next_fault(&mut self) -> Fault {
        let missing: Vec<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| {
                let is_at_work = self.active.iter().any(|active| active.fault == *fault);
                self.deeds.count(*fault) == 0 && !is_at_work
            })
            .collect();
        let faults = if missing.is_empty() { &Fault::ALL[..] } else { &missing };
        *faults.choose(&mut self.chance).unwrap()
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                let any = self.any_well(&EVERY_ROLE);
                self.kill(fault, any.into_iter().collect());
            }
            Fault::KillLeader => {
                let leader = self.leader();
                self.kill(fault, leader.into_iter().collect());
            }
            Fault::KillAcceptors => {
                self.heal_all();
                self.kill(fault, self.cluster.names_of(Role::Acceptor));
            }
            Fault::KillAll => {
                self.heal_all();
                self.kill(fault, self.cluster.names());
            }
            Fault::Stop => {
                let any = self.any_well(&EVERY_ROLE);
                self.stop(fault, any);
            }
            Fault::StopLeader => {
                let leader = self.leader();
                self.stop(fault, leader);
            }
            Fault::FillDisk => self.fill_disk(),
            Fault::CutOneWay => {
                let pair = self.any_apart(1);
                self.trouble(fault, vec![pair.outward()], Passage::Held);
            }
            Fault::CutBothWays => {
                let pair = self.any_apart(1);
                self.trouble(fault, pair.both(), Passage::Held);
            }
            Fault::MuteLeader => {
                let apart = self.leader_apart().map(|apart| apart.outward());
                self.trouble(fault, apart.into_iter().collect(), Passage::Held);
            }
            Fault::DeafenLeader => {
                let apart = self.leader_apart().map(|apart| apart.inward());
                self.trouble(fault, apart.into_iter().collect(), Passage::Held);
            }
            Fault::IsolateLeader => {
                let apart = self.leader_apart().map(|apart| apart.both());
                self.trouble(fault, apart.unwrap_or_default(), Passage::Held);
            }
            Fault::Partition => {
                let apart = self.any_apart(5);
                self.trouble(fault, apart.both(), Passage::Held);
            }
            Fault::BreakLinks => {
                let lines = self.any_well(&EVERY_ROLE).map(|node| self.lines_of(&node));
                self.trouble(fault, lines.into_iter().collect(), Passage::Broken);
            }
            Fault::Delay => {
                let mut lines = self.network.lines();
                lines.retain(|_| self.chance.random_bool(0.3));
                let by = Duration::from_millis(self.chance.random_range(DELAY_MS));
                self.trouble(fault, vec![lines], Passage::Delayed(by));
            }
        }
    }

    /// Two nodes, or of more than two as many on either side.
    fn any_apart(&mut self, on_each_side: usize) -> Apart {
        let names = self.cluster.names();
        let mut some: Vec<String> =
            names.sample(&mut self.chance, 2 * on_each_side).cloned().collect();
        let others = some.split_off(on_each_side);
        Apart { few: some, others }
    }

    /// The leader, and all others.
    fn leader_apart(&self) -> Option<Apart> {
        let leader = self.leader()?;
        let others = self.cluster.names().into_iter().filter(|name| *name != leader).collect();
        Some(Apart { few: vec![leader], others })
    }

    fn kill(&mut self, fault: Fault, mut names: Vec<String>) {
        if names.is_empty() {
            return self.deeds.miss(fault);
        }
        for name in &names {
            self.cluster.kill9(name);
        }
        self.deeds.killed += u64::try_from(names.len()).unwrap();
        self.deeds.hit(fault);
        self.say(&format!("{fault:?} {}", names.join(" ")));
        names.shuffle(&mut self.chance);
        self.begin(fault, Remedy::Start(names));
    }

    fn stop(&mut self, fault: Fault, name: Option<String>) {
        let Some(name) = name else { return self.deeds.miss(fault) };
        self.cluster.pause(&name);
        self.deeds.hit(fault);
        self.say(&format!("{fault:?} {name}"));
        self.begin(fault, Remedy::Continue(name));
    }

    fn trouble(&mut self, fault: Fault, groups: Vec<Vec<Line>>, passage: Passage) {
        if groups.is_empty() {
            return self.deeds.miss(fault);
        }
        let lines = groups.concat();
        self.say(&format!("{fault:?} {passage:?} {}", told(&lines)));
        let harmed = |lines: Vec<Line>| (self.network.harm(&lines), lines);
        let groups: Vec<(Harm, Vec<Line>)> = groups.into_iter().map(harmed).collect();
        let trouble = self.network.begin(&lines, passage);
        self.begin(fault, Remedy::Mend { trouble, groups });
    }

    /// Lets a node run into a full disk. It must end by itself and say why; room is made by
    /// starting it without the limit.
    fn fill_disk(&mut self) {
        self.heal_all();
        let Some(name) = self.any_well(&[Role::Acceptor, Role::Learner]) else {
            return self.deeds.miss(Fault::FillDisk);
        };
        let room = u64::try_from(self.cluster.log(&name).len()).unwrap() + ROOM_BYTES;
        let limit = Rlimit { current: Some(room), maximum: Some(room) };
        prlimit(Some(self.cluster.pid(&name)), Resource::Fsize, limit).unwrap();
        self.say(&format!("{:?} {name}", Fault::FillDisk));
        let process = self.cluster.running.get_mut(&name).unwrap();
        let Some(status) = ended_within(process, FULL_WITHIN) else {
            self.cluster.kill9(&name);
            self.cluster.start_node(&name);
            return self.deeds.miss(Fault::FillDisk);
        };
        self.cluster.running.remove(&name);
        let log = self.cluster.log(&name);
        let last = log.lines().last().unwrap_or_default();
        let says_why = last.contains("File too large") && last.contains(&name);
        assert!(status.code() == Some(1) && says_why, "{name} ended with {status}: {last}");
        self.deeds.hit(Fault::FillDisk);
        self.begin(Fault::FillDisk, Remedy::Start(vec![name]));
    }

    fn begin(&mut self, fault: Fault, remedy: Remedy) {
        let is_long = self.chance.random_ratio(1, LONG_ONE_IN);
        let lasts = if is_long { LASTS_LONG_MS } else { LASTS_MS };
        let until = Instant::now() + Duration::from_millis(self.chance.random_range(lasts));
        self.active.push(Active { fault, until, remedy });
    }

    fn heal(&mut self, active: Active) {
        let fault = active.fault;
        match active.remedy {
            Remedy::Start(names) => {
                for name in &names {
                    self.cluster.start_node(name);
                }
            }
            Remedy::Continue(name) => self.cluster.resume(&name),
            Remedy::Mend { trouble, groups } => {
                self.network.end(trouble);
                let has_bitten =
                    |(before, lines): &(Harm, Vec<Line>)| self.network.harm(lines) != *before;
                if groups.iter().all(has_bitten) {
                    self.deeds.hit(fault);
                } else {
                    self.deeds.miss(fault);
                }
            }
        }
        self.say(&format!("{fault:?} ends"));
    }

    fn heal_all(&mut self) {
        for active in std::mem::take(&mut self.active) {
            self.heal(active);
        }
    }

    /// A node of one of `roles` that runs and goes on.
    fn any_well(&mut self, roles: &[Role]) -> Option<String> {
        let names = roles.iter().flat_map(|role| self.cluster.names_of(*role));
        let well: Vec<String> = names.filter(|name| self.is_well(name)).collect();
        well.choose(&mut self.chance).cloned()
    }

    /// The proposer that led when the newest answer was given, if it is well.
    fn leader(&self) -> Option<String> {
        let id = NodeId::new(self.record.leader()?).ok()?;
        let name = &self.cluster.config.node(id)?.name;
        self.is_well(name).then(|| name.clone())
    }

    fn is_well(&self, name: &str) -> bool {
        self.active.iter().all(|active| match &active.remedy {
            Remedy::Start(names) => names.iter().all(|gone| gone != name),
            Remedy::Continue(stopped) => stopped != name,
            Remedy::Mend { .. } => true,
        })
    }

    /// All lines from and to `node`.
    fn lines_of(&self, node: &str) -> Vec<Line> {
        let mut lines = self.network.lines();
        lines.retain(|line| line.from == node || line.to == node);
        lines
    }

    fn say(&self, what: &str) {
        let ms = self.began.elapsed().as_millis();
        eprintln!("{ms:>7} ms, {:>6} applied: {what}", self.record.applied_so_far());
        self.record.note(what.to_owned());
    }
}

impl Deeds {
    /// How often `fault` was seen to have bitten.
    pub(crate) fn count(&self, fault: Fault) -> u64 {
        self.counts.get(&fault).copied().unwrap_or(0)
    }

    fn hit(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
    }

    fn miss(&mut self, fault: Fault) {
        eprintln!("{fault:?} found nothing to hurt");
        self.without_effect += 1;
    }
}

/// How `process` ended by itself, if it did within `patience`.
fn ended_within(process: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let ended = process.try_wait().expect("it is a child of ours");
        if ended.is_some() {
            return ended;
        }
        std::thread::sleep(LOOK);
    }
    None
}

/// Nodes that are to be cut off from others.
struct Apart {
    few: Vec<String>,
    others: Vec<String>,
}

impl Apart {
    fn outward(&self) -> Vec<Line> {
        across(&self.few, &self.others)
    }

    fn inward(&self) -> Vec<Line> {
        across(&self.others, &self.few)
    }

    /// Either direction, each to be hurt.
    fn both(&self) -> Vec<Vec<Line>> {
        vec![self.outward(), self.inward()]
    }
}

/// The lines from each of `from` to each of `to`.
fn across(from: &[String], to: &[String]) -> Vec<Line> {
    let line = |(from, to): (&String, &String)| Line { from: from.clone(), to: to.clone() };
    from.iter().flat_map(|from| to.iter().map(move |to| (from, to))).map(line).collect()
}

/// Lines for people: all of a few, the number of many.
fn told(lines: &[Line]) -> String {
    if lines.len() > 2 {
        return format!("{} lines", lines.len());
    }
    let told: Vec<String> = lines.iter().map(ToString::to_string).collect();
    told.join(", ")
}
