//! The epoch: who counts, fixed when the cluster was formed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use super::{AcceptorId, LearnerId, Quorum, QuorumError, StorageId};

/// The membership that quorums come from: never gossip, never an edited file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The cluster's name, as configured.
    pub cluster: String,
    /// The acceptors, each with the directory it was formed with.
    pub acceptors: BTreeMap<AcceptorId, StorageId>,
    /// The learners whose durable progress lets acceptors trim.
    pub learners: BTreeSet<LearnerId>,
    /// How long learners remember: the same for all of them, or they would differ.
    pub limits: LogLimits,
}

/// How long learners remember what they have seen, counted in delivered indices, never in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// An idempotency key is known for this many indices after its use.
    pub idempotency_window: u64,
    /// A session is evicted when this many indices have passed since its last command.
    pub session_window: u64,
    /// Sessions there can be; beyond it the one idle for longest is evicted.
    pub sessions_max: u64,
}

/// A short name of an epoch, carried by every message; one that differs is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochDigest(pub u64);

/// An epoch that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// Its acceptors make no quorum.
    #[error("the epoch's acceptors make no quorum")]
    Quorum(#[from] QuorumError),
}

impl Epoch {
    /// The epoch's name: equal for equal epochs.
    #[must_use]
    pub fn digest(&self) -> EpochDigest {
        let mut hash = Xxh3::new();
        hash.update(&self.cluster.len().to_le_bytes());
        hash.update(self.cluster.as_bytes());
        for (acceptor, storage) in &self.acceptors {
            hash.update(b"a");
            hash.update(&[acceptor.node().get()]);
            hash.update(storage.0.as_bytes());
        }
        for learner in &self.learners {
            hash.update(b"l");
            hash.update(&[learner.node().get()]);
        }
        let LogLimits { idempotency_window, session_window, sessions_max } = self.limits;
        for limit in [idempotency_window, session_window, sessions_max] {
            hash.update(&limit.to_le_bytes());
        }
        EpochDigest(hash.digest())
    }

    /// Majorities of its acceptors.
    ///
    /// # Errors
    /// When it has no acceptor.
    pub fn quorum(&self) -> Result<Quorum, EpochError> {
        Ok(Quorum::majority(self.acceptors.keys().copied().collect())?)
    }

    /// How many of its learners must have a slot on disk before an acceptor may forget it.
    #[must_use]
    pub fn learner_majority(&self) -> usize {
        self.learners.len() / 2 + 1
    }
}

impl fmt::Display for EpochDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
