//! Who takes part in a story, and plain names for what has none: nodes, ballots, values, commands.

use std::collections::{BTreeMap, BTreeSet};

use paxosd::paxos::message::{Accepted, Message, ToAcceptor, ToLearner, ToProposer};
use paxosd::types::{Ballot, Batch, BatchDigest, Name, NodeId, Operation, Role};

use crate::report::{Report, role_of};
use crate::trace::{Kind, What};

use super::focus::Focus;

/// How many values get a letter: more are told by their operations.
const LETTERS: [char; 5] = ['A', 'B', 'C', 'D', 'E'];

/// The names of a story.
#[derive(Debug)]
pub(crate) struct Cast {
    ballots: BTreeMap<Ballot, usize>,
    /// What each batch holds.
    contents: BTreeMap<BatchDigest, String>,
    /// The batches in question, in the order of their letters.
    letters: Vec<(BatchDigest, String)>,
    operations: BTreeMap<Name, u64>,
}

impl Cast {
    /// The names for everything in a run; values of the slots in question get letters.
    pub(crate) fn of(report: &Report, focus: &Focus) -> Self {
        let mut cast = Self {
            ballots: BTreeMap::new(),
            contents: BTreeMap::new(),
            letters: Vec::new(),
            operations: operations(report),
        };
        let mut ballots = BTreeSet::new();
        for moment in &report.moments {
            let What::Sends { message, .. } = &moment.what else { continue };
            ballots.extend(ballot_of(message));
            for Accepted { slot, ballot, batch } in proposals(message) {
                ballots.insert(ballot);
                let digest = batch.digest();
                if !cast.contents.contains_key(&digest) {
                    let content = cast.content(&batch);
                    cast.contents.insert(digest, content);
                }
                let is_known = cast.letters.iter().any(|(known, _)| *known == digest);
                if focus.slots.contains(&slot) && !is_known && cast.letters.len() < LETTERS.len() {
                    let content = cast.contents.get(&digest).cloned().unwrap_or_default();
                    cast.letters.push((digest, content));
                }
            }
        }
        ballots.extend(focus.ballots.iter().copied());
        cast.ballots = ballots.into_iter().zip(1..).collect();
        cast
    }

    /// A ballot: b1, b2, … in their order.
    pub(crate) fn ballot(&self, ballot: Ballot) -> String {
        self.ballots.get(&ballot).map_or_else(|| ballot.to_string(), |rank| format!("b{rank}"))
    }

    /// A batch: its letter, or what it holds.
    pub(crate) fn value(&self, digest: BatchDigest) -> String {
        let letter = self.letter(digest).and_then(|nth| LETTERS.get(nth));
        let content =
            || self.contents.get(&digest).cloned().unwrap_or_else(|| "a value".to_owned());
        letter.map_or_else(content, ToString::to_string)
    }

    /// Which letter a batch has.
    pub(crate) fn letter(&self, digest: BatchDigest) -> Option<usize> {
        self.letters.iter().position(|(known, _)| *known == digest)
    }

    /// The letters, and what they stand for.
    pub(crate) fn letters(&self) -> impl Iterator<Item = (char, &str)> {
        LETTERS.into_iter().zip(self.letters.iter().map(|(_, content)| content.as_str()))
    }

    /// The number of an operation by its command's name.
    pub(crate) fn operation(&self, name: Name) -> Option<u64> {
        self.operations.get(&name).copied()
    }

    /// The commands of a batch, in words.
    fn content(&self, batch: &Batch) -> String {
        let commands = batch.commands().flatten().map(|command| match command.operation {
            Operation::Open => "opens a session".to_owned(),
            Operation::Write { .. } => self.numbered("write", command.name),
            Operation::Cancel { target } => self.numbered("cancels", target),
        });
        let commands: Vec<String> = commands.collect();
        match commands.as_slice() {
            [] => "nothing (a no-op that fills the slot)".to_owned(),
            [one] => one.clone(),
            [one, other] => format!("{one} and {other}"),
            [one, rest @ ..] => format!("{one} and {} more commands", rest.len()),
        }
    }

    fn numbered(&self, verb: &str, name: Name) -> String {
        self.operation(name)
            .map_or_else(|| format!("{verb} {name}"), |number| format!("{verb} {number}"))
    }

    /// A text of the oracle with ballots, values and commands under their plain names.
    pub(crate) fn plain(&self, text: &str) -> String {
        let mut plain = text.to_owned();
        for ballot in self.ballots.keys() {
            let name = format!("ballot {}", self.ballot(*ballot));
            plain = plain.replace(&format!("Some({ballot:?})"), &name);
            plain = plain.replace(&format!("ballot {ballot:?}"), &name);
            plain = plain.replace(&format!("{ballot:?}"), &name);
        }
        for digest in self.contents.keys() {
            let name = format!("value {}", self.value(*digest));
            plain = plain.replace(&format!("Some({digest:?})"), &name);
            plain = plain.replace(&format!("{digest:?}"), &name);
        }
        for (name, number) in &self.operations {
            plain = plain.replace(&name.to_string(), &format!("operation {number}"));
        }
        plain.replace("OperationId", "")
    }
}

/// A node with its role.
pub(crate) fn node(id: NodeId) -> String {
    format!("{} {id}", role_of(id))
}

/// Several nodes, those of one role together.
pub(crate) fn nodes(ids: impl IntoIterator<Item = NodeId>) -> String {
    let mut by_role: BTreeMap<&'static str, BTreeSet<NodeId>> = BTreeMap::new();
    for id in ids {
        let role = match role_of(id) {
            Role::Proposer => "proposer",
            Role::Acceptor => "acceptor",
            Role::Learner => "learner",
            Role::Client => "client",
        };
        by_role.entry(role).or_default().insert(id);
    }
    let parts = by_role.into_iter().map(|(role, ids)| {
        let plural = if ids.len() == 1 { "" } else { "s" };
        format!("{role}{plural} {}", list(&ids))
    });
    parts.collect::<Vec<_>>().join(" and ")
}

fn list(ids: &BTreeSet<NodeId>) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    match ids.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

/// The proposals that a message carries with their values.
pub(crate) fn proposals(message: &Message) -> Vec<Accepted> {
    match message {
        Message::Acceptor(ToAcceptor::Accept { ballot, slot, batch, .. }) => {
            vec![Accepted { slot: *slot, ballot: *ballot, batch: batch.clone() }]
        }
        Message::Learner(ToLearner::Proposed(accepted) | ToLearner::Chosen(accepted)) => {
            vec![accepted.clone()]
        }
        Message::Proposer(ToProposer::Promise { accepted, .. }) => accepted.clone(),
        Message::Learner(
            ToLearner::Votes { votes: entries, .. } | ToLearner::Entries { entries, .. },
        ) => entries.clone(),
        Message::Acceptor(_)
        | Message::Witness(_)
        | Message::Proposer(_)
        | Message::Learner(_)
        | Message::Client(_) => Vec::new(),
    }
}

/// The ballot that a message is about.
pub(crate) fn ballot_of(message: &Message) -> Option<Ballot> {
    use ToProposer::{Nack, Promise};
    match message {
        Message::Acceptor(
            ToAcceptor::Prepare { ballot, .. } | ToAcceptor::Accept { ballot, .. },
        )
        | Message::Proposer(Promise { ballot, .. } | Nack { ballot, .. }) => Some(*ballot),
        Message::Proposer(ToProposer::Vote(vote)) | Message::Learner(ToLearner::Vote(vote)) => {
            Some(vote.ballot)
        }
        Message::Learner(ToLearner::Proposed(accepted) | ToLearner::Chosen(accepted)) => {
            Some(accepted.ballot)
        }
        Message::Acceptor(_)
        | Message::Witness(_)
        | Message::Proposer(_)
        | Message::Learner(_)
        | Message::Client(_) => None,
    }
}

/// Which operation each name belongs to, as the gateways said.
fn operations(report: &Report) -> BTreeMap<Name, u64> {
    report.moments.iter().filter_map(|moment| named(&moment.what)).collect()
}

/// The name that a gateway gave to an operation, where this tells of it.
pub(crate) fn named(what: &What) -> Option<(Name, u64)> {
    match what {
        What::Notes(Kind::Names, facts, line) => {
            let (_, name) = line.rsplit_once(' ')?;
            Some((name.parse().ok()?, *facts.first()?))
        }
        What::Notes(..) | What::Sends { .. } | What::Receives(_) | What::Tells(_) => None,
    }
}
