//! Commands that wait for a slot, each name once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::ProposerSettings;
use crate::types::{Batch, BatchBuilder, Name, NodeId};

/// The message that brought a command: its gateway, and the gateway's number for it.
pub(super) type Source = (NodeId, u64);

/// Who waits for a command's outcome.
pub(super) type Owner = (Source, Name);

#[derive(Debug)]
struct Waiting {
    owner: Owner,
    command: Bytes,
}

/// A queue with a bound on its commands and on their bytes.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    names: BTreeSet<Name>,
    bytes: usize,
    commands_max: usize,
    bytes_max: usize,
}

impl Queue {
    pub(super) fn new(commands_max: usize, bytes_max: usize) -> Self {
        Self { waiting: VecDeque::new(), names: BTreeSet::new(), bytes: 0, commands_max, bytes_max }
    }

    /// What waits above a lower bound stays.
    pub(super) fn set_bounds(&mut self, commands_max: usize, bytes_max: usize) {
        self.commands_max = commands_max;
        self.bytes_max = bytes_max;
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether what waits is worth a slot beside `in_flight` others: enough for each of them, or a
    /// whole batch, or all that may wait.
    pub(super) fn is_worth_a_slot(&self, settings: &ProposerSettings, in_flight: usize) -> bool {
        let bytes_min = settings
            .batch_bytes_min
            .saturating_mul(in_flight)
            .min(settings.batch_bytes_max)
            .min(self.bytes_max / 2);
        let commands_max = settings.batch_commands_max.min(self.commands_max);
        !self.is_empty() && (self.bytes >= bytes_min || self.len() >= commands_max)
    }

    pub(super) fn contains(&self, name: Name) -> bool {
        self.names.contains(&name)
    }

    /// Appends a command; gives it back when the queue is full.
    pub(super) fn push(&mut self, owner: Owner, command: Bytes) -> Result<(), Owner> {
        let fits = self.waiting.len() < self.commands_max
            && (self.bytes + command.len() <= self.bytes_max || self.waiting.is_empty());
        if !fits {
            return Err(owner);
        }
        self.bytes += command.len();
        self.names.insert(owner.1);
        self.waiting.push_back(Waiting { owner, command });
        Ok(())
    }

    /// The next batch: what waits, up to the limits, and at least one command.
    pub(super) fn take_batch(
        &mut self,
        bytes_max: usize,
        commands_max: usize,
    ) -> (Batch, Vec<Owner>) {
        let mut builder = BatchBuilder::default();
        let mut owners = Vec::new();
        while let Some(next) = self.waiting.front() {
            let is_full =
                builder.len() + next.command.len() > bytes_max || owners.len() >= commands_max;
            if is_full && !owners.is_empty() {
                break;
            }
            builder.push(&next.command);
            self.bytes -= next.command.len();
            self.names.remove(&next.owner.1);
            owners.push(next.owner);
            self.waiting.pop_front();
        }
        (builder.finish(), owners)
    }

    /// Empties it: the names that waited, by the message that brought them.
    pub(super) fn drain(&mut self) -> BTreeMap<Source, Vec<Name>> {
        self.names.clear();
        self.bytes = 0;
        by_source(self.waiting.drain(..).map(|waiting| waiting.owner))
    }
}

/// The names, sorted to the messages that brought them.
pub(super) fn by_source(owners: impl IntoIterator<Item = Owner>) -> BTreeMap<Source, Vec<Name>> {
    let mut sorted: BTreeMap<Source, Vec<Name>> = BTreeMap::new();
    for (source, name) in owners {
        sorted.entry(source).or_default().push(name);
    }
    sorted
}
