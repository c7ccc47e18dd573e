//! A history of paxosd taken apart: each call with its answer, each learner's log in one piece.
//! What does not fit together is no history, and says nothing about the system.

use std::collections::BTreeMap;

use paxosd::types::Index;

use super::history::{CallId, Event, History};
use super::recorded::Fault;

/// A call and what became of it.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// Which event began it; the first is 0.
    pub(super) place: usize,
    pub(super) asked: Asked<'a>,
    /// The event that ended it for certain, and what that said.
    pub(super) answer: Option<(usize, Answer<'a>)>,
}

/// What a call asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    Write(Write<'a>),
    Read { query: Query, stale: bool },
}

/// One attempt at a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write<'a> {
    /// The first of its values stands for the write in all its attempts: nobody else sends it.
    pub(super) name: &'a str,
    key: Option<&'a str>,
    pub(super) values: &'a [String],
}

/// Which values a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The first index; without one, the newest values.
    pub from: Option<Index>,
    /// How many values at most.
    pub limit: u64,
}

/// A certain answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    Applied { first: Index, last: Index },
    NotApplied,
    Served(Page<'a>),
}

/// What a read was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) first: Index,
    pub(super) values: &'a [String],
    pub(super) delivered: Index,
}

/// What one learner holds in the end.
#[derive(Debug, Default)]
pub(super) struct FinalLog<'a> {
    pub(super) values: Vec<&'a str>,
    /// Which event is its last page.
    pub(super) place: usize,
}

/// A history, taken apart.
#[derive(Debug, Default)]
pub(super) struct Calls<'a> {
    pub(super) by_id: BTreeMap<CallId, Call<'a>>,
    pub(super) logs: BTreeMap<u64, FinalLog<'a>>,
    /// The call that sent each value.
    senders: BTreeMap<&'a str, CallId>,
}

impl Query {
    /// The first index of the page that answers it, and the one behind its last, where everything
    /// through `delivered` is delivered.
    #[must_use]
    pub fn page(self, delivered: Index) -> (Index, Index) {
        let newest = Index::new(delivered.get().saturating_sub(self.limit)).next();
        let first = self.from.map_or(newest, |from| from.max(Index::FIRST));
        (first, first.plus(self.limit).min(delivered.next()).max(first))
    }
}

impl<'a> Calls<'a> {
    /// Takes `history` apart.
    ///
    /// # Errors
    ///
    /// The first event that does not fit to those before; its line in a file.
    pub(super) fn of(history: &'a History) -> Result<Self, Fault> {
        let mut calls = Self::default();
        for (place, event) in history.events().iter().enumerate() {
            calls.take(place, event).map_err(|expected| fault(place, expected, event))?;
        }
        if calls.logs.is_empty() {
            let line = history.events().len() + 1;
            return Err(Fault::new(line, "the log of a learner", "the end"));
        }
        Ok(calls)
    }

    fn take(&mut self, place: usize, event: &'a Event) -> Result<(), &'static str> {
        if event.id().is_some() && !self.logs.is_empty() {
            return Err("nothing but logs once the first is there");
        }
        match event {
            Event::Write { id, key, values } => {
                self.begin_write(place, *id, key.as_deref(), values)
            }
            Event::Read { id, from, limit, stale } => {
                let query = Query { from: *from, limit: *limit };
                self.begin(place, *id, Asked::Read { query, stale: *stale })
            }
            Event::Applied { id, first_index, last_index } => {
                let answer = Answer::Applied { first: *first_index, last: *last_index };
                self.end(place, *id, answer)
            }
            Event::NotApplied { id } => self.end(place, *id, Answer::NotApplied),
            Event::Served { id, first_index, values, delivered_index } => {
                let (first, delivered) = (*first_index, *delivered_index);
                self.end(place, *id, Answer::Served(Page { first, values, delivered }))
            }
            Event::Unknown { id } => match self.by_id.get(id) {
                Some(Call { answer: None, .. }) => Ok(()),
                Some(_) | None => Err("a call without an answer"),
            },
            Event::Note { .. } => Ok(()),
            Event::Log { learner, first_index, values } => {
                self.page(place, *learner, *first_index, values)
            }
        }
    }

    fn begin(&mut self, place: usize, id: CallId, asked: Asked<'a>) -> Result<(), &'static str> {
        match self.by_id.insert(id, Call { place, asked, answer: None }) {
            None => Ok(()),
            Some(_) => Err("an id that no other call has"),
        }
    }

    fn begin_write(
        &mut self,
        place: usize,
        id: CallId,
        key: Option<&'a str>,
        values: &'a [String],
    ) -> Result<(), &'static str> {
        let name = values.first().ok_or("at least one value")?;
        for value in values {
            let earlier = self.senders.get(value.as_str()).and_then(|id| self.by_id.get(id));
            let is_other = |call: &Call<'_>| match call.asked {
                Asked::Write(write) => key.is_none() || write.key != key || write.values != values,
                Asked::Read { .. } => true,
            };
            if earlier.is_some_and(is_other) {
                return Err("values that were not sent before, but under the same key");
            }
        }
        self.begin(place, id, Asked::Write(Write { name, key, values }))?;
        for value in values {
            if self.senders.insert(value, id) == Some(id) {
                return Err("values that differ from one another");
            }
        }
        Ok(())
    }

    fn end(&mut self, place: usize, id: CallId, answer: Answer<'a>) -> Result<(), &'static str> {
        let call = self.by_id.get_mut(&id).ok_or("an answer to a call")?;
        match (&call.asked, answer) {
            (Asked::Write(_), Answer::Applied { .. } | Answer::NotApplied)
            | (Asked::Read { .. }, Answer::Served(_)) => {}
            _ => return Err("an answer to what was asked"),
        }
        match call.answer.replace((place, answer)) {
            None => Ok(()),
            Some(_) => Err("one answer to a call"),
        }
    }

    fn page(
        &mut self,
        place: usize,
        learner: u64,
        first: Index,
        values: &'a [String],
    ) -> Result<(), &'static str> {
        let log = self.logs.entry(learner).or_default();
        if first != log.reaches().next() {
            return Err("the page behind this learner's last one");
        }
        log.values.extend(values.iter().map(String::as_str));
        log.place = place;
        Ok(())
    }

    /// All values of the write that `value` is sent in, if anybody sent it.
    pub(super) fn sent_with(&self, value: &str) -> Option<&'a [String]> {
        match self.by_id.get(self.senders.get(value)?)?.asked {
            Asked::Write(write) => Some(write.values),
            Asked::Read { .. } => None,
        }
    }
}

impl FinalLog<'_> {
    /// The index of its last value.
    pub(super) fn reaches(&self) -> Index {
        Index::new(u64::try_from(self.values.len()).unwrap_or(u64::MAX))
    }
}

fn fault(place: usize, expected: &'static str, event: &Event) -> Fault {
    Fault::new(place + 1, expected, event.to_string())
}
