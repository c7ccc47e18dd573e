//! From frames to messages.

use std::mem;

use bytes::Bytes;

use crate::paxos::message::{
    Accepted, Page, Submission, ToAcceptor, ToClient, ToLearner, ToProposer, ToWitness,
};
use crate::types::{AcceptorId, Batch, Index, LearnerId, ProposerId, SessionId, Slot, StorageId};

use super::body::{self, node, present, uuid, wide};
use super::{WireError, kind, take};

/// Reads the message of one frame, behind its header.
pub(super) struct Reader {
    /// The kind, as the header says it.
    pub(super) kind: u8,
    /// The body.
    pub(super) body: Bytes,
    /// The values not yet taken.
    pub(super) payload: Bytes,
}

impl Reader {
    fn body<B: prost::Message + Default>(&self) -> Result<B, WireError> {
        B::decode(self.body.as_ref()).map_err(|error| WireError::Body { kind: self.kind, error })
    }

    /// All of the payload.
    fn batch(&mut self) -> Batch {
        Batch::from_bytes(mem::take(&mut self.payload))
    }

    /// The accepted proposals of a list, each with its share of the payload.
    fn accepted(&mut self, list: Vec<body::Accepted>) -> Result<Vec<Accepted>, WireError> {
        let mut accepted = Vec::with_capacity(list.len());
        for body::Accepted { slot, ballot, length } in list {
            accepted.push(Accepted {
                slot: Slot::new(slot),
                ballot: present(ballot, "ballot")?,
                batch: Batch::from_bytes(take(&mut self.payload, length)?),
            });
        }
        Ok(accepted)
    }

    /// The commands of a list, each with its share of the payload.
    fn submissions(&mut self, list: Vec<body::Submission>) -> Result<Vec<Submission>, WireError> {
        let mut submissions = Vec::with_capacity(list.len());
        for body::Submission { name, length } in list {
            submissions.push(Submission {
                name: present(name, "name")?,
                command: take(&mut self.payload, length)?,
            });
        }
        Ok(submissions)
    }

    /// The pages of a list, each with its share of the payload.
    fn pages(&mut self, list: Vec<body::Page>) -> Result<Vec<Page>, WireError> {
        let mut pages = Vec::with_capacity(list.len());
        for body::Page { number, length } in list {
            let body = length.map(|length| take(&mut self.payload, length)).transpose()?;
            pages.push(Page { number, body });
        }
        Ok(pages)
    }

    pub(super) fn for_acceptor(&mut self) -> Result<ToAcceptor, WireError> {
        Ok(match self.kind {
            kind::IDENTIFY => {
                self.body::<()>()?;
                ToAcceptor::Identify
            }
            kind::FORM => {
                let body::Form { epoch } = self.body()?;
                ToAcceptor::Form { epoch: present(epoch, "epoch")? }
            }
            kind::PREPARE => {
                let body::Prepare { ballot, from_slot } = self.body()?;
                ToAcceptor::Prepare {
                    ballot: present(ballot, "ballot")?,
                    from_slot: Slot::new(from_slot),
                }
            }
            kind::ACCEPT => {
                let body::Accept { ballot, slot, first_unchosen, learner } = self.body()?;
                ToAcceptor::Accept {
                    ballot: present(ballot, "ballot")?,
                    slot: Slot::new(slot),
                    first_unchosen: Slot::new(first_unchosen),
                    learner: learner.map(node).transpose()?.map(LearnerId),
                    batch: self.batch(),
                }
            }
            kind::MARK => {
                let body::Ask { nonce } = self.body()?;
                ToAcceptor::Mark { nonce }
            }
            kind::FETCH => {
                let body::Fetch { from_slot } = self.body()?;
                ToAcceptor::Fetch { from_slot: Slot::new(from_slot) }
            }
            kind::DURABLE => {
                let body::Durable { learner, storage, slot } = self.body()?;
                ToAcceptor::Durable {
                    learner: LearnerId(node(learner)?),
                    storage: StorageId(uuid(storage, "storage")?),
                    slot: Slot::new(slot),
                }
            }
            other => return Err(WireError::Kind(other)),
        })
    }

    pub(super) fn for_witness(&mut self) -> Result<ToWitness, WireError> {
        Ok(match self.kind {
            kind::WITNESS_HEARTBEAT => {
                ToWitness::Heartbeat { ballot: self.body::<body::Leader>()?.ballot()? }
            }
            kind::ASK_LED => {
                let body::Ask { nonce } = self.body()?;
                ToWitness::AskLed { nonce }
            }
            kind::WITNESS_RESIGN => {
                ToWitness::Resign { ballot: self.body::<body::Leader>()?.ballot()? }
            }
            other => return Err(WireError::Kind(other)),
        })
    }

    pub(super) fn for_proposer(&mut self) -> Result<ToProposer, WireError> {
        Ok(match self.kind {
            kind::PROPOSER_IDENTITY => {
                ToProposer::Identity(self.body::<body::Identity>()?.try_into()?)
            }
            kind::PROMISE => {
                let body: body::Promise = self.body()?;
                ToProposer::Promise {
                    acceptor: AcceptorId(node(body.acceptor)?),
                    ballot: present(body.ballot, "ballot")?,
                    from_slot: Slot::new(body.from_slot),
                    accepted: self.accepted(body.accepted)?,
                    next_slot: body.next_slot.map(Slot::new),
                    trimmed_slot: Slot::new(body.trimmed_slot),
                }
            }
            kind::PROPOSER_VOTE => ToProposer::Vote(self.body::<body::Vote>()?.try_into()?),
            kind::NACK => {
                let body::Nack { acceptor, ballot, slot, refusal } = self.body()?;
                ToProposer::Nack {
                    acceptor: AcceptorId(node(acceptor)?),
                    ballot: present(ballot, "ballot")?,
                    slot: slot.map(Slot::new),
                    refusal: present(refusal, "refusal")?,
                }
            }
            kind::LED => {
                let body::Led { acceptor, nonce, leader_heard, promised } = self.body()?;
                ToProposer::Led {
                    acceptor: AcceptorId(node(acceptor)?),
                    nonce,
                    led: leader_heard,
                    promised: promised.map(TryInto::try_into).transpose()?,
                }
            }
            kind::HEARTBEAT_ACK => {
                let body::HeartbeatAck { acceptor, ballot, pressure } = self.body()?;
                ToProposer::HeartbeatAck {
                    acceptor: AcceptorId(node(acceptor)?),
                    ballot: present(ballot, "ballot")?,
                    pressure: present(pressure, "pressure")?,
                }
            }
            kind::PROPOSER_HEARTBEAT => {
                ToProposer::Heartbeat { ballot: self.body::<body::Leader>()?.ballot()? }
            }
            kind::PROPOSER_RESIGN => {
                ToProposer::Resign { ballot: self.body::<body::Leader>()?.ballot()? }
            }
            kind::SUBMIT => {
                let body::Submit { session, number, commands } = self.body()?;
                ToProposer::Submit {
                    session: SessionId(uuid(session, "session")?),
                    number,
                    commands: self.submissions(commands)?,
                }
            }
            kind::FILL => {
                let body::Fill { from_slot, through } = self.body()?;
                ToProposer::Fill { from_slot: Slot::new(from_slot), through: Slot::new(through) }
            }
            kind::DELIVERED => {
                let body::Delivered { learner, slot } = self.body()?;
                ToProposer::Delivered { learner: LearnerId(node(learner)?), slot: Slot::new(slot) }
            }
            other => return Err(WireError::Kind(other)),
        })
    }

    fn proposal(&mut self) -> Result<Accepted, WireError> {
        let body::Proposed { slot, ballot } = self.body()?;
        Ok(Accepted {
            slot: Slot::new(slot),
            ballot: present(ballot, "ballot")?,
            batch: self.batch(),
        })
    }

    pub(super) fn for_learner(&mut self) -> Result<ToLearner, WireError> {
        Ok(match self.kind {
            kind::LEARNER_VOTE => ToLearner::Vote(self.body::<body::Vote>()?.try_into()?),
            kind::PROPOSED => ToLearner::Proposed(self.proposal()?),
            kind::CHOSEN => ToLearner::Chosen(self.proposal()?),
            kind::LEARNER_HEARTBEAT => {
                let body::LearnerHeartbeat { ballot, first_unchosen } = self.body()?;
                ToLearner::Heartbeat {
                    ballot: present(ballot, "ballot")?,
                    first_unchosen: Slot::new(first_unchosen),
                }
            }
            kind::VOTES => {
                let body: body::Votes = self.body()?;
                ToLearner::Votes {
                    acceptor: AcceptorId(node(body.acceptor)?),
                    from_slot: Slot::new(body.from_slot),
                    votes: self.accepted(body.accepted)?,
                    next_slot: body.next_slot.map(Slot::new),
                    trimmed_slot: Slot::new(body.trimmed_slot),
                }
            }
            kind::MARKED => {
                let body::Marked { acceptor, nonce, slot } = self.body()?;
                let acceptor = AcceptorId(node(acceptor)?);
                ToLearner::Mark { acceptor, nonce, slot: Slot::new(slot) }
            }
            kind::LEARNER_IDENTITY => {
                ToLearner::Identity(self.body::<body::Identity>()?.try_into()?)
            }
            kind::FETCH_ENTRIES => {
                let body::FetchEntries { learner, from_slot } = self.body()?;
                let learner = LearnerId(node(learner)?);
                ToLearner::FetchEntries { learner, from_slot: Slot::new(from_slot) }
            }
            kind::ENTRIES => {
                let body::Entries { learner, accepted, delivered_slot } = self.body()?;
                ToLearner::Entries {
                    learner: LearnerId(node(learner)?),
                    entries: self.accepted(accepted)?,
                    delivered_slot: Slot::new(delivered_slot),
                }
            }
            kind::CHECKPOINT => {
                let body::Checkpoint { learner, index, hash } = self.body()?;
                ToLearner::Checkpoint {
                    learner: LearnerId(node(learner)?),
                    index: Index::new(index),
                    hash: wide(hash, "hash")?,
                }
            }
            kind::QUESTIONS => {
                let body::Questions { gateway, questions } = self.body()?;
                ToLearner::Questions {
                    gateway: node(gateway)?,
                    questions: questions.into_iter().map(Into::into).collect(),
                }
            }
            other => return Err(WireError::Kind(other)),
        })
    }

    pub(super) fn for_client(&mut self) -> Result<ToClient, WireError> {
        Ok(match self.kind {
            kind::NOTICES => {
                let body::Notices { learner, notices } = self.body()?;
                ToClient::Notices {
                    learner: LearnerId(node(learner)?),
                    notices: body::all(notices)?,
                }
            }
            kind::REFUSED => {
                let body::Returned { proposer, number, names, reason } = self.body()?;
                ToClient::Refused {
                    proposer: ProposerId(node(proposer)?),
                    number,
                    names: body::all(names)?,
                    reason: present(reason, "reason")?,
                }
            }
            kind::ABANDONED => {
                let body::Returned { proposer, number, names, reason } = self.body()?;
                ToClient::Abandoned {
                    proposer: ProposerId(node(proposer)?),
                    number,
                    names: body::all(names)?,
                    reason: present(reason, "reason")?,
                }
            }
            kind::LEADING => ToClient::Leading { ballot: self.body::<body::Leader>()?.ballot()? },
            kind::PAGES => {
                let body::Pages { learner, pages } = self.body()?;
                ToClient::Pages { learner: LearnerId(node(learner)?), pages: self.pages(pages)? }
            }
            other => return Err(WireError::Kind(other)),
        })
    }
}
