//! The other nodes: where they are, and how messages leave for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tracing::debug;

use crate::http::Address;
use crate::http::link::Links;
use crate::http::wire;
use crate::paxos::message::{Envelope, Outbound};
use crate::types::{EpochDigest, LearnerId, NodeId, ProposerId, Role};

/// Another node, as configuration or gossip names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// What it is for.
    pub role: Role,
    /// Its api port.
    pub address: Address,
}

/// The nodes there are, this one left out. It changes with gossip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory(pub BTreeMap<NodeId, Peer>);

impl Directory {
    /// The nodes of `role`.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Peer> {
        self.0.values().filter(move |peer| peer.role == role)
    }

    /// The proposers.
    #[must_use]
    pub fn proposers(&self) -> BTreeSet<ProposerId> {
        self.with_role(Role::Proposer).map(|peer| ProposerId(peer.id)).collect()
    }

    /// The learners.
    #[must_use]
    pub fn learners(&self) -> BTreeSet<LearnerId> {
        self.with_role(Role::Learner).map(|peer| LearnerId(peer.id)).collect()
    }

    /// Every node that takes requests of callers: the clients and the proposers.
    #[must_use]
    pub fn gateways(&self) -> BTreeSet<NodeId> {
        let is_gateway = |peer: &&Peer| matches!(peer.role, Role::Client | Role::Proposer);
        self.0.values().filter(is_gateway).map(|peer| peer.id).collect()
    }
}

/// How messages leave this node.
#[derive(Debug, Clone)]
pub struct Peers {
    me: NodeId,
    links: Arc<Links>,
    directory: watch::Receiver<Directory>,
}

impl Peers {
    /// Messages of `me` over `links`, to the nodes of `directory`.
    #[must_use]
    pub fn new(me: NodeId, links: Arc<Links>, directory: watch::Receiver<Directory>) -> Self {
        Self { me, links, directory }
    }

    /// Sends a message, or drops it where there is no link: every message of the protocol is sent
    /// again or asked for again when it matters. Tells whether it was taken.
    pub fn send(&self, epoch: Option<EpochDigest>, outbound: Outbound) -> bool {
        let (to, frame) = self.frame(epoch, outbound);
        let sent = self.links.send(to, frame);
        if let Err(error) = &sent {
            debug!(%to, %error, "message dropped");
        }
        sent.is_ok()
    }

    /// Sends messages that must not wait for another task, as [`Peers::send`] does. Returns how
    /// many were dropped.
    pub fn send_now(&self, epoch: Option<EpochDigest>, outbounds: Vec<Outbound>) -> usize {
        // In the order in which they were meant to leave, and a few nodes at most.
        let mut by_node = Vec::<(NodeId, Vec<Bytes>)>::new();
        for outbound in outbounds {
            let (to, frame) = self.frame(epoch, outbound);
            match by_node.iter_mut().find(|(node, _)| *node == to) {
                Some((_, frames)) => frames.push(frame),
                None => by_node.push((to, vec![frame])),
            }
        }
        let mut dropped = 0;
        for (to, frames) in by_node {
            for error in self.links.send_now(to, frames) {
                debug!(%to, %error, "message dropped");
                dropped += 1;
            }
        }
        dropped
    }

    fn frame(&self, epoch: Option<EpochDigest>, outbound: Outbound) -> (NodeId, Bytes) {
        let (to, message) = outbound.into_parts();
        (to, wire::encode(&Envelope { from: self.me, epoch, message }))
    }

    /// Whether messages to `node` leave now.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.links.is_up(node)
    }

    /// The nodes there are.
    #[must_use]
    pub fn directory(&self) -> watch::Receiver<Directory> {
        self.directory.clone()
    }
}
