//! What goes into gossip and what comes out of it.

use crate::types::NodeId;

use super::config::NUMBER_MAX;
use super::member::{Address, Member};
use super::message::{GossipMessage, GossipReply, LeaderHint, Refusal};
use super::table::{Fault, State};

/// Names one request that waits for its answer; the caller gives it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What reaches gossip.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A peer sent `POST /gossip`; one `Reply` with this ticket follows in the same step.
    Asked {
        /// Which request this is.
        ticket: Ticket,
        /// What it said.
        message: GossipMessage,
    },
    /// An exchange was answered.
    Answered {
        /// Who was asked.
        to: Address,
        /// What it said.
        reply: GossipReply,
    },
    /// An exchange failed: no connection, no answer in time, a refusal.
    Failed {
        /// Who was asked.
        to: Address,
    },
    /// This node itself saw who leads.
    LeaderSeen(LeaderHint),
}

/// What gossip wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send `POST /gossip`, and feed the end back as `Answered` or `Failed`.
    Exchange {
        /// Whom to ask.
        to: Address,
        /// What to say.
        request: GossipMessage,
    },
    /// Answer a request.
    Reply {
        /// Which one.
        ticket: Ticket,
        /// With what.
        answer: Result<GossipReply, Refusal>,
    },
    /// Something changed that an operator or the links to peers want to know.
    Changed(Event),
}

/// A change in what is thought of the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node was heard of for the first time.
    Joined {
        /// The node, and where it is reached.
        member: Member,
    },
    /// A node began a new life, perhaps at a new address.
    Restarted {
        /// The node, and where it is reached now.
        member: Member,
        /// The new life.
        incarnation: u64,
    },
    /// A node is silent for longer than usual.
    Suspect {
        /// The node.
        id: NodeId,
    },
    /// A node is silent for too long.
    Dead {
        /// The node.
        id: NodeId,
    },
    /// News of a suspect or dead node arrived.
    Revived {
        /// The node.
        id: NodeId,
        /// What it was taken for.
        from: State,
    },
    /// An unconfigured node was dead for so long that its entry was dropped.
    Forgotten {
        /// The node.
        id: NodeId,
    },
    /// Another leader, or the same with a higher ballot, seems to lead.
    Leader(LeaderHint),
    /// Somebody else speaks as this node, or this node's clock was set back before its start.
    Contested {
        /// The incarnation heard.
        heard: u64,
        /// The incarnation this node took above it.
        now: u64,
    },
    /// A statement about a node was not taken; said at most once for each node and fault until
    /// that node joins or restarts.
    Refused {
        /// The node it spoke of.
        id: NodeId,
        /// What was wrong.
        fault: Fault,
    },
}

/// Why gossip cannot start, or a fact cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// Two seeds, or a seed and this node itself, configure one id differently.
    #[error("node {0} is configured twice, with different roles or addresses")]
    Conflict(NodeId),
    /// The incarnation is not in 1 to [`NUMBER_MAX`].
    #[error("incarnation {0} is outside of 1 to {NUMBER_MAX}")]
    Incarnation(u64),
    /// The key or value is too long, has forbidden characters, or is one key too many.
    #[error("metadata `{0}` cannot be published")]
    Metadata(String),
}
