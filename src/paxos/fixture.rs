//! What the stories of the roles share: a cluster of ten, short names, and a disk that outlives a
//! crash.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use uuid::Uuid;

use super::journal::memory::MemoryStorage;
use super::journal::{Extent, Generation, Storage, StorageError};
use crate::types::{
    AcceptorId, Ballot, Batch, Command, Epoch, IdempotencyKey, Incarnation, Instant, LearnerId,
    LogLimits, Name, NodeId, Operation, ProposerId, Sequence, SessionId, Slot, StorageId,
};

pub(super) const CLUSTER: &str = "ten";
pub(super) const PROPOSERS: [u64; 3] = [1, 2, 3];
pub(super) const ACCEPTORS: [u64; 3] = [4, 5, 6];
pub(super) const LEARNERS: [u64; 2] = [7, 8];
pub(super) const GATEWAY: u64 = 9;

pub(super) fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

pub(super) fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

pub(super) fn proposer(id: u64) -> ProposerId {
    ProposerId(node(id))
}

pub(super) fn acceptor(id: u64) -> AcceptorId {
    AcceptorId(node(id))
}

pub(super) fn learner(id: u64) -> LearnerId {
    LearnerId(node(id))
}

pub(super) fn slot(number: u64) -> Slot {
    Slot::new(number)
}

/// A ballot of the first life of a proposer.
pub(super) fn ballot(round: u64, proposer_id: u64) -> Ballot {
    Ballot { round, proposer: proposer(proposer_id), incarnation: Incarnation(1) }
}

/// The directory that a node had from the beginning.
pub(super) fn directory(id: u64) -> StorageId {
    StorageId(Uuid::from_u128(u128::from(id)))
}

/// The directory of a node that lost its first.
pub(super) fn empty_directory(id: u64) -> StorageId {
    StorageId(Uuid::from_u128(1_000 + u128::from(id)))
}

pub(super) fn acceptors() -> BTreeSet<AcceptorId> {
    ACCEPTORS.into_iter().map(acceptor).collect()
}

pub(super) fn learners() -> BTreeSet<LearnerId> {
    LEARNERS.into_iter().map(learner).collect()
}

pub(super) fn proposers() -> BTreeSet<ProposerId> {
    PROPOSERS.into_iter().map(proposer).collect()
}

pub(super) const LIMITS: LogLimits =
    LogLimits { idempotency_window: 100, session_window: 1_000, sessions_max: 50 };

/// The ten: three acceptors count, and two learners let them trim.
pub(super) fn epoch() -> Epoch {
    Epoch {
        cluster: CLUSTER.to_owned(),
        acceptors: ACCEPTORS.map(|id| (acceptor(id), directory(id))).into(),
        learners: learners(),
        limits: LIMITS,
    }
}

/// Another membership of the same acceptors.
pub(super) fn other_epoch() -> Epoch {
    Epoch { learners: BTreeSet::from([learner(7)]), ..epoch() }
}

/// The first session of this life of a gateway.
pub(super) fn session(life: u128) -> SessionId {
    SessionId(Uuid::from_u128(life << 32))
}

pub(super) fn name(session_number: u128, sequence: u64) -> Name {
    Name { session: session(session_number), sequence: Sequence(sequence) }
}

fn command(name: Name, operation: Operation) -> Command {
    Command { name, lowest_open: Sequence(1), origin: node(GATEWAY), operation }
}

pub(super) fn open(session_number: u128) -> Command {
    command(name(session_number, 0), Operation::Open)
}

pub(super) fn values(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
}

pub(super) fn write(session_number: u128, sequence: u64, texts: &[&str]) -> Command {
    let operation = Operation::Write { key: None, values: values(texts) };
    command(name(session_number, sequence), operation)
}

pub(super) fn write_once(
    session_number: u128,
    sequence: u64,
    key: &str,
    texts: &[&str],
) -> Command {
    let key = Some(IdempotencyKey::of(key.as_bytes()));
    let operation = Operation::Write { key, values: values(texts) };
    command(name(session_number, sequence), operation)
}

pub(super) fn cancel(session_number: u128, sequence: u64, target: Name) -> Command {
    command(name(session_number, sequence), Operation::Cancel { target })
}

/// A batch of one write, for those who do not look inside.
pub(super) fn batch(text: &str) -> Batch {
    Batch::of(&[write(1, 1, &[text])])
}

/// A disk that several lives of one role share, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Disk(Rc<RefCell<MemoryStorage>>);

impl Disk {
    pub(super) fn new(segment_bytes: usize) -> Self {
        Self(Rc::new(RefCell::new(MemoryStorage::new(segment_bytes))))
    }

    /// The disk that `storage` is.
    pub(super) fn of(storage: MemoryStorage) -> Self {
        Self(Rc::new(RefCell::new(storage)))
    }

    /// A copy of what is on it, to be harmed.
    pub(super) fn copy(&self) -> MemoryStorage {
        self.0.borrow().clone()
    }

    /// What the disk holds after the power failed.
    pub(super) fn crashed(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().crashed())))
    }

    /// The sync after next `syncs` fails, and every one after it.
    pub(super) fn fail_after(&self, syncs: usize) {
        self.0.borrow_mut().syncs_left = Some(syncs);
    }
}

impl Storage for Disk {
    fn segments(&self) -> Vec<Generation> {
        self.0.borrow().segments()
    }

    fn segment_bytes(&self) -> u64 {
        self.0.borrow().segment_bytes()
    }

    fn extent(&self, generation: Generation) -> Result<Extent, StorageError> {
        self.0.borrow().extent(generation)
    }

    fn read(
        &self,
        generation: Generation,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StorageError> {
        self.0.borrow().read(generation, offset, length)
    }

    fn create(&mut self, generation: Generation) -> Result<(), StorageError> {
        self.0.borrow_mut().create(generation)
    }

    fn write(
        &mut self,
        generation: Generation,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.0.borrow_mut().write(generation, offset, bytes)
    }

    fn sync(&mut self, generation: Generation) -> Result<(), StorageError> {
        self.0.borrow_mut().sync(generation)
    }

    fn retire(&mut self, generation: Generation) -> Result<(), StorageError> {
        self.0.borrow_mut().retire(generation)
    }
}
