//! What became of a run.

use std::collections::{BTreeMap, BTreeSet};

use paxosd::types::{NodeId, Role};

use crate::host::ids;
use crate::oracle::{Subject, Violation};
use crate::plan::{Plan, Sizes};
use crate::trace::{Moment, Schedule};

/// Where the ids of each role begin.
pub(crate) const PROPOSERS: u64 = 1;
pub(crate) const ACCEPTORS: u64 = 11;
pub(crate) const LEARNERS: u64 = 21;
pub(crate) const CLIENTS: u64 = 31;

/// What a run counted.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Events of the world.
    pub events: u64,
    /// Elections won after the first.
    pub leader_changes: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Writes that were answered as applied.
    pub writes: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Slots that were chosen and delivered.
    pub slots: u64,
}

/// What became of a run.
#[derive(Debug)]
pub struct Report {
    /// What it ran.
    pub plan: Plan,
    /// How many nodes there were of each role.
    pub sizes: Sizes,
    /// How long faults were to last, in milliseconds.
    pub chaos_ms: u64,
    /// The rule it broke, if it broke one.
    pub violation: Option<Violation>,
    /// What was being judged last.
    pub subject: Subject,
    /// What it counted.
    pub counters: Counters,
    /// The hash of everything that happened.
    pub hash: u64,
    /// Everything that happened, when asked for as lines.
    pub lines: Vec<String>,
    /// Everything that happened, when asked for as moments.
    pub moments: Vec<Moment>,
    /// What chance decided, when asked for.
    pub schedule: Schedule,
}

/// The role of a node, by its id.
pub(crate) fn role_of(id: NodeId) -> Role {
    match u64::from(id.get()) {
        ..ACCEPTORS => Role::Proposer,
        ACCEPTORS..LEARNERS => Role::Acceptor,
        LEARNERS..CLIENTS => Role::Learner,
        CLIENTS.. => Role::Client,
    }
}

/// How many nodes of its role come before a node.
pub(crate) fn place_in_role(id: NodeId) -> u64 {
    let first = match role_of(id) {
        Role::Proposer => PROPOSERS,
        Role::Acceptor => ACCEPTORS,
        Role::Learner => LEARNERS,
        Role::Client => CLIENTS,
    };
    u64::from(id.get()) - first
}

/// All nodes of a cluster.
pub(crate) fn nodes_of(sizes: Sizes) -> BTreeSet<NodeId> {
    let Sizes { proposers, acceptors, learners, clients } = sizes;
    [(PROPOSERS, proposers), (ACCEPTORS, acceptors), (LEARNERS, learners), (CLIENTS, clients)]
        .into_iter()
        .flat_map(|(first, count)| ids(first, count.unwrap_or(0), |id| id))
        .collect()
}
