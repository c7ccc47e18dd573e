//! The bodies of frames: a twin of each message without its values, for Protocol Buffers.
//!
//! A tag is never given to another field. Scalars are 0 when absent; of a part that has no such
//! neutral value the absence is an error. Numbers that fill their width are `fixed64`, the others
//! are varints.

use std::collections::BTreeSet;

use prost::{Message, Oneof};
use uuid::Uuid;

use crate::paxos::log;
use crate::paxos::message;
use crate::types;
use crate::types::{
    AcceptorId, BatchDigest, Incarnation, Index, LearnerId, LogLimits, NodeId, ProposerId,
    Sequence, SessionId, Slot, StorageId,
};

use super::WireError;

/// 128 bits: an identity or a hash.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Wide {
    #[prost(fixed64, tag = "1")]
    high: u64,
    #[prost(fixed64, tag = "2")]
    low: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Ballot {
    #[prost(uint64, tag = "1")]
    round: u64,
    #[prost(uint32, tag = "2")]
    proposer: u32,
    #[prost(fixed64, tag = "3")]
    incarnation: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Name {
    #[prost(message, optional, tag = "1")]
    session: Option<Wide>,
    #[prost(uint64, tag = "2")]
    sequence: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Epoch {
    #[prost(string, tag = "1")]
    cluster: String,
    #[prost(message, repeated, tag = "2")]
    acceptors: Vec<Member>,
    #[prost(uint32, repeated, tag = "3")]
    learners: Vec<u32>,
    #[prost(uint64, tag = "4")]
    idempotency_window: u64,
    #[prost(uint64, tag = "5")]
    session_window: u64,
    #[prost(uint64, tag = "6")]
    sessions_max: u64,
}

/// An acceptor of an epoch.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Member {
    #[prost(uint32, tag = "1")]
    acceptor: u32,
    #[prost(message, optional, tag = "2")]
    storage: Option<Wide>,
}

/// An accepted proposal of a list; its value lies in the payload.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Accepted {
    #[prost(uint64, tag = "1")]
    pub(super) slot: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) ballot: Option<Ballot>,
    #[prost(uint32, tag = "3")]
    pub(super) length: u32,
}

/// A submitted command; its encoding lies in the payload.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Submission {
    #[prost(message, optional, tag = "1")]
    pub(super) name: Option<Name>,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Form {
    #[prost(message, optional, tag = "1")]
    pub(super) epoch: Option<Epoch>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Prepare {
    #[prost(message, optional, tag = "1")]
    pub(super) ballot: Option<Ballot>,
    #[prost(uint64, tag = "2")]
    pub(super) from_slot: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Accept {
    #[prost(message, optional, tag = "1")]
    pub(super) ballot: Option<Ballot>,
    #[prost(uint64, tag = "2")]
    pub(super) slot: u64,
    #[prost(uint64, tag = "3")]
    pub(super) first_unchosen: u64,
    #[prost(uint32, optional, tag = "4")]
    pub(super) learner: Option<u32>,
}

/// A question that only binds its answer.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Ask {
    #[prost(fixed64, tag = "1")]
    pub(super) nonce: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Fetch {
    #[prost(uint64, tag = "1")]
    pub(super) from_slot: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Durable {
    #[prost(uint32, tag = "1")]
    pub(super) learner: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) storage: Option<Wide>,
    #[prost(uint64, tag = "3")]
    pub(super) slot: u64,
}

/// What is said of a leader: that it lives, leaves or leads.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Leader {
    #[prost(message, optional, tag = "1")]
    ballot: Option<Ballot>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Identity {
    #[prost(uint32, tag = "1")]
    acceptor: u32,
    #[prost(message, optional, tag = "2")]
    storage: Option<Wide>,
    #[prost(message, optional, tag = "3")]
    epoch: Option<Epoch>,
    #[prost(bool, tag = "4")]
    active: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Promise {
    #[prost(uint32, tag = "1")]
    pub(super) acceptor: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) ballot: Option<Ballot>,
    #[prost(uint64, tag = "3")]
    pub(super) from_slot: u64,
    #[prost(message, repeated, tag = "4")]
    pub(super) accepted: Vec<Accepted>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) next_slot: Option<u64>,
    #[prost(uint64, tag = "6")]
    pub(super) trimmed_slot: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Vote {
    #[prost(uint32, tag = "1")]
    acceptor: u32,
    #[prost(uint64, tag = "2")]
    slot: u64,
    #[prost(message, optional, tag = "3")]
    ballot: Option<Ballot>,
    #[prost(fixed64, tag = "4")]
    digest: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Nack {
    #[prost(uint32, tag = "1")]
    pub(super) acceptor: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) ballot: Option<Ballot>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) slot: Option<u64>,
    #[prost(oneof = "Refusal", tags = "4, 5, 6, 7, 8")]
    pub(super) refusal: Option<Refusal>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Refusal {
    #[prost(message, tag = "4")]
    Promised(Ballot),
    #[prost(uint64, tag = "5")]
    Trimmed(u64),
    #[prost(uint64, tag = "6")]
    BeyondWindow(u64),
    #[prost(message, tag = "7")]
    OtherValue(()),
    #[prost(message, tag = "8")]
    NotPromised(()),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Led {
    #[prost(uint32, tag = "1")]
    pub(super) acceptor: u32,
    #[prost(fixed64, tag = "2")]
    pub(super) nonce: u64,
    #[prost(bool, tag = "3")]
    pub(super) leader_heard: bool,
    #[prost(message, optional, tag = "4")]
    pub(super) promised: Option<Ballot>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HeartbeatAck {
    #[prost(uint32, tag = "1")]
    pub(super) acceptor: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) ballot: Option<Ballot>,
    #[prost(message, optional, tag = "3")]
    pub(super) pressure: Option<JournalPressure>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct JournalPressure {
    #[prost(bool, tag = "1")]
    full: bool,
    #[prost(uint32, repeated, tag = "2")]
    lagging: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Submit {
    #[prost(message, optional, tag = "1")]
    pub(super) session: Option<Wide>,
    #[prost(uint64, tag = "2")]
    pub(super) number: u64,
    #[prost(message, repeated, tag = "3")]
    pub(super) commands: Vec<Submission>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Fill {
    #[prost(uint64, tag = "1")]
    pub(super) from_slot: u64,
    #[prost(uint64, tag = "2")]
    pub(super) through: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Delivered {
    #[prost(uint32, tag = "1")]
    pub(super) learner: u32,
    #[prost(uint64, tag = "2")]
    pub(super) slot: u64,
}

/// A proposal, chosen or not; its value is the payload.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Proposed {
    #[prost(uint64, tag = "1")]
    pub(super) slot: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) ballot: Option<Ballot>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct LearnerHeartbeat {
    #[prost(message, optional, tag = "1")]
    pub(super) ballot: Option<Ballot>,
    #[prost(uint64, tag = "2")]
    pub(super) first_unchosen: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Votes {
    #[prost(uint32, tag = "1")]
    pub(super) acceptor: u32,
    #[prost(uint64, tag = "2")]
    pub(super) from_slot: u64,
    #[prost(message, repeated, tag = "3")]
    pub(super) accepted: Vec<Accepted>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) next_slot: Option<u64>,
    #[prost(uint64, tag = "5")]
    pub(super) trimmed_slot: u64,
}

/// The answer to a question for an acceptor's mark.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Marked {
    #[prost(uint32, tag = "1")]
    pub(super) acceptor: u32,
    #[prost(fixed64, tag = "2")]
    pub(super) nonce: u64,
    #[prost(uint64, tag = "3")]
    pub(super) slot: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct FetchEntries {
    #[prost(uint32, tag = "1")]
    pub(super) learner: u32,
    #[prost(uint64, tag = "2")]
    pub(super) from_slot: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entries {
    #[prost(uint32, tag = "1")]
    pub(super) learner: u32,
    #[prost(message, repeated, tag = "2")]
    pub(super) accepted: Vec<Accepted>,
    #[prost(uint64, tag = "3")]
    pub(super) delivered_slot: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Checkpoint {
    #[prost(uint32, tag = "1")]
    pub(super) learner: u32,
    #[prost(uint64, tag = "2")]
    pub(super) index: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) hash: Option<Wide>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Questions {
    #[prost(uint32, tag = "1")]
    pub(super) gateway: u32,
    #[prost(message, repeated, tag = "2")]
    pub(super) questions: Vec<Question>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Question {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(bool, tag = "2")]
    linearizable: bool,
    #[prost(uint64, tag = "3")]
    after: u64,
    #[prost(uint64, optional, tag = "4")]
    from: Option<u64>,
    #[prost(uint32, tag = "5")]
    limit: u32,
}

impl From<&message::Question> for Question {
    fn from(&message::Question { number, reading }: &message::Question) -> Self {
        let message::Reading { linearizable, after, from, limit } = reading;
        Self { number, linearizable, after: after.get(), from: from.map(Index::get), limit }
    }
}

impl From<Question> for message::Question {
    fn from(Question { number, linearizable, after, from, limit }: Question) -> Self {
        let (after, from) = (Index::new(after), from.map(Index::new));
        Self { number, reading: message::Reading { linearizable, after, from, limit } }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Pages {
    #[prost(uint32, tag = "1")]
    pub(super) learner: u32,
    #[prost(message, repeated, tag = "2")]
    pub(super) pages: Vec<Page>,
}

/// The answer to a question; its values lie in the payload.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Page {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(uint32, optional, tag = "2")]
    pub(super) length: Option<u32>,
}

impl From<&message::Page> for Page {
    fn from(page: &message::Page) -> Self {
        Self { number: page.number, length: page.body.as_ref().map(|body| length(body.len())) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Notices {
    #[prost(uint32, tag = "1")]
    pub(super) learner: u32,
    #[prost(message, repeated, tag = "2")]
    pub(super) notices: Vec<Notice>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Notice {
    #[prost(message, optional, tag = "1")]
    name: Option<Name>,
    #[prost(uint64, tag = "2")]
    slot: u64,
    #[prost(message, optional, tag = "3")]
    ballot: Option<Ballot>,
    #[prost(oneof = "Outcome", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12")]
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Outcome {
    #[prost(message, tag = "4")]
    Opened(()),
    #[prost(message, tag = "5")]
    Applied(Span),
    #[prost(message, tag = "6")]
    Repeated(Span),
    #[prost(message, tag = "7")]
    KeyReused(()),
    #[prost(message, tag = "8")]
    Cancelled(()),
    #[prost(message, tag = "9")]
    Refused(()),
    #[prost(message, tag = "10")]
    SettledApplied(Span),
    #[prost(message, tag = "11")]
    SettledNotApplied(()),
    #[prost(message, tag = "12")]
    SettledForgotten(()),
}

/// Indices from the first through the last.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Span {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(uint64, tag = "2")]
    last: u64,
}

/// Commands that were refused or abandoned.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Returned {
    #[prost(uint32, tag = "1")]
    pub(super) proposer: u32,
    #[prost(uint64, tag = "2")]
    pub(super) number: u64,
    #[prost(message, repeated, tag = "3")]
    pub(super) names: Vec<Name>,
    #[prost(oneof = "Handback", tags = "4, 5, 6, 7")]
    pub(super) reason: Option<Handback>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Handback {
    #[prost(message, tag = "4")]
    NotLeader(NotLeader),
    #[prost(message, tag = "5")]
    NoQuorum(NoQuorum),
    #[prost(message, tag = "6")]
    Busy(()),
    #[prost(message, tag = "7")]
    JournalFull(JournalFull),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct NotLeader {
    #[prost(uint32, optional, tag = "1")]
    leader: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NoQuorum {
    #[prost(uint64, tag = "1")]
    need: u64,
    #[prost(uint64, tag = "2")]
    have: u64,
    #[prost(uint32, repeated, tag = "3")]
    missing: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct JournalFull {
    #[prost(uint32, repeated, tag = "1")]
    lagging: Vec<u32>,
}

/// The node numbered `number`.
pub(super) fn node(number: u32) -> Result<NodeId, WireError> {
    Ok(NodeId::new(u64::from(number))?)
}

/// The number of a node.
pub(super) fn node_number(node: NodeId) -> u32 {
    u32::from(node.get())
}

/// A length as frames carry it.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("limits keep every value and body far below 4 GiB")
}

/// What the field `name` says; it must be there.
pub(super) fn present<T, U>(field: Option<T>, name: &'static str) -> Result<U, WireError>
where
    T: TryInto<U, Error = WireError>,
{
    field.ok_or(WireError::Missing(name))?.try_into()
}

/// The 128 bits of the field `name`; it must be there.
pub(super) fn wide(field: Option<Wide>, name: &'static str) -> Result<u128, WireError> {
    let Wide { high, low } = field.ok_or(WireError::Missing(name))?;
    Ok(u128::from(high) << 64 | u128::from(low))
}

/// The identity in the field `name`; it must be there.
pub(super) fn uuid(field: Option<Wide>, name: &'static str) -> Result<Uuid, WireError> {
    wide(field, name).map(Uuid::from_u128)
}

/// All of a list.
pub(super) fn all<T, U>(list: Vec<T>) -> Result<Vec<U>, WireError>
where
    T: TryInto<U, Error = WireError>,
{
    list.into_iter().map(TryInto::try_into).collect()
}

/// The accepted proposals of a list, without their values.
pub(super) fn accepted_list(list: &[message::Accepted]) -> Vec<Accepted> {
    list.iter()
        .map(|accepted| Accepted {
            slot: accepted.slot.get(),
            ballot: Some((&accepted.ballot).into()),
            length: length(accepted.batch.len()),
        })
        .collect()
}

fn learners(numbers: &[u32]) -> Result<BTreeSet<LearnerId>, WireError> {
    numbers.iter().map(|number| Ok(LearnerId(node(*number)?))).collect()
}

fn learner_numbers(learners: &BTreeSet<LearnerId>) -> Vec<u32> {
    learners.iter().map(|learner| node_number(learner.node())).collect()
}

fn count(number: u64) -> Result<usize, WireError> {
    usize::try_from(number).map_err(|_| WireError::Number(number))
}

fn count_number(count: usize) -> u64 {
    u64::try_from(count).expect("no machine counts beyond 64 bits")
}

impl From<u128> for Wide {
    fn from(number: u128) -> Self {
        Self {
            high: u64::try_from(number >> 64).expect("64 bits are left"),
            low: u64::try_from(number & u128::from(u64::MAX)).expect("64 bits are left"),
        }
    }
}

impl From<&types::Ballot> for Ballot {
    fn from(ballot: &types::Ballot) -> Self {
        Self {
            round: ballot.round,
            proposer: node_number(ballot.proposer.node()),
            incarnation: ballot.incarnation.0,
        }
    }
}

impl TryFrom<Ballot> for types::Ballot {
    type Error = WireError;

    fn try_from(ballot: Ballot) -> Result<Self, WireError> {
        Ok(Self {
            round: ballot.round,
            proposer: ProposerId(node(ballot.proposer)?),
            incarnation: Incarnation(ballot.incarnation),
        })
    }
}

impl From<&types::Name> for Name {
    fn from(name: &types::Name) -> Self {
        Self { session: Some(name.session.0.as_u128().into()), sequence: name.sequence.0 }
    }
}

impl TryFrom<Name> for types::Name {
    type Error = WireError;

    fn try_from(name: Name) -> Result<Self, WireError> {
        Ok(Self {
            session: SessionId(uuid(name.session, "session")?),
            sequence: Sequence(name.sequence),
        })
    }
}

impl From<&types::Epoch> for Epoch {
    fn from(epoch: &types::Epoch) -> Self {
        let LogLimits { idempotency_window, session_window, sessions_max } = epoch.limits;
        let member = |(acceptor, storage): (&AcceptorId, &StorageId)| Member {
            acceptor: node_number(acceptor.node()),
            storage: Some(storage.0.as_u128().into()),
        };
        Self {
            cluster: epoch.cluster.clone(),
            acceptors: epoch.acceptors.iter().map(member).collect(),
            learners: learner_numbers(&epoch.learners),
            idempotency_window,
            session_window,
            sessions_max,
        }
    }
}

impl TryFrom<Epoch> for types::Epoch {
    type Error = WireError;

    fn try_from(epoch: Epoch) -> Result<Self, WireError> {
        let member = |member: Member| {
            let storage = StorageId(uuid(member.storage, "storage")?);
            Ok::<_, WireError>((AcceptorId(node(member.acceptor)?), storage))
        };
        Ok(Self {
            cluster: epoch.cluster,
            acceptors: epoch.acceptors.into_iter().map(member).collect::<Result<_, _>>()?,
            learners: learners(&epoch.learners)?,
            limits: LogLimits {
                idempotency_window: epoch.idempotency_window,
                session_window: epoch.session_window,
                sessions_max: epoch.sessions_max,
            },
        })
    }
}

impl From<&types::Ballot> for Leader {
    fn from(ballot: &types::Ballot) -> Self {
        Self { ballot: Some(ballot.into()) }
    }
}

impl Leader {
    /// Its ballot.
    pub(super) fn ballot(self) -> Result<types::Ballot, WireError> {
        present(self.ballot, "ballot")
    }
}

impl From<&message::Submission> for Submission {
    fn from(submission: &message::Submission) -> Self {
        Self { name: Some((&submission.name).into()), length: length(submission.command.len()) }
    }
}

impl From<&message::Identity> for Identity {
    fn from(identity: &message::Identity) -> Self {
        Self {
            acceptor: node_number(identity.acceptor.node()),
            storage: Some(identity.storage.0.as_u128().into()),
            epoch: identity.epoch.as_ref().map(Into::into),
            active: identity.active,
        }
    }
}

impl TryFrom<Identity> for message::Identity {
    type Error = WireError;

    fn try_from(identity: Identity) -> Result<Self, WireError> {
        Ok(Self {
            acceptor: AcceptorId(node(identity.acceptor)?),
            storage: StorageId(uuid(identity.storage, "storage")?),
            epoch: identity.epoch.map(TryInto::try_into).transpose()?,
            active: identity.active,
        })
    }
}

impl From<&message::Vote> for Vote {
    fn from(vote: &message::Vote) -> Self {
        Self {
            acceptor: node_number(vote.acceptor.node()),
            slot: vote.slot.get(),
            ballot: Some((&vote.ballot).into()),
            digest: vote.digest.0,
        }
    }
}

impl TryFrom<Vote> for message::Vote {
    type Error = WireError;

    fn try_from(vote: Vote) -> Result<Self, WireError> {
        Ok(Self {
            acceptor: AcceptorId(node(vote.acceptor)?),
            slot: Slot::new(vote.slot),
            ballot: present(vote.ballot, "ballot")?,
            digest: BatchDigest(vote.digest),
        })
    }
}

impl From<&message::Refusal> for Refusal {
    fn from(refusal: &message::Refusal) -> Self {
        match refusal {
            message::Refusal::Promised(ballot) => Self::Promised(ballot.into()),
            message::Refusal::Trimmed(slot) => Self::Trimmed(slot.get()),
            message::Refusal::BeyondWindow(slot) => Self::BeyondWindow(slot.get()),
            message::Refusal::OtherValue => Self::OtherValue(()),
            message::Refusal::NotPromised => Self::NotPromised(()),
        }
    }
}

impl TryFrom<Refusal> for message::Refusal {
    type Error = WireError;

    fn try_from(refusal: Refusal) -> Result<Self, WireError> {
        Ok(match refusal {
            Refusal::Promised(ballot) => Self::Promised(ballot.try_into()?),
            Refusal::Trimmed(slot) => Self::Trimmed(Slot::new(slot)),
            Refusal::BeyondWindow(slot) => Self::BeyondWindow(Slot::new(slot)),
            Refusal::OtherValue(()) => Self::OtherValue,
            Refusal::NotPromised(()) => Self::NotPromised,
        })
    }
}

impl From<&message::JournalPressure> for JournalPressure {
    fn from(pressure: &message::JournalPressure) -> Self {
        Self { full: pressure.full, lagging: learner_numbers(&pressure.lagging) }
    }
}

impl TryFrom<JournalPressure> for message::JournalPressure {
    type Error = WireError;

    fn try_from(pressure: JournalPressure) -> Result<Self, WireError> {
        Ok(Self { full: pressure.full, lagging: learners(&pressure.lagging)? })
    }
}

impl Span {
    fn of(first: Index, last: Index) -> Self {
        Self { first: first.get(), last: last.get() }
    }

    fn ends(self) -> (Index, Index) {
        (Index::new(self.first), Index::new(self.last))
    }
}

impl From<log::Outcome> for Outcome {
    fn from(outcome: log::Outcome) -> Self {
        match outcome {
            log::Outcome::Opened => Self::Opened(()),
            log::Outcome::Applied { first, last } => Self::Applied(Span::of(first, last)),
            log::Outcome::Repeated { first, last } => Self::Repeated(Span::of(first, last)),
            log::Outcome::KeyReused => Self::KeyReused(()),
            log::Outcome::Cancelled => Self::Cancelled(()),
            log::Outcome::Refused => Self::Refused(()),
            log::Outcome::Settled(log::Settled::Applied { first, last }) => {
                Self::SettledApplied(Span::of(first, last))
            }
            log::Outcome::Settled(log::Settled::NotApplied) => Self::SettledNotApplied(()),
            log::Outcome::Settled(log::Settled::Forgotten) => Self::SettledForgotten(()),
        }
    }
}

impl From<Outcome> for log::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Opened(()) => Self::Opened,
            Outcome::Applied(span) => {
                let (first, last) = span.ends();
                Self::Applied { first, last }
            }
            Outcome::Repeated(span) => {
                let (first, last) = span.ends();
                Self::Repeated { first, last }
            }
            Outcome::KeyReused(()) => Self::KeyReused,
            Outcome::Cancelled(()) => Self::Cancelled,
            Outcome::Refused(()) => Self::Refused,
            Outcome::SettledApplied(span) => {
                let (first, last) = span.ends();
                Self::Settled(log::Settled::Applied { first, last })
            }
            Outcome::SettledNotApplied(()) => Self::Settled(log::Settled::NotApplied),
            Outcome::SettledForgotten(()) => Self::Settled(log::Settled::Forgotten),
        }
    }
}

impl From<&message::Notice> for Notice {
    fn from(notice: &message::Notice) -> Self {
        Self {
            name: Some((&notice.name).into()),
            slot: notice.slot.get(),
            ballot: Some((&notice.ballot).into()),
            outcome: Some(notice.outcome.into()),
        }
    }
}

impl TryFrom<Notice> for message::Notice {
    type Error = WireError;

    fn try_from(notice: Notice) -> Result<Self, WireError> {
        Ok(Self {
            name: present(notice.name, "name")?,
            outcome: notice.outcome.ok_or(WireError::Missing("outcome"))?.into(),
            slot: Slot::new(notice.slot),
            ballot: present(notice.ballot, "ballot")?,
        })
    }
}

impl Returned {
    /// These commands, handed back by `proposer`.
    pub(super) fn of(
        proposer: ProposerId,
        number: u64,
        names: &[types::Name],
        reason: &message::Handback,
    ) -> Self {
        Self {
            proposer: node_number(proposer.node()),
            number,
            names: names.iter().map(Into::into).collect(),
            reason: Some(reason.into()),
        }
    }
}

impl From<&message::Handback> for Handback {
    fn from(reason: &message::Handback) -> Self {
        match reason {
            message::Handback::NotLeader { leader } => {
                let leader = leader.map(|leader| node_number(leader.node()));
                Self::NotLeader(NotLeader { leader })
            }
            message::Handback::NoQuorum { need, have, missing } => Self::NoQuorum(NoQuorum {
                need: count_number(*need),
                have: count_number(*have),
                missing: missing.iter().map(|acceptor| node_number(acceptor.node())).collect(),
            }),
            message::Handback::Busy => Self::Busy(()),
            message::Handback::JournalFull { lagging } => {
                Self::JournalFull(JournalFull { lagging: learner_numbers(lagging) })
            }
        }
    }
}

impl TryFrom<Handback> for message::Handback {
    type Error = WireError;

    fn try_from(reason: Handback) -> Result<Self, WireError> {
        Ok(match reason {
            Handback::NotLeader(NotLeader { leader }) => {
                Self::NotLeader { leader: leader.map(node).transpose()?.map(ProposerId) }
            }
            Handback::NoQuorum(NoQuorum { need, have, missing }) => Self::NoQuorum {
                need: count(need)?,
                have: count(have)?,
                missing: missing
                    .into_iter()
                    .map(|number| node(number).map(AcceptorId))
                    .collect::<Result<_, _>>()?,
            },
            Handback::Busy(()) => Self::Busy,
            Handback::JournalFull(JournalFull { lagging }) => {
                Self::JournalFull { lagging: learners(&lagging)? }
            }
        })
    }
}
