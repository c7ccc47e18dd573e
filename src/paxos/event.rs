//! What a node would tell of its part in the protocol: the lines of `/view-logs` and of a trace.

use std::fmt;

use crate::types::{AcceptorId, Ballot, EpochDigest, Index, LearnerId, NodeId, ProposerId, Slot};

/// One protocol event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The cluster's epoch is known and in force.
    EpochKnown {
        /// Its name.
        epoch: EpochDigest,
    },
    /// The cluster is not formed yet: these acceptors have not answered.
    FormationWaits {
        /// Who is missing.
        missing: Vec<AcceptorId>,
    },
    /// The acceptors were formed into different epochs before any was in use.
    FormationConflict {
        /// One that stands apart.
        acceptor: AcceptorId,
    },
    /// An acceptor answers from a directory that the epoch does not know.
    NotMember {
        /// Which.
        acceptor: AcceptorId,
    },
    /// Asks the acceptors whether they hear a leader.
    Asks,
    /// A quorum does not hear a leader, or one was deposed: phase 1 begins.
    Prepares {
        /// The new ballot.
        ballot: Ballot,
        /// The first slot in doubt.
        from_slot: Slot,
    },
    /// An acceptor promised this proposer.
    Promised {
        /// The ballot.
        ballot: Ballot,
        /// Who.
        acceptor: AcceptorId,
    },
    /// A quorum promised: this proposer leads.
    Elected {
        /// The ballot.
        ballot: Ballot,
        /// The first slot for new commands.
        next_slot: Slot,
    },
    /// Another proposer leads.
    Follows {
        /// Its ballot.
        ballot: Ballot,
    },
    /// Leads no longer.
    SteppedDown {
        /// The ballot it led under.
        ballot: Ballot,
        /// Why.
        cause: StepDown,
    },
    /// A batch was proposed.
    Proposed {
        /// The ballot.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
        /// How many bytes.
        bytes: usize,
    },
    /// A quorum accepted.
    Chosen {
        /// The ballot.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
    },
    /// A prepare or accept was refused.
    Refused {
        /// The ballot refused.
        ballot: Ballot,
        /// The slot, for an accept.
        slot: Option<Slot>,
        /// Who refused, or was refused.
        peer: NodeId,
    },
    /// This acceptor promised.
    Promises {
        /// The ballot.
        ballot: Ballot,
        /// Whose it is.
        proposer: ProposerId,
    },
    /// This acceptor accepted.
    Accepts {
        /// The ballot.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
    },
    /// This acceptor forgot slots that the learners hold.
    Trims {
        /// Through this one.
        slot: Slot,
    },
    /// This learner saw a quorum of votes.
    Learned {
        /// The ballot.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
    },
    /// This learner delivered.
    Delivered {
        /// The slot.
        slot: Slot,
        /// The ballot.
        ballot: Ballot,
        /// The highest index delivered by now.
        index: Index,
    },
    /// This learner lacks slots and fetches them.
    Fetches {
        /// From this slot on.
        slot: Slot,
        /// From whom; absent when from all acceptors.
        peer: Option<NodeId>,
    },
    /// This learner asks the leader to settle a slot.
    AsksFill {
        /// Which.
        slot: Slot,
    },
    /// Two learners disagree on the state at an index.
    Diverged {
        /// The other.
        learner: LearnerId,
        /// Where.
        index: Index,
    },
    /// This gateway opened its session.
    SessionOpened,
    /// The learners had forgotten this gateway's session; it opens another.
    SessionEvicted,
    /// The callers of a slot, one or many, were answered.
    Answered {
        /// The slot that carried their commands.
        slot: Slot,
        /// The ballot it was chosen under.
        ballot: Ballot,
    },
}

/// Why a leader leads no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepDown {
    /// A higher ballot was met.
    Deposed(Ballot),
    /// No quorum of acceptors answered for a whole timeout.
    NoQuorum,
    /// It was asked to leave.
    Resigned,
    /// A slot below its first must be settled anew.
    Fill,
}

impl Event {
    /// A stable word for the kind of event.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::EpochKnown { .. } => "epoch",
            Self::FormationWaits { .. } => "formation-waits",
            Self::FormationConflict { .. } => "formation-conflict",
            Self::NotMember { .. } => "not-member",
            Self::Asks => "asks",
            Self::Prepares { .. } => "prepare",
            Self::Promised { .. } => "promised",
            Self::Elected { .. } => "elected",
            Self::Follows { .. } => "follows",
            Self::SteppedDown { .. } => "stepped-down",
            Self::Proposed { .. } => "propose",
            Self::Chosen { .. } => "chosen",
            Self::Refused { .. } => "refused",
            Self::Promises { .. } => "promise",
            Self::Accepts { .. } => "accept",
            Self::Trims { .. } => "trim",
            Self::Learned { .. } => "learn",
            Self::Delivered { .. } => "deliver",
            Self::Fetches { .. } => "fetch",
            Self::AsksFill { .. } => "fill",
            Self::Diverged { .. } => "diverged",
            Self::SessionOpened => "session",
            Self::SessionEvicted => "session-evicted",
            Self::Answered { .. } => "answer",
        }
    }

    /// The ballot it is about.
    #[must_use]
    pub const fn ballot(&self) -> Option<Ballot> {
        match self {
            Self::Prepares { ballot, .. }
            | Self::Promised { ballot, .. }
            | Self::Elected { ballot, .. }
            | Self::Follows { ballot }
            | Self::SteppedDown { ballot, .. }
            | Self::Proposed { ballot, .. }
            | Self::Chosen { ballot, .. }
            | Self::Refused { ballot, .. }
            | Self::Promises { ballot, .. }
            | Self::Accepts { ballot, .. }
            | Self::Learned { ballot, .. }
            | Self::Delivered { ballot, .. }
            | Self::Answered { ballot, .. } => Some(*ballot),
            Self::EpochKnown { .. }
            | Self::FormationWaits { .. }
            | Self::FormationConflict { .. }
            | Self::NotMember { .. }
            | Self::Asks
            | Self::Trims { .. }
            | Self::Fetches { .. }
            | Self::AsksFill { .. }
            | Self::Diverged { .. }
            | Self::SessionOpened
            | Self::SessionEvicted => None,
        }
    }

    /// The slot it is about.
    #[must_use]
    pub const fn slot(&self) -> Option<Slot> {
        match self {
            Self::Prepares { from_slot: slot, .. }
            | Self::Elected { next_slot: slot, .. }
            | Self::Proposed { slot, .. }
            | Self::Chosen { slot, .. }
            | Self::Accepts { slot, .. }
            | Self::Trims { slot }
            | Self::Learned { slot, .. }
            | Self::Delivered { slot, .. }
            | Self::Fetches { slot, .. }
            | Self::AsksFill { slot }
            | Self::Answered { slot, .. } => Some(*slot),
            Self::Refused { slot, .. } => *slot,
            Self::EpochKnown { .. }
            | Self::FormationWaits { .. }
            | Self::FormationConflict { .. }
            | Self::NotMember { .. }
            | Self::Asks
            | Self::Promised { .. }
            | Self::Follows { .. }
            | Self::SteppedDown { .. }
            | Self::Promises { .. }
            | Self::Diverged { .. }
            | Self::SessionOpened
            | Self::SessionEvicted => None,
        }
    }

    /// The other node it is about.
    #[must_use]
    pub const fn peer(&self) -> Option<NodeId> {
        match self {
            Self::FormationConflict { acceptor }
            | Self::NotMember { acceptor }
            | Self::Promised { acceptor, .. } => Some(acceptor.node()),
            Self::Follows { ballot } => Some(ballot.proposer.node()),
            Self::Refused { peer, .. } => Some(*peer),
            Self::Promises { proposer, .. } => Some(proposer.node()),
            Self::Fetches { peer, .. } => *peer,
            Self::Diverged { learner, .. } => Some(learner.node()),
            Self::EpochKnown { .. }
            | Self::FormationWaits { .. }
            | Self::Asks
            | Self::Prepares { .. }
            | Self::Elected { .. }
            | Self::SteppedDown { .. }
            | Self::Proposed { .. }
            | Self::Chosen { .. }
            | Self::Accepts { .. }
            | Self::Trims { .. }
            | Self::Learned { .. }
            | Self::Delivered { .. }
            | Self::AsksFill { .. }
            | Self::SessionOpened
            | Self::SessionEvicted
            | Self::Answered { .. } => None,
        }
    }

    /// The ballot of a leader, where this tells of one.
    #[must_use]
    pub const fn leads(&self) -> Option<Ballot> {
        match self {
            Self::Elected { ballot, .. } | Self::Follows { ballot } => Some(*ballot),
            Self::EpochKnown { .. }
            | Self::FormationWaits { .. }
            | Self::FormationConflict { .. }
            | Self::NotMember { .. }
            | Self::Asks
            | Self::Prepares { .. }
            | Self::Promised { .. }
            | Self::SteppedDown { .. }
            | Self::Proposed { .. }
            | Self::Chosen { .. }
            | Self::Refused { .. }
            | Self::Promises { .. }
            | Self::Accepts { .. }
            | Self::Trims { .. }
            | Self::Learned { .. }
            | Self::Delivered { .. }
            | Self::Fetches { .. }
            | Self::AsksFill { .. }
            | Self::Diverged { .. }
            | Self::SessionOpened
            | Self::SessionEvicted
            | Self::Answered { .. } => None,
        }
    }

    /// Whether an operator would mention it: such events are logged at INFO; the others happen once
    /// a slot or oftener.
    #[must_use]
    pub const fn is_notable(&self) -> bool {
        match self {
            Self::EpochKnown { .. }
            | Self::FormationWaits { .. }
            | Self::FormationConflict { .. }
            | Self::NotMember { .. }
            | Self::Prepares { .. }
            | Self::Elected { .. }
            | Self::Follows { .. }
            | Self::SteppedDown { .. }
            | Self::Promises { .. }
            | Self::Diverged { .. }
            | Self::SessionOpened
            | Self::SessionEvicted => true,
            Self::Asks
            | Self::Promised { .. }
            | Self::Proposed { .. }
            | Self::Chosen { .. }
            | Self::Refused { .. }
            | Self::Accepts { .. }
            | Self::Trims { .. }
            | Self::Learned { .. }
            | Self::Delivered { .. }
            | Self::Fetches { .. }
            | Self::AsksFill { .. }
            | Self::Answered { .. } => false,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EpochKnown { epoch } => write!(f, "counts by epoch {epoch}"),
            Self::FormationWaits { missing } => {
                write!(f, "the cluster waits to be formed: acceptors ")?;
                for (position, acceptor) in missing.iter().enumerate() {
                    write!(f, "{}{acceptor}", if position == 0 { "" } else { ", " })?;
                }
                write!(f, " have not answered")
            }
            Self::FormationConflict { acceptor } => write!(
                f,
                "acceptor {acceptor} was formed into another epoch before any was in use; \
                 delete the directories of all acceptors and start again"
            ),
            Self::NotMember { acceptor } => write!(
                f,
                "acceptor {acceptor} has a directory that the epoch does not know; it does not vote"
            ),
            Self::Asks => write!(f, "asks the acceptors whether they hear a leader"),
            Self::Prepares { ballot, from_slot } => {
                write!(f, "prepares ballot {ballot} from slot {from_slot}")
            }
            Self::Promised { ballot, acceptor } => {
                write!(f, "acceptor {acceptor} promised ballot {ballot}")
            }
            Self::Elected { ballot, next_slot } => {
                write!(f, "leads with ballot {ballot} from slot {next_slot}")
            }
            Self::Follows { ballot } => {
                write!(f, "follows proposer {} with ballot {ballot}", ballot.proposer)
            }
            Self::SteppedDown { ballot, cause } => match cause {
                StepDown::Deposed(by) => write!(f, "ballot {ballot} was deposed by {by}"),
                StepDown::NoQuorum => {
                    write!(f, "steps down from ballot {ballot}: no quorum answers")
                }
                StepDown::Resigned => write!(f, "resigns from ballot {ballot}"),
                StepDown::Fill => {
                    write!(f, "leaves ballot {ballot} to settle a slot below its first")
                }
            },
            Self::Proposed { ballot, slot, bytes } => {
                write!(f, "proposes {bytes} bytes in slot {slot} with ballot {ballot}")
            }
            Self::Chosen { ballot, slot } => write!(f, "slot {slot} is chosen at ballot {ballot}"),
            Self::Refused { ballot, slot, peer } => match slot {
                None => write!(f, "prepare of ballot {ballot} refused, node {peer}"),
                Some(slot) => {
                    write!(f, "accept of slot {slot}, ballot {ballot} refused, node {peer}")
                }
            },
            Self::Promises { ballot, proposer } => {
                write!(f, "promises ballot {ballot} to proposer {proposer}")
            }
            Self::Accepts { ballot, slot } => write!(f, "accepts slot {slot} at ballot {ballot}"),
            Self::Trims { slot } => write!(f, "trims through slot {slot}"),
            Self::Learned { ballot, slot } => write!(f, "learns slot {slot} at ballot {ballot}"),
            Self::Delivered { slot, index, .. } => {
                write!(f, "delivers slot {slot}, through index {index}")
            }
            Self::Fetches { slot, peer } => match peer {
                None => write!(f, "fetches from slot {slot} from the acceptors"),
                Some(peer) => write!(f, "fetches from slot {slot} from node {peer}"),
            },
            Self::AsksFill { slot } => write!(f, "asks the leader to settle slot {slot}"),
            Self::Diverged { learner, index } => write!(
                f,
                "disagrees with learner {learner} on the state at index {index}; stops serving"
            ),
            Self::SessionOpened => write!(f, "opened its session"),
            Self::SessionEvicted => write!(f, "its session was evicted; opens another"),
            Self::Answered { slot, .. } => write!(f, "answers its caller from slot {slot}"),
        }
    }
}
