//! The JSON of `POST /gossip`: the original's fields, with the push-pull exchange beside them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::types::{NodeId, NodeIdError, RoleError};

use super::config::NUMBER_MAX;

/// A request. A bare one has only the original's fields; `cluster`, `digest` and `leader` are ours.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GossipMessage {
    /// Who sends.
    #[serde(default, deserialize_with = "number_or_text")]
    pub sender_id: Option<u64>,
    /// The sender's role, as a word.
    #[serde(default)]
    pub sender_role: Option<String>,
    /// What the sender knows of nodes, keyed by id: all, or what it thinks is news to the receiver.
    #[serde(default)]
    pub nodes: BTreeMap<String, NodeRecord>,
    /// Who leads, as the sender thinks. For display; without a ballot it persuades nobody.
    #[serde(default)]
    pub leader_id: Option<u64>,
    /// The sender's wall clock, in Unix seconds. Never read: clocks of two machines differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<f64>,
    /// The sender's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// How far the sender knows each node; the answer brings what lies beyond it. A message
    /// without one asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Who seems to lead, with the ballot that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderHint>,
}

/// The answer to a request that was taken.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GossipReply {
    /// "ok".
    pub status: String,
    /// How many of the request's statements about nodes were news here.
    pub updates: usize,
    /// How many nodes the receiver now knows, itself included.
    pub node_count: usize,
    /// The receiver's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// How far the receiver knows each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What the request's digest lacked, keyed by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub delta: BTreeMap<String, NodeRecord>,
    /// Who seems to lead, with the ballot that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderHint>,
}

/// One node, as a message tells of it. The first seven fields are the original's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its number; the key's, when left out.
    #[serde(default)]
    pub id: Option<u64>,
    /// Its role, as a word.
    pub role: String,
    /// Its host.
    pub address: String,
    /// Its API port.
    pub port: u16,
    /// The original's wall-clock time. Never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<f64>,
    /// Small facts it publishes; ours are strings, other values are kept as their JSON text.
    #[serde(default)]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// Its heartbeat: rises with every round of its life.
    #[serde(default)]
    pub version: u64,
    /// Its life; a later one supersedes all that was said of earlier ones.
    #[serde(default)]
    pub incarnation: u64,
    /// The version at which each metadata key was written; the record's own, when left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata_versions: BTreeMap<String, u64>,
    /// Its monitor's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_port: Option<u16>,
    /// How long ago the sender heard news of it: a span, since clocks of two machines differ.
    #[serde(default)]
    pub age_ms: u64,
}

/// How far each node is known, keyed by id.
pub type Digest = BTreeMap<u8, DigestLine>;

/// How far one node is known; in JSON `[incarnation, version, metadata_version, age_ms]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 4]", into = "[u64; 4]")]
pub struct DigestLine {
    /// The latest life heard of.
    pub incarnation: u64,
    /// The latest heartbeat of that life.
    pub version: u64,
    /// The latest metadata version of that life.
    pub metadata_version: u64,
    /// How long ago that was news to the sender, in milliseconds.
    pub age_ms: u64,
}

impl From<[u64; 4]> for DigestLine {
    fn from([incarnation, version, metadata_version, age_ms]: [u64; 4]) -> Self {
        Self { incarnation, version, metadata_version, age_ms }
    }
}

impl From<DigestLine> for [u64; 4] {
    fn from(line: DigestLine) -> Self {
        [line.incarnation, line.version, line.metadata_version, line.age_ms]
    }
}

/// Who seems to lead. The highest proposal number wins; nothing may rest on it but where to ask
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderHint {
    /// The leader's ballot as a number: round * 100 + proposer.
    pub proposal_number: u64,
    /// The proposer's id.
    pub leader_id: u8,
}

impl LeaderHint {
    /// The leader, unless the hint contradicts itself.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let fits = self.proposal_number <= NUMBER_MAX
            && self.proposal_number % 100 == u64::from(self.leader_id);
        NodeId::new(u64::from(self.leader_id)).ok().filter(|_| fits)
    }
}

/// Why a message was refused. Nothing of it was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is no JSON of this shape.
    #[error("Malformed gossip: {0}")]
    Malformed(String),
    /// The sender did not say who it is.
    #[error("Missing sender_id")]
    MissingSender,
    /// The sender's id does not exist.
    #[error("Bad sender_id: {0}")]
    SenderId(#[from] NodeIdError),
    /// The sender's role does not exist.
    #[error("Bad sender_role: {0}")]
    SenderRole(#[from] RoleError),
    /// The sender claims the id of a configured node of another role.
    #[error("Node {0} is configured with another role")]
    Impostor(NodeId),
    /// The message names more nodes than ids exist.
    #[error("More nodes than there are ids")]
    TooManyNodes,
    /// The message is of another cluster.
    #[error("This is another cluster")]
    OtherCluster,
}

/// The body of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalBody {
    /// "error".
    pub status: &'static str,
    /// What was wrong.
    pub message: String,
}

impl Refusal {
    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_)
            | Self::MissingSender
            | Self::SenderId(_)
            | Self::SenderRole(_)
            | Self::TooManyNodes => 400,
            Self::Impostor(_) | Self::OtherCluster => 409,
        }
    }

    /// The HTTP body to answer with.
    #[must_use]
    pub fn body(&self) -> RefusalBody {
        RefusalBody { status: "error", message: self.to_string() }
    }
}

impl GossipMessage {
    /// Reads a request's body; the caller has bounded its size.
    ///
    /// # Errors
    /// When it is no JSON object of this shape, or more than 99 nodes are named.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let message: Self = serde_json::from_slice(body)
            .map_err(|error| Refusal::Malformed(error.to_string().chars().take(200).collect()))?;
        bounded(message.nodes.len(), message.digest.as_ref())?;
        Ok(message)
    }
}

impl GossipReply {
    /// Reads an answer's body; the caller has bounded its size.
    ///
    /// # Errors
    /// As for a request.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let reply: Self = serde_json::from_slice(body)
            .map_err(|error| Refusal::Malformed(error.to_string().chars().take(200).collect()))?;
        bounded(reply.delta.len(), reply.digest.as_ref())?;
        Ok(reply)
    }
}

fn bounded(records: usize, digest: Option<&Digest>) -> Result<(), Refusal> {
    let max = usize::from(NodeId::MAX);
    if records > max || digest.is_some_and(|digest| digest.len() > max) {
        return Err(Refusal::TooManyNodes);
    }
    Ok(())
}

/// The original's callers write ids as numbers or as texts.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(u64),
        Text(String),
    }
    match Option::<Id>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Id::Number(number)) => Ok(Some(number)),
        Some(Id::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}
