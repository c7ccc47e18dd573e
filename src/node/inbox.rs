//! Messages on their way in: decoded, sorted by receiver, handed to the task that owns its state.

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::debug;

use crate::http::link::{BadFrame, Deliver, LinkId};
use crate::http::wire;
use crate::paxos::acceptor::Request;
use crate::paxos::message::{Message, ToClient, ToLearner, ToProposer, ToWitness};
use crate::types::{EpochDigest, NodeId};

use super::acceptor::{AcceptorInbox, Caller, Turn};

/// A message with its sender.
#[derive(Debug, Clone)]
pub struct Received<T> {
    /// From whom.
    pub from: NodeId,
    /// Under which epoch.
    pub epoch: Option<EpochDigest>,
    /// What it says.
    pub message: T,
}

/// What a role's task is told: messages, changes of links, or a call of this process.
#[derive(Debug)]
pub enum Input<T, C> {
    /// Messages of one peer, in order.
    Messages(Vec<Received<T>>),
    /// Messages to this node leave from now on.
    LinkUp(NodeId),
    /// The connection to or from this node broke.
    LinkDown(NodeId),
    /// A call of an HTTP handler, or of the node itself.
    Call(C),
}

/// Where the roles of this node take their messages; a role that the node does not have is absent.
#[derive(Debug, Default)]
pub struct Inboxes {
    /// The acceptor's thread.
    pub acceptor: Option<AcceptorInbox>,
    /// The witness beside it.
    pub witness: Option<mpsc::Sender<Input<ToWitness, ()>>>,
    /// The proposer.
    pub proposer: Option<mpsc::Sender<Input<ToProposer, super::proposer::Call>>>,
    /// The learner.
    pub learner: Option<mpsc::Sender<Input<ToLearner, super::learner::Call>>>,
    /// The gateway of a client or proposer.
    pub gateway: Option<mpsc::Sender<Input<ToClient, super::gateway::Call>>>,
}

impl Inboxes {
    /// Tells every role of a change of links.
    pub async fn link(&self, node: NodeId, is_up: bool) {
        fn input<T, C>(node: NodeId, is_up: bool) -> Input<T, C> {
            if is_up { Input::LinkUp(node) } else { Input::LinkDown(node) }
        }
        if let Some(inbox) = &self.witness {
            forward(inbox, input(node, is_up)).await;
        }
        if let Some(inbox) = &self.proposer {
            forward(inbox, input(node, is_up)).await;
        }
        if let Some(inbox) = &self.learner {
            forward(inbox, input(node, is_up)).await;
        }
        if let Some(inbox) = &self.gateway {
            forward(inbox, input(node, is_up)).await;
        }
    }
}

impl Deliver for std::sync::Arc<Inboxes> {
    async fn deliver(
        &self,
        from: NodeId,
        _link: LinkId,
        frames: Vec<Bytes>,
    ) -> Result<(), BadFrame> {
        let mut sorted = Sorted::default();
        for frame in frames {
            sorted.take(from, frame)?;
        }
        let missing = |role: &str| BadFrame(format!("a message to a {role}, which is not here"));
        if !sorted.witness.is_empty() {
            let inbox = self.witness.as_ref().ok_or_else(|| missing("witness"))?;
            forward(inbox, Input::Messages(sorted.witness)).await;
        }
        if !sorted.acceptor.is_empty() {
            let inbox = self.acceptor.as_ref().ok_or_else(|| missing("acceptor"))?;
            // A slow disk must not hold up the heartbeats behind these; what is dropped here is
            // asked again.
            if inbox.offer(sorted.acceptor).is_err() {
                debug!(%from, "the acceptor's inbox is full: dropped");
            }
        }
        if !sorted.proposer.is_empty() {
            let inbox = self.proposer.as_ref().ok_or_else(|| missing("proposer"))?;
            forward(inbox, Input::Messages(sorted.proposer)).await;
        }
        if !sorted.learner.is_empty() {
            let inbox = self.learner.as_ref().ok_or_else(|| missing("learner"))?;
            forward(inbox, Input::Messages(sorted.learner)).await;
        }
        if !sorted.gateway.is_empty() {
            let inbox = self.gateway.as_ref().ok_or_else(|| missing("gateway"))?;
            forward(inbox, Input::Messages(sorted.gateway)).await;
        }
        Ok(())
    }
}

/// A task that has ended takes nothing more: the node is stopping.
async fn forward<T>(inbox: &mpsc::Sender<T>, input: T) {
    if inbox.send(input).await.is_err() {
        debug!("a role has stopped; its message is dropped");
    }
}

#[derive(Default)]
struct Sorted {
    acceptor: Turn,
    witness: Vec<Received<ToWitness>>,
    proposer: Vec<Received<ToProposer>>,
    learner: Vec<Received<ToLearner>>,
    gateway: Vec<Received<ToClient>>,
}

/// Shorter frames are copied out of the buffer of 64 KiB that they were read into: an acceptor
/// keeps the values of thousands, and a few hundred bytes must not keep a whole buffer each.
const COPY_BYTES_MAX: usize = 32 << 10;

impl Sorted {
    fn take(&mut self, link: NodeId, frame: Bytes) -> Result<(), BadFrame> {
        let frame =
            if frame.len() <= COPY_BYTES_MAX { Bytes::copy_from_slice(&frame) } else { frame };
        let envelope = wire::decode(frame).map_err(|error| BadFrame(error.to_string()))?;
        let (from, epoch) = (envelope.from, envelope.epoch);
        if from != link {
            return Err(BadFrame(format!("a message of node {from} over the link of node {link}")));
        }
        match envelope.message {
            Message::Acceptor(message) => {
                self.acceptor.push((Caller::Peer, Request { from, epoch, message }));
            }
            Message::Witness(message) => self.witness.push(Received { from, epoch, message }),
            Message::Proposer(message) => self.proposer.push(Received { from, epoch, message }),
            Message::Learner(message) => self.learner.push(Received { from, epoch, message }),
            Message::Client(message) => self.gateway.push(Received { from, epoch, message }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::message::{Envelope, ToAcceptor};
    use crate::types::{Ballot, Batch, Slot};

    #[test]
    fn a_value_that_is_kept_keeps_no_more_of_the_read_buffer_than_itself() {
        let link = NodeId::new(1).unwrap();
        let message = Message::Acceptor(ToAcceptor::Accept {
            ballot: Ballot::from_proposal_number(101).unwrap(),
            slot: Slot::FIRST,
            first_unchosen: Slot::FIRST,
            learner: None,
            batch: Batch::from_bytes(Bytes::from_static(b"value")),
        });
        let frame = wire::encode(&Envelope { from: link, epoch: None, message });
        let mut buffer = bytes::BytesMut::with_capacity(64 << 10);
        buffer.extend_from_slice(&frame);
        let buffer = buffer.freeze();
        let mut sorted = Sorted::default();
        sorted.take(link, buffer.clone()).unwrap();
        let (_, request) = sorted.acceptor.pop().unwrap();
        let ToAcceptor::Accept { batch, .. } = request.message else { panic!("an accept") };
        assert_eq!(&batch.bytes()[..], b"value");
        assert!(!buffer.as_ptr_range().contains(&batch.bytes().as_ptr()));
    }
}
