//! The history of a run, written down while it happens.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use paxosd::types::Index;
use serde_json::Value;
use sim::linearizable::{CallId, Event, History};

/// What all callers write into. One lock makes the order of the events that of time: a call stands
/// there before it is sent, an answer after it came.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    history: History,
    next_call: u64,
    figures: Figures,
}

/// What the history comes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Attempts at writes.
    pub(crate) attempts: u64,
    /// Attempts that were answered as applied.
    pub(crate) applied: u64,
    /// Attempts that were answered as certainly not applied.
    pub(crate) not_applied: u64,
    /// Attempts without a certain answer.
    pub(crate) unknown: u64,
    /// Of these, those that the gateway could tell of later.
    pub(crate) told_later: u64,
    /// Linearizable reads that were served.
    pub(crate) reads: u64,
    /// Stale ones.
    pub(crate) stale_reads: u64,
    /// Reads that were not served.
    pub(crate) reads_refused: u64,
    /// The proposal numbers under which answered values were chosen: one for each leadership that
    /// achieved something.
    pub(crate) proposals: BTreeSet<u64>,
    /// The highest index that an answer named.
    pub(crate) highest_index: u64,
    /// The proposal number of the newest answer.
    pub(crate) newest_proposal: Option<u64>,
}

impl Record {
    /// An attempt at a write is about to be sent.
    pub(crate) fn write(&self, key: Option<&str>, values: &[String]) -> CallId {
        let mut inner = self.lock();
        inner.figures.attempts += 1;
        let (key, values) = (key.map(ToOwned::to_owned), values.to_vec());
        inner.begin(|id| Event::Write { id, key, values })
    }

    /// A read is about to be sent.
    pub(crate) fn read(&self, from: Option<u64>, limit: u64, stale: bool) -> CallId {
        let from = from.map(Index::new);
        self.lock().begin(|id| Event::Read { id, from, limit, stale })
    }

    /// It was answered that a write is applied, with an index or, of several values, two.
    pub(crate) fn applied(&self, id: CallId, answer: &Value) {
        let first = answer["index"].as_u64().unwrap();
        let last = answer["last_index"].as_u64().unwrap_or(first);
        let mut inner = self.lock();
        let figures = &mut inner.figures;
        figures.applied += 1;
        figures.highest_index = figures.highest_index.max(last);
        // What was settled by a second command does not say under which proposal the first was
        // chosen.
        if let Some(proposal) = answer["proposal_number"].as_u64() {
            figures.proposals.insert(proposal);
            figures.newest_proposal = Some(proposal);
        }
        let (first_index, last_index) = (Index::new(first), Index::new(last));
        inner.history.push(Event::Applied { id, first_index, last_index });
    }

    pub(crate) fn not_applied(&self, id: CallId) {
        let mut inner = self.lock();
        inner.figures.not_applied += 1;
        inner.history.push(Event::NotApplied { id });
    }

    pub(crate) fn unknown(&self, id: CallId) {
        let mut inner = self.lock();
        inner.figures.unknown += 1;
        inner.history.push(Event::Unknown { id });
    }

    /// What was unknown has got its certain answer.
    pub(crate) fn told_later(&self) {
        self.lock().figures.told_later += 1;
    }

    pub(crate) fn served(&self, id: CallId, stale: bool, page: &Value) {
        let index = |field: &str| Index::new(page[field].as_u64().unwrap());
        let (first_index, delivered_index) = (index("first_index"), index("delivered_index"));
        let values = texts(page["values"].as_array().unwrap());
        let mut inner = self.lock();
        let count = if stale { &mut inner.figures.stale_reads } else { &mut inner.figures.reads };
        *count += 1;
        inner.history.push(Event::Served { id, first_index, values, delivered_index });
    }

    pub(crate) fn refused(&self, id: CallId) {
        let mut inner = self.lock();
        inner.figures.reads_refused += 1;
        inner.history.push(Event::Unknown { id });
    }

    /// Something that whoever reads the history may want to know.
    pub(crate) fn note(&self, text: String) {
        self.lock().history.push(Event::Note { text });
    }

    /// What a learner holds in the end.
    pub(crate) fn log(&self, learner: u64, values: &[Value]) {
        let (first_index, values) = (Index::new(1), texts(values));
        self.lock().history.push(Event::Log { learner, first_index, values });
    }

    /// The highest index that an answer named.
    pub(crate) fn highest_index(&self) -> u64 {
        self.lock().figures.highest_index
    }

    /// The node id of the proposer that led when the newest answer was given.
    pub(crate) fn leader(&self) -> Option<u64> {
        self.lock().figures.newest_proposal.map(|proposal| proposal % 100)
    }

    /// How many attempts at writes were answered as applied so far.
    pub(crate) fn applied_so_far(&self) -> u64 {
        self.lock().figures.applied
    }

    pub(crate) fn figures(&self) -> Figures {
        self.lock().figures.clone()
    }

    pub(crate) fn history(&self) -> History {
        self.lock().history.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn begin(&mut self, event: impl FnOnce(CallId) -> Event) -> CallId {
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.history.push(event(id));
        id
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}
