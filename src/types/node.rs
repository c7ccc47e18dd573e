//! Who is who: node ids, typed by role, and the identity of a storage directory.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A node's number, 1 to 99: the two last digits of a `proposal_number` name the proposer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u8);

/// An id outside of 1 to 99.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node id {0} is outside of 1 to 99")]
pub struct NodeIdError(pub u64);

impl NodeId {
    /// The largest id there is.
    pub const MAX: u8 = 99;

    /// The node numbered `number`.
    ///
    /// # Errors
    /// When `number` is not in 1 to 99.
    pub fn new(number: u64) -> Result<Self, NodeIdError> {
        match u8::try_from(number) {
            Ok(id) if (1..=Self::MAX).contains(&id) => Ok(Self(id)),
            _ => Err(NodeIdError(number)),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! typed_id {
    ($type:ident, $what:literal) => {
        #[doc = concat!("The id of ", $what, ".")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub NodeId);

        impl $type {
            /// The node that bears the role.
            #[must_use]
            pub const fn node(self) -> NodeId {
                self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

typed_id!(ProposerId, "a proposer");
typed_id!(AcceptorId, "an acceptor");
typed_id!(LearnerId, "a learner");

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Elects a leader and proposes.
    Proposer,
    /// Promises and accepts, durably.
    Acceptor,
    /// Learns what a quorum accepted, stores it and serves reads.
    Learner,
    /// The HTTP gateway of callers.
    Client,
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role `{0}`; write proposer, acceptor, learner or client")]
pub struct RoleError(pub String);

impl Role {
    /// The word used in configuration, HTTP and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposer => "proposer",
            Self::Acceptor => "acceptor",
            Self::Learner => "learner",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(word: &str) -> Result<Self, RoleError> {
        match word {
            "proposer" => Ok(Self::Proposer),
            "acceptor" => Ok(Self::Acceptor),
            "learner" => Ok(Self::Learner),
            "client" => Ok(Self::Client),
            other => Err(RoleError(other.to_owned())),
        }
    }
}

/// The identity of one storage directory, drawn when it was created. A directory that was deleted
/// comes back with another identity, and so cannot vote in its predecessor's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageId(pub Uuid);

impl fmt::Display for StorageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
