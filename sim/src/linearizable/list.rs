//! A history of paxosd as the general search sees it: one list to which values are appended. It
//! knows nothing of indices as an order, so it can judge the judge of long histories, on short
//! ones.

use std::fmt;
use std::rc::Rc;

use paxosd::types::Index;

use super::calls::{Answer, Asked, Calls, Query};
use super::history::History;
use super::model::{End, Model, Operation};
use super::recorded::Fault;

/// A list that only grows. A write that is already in it, from another attempt, is not added again.
#[derive(Debug)]
pub struct List;

/// What a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Content(Rc<Vec<String>>);

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What is asked of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Append these.
    Write(Vec<String>),
    /// Show these.
    Read(Query),
}

/// What a list answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Where the values stand.
    Applied {
        /// The first.
        first: Index,
        /// The last.
        last: Index,
    },
    /// What it shows.
    Served {
        /// Where the first of the values stands, or would.
        first: Index,
        /// The page.
        values: Vec<String>,
        /// The index of the last value of the list.
        delivered: Index,
    },
}

impl Content {
    fn write(&self, values: &[String]) -> (Self, Output) {
        let known = values.first().and_then(|first| self.0.iter().position(|it| it == first));
        let position = known.unwrap_or(self.0.len());
        let answer =
            Output::Applied { first: index(position).next(), last: index(position + values.len()) };
        if known.is_some() {
            return (self.clone(), answer);
        }
        let mut longer = Vec::clone(&self.0);
        longer.extend_from_slice(values);
        (Self(Rc::new(longer)), answer)
    }

    fn read(&self, query: Query) -> Output {
        let delivered = index(self.0.len());
        let (first, until) = query.page(delivered);
        let indices = (1..).map(Index::new).zip(self.0.iter());
        let page = indices.filter(|(index, _)| (first..until).contains(index));
        Output::Served { first, values: page.map(|(_, value)| value.clone()).collect(), delivered }
    }
}

impl Model for List {
    type State = Content;
    type Input = Input;
    type Output = Output;

    fn initial() -> Content {
        Content::default()
    }

    fn step(state: &Content, input: &Input, output: Option<&Output>) -> Option<Content> {
        let (after, answer) = match input {
            Input::Write(values) => state.write(values),
            Input::Read(query) => (state.clone(), state.read(*query)),
        };
        output.is_none_or(|output| *output == answer).then_some(after)
    }

    fn only_looks(input: &Input, _: &Output) -> bool {
        matches!(input, Input::Read(_))
    }
}

/// The operations of `history` on its one list; event n of it is at position n, the first is 1.
///
/// A stale read may be answered from any time, so it begins before everything else. The final logs
/// are reads of all values, after everything.
///
/// # Errors
///
/// As [`judge`](super::judge).
pub fn operations(history: &History) -> Result<Vec<Operation<Input, Output>>, Fault> {
    let calls = Calls::of(history)?;
    let mut operations = Vec::new();
    for call in calls.by_id.values() {
        let (input, called_at) = match call.asked {
            Asked::Write(write) => (Input::Write(write.values.to_vec()), call.place + 1),
            Asked::Read { query, stale: false } => (Input::Read(query), call.place + 1),
            Asked::Read { query, stale: true } => (Input::Read(query), 0),
        };
        let end = call.answer.map_or(End::Unknown, |(place, answer)| match answer {
            Answer::NotApplied => End::Denied { at: place + 1 },
            Answer::Applied { first, last } => {
                End::Returned { at: place + 1, output: Output::Applied { first, last } }
            }
            Answer::Served(page) => End::Returned {
                at: place + 1,
                output: Output::Served {
                    first: page.first,
                    values: page.values.to_vec(),
                    delivered: page.delivered,
                },
            },
        });
        operations.push(Operation { input, called_at, end });
    }
    let asked = calls.by_id.values().map(|call| call.answer.map_or(call.place, |(at, _)| at));
    let all_asked = asked.max().map_or(0, |place| place + 1);
    for log in calls.logs.values() {
        let input = Input::Read(Query { from: Some(Index::FIRST), limit: u64::MAX });
        let values = log.values.iter().map(|value| (*value).to_owned()).collect();
        let output = Output::Served { first: Index::FIRST, values, delivered: log.reaches() };
        let end = End::Returned { at: log.place + 1, output };
        operations.push(Operation { input, called_at: all_asked, end });
    }
    Ok(operations)
}

fn index(position: usize) -> Index {
    Index::new(u64::try_from(position).unwrap_or(u64::MAX))
}
