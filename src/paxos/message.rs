//! The messages of the protocol: one enum per receiver, so that none can be sent to a role that
//! does not understand it. The chart of who sends what stands in [`crate::paxos`].

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::types::{
    AcceptorId, Ballot, Batch, BatchDigest, Epoch, EpochDigest, Index, LearnerId, Name, NodeId,
    ProposerId, SessionId, Slot, StorageId,
};

use super::log::Outcome;

/// A message as it travels: who sends it, and under which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender.
    pub from: NodeId,
    /// The epoch the sender counts by; absent while it knows none.
    pub epoch: Option<EpochDigest>,
    /// What it says.
    pub message: Message,
}

/// Any message, for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// To an acceptor's journal turn.
    Acceptor(ToAcceptor),
    /// To the witness beside an acceptor.
    Witness(ToWitness),
    /// To a proposer.
    Proposer(ToProposer),
    /// To a learner.
    Learner(ToLearner),
    /// To a gateway.
    Client(ToClient),
}

/// A message on its way out, addressed by role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outbound {
    /// To an acceptor's journal turn.
    Acceptor(AcceptorId, ToAcceptor),
    /// To the witness beside an acceptor.
    Witness(AcceptorId, ToWitness),
    /// To a proposer.
    Proposer(ProposerId, ToProposer),
    /// To a learner.
    Learner(LearnerId, ToLearner),
    /// To a gateway: a client, or the gateway inside a proposer.
    Client(NodeId, ToClient),
}

impl Outbound {
    /// The node it goes to.
    #[must_use]
    pub fn to(&self) -> NodeId {
        match self {
            Self::Acceptor(to, _) | Self::Witness(to, _) => to.node(),
            Self::Proposer(to, _) => to.node(),
            Self::Learner(to, _) => to.node(),
            Self::Client(to, _) => *to,
        }
    }

    /// The node it goes to, and the message for the wire.
    #[must_use]
    pub fn into_parts(self) -> (NodeId, Message) {
        match self {
            Self::Acceptor(to, message) => (to.node(), Message::Acceptor(message)),
            Self::Witness(to, message) => (to.node(), Message::Witness(message)),
            Self::Proposer(to, message) => (to.node(), Message::Proposer(message)),
            Self::Learner(to, message) => (to.node(), Message::Learner(message)),
            Self::Client(to, message) => (to, Message::Client(message)),
        }
    }
}

/// An accepted proposal, with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Where.
    pub slot: Slot,
    /// Under which ballot.
    pub ballot: Ballot,
    /// The value.
    pub batch: Batch,
}

/// The news that an acceptor accepted a proposal. It travels without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Who accepted.
    pub acceptor: AcceptorId,
    /// Where.
    pub slot: Slot,
    /// Under which ballot.
    pub ballot: Ballot,
    /// Which value.
    pub digest: BatchDigest,
}

/// To an acceptor. Each is answered once, in the order of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAcceptor {
    /// Who are you, and which epoch were you formed into?
    Identify,
    /// Join this epoch, if none was joined before.
    Form {
        /// The whole membership.
        epoch: Epoch,
    },
    /// Phase 1a (PMS §2.2) for every slot from `from_slot` on; the same ballot again asks for the
    /// page of accepted values that begins there.
    Prepare {
        /// The ballot to promise.
        ballot: Ballot,
        /// The first slot whose accepted value is wanted.
        from_slot: Slot,
    },
    /// Phase 2a (PMS §2.2).
    Accept {
        /// The ballot of the proposal.
        ballot: Ballot,
        /// Its slot.
        slot: Slot,
        /// Every slot below is chosen; it bounds how far ahead of an acceptor that was away a
        /// leader may be.
        first_unchosen: Slot,
        /// The one learner that counts the votes: the leader tells the others what is chosen. All
        /// count where it is absent.
        learner: Option<LearnerId>,
        /// Its value.
        batch: Batch,
    },
    /// How far do your durable votes reach? For linearizable reads.
    Mark {
        /// Binds the answer to this request.
        nonce: u64,
    },
    /// Your votes from `from_slot` on, with values, for a learner that lacks them.
    Fetch {
        /// The first slot wanted.
        from_slot: Slot,
    },
    /// A learner has everything through `slot` on disk.
    Durable {
        /// Which learner.
        learner: LearnerId,
        /// In which directory: one that was deleted does not keep its predecessor's word.
        storage: StorageId,
        /// Through which slot.
        slot: Slot,
    },
}

/// To the witness beside an acceptor, which answers although the disk may be slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWitness {
    /// The leader lives.
    Heartbeat {
        /// Its ballot.
        ballot: Ballot,
    },
    /// Do you hear a leader?
    AskLed {
        /// Binds the answer to this question.
        nonce: u64,
    },
    /// The leader of this ballot leaves; whoever asks may take over.
    Resign {
        /// Its ballot.
        ballot: Ballot,
    },
}

/// How full an acceptor's journal is, and who keeps it from being trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalPressure {
    /// Whether it has reached `journal.max_bytes`.
    pub full: bool,
    /// The learners of the epoch that lag behind or were not heard of.
    pub lagging: BTreeSet<LearnerId>,
}

/// Why an acceptor refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has promised this higher ballot (PMS §2.2, P1a).
    Promised(Ballot),
    /// The slot is trimmed through this one: its value was chosen and is held by the learners.
    Trimmed(Slot),
    /// The slot lies beyond this one, the highest it takes at present.
    BeyondWindow(Slot),
    /// It accepted another value for this very slot and ballot.
    OtherValue,
    /// A ballot written by hand is honoured only under the promise held.
    NotPromised,
}

/// To a proposer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToProposer {
    /// The answer to `Identify` and `Form`.
    Identity(Identity),
    /// Phase 1b (PMS §2.2): a page of it.
    Promise {
        /// Who promises.
        acceptor: AcceptorId,
        /// Which ballot.
        ballot: Ballot,
        /// Where this page begins.
        from_slot: Slot,
        /// The accepted proposals of the page.
        accepted: Vec<Accepted>,
        /// Where the next page begins; absent on the last.
        next_slot: Option<Slot>,
        /// Slots through this one were chosen and forgotten here.
        trimmed_slot: Slot,
    },
    /// Phase 2b (PMS §2.2).
    Vote(Vote),
    /// A refusal of a prepare, or of an accept where it names a slot.
    Nack {
        /// Who refuses.
        acceptor: AcceptorId,
        /// The ballot refused.
        ballot: Ballot,
        /// The slot refused, for an accept.
        slot: Option<Slot>,
        /// Why.
        refusal: Refusal,
    },
    /// The answer to `AskLed`.
    Led {
        /// Who answers.
        acceptor: AcceptorId,
        /// The question's number.
        nonce: u64,
        /// Whether it hears a leader.
        led: bool,
        /// The highest ballot it promised.
        promised: Option<Ballot>,
    },
    /// The answer to a heartbeat.
    HeartbeatAck {
        /// Who answers.
        acceptor: AcceptorId,
        /// The heartbeat's ballot.
        ballot: Ballot,
        /// How its journal fares.
        pressure: JournalPressure,
    },
    /// The leader lives; sent to the other proposers.
    Heartbeat {
        /// Its ballot.
        ballot: Ballot,
    },
    /// The leader leaves and names the receiver its successor.
    Resign {
        /// Its ballot.
        ballot: Ballot,
    },
    /// Commands to be chosen.
    Submit {
        /// Which life of the gateway: the first session it named.
        session: SessionId,
        /// Its messages in this life, numbered; none is taken twice.
        number: u64,
        /// Their names and encodings.
        commands: Vec<Submission>,
    },
    /// A learner cannot tell what was chosen somewhere through `slot`.
    Fill {
        /// The first slot in doubt.
        from_slot: Slot,
        /// The last slot in doubt.
        through: Slot,
    },
    /// A learner has delivered everything through `slot`: all of it is chosen.
    Delivered {
        /// Which learner.
        learner: LearnerId,
        /// Through which slot.
        slot: Slot,
    },
}

/// Who an acceptor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub acceptor: AcceptorId,
    /// The identity of its directory.
    pub storage: StorageId,
    /// The epoch it joined.
    pub epoch: Option<Epoch>,
    /// Whether it has seen the epoch in use: from then on the epoch can never be another.
    pub active: bool,
}

/// A command on its way to the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Its name.
    pub name: Name,
    /// The encoded command, copied into a batch as it is.
    pub command: Bytes,
}

/// To a learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToLearner {
    /// An acceptor accepted.
    Vote(Vote),
    /// A leader's proposal: the value that votes will name by digest.
    Proposed(Accepted),
    /// A leader's proposal for which it has counted a quorum of votes.
    Chosen(Accepted),
    /// The leader lives; everything below `first_unchosen` is chosen.
    Heartbeat {
        /// Its ballot.
        ballot: Ballot,
        /// The lowest slot not known to be chosen.
        first_unchosen: Slot,
    },
    /// The answer to `Fetch`.
    Votes {
        /// Who answers.
        acceptor: AcceptorId,
        /// Where the page begins.
        from_slot: Slot,
        /// Its votes there.
        votes: Vec<Accepted>,
        /// Where the next page begins; absent on the last.
        next_slot: Option<Slot>,
        /// Slots through this one were forgotten here; another learner has them.
        trimmed_slot: Slot,
    },
    /// The answer to `Mark`: the highest slot with a durable vote, or trimmed.
    Mark {
        /// Who answers.
        acceptor: AcceptorId,
        /// The request's number.
        nonce: u64,
        /// The slot.
        slot: Slot,
    },
    /// The answer to `Identify`.
    Identity(Identity),
    /// Another learner wants delivered slots.
    FetchEntries {
        /// Who wants them.
        learner: LearnerId,
        /// From which slot on.
        from_slot: Slot,
    },
    /// Delivered slots, from another learner.
    Entries {
        /// Who sends them.
        learner: LearnerId,
        /// In slot order, without a gap, from the slot asked for.
        entries: Vec<Accepted>,
        /// Through which slot the sender has delivered.
        delivered_slot: Slot,
    },
    /// The state hash at an index, to be compared.
    Checkpoint {
        /// Who sends it.
        learner: LearnerId,
        /// The index.
        index: Index,
        /// The hash of everything through it.
        hash: u128,
    },
    /// Reads that a gateway passes on. The host answers them, for it has the values.
    Questions {
        /// Who asks.
        gateway: NodeId,
        /// What.
        questions: Vec<Question>,
    },
}

/// Which values are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whether it must see every write that was answered before it.
    pub linearizable: bool,
    /// Not before this index is delivered.
    pub after: Index,
    /// From which index; absent for the newest.
    pub from: Option<Index>,
    /// How many at most.
    pub limit: u32,
}

/// A read, as a gateway passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The gateway's number for it.
    pub number: u64,
    /// What is wanted.
    pub reading: Reading,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The question's number.
    pub number: u64,
    /// The values, written as JSON; absent where they are many, or on disk, or the learner does not
    /// serve: over HTTP it says so, or has room for them.
    pub body: Option<Bytes>,
}

/// What became of a command, told to its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// Which command.
    pub name: Name,
    /// What became of it.
    pub outcome: Outcome,
    /// The slot that carried it.
    pub slot: Slot,
    /// The ballot it was chosen under.
    pub ballot: Ballot,
}

/// Why a proposer hands commands back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handback {
    /// Another proposer leads, as far as this one knows.
    NotLeader {
        /// That one; absent when it knows of none.
        leader: Option<ProposerId>,
    },
    /// Nobody leads, and these acceptors cannot be reached or do not vote.
    NoQuorum {
        /// How many acceptors are needed.
        need: usize,
        /// How many can be reached.
        have: usize,
        /// Those that cannot.
        missing: BTreeSet<AcceptorId>,
    },
    /// Its queue is full.
    Busy,
    /// The acceptors' journals are full until these learners return.
    JournalFull {
        /// The learners in question.
        lagging: BTreeSet<LearnerId>,
    },
}

/// To a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToClient {
    /// Commands were delivered.
    Notices {
        /// By which learner.
        learner: LearnerId,
        /// What became of each.
        notices: Vec<Notice>,
    },
    /// Commands that never reached an accept: certainly not applied by this attempt.
    Refused {
        /// Who hands them back.
        proposer: ProposerId,
        /// The message that brought them.
        number: u64,
        /// Which.
        names: Vec<Name>,
        /// Why.
        reason: Handback,
    },
    /// Commands that were proposed by a leader which has since stepped down: they may be chosen
    /// yet.
    Abandoned {
        /// Who proposed them.
        proposer: ProposerId,
        /// The message that brought them.
        number: u64,
        /// Which.
        names: Vec<Name>,
        /// What kept them from being chosen.
        reason: Handback,
    },
    /// A proposer leads.
    Leading {
        /// Its ballot.
        ballot: Ballot,
    },
    /// The answers to questions. The host passes them on.
    Pages {
        /// Who answers.
        learner: LearnerId,
        /// The answers.
        pages: Vec<Page>,
    },
}
