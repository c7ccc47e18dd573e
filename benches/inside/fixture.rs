//! What the benchmarks share: the ten nodes of the shipped configuration, and commands.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use criterion::Throughput;
use paxosd::types::{
    AcceptorId, Ballot, Batch, Command, Epoch, Incarnation, Instant, LearnerId, LogLimits, Name,
    NodeId, Operation, ProposerId, Sequence, SessionId, StorageId,
};
use uuid::Uuid;

pub(crate) const CLUSTER: &str = "bench";
pub(crate) const LEADER: u64 = 1;
pub(crate) const ACCEPTORS: [u64; 3] = [4, 5, 6];
pub(crate) const LEARNERS: [u64; 2] = [7, 8];
pub(crate) const GATEWAYS: [u64; 2] = [9, 10];

/// Bytes of one segment of a journal, as shipped.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes of each value.
pub(crate) const VALUE_BYTES: u64 = 128;
/// Commands of one slot: so many it carries while 64 callers write, see docs/PERFORMANCE.md.
pub(crate) const COMMANDS: u64 = 20;
/// Every so many slots those who wait hear that they are delivered, as by the learners' reports.
pub(crate) const REPORT_SLOTS: u64 = 128;

/// Commands of a gateway whose outcome is open, at most.
const OPEN_MAX: u64 = 64;

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("the ids here are from 1 to 99")
}

pub(crate) fn acceptor(id: u64) -> AcceptorId {
    AcceptorId(node(id))
}

pub(crate) fn acceptors() -> BTreeSet<AcceptorId> {
    ACCEPTORS.into_iter().map(acceptor).collect()
}

pub(crate) fn learner(id: u64) -> LearnerId {
    LearnerId(node(id))
}

pub(crate) fn learners() -> BTreeSet<LearnerId> {
    LEARNERS.into_iter().map(learner).collect()
}

pub(crate) fn storage_id(id: u64) -> StorageId {
    StorageId(Uuid::from_u128(u128::from(id)))
}

pub(crate) fn at(span: Duration) -> Instant {
    Instant::default() + span
}

/// As shipped.
pub(crate) const LIMITS: LogLimits =
    LogLimits { idempotency_window: 1_000_000, session_window: 1_000_000, sessions_max: 100_000 };

/// The epoch in which acceptor 4 has the directory `storage`.
pub(crate) fn epoch_with(storage: StorageId) -> Epoch {
    let mut epoch = Epoch {
        cluster: CLUSTER.to_owned(),
        acceptors: ACCEPTORS.map(|id| (acceptor(id), storage_id(id))).into(),
        learners: learners(),
        limits: LIMITS,
    };
    epoch.acceptors.insert(acceptor(4), storage);
    epoch
}

pub(crate) fn epoch() -> Epoch {
    epoch_with(storage_id(4))
}

pub(crate) fn ballot() -> Ballot {
    Ballot {
        round: 1_700_000_000_000,
        proposer: ProposerId(node(LEADER)),
        incarnation: Incarnation(1),
    }
}

pub(crate) fn value() -> Bytes {
    Bytes::from(vec![b'v'; usize::try_from(VALUE_BYTES).unwrap_or_default()])
}

/// What opens the gateways' sessions.
pub(crate) fn openings() -> Batch {
    Batch::of(&GATEWAYS.map(|gateway| command(gateway, 0, Operation::Open)))
}

/// Commands of [`COMMANDS`] values, the gateways in turn, each with a name of its own.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    sent: u64,
}

impl Commands {
    pub(crate) fn next(&mut self) -> Vec<Command> {
        let each = COMMANDS / 2;
        let first = self.sent + 1;
        self.sent += each;
        let sequences = first..first + each;
        let write = |gateway, sequence| {
            let operation = Operation::Write { key: None, values: vec![value()] };
            command(gateway, sequence, operation)
        };
        sequences.flat_map(|it| GATEWAYS.map(|gateway| write(gateway, it))).collect()
    }
}

fn command(gateway: u64, sequence: u64, operation: Operation) -> Command {
    let session = SessionId(Uuid::from_u128(u128::from(gateway) << 32));
    Command {
        name: Name { session, sequence: Sequence(sequence) },
        lowest_open: Sequence(sequence.saturating_sub(OPEN_MAX).max(1)),
        origin: node(gateway),
        operation,
    }
}

/// So many values are worked on at once.
pub(crate) fn values(count: u64) -> Throughput {
    Throughput::ElementsAndBytes { elements: count, bytes: count * VALUE_BYTES }
}
