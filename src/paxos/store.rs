//! The learner's log on disk: one record a delivered slot, over the same journal as an acceptor's
//! votes; and the checkpoint from which a start replays the rest.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use bytes::Bytes;
use prost::Message as _;

use crate::types::{Ballot, Batch, Epoch, Index, Name, NodeId, Operation, Slot, StorageId};

use super::journal::{Generation, Journal, JournalError, Position, Recovery, SegmentInfo, Storage};
use super::log::{Delivered, Log, Snapshot};
use super::record::{Record, Summary};

/// What a learner had on disk.
#[derive(Debug)]
pub struct Kept {
    /// The epoch, and the log through the last durable slot.
    pub state: Option<(Epoch, Log)>,
    /// Where entries stand: ascending, one at least for every segment.
    pub marks: Vec<Mark>,
    /// What the journal's recovery found.
    pub recovery: Recovery,
}

/// Where a batch of entries stands, and with which slot and index it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The slot of its first entry.
    pub slot: Slot,
    /// The first index of that entry.
    pub index: Index,
    /// Where it stands.
    pub position: Position,
}

/// A slot as it was delivered, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was delivered.
    pub delivered: Delivered,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The learner's log on disk. Like the journal it is consumed by a failed write.
#[derive(Debug)]
pub struct Store<S> {
    journal: Journal<S>,
    storage: StorageId,
    epoch: Option<Epoch>,
    slot: Slot,
    index: Index,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckpointBytes {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(bytes = "bytes", tag = "2")]
    summary: Bytes,
    #[prost(message, optional, tag = "3")]
    log: Option<Snapshot>,
}

impl<S: Storage> Store<S> {
    /// Reads what is kept: the checkpoint if there is one, then the entries after it.
    ///
    /// # Errors
    /// When the journal is damaged or contradicts the checkpoint.
    pub fn open(
        storage_id: StorageId,
        storage: S,
        checkpoint: Option<&[u8]>,
    ) -> Result<(Self, Kept), JournalError> {
        let checkpoint = checkpoint.and_then(decode_checkpoint);
        let from = checkpoint.as_ref().map(|(generation, _, _)| *generation);
        let mut state = checkpoint.map(|(_, epoch, log)| (epoch, log));
        let mut marks: Vec<Mark> = Vec::new();
        let (journal, recovery) = Journal::open(storage, from, |position, record| {
            replay(storage_id, &mut state, &mut marks, position, record)
        })?;
        let slot = state.as_ref().map_or(Slot::ZERO, |(_, log)| log.slot());
        for (generation, info) in journal.segments() {
            if let Some((first, index)) = first_entry(info)
                && first <= slot
            {
                let position = Position { generation: *generation, offset: 0 };
                marks.push(Mark { slot: first, index, position });
            }
        }
        // Of two marks for one slot the later is the exact one.
        marks.sort_by_key(|mark| (mark.slot, Reverse(mark.position)));
        marks.dedup_by_key(|mark| mark.slot);
        let store = Self {
            journal,
            storage: storage_id,
            epoch: state.as_ref().map(|(epoch, _)| epoch.clone()),
            slot,
            index: state.as_ref().map_or(Index::ZERO, |(_, log)| log.index()),
        };
        Ok((store, Kept { state, marks, recovery }))
    }

    /// Makes the epoch durable, before anything is delivered under it.
    ///
    /// # Errors
    /// When the disk fails; the store is consumed.
    pub fn keep_epoch(mut self, epoch: Epoch) -> Result<Self, JournalError> {
        self.epoch = Some(epoch.clone());
        let (store, _) = self.write(&[Record::Epoch { epoch, active: true }])?;
        Ok(store)
    }

    /// Makes entries durable, in one write and one sync; says where they stand.
    ///
    /// # Errors
    /// When the disk fails; the store is consumed.
    ///
    /// # Panics
    /// When the entries do not follow those before.
    pub fn append(mut self, entries: &[Entry]) -> Result<(Self, Vec<Mark>), JournalError> {
        let mut records = Vec::with_capacity(entries.len());
        for Entry { delivered, at_ms } in entries {
            assert!(delivered.slot == self.slot.next(), "entries are kept without a gap");
            self.slot = delivered.slot;
            self.index = delivered.last_index;
            records.push(Record::Entry {
                slot: delivered.slot,
                ballot: delivered.ballot,
                first_index: delivered.first_index,
                skipped: delivered.skipped.clone(),
                delivered_at_ms: *at_ms,
                batch: delivered.batch.clone(),
            });
        }
        let (store, positions) = self.write(&records)?;
        let mut marks: Vec<Mark> = entries
            .iter()
            .zip(positions)
            .map(|(Entry { delivered, .. }, position)| Mark {
                slot: delivered.slot,
                index: delivered.first_index,
                position,
            })
            .collect();
        marks.dedup_by_key(|mark| mark.position);
        Ok((store, marks))
    }

    /// Everything through this slot is durable.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Bytes that the log's segments take.
    #[must_use]
    pub fn bytes_in_use(&self) -> u64 {
        self.journal.bytes_in_use()
    }

    /// The checkpoint of `log`, whose slots must be durable here; `None` while some are not.
    #[must_use]
    pub fn checkpoint(&self, log: &Snapshot) -> Option<Vec<u8>> {
        if log.slot() > self.slot {
            return None;
        }
        // The replay begins where the entry after the snapshot can stand, or before it.
        let (generation, _) = self.journal.segments().iter().rev().find(|(_, info)| {
            first_entry(info).is_some_and(|(first, _)| first <= log.slot().next())
        })?;
        let mut summary = bytes::BytesMut::new();
        Record::Summary(self.summary()).encode(&mut summary);
        let bytes = CheckpointBytes {
            generation: generation.get(),
            summary: summary.freeze(),
            log: Some(log.clone()),
        };
        Some(bytes.encode_to_vec())
    }

    fn summary(&self) -> Summary {
        Summary::Learner {
            storage: self.storage,
            epoch: self.epoch.clone(),
            slot: self.slot,
            index: self.index,
        }
    }

    fn write(self, records: &[Record]) -> Result<(Self, Vec<Position>), JournalError> {
        let summary = self.summary();
        let Self { journal, storage, epoch, slot, index } = self;
        let (journal, positions) = journal.append(records, || summary)?;
        Ok((Self { journal, storage, epoch, slot, index }, positions))
    }
}

fn replay(
    storage: StorageId,
    state: &mut Option<(Epoch, Log)>,
    marks: &mut Vec<Mark>,
    position: Position,
    record: Record,
) -> Result<(), String> {
    match record {
        Record::Summary(Summary::Learner { storage: theirs, epoch, .. }) => {
            if theirs != storage {
                return Err("it belongs to another directory".to_owned());
            }
            if let Some(epoch) = epoch {
                state.get_or_insert_with(|| begin(epoch));
            }
            Ok(())
        }
        Record::Epoch { epoch, .. } => {
            state.get_or_insert_with(|| begin(epoch));
            Ok(())
        }
        Record::Entry { slot, ballot, first_index, batch, .. } => {
            let Some((_, log)) = state else {
                return Err("an entry precedes the epoch".to_owned());
            };
            if marks.last().is_none_or(|last| last.position != position) {
                marks.push(Mark { slot, index: first_index, position });
            }
            if slot <= log.slot() {
                return Ok(());
            }
            if slot != log.slot().next() || first_index != log.index().next() {
                return Err(format!("slot {slot} does not follow slot {}", log.slot()));
            }
            log.deliver(slot, ballot, batch);
            Ok(())
        }
        Record::Summary(Summary::Acceptor { .. })
        | Record::Promise { .. }
        | Record::Vote { .. }
        | Record::Trim { .. } => Err("it holds an acceptor's record".to_owned()),
    }
}

/// Slot and first index of the first entry that a segment holds or will hold. Where its first batch
/// has none, entries go on from its summary.
fn first_entry(info: &SegmentInfo) -> Option<(Slot, Index)> {
    info.first_entry.or(match info.summary {
        Summary::Learner { slot, index, .. } => Some((slot.next(), index.next())),
        Summary::Acceptor { .. } => None,
    })
}

fn begin(epoch: Epoch) -> (Epoch, Log) {
    let log = Log::new(epoch.limits);
    (epoch, log)
}

/// A checkpoint that this version cannot read is as good as none: the entries say it all again.
fn decode_checkpoint(bytes: &[u8]) -> Option<(Generation, Epoch, Log)> {
    let bytes = CheckpointBytes::decode(bytes).ok()?;
    let Ok(Record::Summary(Summary::Learner { epoch: Some(epoch), .. })) =
        Record::decode(bytes.summary)
    else {
        return None;
    };
    let log = Log::from_snapshot(epoch.limits, bytes.log?)?;
    Some((Generation::new(bytes.generation), epoch, log))
}

/// A delivered value, with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueAt {
    /// Its index.
    pub index: Index,
    /// The value, a JSON text.
    pub value: Bytes,
    /// The name of its command.
    pub name: Name,
    /// The gateway that sent it.
    pub origin: NodeId,
    /// The slot that carried it.
    pub slot: Slot,
    /// The ballot it was chosen under.
    pub ballot: Ballot,
    /// When this learner delivered it, in milliseconds since 1970.
    pub at_ms: u64,
}

/// An entry as it is read back, from memory or from disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The slot.
    pub slot: Slot,
    /// The ballot it was chosen under.
    pub ballot: Ballot,
    /// The index of its first value, or of the next one where it has none.
    pub first_index: Index,
    /// Positions of commands that applied no value.
    pub skipped: Vec<u32>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What was chosen.
    pub batch: Batch,
}

impl StoredEntry {
    /// The entry that `record` keeps, if it keeps one.
    #[must_use]
    pub fn from_record(record: Record) -> Option<Self> {
        match record {
            Record::Entry { slot, ballot, first_index, skipped, delivered_at_ms, batch } => {
                Some(Self { slot, ballot, first_index, skipped, at_ms: delivered_at_ms, batch })
            }
            Record::Summary(_)
            | Record::Epoch { .. }
            | Record::Promise { .. }
            | Record::Vote { .. }
            | Record::Trim { .. } => None,
        }
    }

    /// The values that it applied, in order.
    #[must_use]
    pub fn values(&self) -> Vec<ValueAt> {
        let mut values = Vec::new();
        let mut index = self.first_index;
        for (position, command) in (0_u32..).zip(self.batch.commands()) {
            let Ok(command) = command else { break };
            let Operation::Write { values: written, .. } = command.operation else { continue };
            if self.skipped.contains(&position) {
                continue;
            }
            for value in written {
                values.push(ValueAt {
                    index,
                    value,
                    name: command.name,
                    origin: command.origin,
                    slot: self.slot,
                    ballot: self.ballot,
                    at_ms: self.at_ms,
                });
                index = index.next();
            }
        }
        values
    }
}

impl From<&Entry> for StoredEntry {
    fn from(entry: &Entry) -> Self {
        let Delivered { slot, ballot, first_index, skipped, batch, .. } = &entry.delivered;
        Self {
            slot: *slot,
            ballot: *ballot,
            first_index: *first_index,
            skipped: skipped.clone(),
            at_ms: entry.at_ms,
            batch: batch.clone(),
        }
    }
}
