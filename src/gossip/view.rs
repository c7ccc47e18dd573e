//! What `GET /gossip/nodes` shows: the table as a value without a wall clock, and its JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::types::NodeId;

use super::member::Member;
use super::table::State;

/// The table at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Who seems to lead; a dead leader is not named.
    pub leader: Option<NodeId>,
    /// Every known node, this one included.
    pub nodes: Vec<NodeStatus>,
}

/// One node of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Who it is.
    pub member: Member,
    /// Whether the configuration names it. Whether it votes is not gossip's to say.
    pub configured: bool,
    /// What is thought of it.
    pub state: State,
    /// Its life.
    pub incarnation: u64,
    /// Its heartbeat.
    pub version: u64,
    /// How long ago news of it came; `None` when none ever did, zero for this node itself.
    pub age: Option<Duration>,
    /// The facts it published.
    pub metadata: BTreeMap<String, String>,
}

/// The body of `GET /gossip/nodes`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodesBody {
    /// How many nodes are known.
    pub total: usize,
    /// Who seems to lead.
    pub leader_id: Option<u8>,
    /// The nodes, keyed by id.
    pub nodes: BTreeMap<u8, NodeBody>,
}

/// One node in the body of `GET /gossip/nodes`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeBody {
    /// Its number.
    pub id: u8,
    /// Its role, as a word.
    pub role: &'static str,
    /// Its host.
    pub address: String,
    /// Its API port.
    pub port: u16,
    /// When news of it last came, in Unix seconds by the answering node's clock; null for never.
    pub last_seen: Option<f64>,
    /// The facts it published.
    pub metadata: BTreeMap<String, String>,
    /// Its heartbeat.
    pub version: u64,
    /// "alive", "suspect" or "dead".
    pub state: State,
    /// Its life.
    pub incarnation: u64,
}

impl View {
    /// The JSON body, where the answering node's wall clock shows `unix` since 1970.
    #[must_use]
    pub fn render(&self, unix: Duration) -> NodesBody {
        let body = |node: &NodeStatus| NodeBody {
            id: node.member.id.get(),
            role: node.member.role.as_str(),
            address: node.member.address.host.to_string(),
            port: node.member.address.port.get(),
            last_seen: node.age.map(|age| unix.saturating_sub(age).as_secs_f64()),
            metadata: node.metadata.clone(),
            version: node.version,
            state: node.state,
            incarnation: node.incarnation,
        };
        NodesBody {
            total: self.nodes.len(),
            leader_id: self.leader.map(NodeId::get),
            nodes: self.nodes.iter().map(|node| (node.member.id.get(), body(node))).collect(),
        }
    }
}
