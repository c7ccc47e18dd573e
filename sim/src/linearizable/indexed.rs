//! The judge of long histories of paxosd, in O(n log n): no search is needed, since the answers say
//! in which order everything happened.
//!
//! The order is that of the final log: a write stands at its index, a read behind the index that
//! its learner had delivered. What remains to be seen is that this order explains every answer, and
//! that it contradicts no time: what began after something else had ended stands behind it. For
//! that it is enough to carry the highest index that anybody was told of so far, the *floor*,
//! through the events:
//!
//! - a write must stand above the floor of the moment when it was invoked, whether it was answered
//!   or not, if it stands in the log at all;
//! - a read must reach that floor, unless it asked for a stale answer;
//! - a read reaches the end of a write, never the midst of one;
//! - every answer raises the floor, that of a stale read too: what one learner delivered is chosen.
//!
//! A write without a known outcome is closed by the final log: it is there, or it never happened.
//! The first event at which a rule is broken ends the shortest prefix that the final log cannot
//! explain.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use paxosd::types::Index;

use super::calls::{Answer, Asked, Call, Calls, FinalLog, Page, Query, Write};
use super::history::{CallId, Event, History};
use super::recorded::Fault;

/// A rule that a history breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Broken {
    /// The rule, in a few words that stay the same.
    pub rule: &'static str,
    /// What happened.
    pub detail: String,
    /// The event that breaks it; the first of the history is 0.
    pub place: usize,
    /// Other events that show it, in order.
    pub evidence: Vec<usize>,
}

/// The highest index that anybody was told of.
#[derive(Debug, Clone, Copy)]
struct Floor {
    index: Index,
    /// The event that told it.
    place: Option<usize>,
}

/// All attempts at one write.
#[derive(Debug, Default)]
struct Attempts {
    /// The first that may have been applied.
    open: Option<usize>,
    /// The event of the last refusal.
    refused: Option<usize>,
}

#[derive(Debug)]
struct Judge<'a> {
    calls: &'a Calls<'a>,
    log: &'a [&'a str],
    /// Where each value of the log stands first.
    indices: BTreeMap<&'a str, Index>,
    writes: BTreeMap<&'a str, Attempts>,
    floor: Floor,
    /// The floor when each read was invoked.
    floors: BTreeMap<CallId, Floor>,
}

/// Judges a history. Returns the rule that it breaks first, if it breaks any.
///
/// # Errors
///
/// The first event that makes it no history of a run: an answer to no call, a value that was sent
/// twice, or no final log.
pub fn judge(history: &History) -> Result<Option<Broken>, Fault> {
    let calls = Calls::of(history)?;
    let longest = calls.logs.values().max_by_key(|log| log.values.len());
    let Some(longest) = longest else { return Ok(None) };
    let mut judge = Judge::new(&calls, longest);
    for (place, event) in history.events().iter().enumerate() {
        if let Err(broken) = judge.hear(place, event) {
            return Ok(Some(broken));
        }
    }
    Ok(judge.close(longest).err())
}

impl<'a> Judge<'a> {
    fn new(calls: &'a Calls<'a>, longest: &'a FinalLog<'a>) -> Self {
        let mut indices = BTreeMap::new();
        for (index, value) in numbered(&longest.values) {
            indices.entry(value).or_insert(index);
        }
        let mut in_order: Vec<&Call<'_>> = calls.by_id.values().collect();
        in_order.sort_by_key(|call| call.place);
        let mut writes: BTreeMap<&str, Attempts> = BTreeMap::new();
        for call in in_order {
            if let Asked::Write(write) = call.asked {
                let attempts = writes.entry(write.name).or_default();
                match call.answer {
                    Some((place, Answer::NotApplied)) => {
                        attempts.refused = attempts.refused.max(Some(place));
                    }
                    _ => attempts.open = attempts.open.or(Some(call.place)),
                }
            }
        }
        let floor = Floor { index: Index::ZERO, place: None };
        let floors = BTreeMap::new();
        Self { calls, log: &longest.values, indices, writes, floor, floors }
    }

    fn hear(&mut self, place: usize, event: &Event) -> Result<(), Broken> {
        let Some(id) = event.id() else { return Ok(()) };
        let Some(call) = self.calls.by_id.get(&id) else { return Ok(()) };
        if place == call.place {
            return match call.asked {
                Asked::Write(write) => self.on_write(place, &write),
                Asked::Read { .. } => {
                    self.floors.insert(id, self.floor);
                    Ok(())
                }
            };
        }
        let Some((_, answer)) = call.answer.filter(|(at, _)| *at == place) else { return Ok(()) };
        match (call.asked, answer) {
            (Asked::Write(write), Answer::Applied { first, last }) => {
                self.on_applied(place, call.place, &write, (first, last))
            }
            (Asked::Write(write), Answer::NotApplied) => self.on_not_applied(place, &write),
            (Asked::Read { query, stale }, Answer::Served(page)) => {
                let floor = self.floors.get(&id).copied().filter(|_| !stale);
                self.on_served(place, call.place, floor, query, &page)
            }
            (Asked::Write(_), Answer::Served(_))
            | (Asked::Read { .. }, Answer::Applied { .. } | Answer::NotApplied) => Ok(()),
        }
    }

    /// The first attempt that may have been applied is invoked: the final log knows where it ends.
    fn on_write(&mut self, place: usize, write: &Write<'_>) -> Result<(), Broken> {
        if self.writes.get(write.name).and_then(|attempts| attempts.open) != Some(place) {
            return Ok(());
        }
        let found = write.values.iter().find_map(|it| self.indices.get_key_value(it.as_str()));
        let Some((value, index)) = found else { return Ok(()) };
        let first = self.indices.get(write.name).copied();
        require(first.is_some_and(|first| self.stands(first, write.values)), || Broken {
            rule: "the values of one write stand together",
            detail: format!("{value:?} stands at index {index}, without the rest beside it"),
            place,
            evidence: Vec::new(),
        })?;
        require(*index > self.floor.index, || Broken {
            rule: "a write stands behind all that was told before it began",
            detail: format!("{value:?} stands at index {index}, {}", self.floor),
            place,
            evidence: self.floor.place.into_iter().collect(),
        })
    }

    fn on_applied(
        &mut self,
        place: usize,
        called_at: usize,
        write: &Write<'_>,
        (first, last): (Index, Index),
    ) -> Result<(), Broken> {
        let broken = |rule, detail| Broken { rule, detail, place, evidence: vec![called_at] };
        let count = u64::try_from(write.values.len()).unwrap_or(u64::MAX);
        require(last.next() == first.plus(count), || {
            let detail = format!("{count} values cannot stand at {first} to {last}");
            broken("an answered write tells all its indices", detail)
        })?;
        require(self.stands(first, write.values), || {
            let name = write.name;
            let where_it_is = match self.indices.get(name) {
                Some(index) => format!("it stands at {index}"),
                None => "it stands nowhere".to_owned(),
            };
            let detail =
                format!("{name:?} was answered at index {first}; in the log {where_it_is}");
            broken("an answered write stands at its index", detail)
        })?;
        self.raise(last, place);
        Ok(())
    }

    fn on_not_applied(&mut self, place: usize, write: &Write<'_>) -> Result<(), Broken> {
        let Some(attempts) = self.writes.get(write.name) else { return Ok(()) };
        if attempts.open.is_some() || attempts.refused != Some(place) {
            return Ok(());
        }
        let found = write.values.iter().find_map(|it| self.indices.get_key_value(it.as_str()));
        require(found.is_none(), || Broken {
            rule: "a refused write is never applied",
            detail: found.map_or_else(String::new, |(value, index)| {
                format!("{value:?} was refused, and stands at index {index}")
            }),
            place,
            evidence: Vec::new(),
        })
    }

    fn on_served(
        &mut self,
        place: usize,
        called_at: usize,
        floor: Option<Floor>,
        query: Query,
        page: &Page<'_>,
    ) -> Result<(), Broken> {
        let delivered = page.delivered;
        let end = Index::new(u64::try_from(self.log.len()).unwrap_or(u64::MAX));
        let broken = |rule, detail| Broken { rule, detail, place, evidence: vec![called_at] };
        require(delivered <= end, || {
            let detail = format!("a read saw through index {delivered}, the log ends at {end}");
            broken("nothing that was told is lost", detail)
        })?;
        require(!self.splits(delivered), || {
            let detail = format!("it saw through index {delivered}, amid the values of a write");
            broken("a read sees all of a write or nothing", detail)
        })?;
        if let Some(floor) = floor {
            require(delivered >= floor.index, || Broken {
                rule: "a read sees all that was told before it began",
                detail: format!("it saw through index {delivered}, {floor}"),
                place,
                evidence: floor.place.into_iter().chain([called_at]).collect(),
            })?;
        }
        let (first, until) = query.page(delivered);
        let count = u64::try_from(page.values.len()).unwrap_or(u64::MAX);
        require(page.first == first && first.plus(count) == until, || {
            let detail = format!(
                "asked {query}, with {delivered} delivered, it gave {count} values from index {}",
                page.first
            );
            broken("a read gives the page that was asked for", detail)
        })?;
        require(self.stands(first, page.values), || {
            broken("a read gives what stands in the log", self.difference(first, page.values))
        })?;
        self.raise(delivered, place);
        Ok(())
    }

    /// What must hold of the logs, when all was told.
    fn close(self, longest: &FinalLog<'_>) -> Result<(), Broken> {
        let broken = |place, rule, detail| Broken { rule, detail, place, evidence: Vec::new() };
        for (learner, log) in &self.calls.logs {
            let differs = numbered(&log.values).zip(self.log).find(|((_, it), other)| it != *other);
            require(differs.is_none(), || {
                let detail = differs.map_or_else(String::new, |((index, value), other)| {
                    format!("at index {index} learner {learner} has {value:?}, another {other:?}")
                });
                broken(log.place, "learners agree", detail)
            })?;
            require(!self.splits(log.reaches()), || {
                let detail = format!("learner {learner} ends at index {}", log.reaches());
                broken(log.place, "a learner has all of a write or nothing", detail)
            })?;
            require(log.reaches() >= self.floor.index, || Broken {
                rule: "nothing that was told is lost",
                detail: format!("learner {learner} ends at {}, {}", log.reaches(), self.floor),
                place: log.place,
                evidence: self.floor.place.into_iter().collect(),
            })?;
        }
        for (index, value) in numbered(self.log) {
            require(self.calls.sent_with(value).is_some(), || {
                let detail = format!("{value:?} stands at index {index}");
                broken(longest.place, "nothing is applied that was not sent", detail)
            })?;
            let first = self.indices.get(value).copied().unwrap_or(index);
            require(first == index, || {
                let detail = format!("{value:?} stands at index {first} and at {index}");
                broken(longest.place, "nothing is applied twice", detail)
            })?;
        }
        Ok(())
    }

    fn raise(&mut self, index: Index, place: usize) {
        if index > self.floor.index {
            self.floor = Floor { index, place: Some(place) };
        }
    }

    /// Whether a write stands on both sides of the end of `index`.
    fn splits(&self, index: Index) -> bool {
        let position = usize::try_from(index.previous().get()).ok();
        let value = position.and_then(|position| self.log.get(position));
        let sent = value.and_then(|value| Some((value, self.calls.sent_with(value)?.last()?)));
        index > Index::ZERO && sent.is_some_and(|(value, last)| last != value)
    }

    /// Whether exactly `values` stand in the log from `first` on.
    fn stands(&self, first: Index, values: &[String]) -> bool {
        let Some(skipped) = first.get().checked_sub(1).and_then(|it| usize::try_from(it).ok())
        else {
            return values.is_empty();
        };
        let until = skipped.saturating_add(values.len());
        values.is_empty() || self.log.get(skipped..until).is_some_and(|log| log == values)
    }

    fn difference(&self, first: Index, values: &[String]) -> String {
        let indices = (first.get()..).map(Index::new);
        let wrong =
            indices.zip(values).find(|(at, it)| !self.stands(*at, std::slice::from_ref(it)));
        wrong.map_or_else(String::new, |(index, value)| {
            format!("at index {index} it gave {value:?}, which does not stand there")
        })
    }
}

impl std::fmt::Display for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            Some(place) => write!(f, "but line {} had told of index {}", place + 1, self.index),
            None => f.write_str("though nothing had been told"),
        }
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.from {
            Some(from) => write!(f, "for at most {} values from index {from}", self.limit),
            None => write!(f, "for the newest {} values", self.limit),
        }
    }
}

fn require(holds: bool, broken: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken()) }
}

fn numbered<'a>(values: &[&'a str]) -> impl Iterator<Item = (Index, &'a str)> {
    (1..).map(Index::new).zip(values.iter().copied())
}
