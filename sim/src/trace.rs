//! What happened, in order: always as one hash, which two runs of a plan must share, and as lines
//! or as moments when someone wants to read them.

use std::fmt;

use paxosd::paxos::event::Event;
use paxosd::paxos::message::Message;
use paxosd::types::{Instant, NodeId};
use xxhash_rust::xxh3::Xxh3;

use crate::network::{Fate, MessageId};

/// What is kept of a run beside its hash. Whatever it is, the run is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keeps {
    /// Nothing.
    Hash,
    /// What chance decided, to be left out of another run: see [`Schedule`].
    Schedule,
    /// A line for everything that happened.
    Lines,
    /// Everything that happened, for a story.
    Moments,
}

/// What chance decided in a run, and a plan may undo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The faults that struck.
    pub faults: Vec<u64>,
    /// The operations that callers began.
    pub operations: Vec<u64>,
    /// The messages that were lost, doubled, late or out of order.
    pub messages: Vec<MessageId>,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Moment {
    /// When.
    pub at: Instant,
    /// Where; absent where it concerns the whole cluster.
    pub node: Option<NodeId>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// The node sends a message.
    Sends {
        /// Which.
        id: MessageId,
        /// What it says.
        message: Message,
        /// What becomes of it.
        fate: Fate,
    },
    /// The node receives a message.
    Receives(MessageId),
    /// The node tells of its part in the protocol.
    Tells(Event),
    /// Anything else: its kind, its numbers, and a line about it.
    Notes(Kind, Vec<u64>, String),
}

/// The kinds of what a trace notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The run begins.
    Begins,
    /// A message arrives.
    Arrives,
    /// A proposer has handed over and ends.
    Leaves,
    /// The disk failed, and the node with it.
    Fails,
    /// The core tells.
    Tells,
    /// A connection comes.
    Connects,
    /// A connection breaks.
    Loses,
    /// The node dies.
    Dies,
    /// The node stands still.
    Stalls,
    /// The node runs on.
    RunsOn,
    /// The node starts.
    Starts,
    /// A fault strikes; its number.
    Strikes,
    /// Links carry nothing for a while.
    Partitions,
    /// A partition ends.
    Unblocks,
    /// A bit of the disk flips.
    Rots,
    /// The directory is gone.
    LosesDirectory,
    /// The node cannot start.
    DoesNotStart,
    /// Faults end.
    Heals,
    /// A caller writes; the operation's number.
    Writes,
    /// A caller cancels; the operation's number.
    Cancels,
    /// A caller reads; the operation's number.
    Reads,
    /// A read is answered; the operation's number, and the index.
    Serves,
    /// A gateway names an operation; its number.
    Names,
    /// A gateway answers; the operation's number.
    Answers,
    /// A node is asked by the gossip of another.
    Gossips,
}

/// The record of a run.
pub(crate) struct Trace {
    hash: Xxh3,
    keeps: Keeps,
    lines: Vec<String>,
    moments: Vec<Moment>,
    schedule: Schedule,
}

/// What a record amounts to.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) hash: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) moments: Vec<Moment>,
    pub(crate) schedule: Schedule,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Trace {
    /// An empty record.
    pub(crate) fn new(keeps: Keeps) -> Self {
        Self {
            hash: Xxh3::new(),
            keeps,
            lines: Vec::new(),
            moments: Vec::new(),
            schedule: Schedule::default(),
        }
    }

    /// Notes something at a node: `facts` go into the hash, the line is made only for a reader.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        node: Option<NodeId>,
        (kind, facts): (Kind, &[u64]),
        line: impl FnOnce() -> String,
    ) {
        self.hash.update(&now.as_nanos().to_le_bytes());
        self.hash.update(&[node.map_or(0, NodeId::get), kind.code()]);
        for fact in facts {
            self.hash.update(&fact.to_le_bytes());
        }
        match self.keeps {
            Keeps::Hash | Keeps::Schedule => {}
            Keeps::Lines => {
                let node = node.map_or_else(|| "  ".to_owned(), |node| format!("{node:2}"));
                self.lines.push(format!("{now} {node} {}", line()));
            }
            Keeps::Moments => {
                let what = What::Notes(kind, facts.to_vec(), line());
                self.moments.push(Moment { at: now, node, what });
            }
        }
    }

    /// Whether a story is to be told.
    pub(crate) fn keeps_moments(&self) -> bool {
        self.keeps == Keeps::Moments
    }

    /// Keeps a moment for a story; the hash does not know of it.
    pub(crate) fn keep(&mut self, at: Instant, node: NodeId, what: impl FnOnce() -> What) {
        if self.keeps_moments() {
            self.moments.push(Moment { at, node: Some(node), what: what() });
        }
    }

    /// What chance decided, where it is to be kept.
    pub(crate) fn schedule(&mut self) -> Option<&mut Schedule> {
        (self.keeps >= Keeps::Schedule).then_some(&mut self.schedule)
    }

    /// What was kept.
    pub(crate) fn finish(self) -> Kept {
        let Self { hash, lines, moments, schedule, .. } = self;
        Kept { hash: hash.digest(), lines, moments, schedule }
    }
}

impl Kind {
    /// Its number in the hash.
    const fn code(self) -> u8 {
        match self {
            Self::Begins => 0,
            Self::Arrives => 1,
            Self::Leaves => 2,
            Self::Fails => 3,
            Self::Tells => 4,
            Self::Connects => 5,
            Self::Loses => 6,
            Self::Dies => 7,
            Self::Stalls => 8,
            Self::RunsOn => 9,
            Self::Starts => 10,
            Self::Gossips => 11,
            Self::Partitions => 20,
            Self::Rots => 21,
            Self::LosesDirectory => 22,
            Self::DoesNotStart => 23,
            Self::Heals => 24,
            Self::Strikes => 25,
            Self::Unblocks => 26,
            Self::Writes => 30,
            Self::Cancels => 31,
            Self::Reads => 32,
            Self::Serves => 33,
            Self::Names => 34,
            Self::Answers => 35,
        }
    }
}
