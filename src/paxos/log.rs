//! The log: what was chosen, turned into values with indices, each command once.
//!
//! A pure function of the chosen batches in slot order, so every learner comes to the same indices,
//! outcomes and hash, and a learner that restarts comes to them again.

mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::types::{
    Ballot, Batch, Bug, Command, IdempotencyKey, Index, LogLimits, Name, NodeId, Operation,
    Sequence, SessionId, Slot, ValueDigest, planted,
};

pub use self::snapshot::Snapshot;

/// What became of a delivered command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its session is open.
    Opened,
    /// Its values stand at these indices.
    Applied {
        /// The first.
        first: Index,
        /// The last.
        last: Index,
    },
    /// Its idempotency key was used before with the same values, which stand at these indices;
    /// nothing was applied again.
    Repeated {
        /// The first.
        first: Index,
        /// The last.
        last: Index,
    },
    /// Its idempotency key was used before with another value; nothing was applied.
    KeyReused,
    /// It was cancelled before it was delivered; nothing was applied.
    Cancelled,
    /// Its session is not open, or its sequence was settled and forgotten; this delivery applied
    /// nothing.
    Refused,
    /// It was a cancellation, and this is the state of its target for ever.
    Settled(Settled),
}

/// What a cancellation found, or made sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The target had been applied.
    Applied {
        /// Its first index.
        first: Index,
        /// Its last index.
        last: Index,
    },
    /// The target was not applied and never will be.
    NotApplied,
    /// Nothing is known of the target: its outcome was forgotten, with its session or behind the
    /// session's lowest open sequence, and then it will not be applied from now on; or its session
    /// is not open yet.
    Forgotten,
}

/// What is known of a name, asked without a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Delivered, with this outcome.
    Delivered(Outcome),
    /// Not delivered; its session is open.
    Absent {
        /// Its full name, where its gateway has begun another life: nobody will retry it, and a
        /// cancellation by this name settles it.
        orphaned: Option<Name>,
    },
    /// Its gateway came to know its outcome, which is then forgotten. What it applied stands among
    /// the values; what is not there will never be applied.
    Forgotten,
    /// Nothing is known of its session, or no longer.
    Unknown,
}

/// One delivered command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its name.
    pub name: Name,
    /// Who wants to know.
    pub origin: NodeId,
    /// What became of it.
    pub outcome: Outcome,
}

/// One delivered slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The slot.
    pub slot: Slot,
    /// The ballot it was chosen under.
    pub ballot: Ballot,
    /// The index that the slot's first applied value took, or would have taken.
    pub first_index: Index,
    /// The highest index after it.
    pub last_index: Index,
    /// Positions in the batch of commands that applied no value.
    pub skipped: Vec<u32>,
    /// The batch, as chosen.
    pub batch: Batch,
    /// What became of its commands.
    pub deliveries: Vec<Delivery>,
}

/// When a session was used last: in the order of use, also where the index stood still meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Touch {
    /// It was the so many-th use of any session.
    number: u64,
    /// The highest index then.
    index: Index,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    origin: NodeId,
    opened: Slot,
    touched: Touch,
    /// Whether a command of it was delivered: then its gateway had learned that it is open.
    is_used: bool,
    lowest_open: Sequence,
    settled: BTreeMap<Sequence, Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyUse {
    digest: ValueDigest,
    first: Index,
    last: Index,
}

/// The delivered order so far, without the values themselves: those are on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    limits: LogLimits,
    slot: Slot,
    index: Index,
    hash: u128,
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions by their last use: who is evicted first.
    recency: BTreeSet<(Touch, SessionId)>,
    /// Counts the uses.
    touches: u64,
    keys: BTreeMap<IdempotencyKey, KeyUse>,
    key_order: VecDeque<(Index, IdempotencyKey)>,
}

impl Log {
    /// The empty log.
    #[must_use]
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            slot: Slot::ZERO,
            index: Index::ZERO,
            hash: 0,
            sessions: BTreeMap::new(),
            recency: BTreeSet::new(),
            touches: 0,
            keys: BTreeMap::new(),
            key_order: VecDeque::new(),
        }
    }

    /// Everything through this slot is delivered.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The highest index delivered.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// The hash over (index, name, value) of everything delivered; nothing of ballots or times, so
    /// that learners agree on it.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Delivers the batch chosen for the next slot.
    ///
    /// # Panics
    /// When `slot` is not the next one: that would be a gap, which only a bug can make.
    pub fn deliver(&mut self, slot: Slot, ballot: Ballot, batch: Batch) -> Delivered {
        assert!(slot == self.slot.next(), "slots are delivered in order, without a gap");
        let first_index = self.index.next();
        let mut skipped = Vec::new();
        let mut deliveries = Vec::new();
        for (position, command) in (0_u32..).zip(batch.commands()) {
            // Every learner refuses the same bytes, so a batch that cannot be read ends here for
            // all of them alike.
            let Ok(command) = command else { break };
            let before = self.index;
            let outcome = self.apply(slot, &command);
            if self.index == before {
                skipped.push(position);
            }
            deliveries.push(Delivery { name: command.name, origin: command.origin, outcome });
        }
        self.slot = slot;
        self.evict();
        let last_index = self.index;
        Delivered { slot, ballot, first_index, last_index, skipped, batch, deliveries }
    }

    /// What is known of the command whose caller was told `name`, in whatever session of its
    /// gateway's life it was sent.
    #[must_use]
    pub fn look_up(&self, name: Name) -> Lookup {
        let life = name.session.life();
        let of_life = || self.sessions.range(life..=life.last()).rev();
        let outcome = of_life().find_map(|(_, session)| session.settled.get(&name.sequence));
        if let Some(&outcome) = outcome {
            return Lookup::Delivered(outcome);
        }
        let Some((&id, newest)) = of_life().next() else { return Lookup::Unknown };
        if name.sequence < newest.lowest_open {
            return Lookup::Forgotten;
        }
        // An opening may be chosen long after its gateway died. Only one that is used besides shows
        // that this life had begun, and the other had ended, when it was opened.
        let is_orphaned = self.sessions.iter().any(|(other, it)| {
            let is_later = it.is_used && it.opened > newest.opened;
            it.origin == newest.origin && other.life() != life && is_later && !other.is_by_hand()
        });
        let name = Name { session: id, ..name };
        Lookup::Absent { orphaned: is_orphaned.then_some(name) }
    }

    /// Everything that the next delivery depends on.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            slot: self.slot.get(),
            index: self.index.get(),
            hash: Bytes::copy_from_slice(&self.hash.to_le_bytes()),
            sessions: self.sessions.iter().map(|(id, it)| snapshot::session(*id, it)).collect(),
            keys: self
                .key_order
                .iter()
                .filter_map(|(_, key)| Some(snapshot::key(*key, self.keys.get(key)?)))
                .collect(),
            touches: self.touches,
        }
    }

    /// The log that `snapshot` was taken of; `None` when it is not one that this version writes.
    #[must_use]
    pub fn from_snapshot(limits: LogLimits, snapshot: Snapshot) -> Option<Self> {
        let mut log = Self::new(limits);
        log.slot = Slot::new(snapshot.slot);
        log.index = Index::new(snapshot.index);
        log.touches = snapshot.touches;
        log.hash = u128::from_le_bytes(snapshot.hash.as_ref().try_into().ok()?);
        let sessions = snapshot.sessions.into_iter().filter(|_| !planted(Bug::ForgetSessions));
        for session in sessions {
            let (id, mut session) = snapshot::read_session(session)?;
            if planted(Bug::ForgetRecency) {
                session.touched = Touch::default();
            }
            log.recency.insert((session.touched, id));
            log.sessions.insert(id, session);
        }
        let keys = snapshot.keys.into_iter().filter(|_| !planted(Bug::ForgetKeys));
        for key in keys {
            let (key, used) = snapshot::read_key(&key)?;
            log.key_order.push_back((used.last, key));
            log.keys.insert(key, used);
        }
        Some(log)
    }

    fn apply(&mut self, slot: Slot, command: &Command) -> Outcome {
        let Name { session: id, sequence } = command.name;
        if command.operation == Operation::Open {
            self.open(slot, id, command);
            return Outcome::Opened;
        }
        if planted(Bug::ApplyForEvicted) {
            self.open(slot, id, command);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return Outcome::Refused };
        if let Some(&outcome) = session.settled.get(&sequence) {
            return outcome;
        }
        if sequence < session.lowest_open {
            return Outcome::Refused;
        }
        session.lowest_open = session.lowest_open.max(command.lowest_open.min(sequence));
        session.settled = session.settled.split_off(&session.lowest_open);
        let outcome = match &command.operation {
            Operation::Open => Outcome::Opened,
            Operation::Write { key, values } => self.write(command.name, *key, values),
            Operation::Cancel { target } => Outcome::Settled(self.cancel(*target)),
        };
        self.touch(id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_used = true;
            session.settled.insert(sequence, outcome);
        }
        outcome
    }

    fn open(&mut self, slot: Slot, id: SessionId, command: &Command) {
        self.sessions.entry(id).or_insert_with(|| Session {
            origin: command.origin,
            opened: slot,
            touched: Touch::default(),
            is_used: false,
            lowest_open: command.lowest_open,
            settled: BTreeMap::new(),
        });
        self.touch(id);
    }

    fn write(&mut self, name: Name, key: Option<IdempotencyKey>, values: &[Bytes]) -> Outcome {
        let digest = Operation::value_digest(values);
        let used = key.and_then(|key| self.keys.get(&key));
        if let Some(used) = used.filter(|_| !planted(Bug::IgnoreKey)) {
            return if used.digest == digest || planted(Bug::KeyForAnyValue) {
                Outcome::Repeated { first: used.first, last: used.last }
            } else {
                Outcome::KeyReused
            };
        }
        let first = self.index.next();
        for value in values {
            self.index = self.index.next();
            self.hash = chain(self.hash, self.index, name, value);
        }
        let last = self.index;
        if let Some(key) = key {
            self.keys.insert(key, KeyUse { digest, first, last });
            self.key_order.push_back((last, key));
        }
        Outcome::Applied { first, last }
    }

    fn cancel(&mut self, target: Name) -> Settled {
        let Some(session) = self.sessions.get_mut(&target.session) else {
            return Settled::Forgotten;
        };
        match session.settled.get(&target.sequence) {
            Some(&(Outcome::Applied { first, last } | Outcome::Repeated { first, last })) => {
                Settled::Applied { first, last }
            }
            Some(_) => Settled::NotApplied,
            None if target.sequence < session.lowest_open => Settled::Forgotten,
            None => {
                if !planted(Bug::ForgetCancel) {
                    session.settled.insert(target.sequence, Outcome::Cancelled);
                }
                Settled::NotApplied
            }
        }
    }

    fn touch(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            self.recency.remove(&(session.touched, id));
            self.touches += 1;
            session.touched = Touch { number: self.touches, index: self.index };
            self.recency.insert((session.touched, id));
        }
    }

    /// Forgets by delivered index, never by clock: every learner forgets at the same place.
    fn evict(&mut self) {
        while let Some(&(touched, id)) = self.recency.first() {
            let is_old = self.index.beyond(touched.index) > self.limits.session_window;
            let is_many =
                u64::try_from(self.sessions.len()).is_ok_and(|n| n > self.limits.sessions_max);
            if !is_old && !is_many {
                break;
            }
            self.recency.pop_first();
            self.sessions.remove(&id);
        }
        while let Some(&(at, key)) = self.key_order.front() {
            if self.index.beyond(at) < self.limits.idempotency_window {
                break;
            }
            self.key_order.pop_front();
            self.keys.remove(&key);
        }
    }
}

fn chain(before: u128, index: Index, name: Name, value: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&before.to_le_bytes());
    hash.update(&index.get().to_le_bytes());
    hash.update(name.session.0.as_bytes());
    hash.update(&name.sequence.0.to_le_bytes());
    hash.update(value);
    hash.digest128()
}
