//! The history of a run of paxosd: what its callers asked, what they were answered, in the order in
//! which it happened, and in the end what the learners hold.
//!
//! In a file it is one JSON object a line, in the order of time: a call is written before it is
//! sent, an answer after it arrived. So an operation whose answer stands above the call of another
//! had ended before that one began, and no clock is needed.
//!
//! ```text
//! {"event":"write","id":1,"values":["a"]}
//! {"event":"write","id":2,"key":"k","values":["b","c"]}
//! {"event":"applied","id":1,"first_index":1,"last_index":1}
//! {"event":"unknown","id":2}
//! {"event":"read","id":3,"from":1,"limit":10}
//! {"event":"served","id":3,"first_index":1,"values":["a"],"delivered_index":1}
//! {"event":"note","text":"acceptor2 is killed"}
//! {"event":"log","learner":7,"first_index":1,"values":["a","b","c"]}
//! ```
//!
//! - `write`: values that are to be applied together. No value is sent twice, but by attempts at
//!   one write, which share a `key` and all values.
//! - `applied`, `not_applied`: what became of a write, for certain. `unknown`: its caller gave up.
//!   A certain answer may still follow, when the caller asks again later.
//! - `read`: at most `limit` values from the index `from` on, or the newest ones; `"stale":true`
//!   when it may be answered from the past. `served`: the page, and how far the learner had
//!   delivered.
//! - `note`: for the reader alone.
//! - `log`: a page of what a learner holds in the end, of each learner from index 1 on. Before the
//!   first of them all operations are over; what is unknown then may yet be applied.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use paxosd::types::Index;
use serde::{Deserialize, Serialize};

use super::recorded::Fault;

/// A call in a history: one attempt at a write, or a read.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CallId(pub u64);

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A write is about to be sent.
    Write {
        /// What it is called here.
        id: CallId,
        /// Under which key it is sent, when other attempts share it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// At least one.
        values: Vec<String>,
    },
    /// It was answered that a write is applied.
    Applied {
        /// Which.
        id: CallId,
        /// Where its first value stands.
        #[serde(with = "index")]
        first_index: Index,
        /// Where its last value stands.
        #[serde(with = "index")]
        last_index: Index,
    },
    /// It was answered that this attempt at a write is not applied and never will be.
    NotApplied {
        /// Which.
        id: CallId,
    },
    /// A call was given up: nothing is known of its outcome.
    Unknown {
        /// Which.
        id: CallId,
    },
    /// A read is about to be sent.
    Read {
        /// What it is called here.
        id: CallId,
        /// The first index that is asked for; without one, the newest values are.
        #[serde(default, with = "some_index", skip_serializing_if = "Option::is_none")]
        from: Option<Index>,
        /// How many values are asked for at most.
        limit: u64,
        /// Whether the answer may be one of the past.
        #[serde(default, skip_serializing_if = "is_false")]
        stale: bool,
    },
    /// A read was answered.
    Served {
        /// Which.
        id: CallId,
        /// Where the first of the values stands, or would.
        #[serde(with = "index")]
        first_index: Index,
        /// The page.
        values: Vec<String>,
        /// How far the learner had delivered.
        #[serde(with = "index")]
        delivered_index: Index,
    },
    /// Something that a reader of the history may want to know.
    Note {
        /// What.
        text: String,
    },
    /// A page of what a learner holds in the end.
    Log {
        /// The number of the learner's node.
        learner: u64,
        /// Where the first of the values stands.
        #[serde(with = "index")]
        first_index: Index,
        /// The page.
        values: Vec<String>,
    },
}

impl Event {
    /// Writes it as a line.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_line(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// Whether it begins a call.
    #[must_use]
    pub const fn begins(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Read { .. })
    }

    /// The call that it begins or ends.
    #[must_use]
    pub const fn id(&self) -> Option<CallId> {
        match self {
            Self::Write { id, .. }
            | Self::Applied { id, .. }
            | Self::NotApplied { id }
            | Self::Unknown { id }
            | Self::Read { id, .. }
            | Self::Served { id, .. } => Some(*id),
            Self::Note { .. } | Self::Log { .. } => None,
        }
    }
}

/// As its line.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&line)
    }
}

/// Events in the order in which they happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    events: Vec<Event>,
}

impl History {
    /// The events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Adds the next event.
    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Writes all of it to a new file.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for event in &self.events {
            event.write_line(&mut out)?;
        }
        out.flush()
    }

    /// Reads the lines of a file.
    ///
    /// # Errors
    ///
    /// The first line that is no event.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let read = |(number, line)| {
            serde_json::from_str(line).map_err(|error: serde_json::Error| Fault {
                line: number,
                expected: "an event of a paxosd history",
                found: format!("{line} ({error})"),
            })
        };
        let events = (1..).zip(text.lines()).map(read).collect::<Result<_, _>>()?;
        Ok(Self { events })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Indices as numbers.
mod index {
    use paxosd::types::Index;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(index: &Index, to: S) -> Result<S::Ok, S::Error> {
        index.get().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Index, D::Error> {
        u64::deserialize(from).map(Index::new)
    }
}

/// Indices as numbers, where there is one.
mod some_index {
    use paxosd::types::Index;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(
        index: &Option<Index>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        index.map(Index::get).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Index>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Index::new))
    }
}
