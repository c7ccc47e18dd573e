//! What every check stands on: who there is, one epoch, and one moment.
//!
//! Time stands still. All spans are zero, so every timer is due always, and the model rings it when
//! it likes; that covers clocks of any speed. It also leaves no room for jitter, so chance decides
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use paxosd::paxos::acceptor::AcceptorConfig;
use paxosd::paxos::message::Submission;
use paxosd::paxos::proposer::{ProposerConfig, ProposerSettings};
use paxosd::types::{
    AcceptorId, Ballot, Batch, Command, Epoch, Incarnation, Instant, LearnerId, LogLimits, Name,
    NodeId, Operation, ProposerId, Sequence, SessionId, Slot, StorageId,
};
use uuid::Uuid;

/// Acceptors of every check.
pub(super) const ACCEPTORS: usize = 3;

/// Where each acceptor goes when they change places.
pub(super) type Order = [usize; ACCEPTORS];

/// Every way in which the acceptors can change places; the first leaves all where they are.
pub(super) const ORDERS: [Order; 6] =
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Proposers of a check at most.
pub(super) const PROPOSERS_MAX: usize = 3;

/// The moment at which everything happens.
pub(super) const NOW: Instant = Instant::from_nanos(0);

/// The moment at which a leader notices that nobody has answered it.
pub(super) const LATER: Instant = Instant::from_nanos(1);

const CLUSTER: &str = "model";
const LEARNER: u64 = 7;
const GATEWAY: u64 = 8;
const LIMITS: LogLimits =
    LogLimits { idempotency_window: 100, session_window: 100, sessions_max: 100 };

/// The proposer at `place`.
pub(super) fn proposer(place: usize) -> ProposerId {
    ProposerId(node(place + 1))
}

/// Where the acceptor at `place` goes.
pub(super) fn moved(place: usize, order: Order) -> usize {
    order.get(place).copied().expect("an order has a place for each acceptor")
}

/// The acceptor at `place`.
pub(super) fn acceptor(place: usize) -> AcceptorId {
    AcceptorId(node(place + 1 + PROPOSERS_MAX))
}

/// The learner that lets acceptors trim.
pub(super) fn learner() -> LearnerId {
    LearnerId(numbered(LEARNER))
}

/// The gateway that names the commands.
pub(super) fn gateway() -> NodeId {
    numbered(GATEWAY)
}

fn node(number: usize) -> NodeId {
    numbered(u64::try_from(number).unwrap_or(u64::MAX))
}

fn numbered(number: u64) -> NodeId {
    NodeId::new(number).expect("a check has less than 99 nodes")
}

/// The directory of the acceptor at `place`.
pub(super) fn directory(place: usize) -> StorageId {
    StorageId(Uuid::from_u128(u128::from(acceptor(place).node().get())))
}

/// The directory of the learner.
pub(super) fn learner_directory() -> StorageId {
    StorageId(Uuid::from_u128(u128::from(LEARNER)))
}

/// Who counts.
pub(super) fn epoch() -> Epoch {
    Epoch {
        cluster: CLUSTER.to_owned(),
        acceptors: (0..ACCEPTORS)
            .map(|place| (acceptor(place), directory(place)))
            .collect::<BTreeMap<_, _>>(),
        learners: BTreeSet::from([learner()]),
        limits: LIMITS,
    }
}

/// What an acceptor is told at birth.
pub(super) fn acceptor_config(place: usize) -> AcceptorConfig {
    AcceptorConfig {
        me: acceptor(place),
        cluster: CLUSTER.to_owned(),
        storage: directory(place),
        page_bytes: 1 << 20,
        accept_window_slots: 100,
        trim_slots: 1,
    }
}

/// What a proposer is told at birth.
pub(super) fn proposer_config(place: usize, incarnation: u64) -> ProposerConfig {
    ProposerConfig {
        me: proposer(place),
        incarnation: Incarnation(incarnation),
        cluster: CLUSTER.to_owned(),
        acceptors: (0..ACCEPTORS).map(acceptor).collect(),
        learners: BTreeSet::from([learner()]),
        limits: LIMITS,
        clock_ms_at_zero: 0,
        settings: ProposerSettings {
            heartbeat: Duration::ZERO,
            timeout: Duration::ZERO,
            resend: Duration::ZERO,
            drain: Duration::ZERO,
            window_slots: 100,
            spare_delay: Duration::ZERO,
            batch_bytes_min: 1,
            batch_bytes_max: 1 << 20,
            batch_commands_max: 1,
            queue_commands_max: 100,
            queue_bytes_max: 1 << 20,
            fill_slots_max: 0,
        },
    }
}

/// What a leader is given for a slot: a command of its own for every life, round and slot, so that
/// no two ballots agree by accident. `order` tells commands of one life apart.
pub(super) fn command(life: u64, ballot: Ballot, slot: Slot) -> (u64, Submission) {
    let order = ballot.round * 4 + slot.get();
    let writer = u64::from(ballot.proposer.node().get()) * 8 + life;
    let length = usize::try_from(order * 32 + writer).unwrap_or(usize::MAX);
    let session = SessionId(Uuid::from_u128(u128::from(writer)));
    let name = Name { session, sequence: Sequence(order) };
    let operation = Operation::Write { key: None, values: vec![Bytes::from(vec![b'x'; length])] };
    let command = Command { name, lowest_open: Sequence(1), origin: gateway(), operation };
    (order, Submission { name, command: command.to_bytes() })
}

/// The batch of one submitted command.
pub(super) fn batch_of(submission: &Submission) -> Batch {
    let command = Command::decode(submission.command.clone());
    Batch::of(&[command.expect("a command of ours reads back")])
}
