//! From messages to frames.

use bytes::{BufMut, Bytes, BytesMut};

use crate::paxos::message::{
    Accepted, Envelope, ToAcceptor, ToClient, ToLearner, ToProposer, ToWitness,
};
use crate::types::Slot;

use super::body::{self, length, node_number};
use super::{EPOCH_PRESENT, FORMAT_VERSION, HEADER_BYTES, kind};

/// Writes the frame of one envelope.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) envelope: &'a Envelope,
}

impl Writer<'_> {
    /// A frame without values.
    fn frame(self, kind: u8, body: &impl prost::Message) -> Bytes {
        self.frame_with(kind, body, [])
    }

    /// A frame with these values as its payload.
    fn frame_with<'v, V>(self, kind: u8, body: &impl prost::Message, values: V) -> Bytes
    where
        V: IntoIterator<Item = &'v Bytes, IntoIter: Clone>,
    {
        let values = values.into_iter();
        let body_bytes = body.encoded_len();
        let payload_bytes = values.clone().map(Bytes::len).sum::<usize>();
        let mut out = BytesMut::with_capacity(HEADER_BYTES + body_bytes + payload_bytes);
        out.put_u8(FORMAT_VERSION);
        out.put_u8(kind);
        out.put_u8(self.envelope.from.get());
        out.put_u8(if self.envelope.epoch.is_some() { EPOCH_PRESENT } else { 0 });
        out.put_u64_le(self.envelope.epoch.map_or(0, |epoch| epoch.0));
        out.put_u32_le(length(body_bytes));
        body.encode_raw(&mut out);
        for value in values {
            out.put_slice(value);
        }
        out.freeze()
    }

    pub(super) fn for_acceptor(self, message: &ToAcceptor) -> Bytes {
        match message {
            ToAcceptor::Identify => self.frame(kind::IDENTIFY, &()),
            ToAcceptor::Form { epoch } => {
                self.frame(kind::FORM, &body::Form { epoch: Some(epoch.into()) })
            }
            ToAcceptor::Prepare { ballot, from_slot } => {
                let ballot = Some(ballot.into());
                self.frame(kind::PREPARE, &body::Prepare { ballot, from_slot: from_slot.get() })
            }
            ToAcceptor::Accept { ballot, slot, first_unchosen, learner, batch } => {
                let body = body::Accept {
                    ballot: Some(ballot.into()),
                    slot: slot.get(),
                    first_unchosen: first_unchosen.get(),
                    learner: learner.map(|learner| node_number(learner.node())),
                };
                self.frame_with(kind::ACCEPT, &body, [batch.bytes()])
            }
            ToAcceptor::Mark { nonce } => self.frame(kind::MARK, &body::Ask { nonce: *nonce }),
            ToAcceptor::Fetch { from_slot } => {
                self.frame(kind::FETCH, &body::Fetch { from_slot: from_slot.get() })
            }
            ToAcceptor::Durable { learner, storage, slot } => {
                let body = body::Durable {
                    learner: node_number(learner.node()),
                    storage: Some(storage.0.as_u128().into()),
                    slot: slot.get(),
                };
                self.frame(kind::DURABLE, &body)
            }
        }
    }

    pub(super) fn for_witness(self, message: &ToWitness) -> Bytes {
        match message {
            ToWitness::Heartbeat { ballot } => {
                self.frame(kind::WITNESS_HEARTBEAT, &body::Leader::from(ballot))
            }
            ToWitness::AskLed { nonce } => self.frame(kind::ASK_LED, &body::Ask { nonce: *nonce }),
            ToWitness::Resign { ballot } => {
                self.frame(kind::WITNESS_RESIGN, &body::Leader::from(ballot))
            }
        }
    }

    pub(super) fn for_proposer(self, message: &ToProposer) -> Bytes {
        match message {
            ToProposer::Identity(identity) => {
                self.frame(kind::PROPOSER_IDENTITY, &body::Identity::from(identity))
            }
            ToProposer::Promise {
                acceptor,
                ballot,
                from_slot,
                accepted,
                next_slot,
                trimmed_slot,
            } => {
                let body = body::Promise {
                    acceptor: node_number(acceptor.node()),
                    ballot: Some(ballot.into()),
                    from_slot: from_slot.get(),
                    accepted: body::accepted_list(accepted),
                    next_slot: next_slot.map(Slot::get),
                    trimmed_slot: trimmed_slot.get(),
                };
                self.frame_with(kind::PROMISE, &body, accepted.iter().map(|a| a.batch.bytes()))
            }
            ToProposer::Vote(vote) => self.frame(kind::PROPOSER_VOTE, &body::Vote::from(vote)),
            ToProposer::Nack { acceptor, ballot, slot, refusal } => {
                let body = body::Nack {
                    acceptor: node_number(acceptor.node()),
                    ballot: Some(ballot.into()),
                    slot: slot.map(Slot::get),
                    refusal: Some(refusal.into()),
                };
                self.frame(kind::NACK, &body)
            }
            ToProposer::Led { acceptor, nonce, led, promised } => {
                let body = body::Led {
                    acceptor: node_number(acceptor.node()),
                    nonce: *nonce,
                    leader_heard: *led,
                    promised: promised.as_ref().map(Into::into),
                };
                self.frame(kind::LED, &body)
            }
            ToProposer::HeartbeatAck { acceptor, ballot, pressure } => {
                let body = body::HeartbeatAck {
                    acceptor: node_number(acceptor.node()),
                    ballot: Some(ballot.into()),
                    pressure: Some(pressure.into()),
                };
                self.frame(kind::HEARTBEAT_ACK, &body)
            }
            ToProposer::Heartbeat { ballot } => {
                self.frame(kind::PROPOSER_HEARTBEAT, &body::Leader::from(ballot))
            }
            ToProposer::Resign { ballot } => {
                self.frame(kind::PROPOSER_RESIGN, &body::Leader::from(ballot))
            }
            ToProposer::Submit { session, number, commands } => {
                let body = body::Submit {
                    session: Some(session.0.as_u128().into()),
                    number: *number,
                    commands: commands.iter().map(Into::into).collect(),
                };
                self.frame_with(kind::SUBMIT, &body, commands.iter().map(|s| &s.command))
            }
            ToProposer::Fill { from_slot, through } => {
                let body = body::Fill { from_slot: from_slot.get(), through: through.get() };
                self.frame(kind::FILL, &body)
            }
            ToProposer::Delivered { learner, slot } => {
                let learner = node_number(learner.node());
                self.frame(kind::DELIVERED, &body::Delivered { learner, slot: slot.get() })
            }
        }
    }

    fn proposal(self, kind: u8, Accepted { slot, ballot, batch }: &Accepted) -> Bytes {
        let body = body::Proposed { slot: slot.get(), ballot: Some(ballot.into()) };
        self.frame_with(kind, &body, [batch.bytes()])
    }

    pub(super) fn for_learner(self, message: &ToLearner) -> Bytes {
        match message {
            ToLearner::Vote(vote) => self.frame(kind::LEARNER_VOTE, &body::Vote::from(vote)),
            ToLearner::Proposed(accepted) => self.proposal(kind::PROPOSED, accepted),
            ToLearner::Chosen(accepted) => self.proposal(kind::CHOSEN, accepted),
            ToLearner::Heartbeat { ballot, first_unchosen } => {
                let body = body::LearnerHeartbeat {
                    ballot: Some(ballot.into()),
                    first_unchosen: first_unchosen.get(),
                };
                self.frame(kind::LEARNER_HEARTBEAT, &body)
            }
            ToLearner::Votes { acceptor, from_slot, votes, next_slot, trimmed_slot } => {
                let body = body::Votes {
                    acceptor: node_number(acceptor.node()),
                    from_slot: from_slot.get(),
                    accepted: body::accepted_list(votes),
                    next_slot: next_slot.map(Slot::get),
                    trimmed_slot: trimmed_slot.get(),
                };
                self.frame_with(kind::VOTES, &body, votes.iter().map(|a| a.batch.bytes()))
            }
            ToLearner::Mark { acceptor, nonce, slot } => {
                let body = body::Marked {
                    acceptor: node_number(acceptor.node()),
                    nonce: *nonce,
                    slot: slot.get(),
                };
                self.frame(kind::MARKED, &body)
            }
            ToLearner::Identity(identity) => {
                self.frame(kind::LEARNER_IDENTITY, &body::Identity::from(identity))
            }
            ToLearner::FetchEntries { learner, from_slot } => {
                let body = body::FetchEntries {
                    learner: node_number(learner.node()),
                    from_slot: from_slot.get(),
                };
                self.frame(kind::FETCH_ENTRIES, &body)
            }
            ToLearner::Entries { learner, entries, delivered_slot } => {
                let body = body::Entries {
                    learner: node_number(learner.node()),
                    accepted: body::accepted_list(entries),
                    delivered_slot: delivered_slot.get(),
                };
                self.frame_with(kind::ENTRIES, &body, entries.iter().map(|a| a.batch.bytes()))
            }
            ToLearner::Checkpoint { learner, index, hash } => {
                let body = body::Checkpoint {
                    learner: node_number(learner.node()),
                    index: index.get(),
                    hash: Some((*hash).into()),
                };
                self.frame(kind::CHECKPOINT, &body)
            }
            ToLearner::Questions { gateway, questions } => {
                let body = body::Questions {
                    gateway: node_number(*gateway),
                    questions: questions.iter().map(Into::into).collect(),
                };
                self.frame(kind::QUESTIONS, &body)
            }
        }
    }

    pub(super) fn for_client(self, message: &ToClient) -> Bytes {
        match message {
            ToClient::Notices { learner, notices } => {
                let body = body::Notices {
                    learner: node_number(learner.node()),
                    notices: notices.iter().map(Into::into).collect(),
                };
                self.frame(kind::NOTICES, &body)
            }
            ToClient::Refused { proposer, number, names, reason } => {
                self.frame(kind::REFUSED, &body::Returned::of(*proposer, *number, names, reason))
            }
            ToClient::Abandoned { proposer, number, names, reason } => {
                self.frame(kind::ABANDONED, &body::Returned::of(*proposer, *number, names, reason))
            }
            ToClient::Leading { ballot } => self.frame(kind::LEADING, &body::Leader::from(ballot)),
            ToClient::Pages { learner, pages } => {
                let body = body::Pages {
                    learner: node_number(learner.node()),
                    pages: pages.iter().map(Into::into).collect(),
                };
                self.frame_with(kind::PAGES, &body, pages.iter().filter_map(|it| it.body.as_ref()))
            }
        }
    }
}
