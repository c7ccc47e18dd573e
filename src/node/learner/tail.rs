//! The newest of what was delivered, in memory, and the plan of an answer from it and the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Plan;
use crate::paxos::message::Reading;
use crate::paxos::store::{Entry, Mark, StoredEntry};
use crate::types::{Index, Slot};

/// Bytes of delivered batches kept in memory for readers.
const TAIL_BYTES_MAX: usize = 8 << 20;

/// Bytes that an entry takes beside its batch.
const ENTRY_BYTES: usize = 128;

/// The newest entries, oldest first.
///
/// Within a turn the learner itself is ahead of it: what it has delivered comes here one entry at a
/// time, and reads are answered in between. So an answer goes by what is here, never by what the
/// learner says, or it would name indices whose values it does not have yet.
#[derive(Debug)]
pub(super) struct Tail {
    entries: VecDeque<Arc<StoredEntry>>,
    bytes: usize,
    delivered: Index,
}

impl Tail {
    /// Nothing yet, after what the disk holds through `delivered`.
    pub(super) const fn after(delivered: Index) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, delivered }
    }

    /// The highest index that can be answered with.
    pub(super) const fn delivered(&self) -> Index {
        self.delivered
    }

    /// All of it.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<StoredEntry>> {
        self.entries.iter()
    }

    /// The entries from `slot` on, if memory still holds that one.
    pub(super) fn since(&self, slot: Slot) -> Option<impl Iterator<Item = &Arc<StoredEntry>>> {
        let first = self.entries.partition_point(|entry| entry.slot < slot);
        let is_held = self.entries.get(first).is_some_and(|entry| entry.slot == slot);
        is_held.then(|| self.entries.iter().skip(first))
    }

    /// Takes what was delivered next.
    pub(super) fn push(&mut self, entry: &Entry) {
        let stored = StoredEntry::from(entry);
        self.bytes += stored.batch.len() + ENTRY_BYTES;
        self.entries.push_back(Arc::new(stored));
        self.delivered = entry.delivered.last_index;
    }

    /// Keeps what is not durable yet, and a bounded part of the rest.
    pub(super) fn trim(&mut self, durable: Slot) {
        while self.bytes > TAIL_BYTES_MAX {
            match self.entries.front() {
                Some(oldest) if oldest.slot <= durable => {
                    self.bytes -= oldest.batch.len() + ENTRY_BYTES;
                    self.entries.pop_front();
                }
                Some(_) | None => return,
            }
        }
    }

    /// Where the values are that are wanted. What is not here is on disk, and `marks` say where.
    pub(super) fn plan(&self, marks: &[Mark], reading: &Reading) -> Plan {
        let Reading { linearizable, from, limit, .. } = *reading;
        let delivered = self.delivered;
        let count = u64::from(limit);
        let newest = Index::new(delivered.get().saturating_sub(count)).next();
        let from = from.map_or(newest, |from| from.max(Index::FIRST));
        let until = from.plus(count).min(delivered.next()).max(from);
        let first =
            self.entries.partition_point(|entry| entry.first_index <= from).saturating_sub(1);
        let holds_all = self.entries.get(first).is_some_and(|entry| entry.first_index <= from);
        let mark = if holds_all || from == until {
            None
        } else {
            let after = marks.partition_point(|mark| mark.index <= from);
            after.checked_sub(1).and_then(|at| marks.get(at)).copied()
        };
        let entries = self
            .entries
            .iter()
            .skip(first)
            .take_while(|entry| entry.first_index < until)
            .cloned()
            .collect();
        Plan { linearizable, from, until, delivered, mark, entries }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::paxos::log::Delivered;
    use crate::types::{
        Ballot, Batch, Command, Incarnation, Name, NodeId, Operation, ProposerId, Sequence,
        SessionId,
    };
    use bytes::Bytes;
    use uuid::Uuid;

    fn entry(number: u64) -> Entry {
        entry_of(number, Bytes::from_static(b"0"))
    }

    /// The entry of slot `number`, which applies one `value` at the same index.
    pub(in super::super) fn entry_of(number: u64, value: Bytes) -> Entry {
        let node = NodeId::new(1).unwrap();
        let command = Command {
            name: Name { session: SessionId(Uuid::nil()), sequence: Sequence(number) },
            lowest_open: Sequence(number),
            origin: node,
            operation: Operation::Write { key: None, values: vec![value] },
        };
        let delivered = Delivered {
            slot: Slot::new(number),
            ballot: Ballot { round: 1, proposer: ProposerId(node), incarnation: Incarnation(1) },
            first_index: Index::new(number),
            last_index: Index::new(number),
            skipped: Vec::new(),
            batch: Batch::of(&[command]),
            deliveries: Vec::new(),
        };
        Entry { delivered, at_ms: 0 }
    }

    /// The indices that a plan finds in memory.
    fn found(plan: &Plan) -> Vec<u64> {
        plan.in_memory().iter().map(|value| value.index.get()).collect()
    }

    fn two_from(from: Option<Index>) -> Reading {
        Reading { linearizable: false, after: Index::ZERO, from, limit: 2 }
    }

    #[test]
    fn a_page_holds_all_that_it_says_is_delivered() {
        let mut tail = Tail::after(Index::ZERO);
        for number in 1..=5 {
            tail.push(&entry(number));
            // A read may be answered here, while the rest of the turn is yet to come.
            let plan = tail.plan(&[], &two_from(None));
            assert_eq!(plan.delivered, Index::new(number));
            let newest: Vec<u64> = (number.saturating_sub(1).max(1)..=number).collect();
            assert_eq!(found(&plan), newest);
            let beyond = tail.plan(&[], &two_from(Some(Index::new(number + 1))));
            assert_eq!((beyond.from, found(&beyond)), (beyond.until, Vec::new()));
        }
    }

    #[test]
    fn what_is_not_durable_stays_in_memory() {
        let mut tail = Tail::after(Index::ZERO);
        for number in 1..=3 {
            tail.push(&entry(number));
        }
        tail.bytes += TAIL_BYTES_MAX;
        tail.trim(Slot::new(2));
        let kept: Vec<u64> = tail.entries().map(|entry| entry.slot.get()).collect();
        assert_eq!(kept, [3]);
        assert!(tail.since(Slot::new(2)).is_none());
        assert_eq!(tail.since(Slot::new(3)).unwrap().count(), 1);
    }
}
