//! The ground floor: the words of the protocol as types, without behaviour of their own.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod ballot;
mod command;
mod epoch;
mod node;
mod planted;
mod quorum;
mod slot;
mod time;

pub use ballot::{Ballot, Incarnation, ParseBallotError};
pub use command::{
    Batch, BatchBuilder, BatchDigest, Command, DecodeError, IdempotencyKey, Name, Operation,
    ParseNameError, Sequence, SessionId, ValueDigest,
};
pub use epoch::{Epoch, EpochDigest, EpochError, LogLimits};
pub use node::{
    AcceptorId, LearnerId, NodeId, NodeIdError, ProposerId, Role, RoleError, StorageId,
};
pub use planted::{Bug, plant, planted};
pub use quorum::{Quorum, QuorumError, Tally};
pub use slot::{Index, Slot};
pub use time::Instant;
