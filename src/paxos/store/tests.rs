//! The learner's log on disk: a restart comes to the same log, from the entries or from a
//! checkpoint.

use super::{Entry, Kept, Mark, Store};
use crate::paxos::fixture::*;
use crate::paxos::journal::torture::{cuts, flips, one_bit};
use crate::paxos::journal::{Journal, JournalError};
use crate::paxos::log::Log;
use crate::paxos::record::{Record, Summary};
use crate::types::{Batch, Index, Slot};

const SEGMENT: usize = 1024;

#[test]
fn an_empty_disk_keeps_nothing() {
    let (store, kept) = open_disk(&Disk::new(SEGMENT), None).unwrap();
    assert_eq!((store.slot(), kept.state, kept.marks), (Slot::ZERO, None, vec![]));
}

#[test]
fn a_restart_comes_to_the_same_epoch_and_log() {
    let mut lab = Lab::formed();
    lab.deliver(30);
    let kept = lab.restart(None);
    assert_eq!(kept.state, Some((epoch(), lab.log.clone())));
    assert_eq!(lab.store().slot(), slot(30));
    // And goes on from there.
    lab.deliver(5);
    assert_eq!(lab.restart(None).state.unwrap().1, lab.log);
}

#[test]
fn the_epoch_is_kept_before_anything_is_delivered() {
    let mut lab = Lab::formed();
    assert_eq!(lab.restart(None).state, Some((epoch(), Log::new(LIMITS))));
}

#[test]
fn a_checkpoint_saves_the_replay_of_what_lies_before_it() {
    let mut lab = Lab::formed();
    lab.deliver(40);
    let checkpoint = lab.store().checkpoint(&lab.log.snapshot()).unwrap();
    lab.deliver(3);
    let whole = lab.restart(None).recovery;
    let kept = lab.restart(Some(&checkpoint));
    assert_eq!(kept.state.unwrap().1, lab.log);
    assert!(kept.recovery.records < whole.records / 2);
    // Every entry can still be found: a mark stands at or before it.
    assert_eq!(kept.marks[0].slot, slot(1));
    lab.deliver(3);
    assert_eq!(lab.restart(Some(&checkpoint)).state.unwrap().1, lab.log);
}

#[test]
fn a_checkpoint_may_lag_behind_the_disk_by_whole_segments() {
    let mut lab = Lab::formed();
    lab.deliver(5);
    let early = lab.log.snapshot();
    lab.deliver(40);
    let checkpoint = lab.store().checkpoint(&early).unwrap();
    assert_eq!(lab.restart(Some(&checkpoint)).state.unwrap().1, lab.log);
}

#[test]
fn no_checkpoint_is_made_of_what_is_not_durable_yet() {
    let mut lab = Lab::formed();
    lab.deliver(5);
    lab.log.deliver(slot(6), ballot(5, 1), Batch::noop());
    assert_eq!(lab.store().checkpoint(&lab.log.snapshot()), None);
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_as_good_as_none() {
    let mut lab = Lab::formed();
    lab.deliver(40);
    assert_eq!(lab.restart(Some(b"of a later version")).state.unwrap().1, lab.log);
}

#[test]
fn a_harmed_disk_gives_back_every_slot_or_all_but_the_last_write_or_is_refused() {
    let mut lab = Lab::formed();
    lab.deliver(12);
    let checkpoint = lab.store().checkpoint(&lab.log.snapshot()).unwrap();
    lab.deliver(6);
    let before = lab.log.clone();
    lab.deliver_together(2);
    let disk = lab.disk.copy();
    for from in [None, Some(&checkpoint[..])] {
        let (mut kept, mut shortened, mut refused) = (0, 0, 0);
        for harm in flips(&disk, one_bit).chain(cuts(&disk)) {
            let place = harm.place();
            match open_disk(&Disk::of(harm.disk), from) {
                Ok((_, found)) if found.state == Some((epoch(), lab.log.clone())) => kept += 1,
                Ok((store, found)) => {
                    shortened += 1;
                    assert_eq!(found.state, Some((epoch(), before.clone())), "{place}");
                    assert_eq!(store.slot(), before.slot(), "{place}");
                }
                Err(JournalError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("{place}: {error}"),
            }
        }
        assert!(kept > 0 && shortened > 0 && refused > 0, "{kept}, {shortened}, {refused}");
    }
}

#[test]
fn marks_lead_to_the_entries() {
    let mut lab = Lab::formed();
    let told = lab.deliver(12);
    assert_eq!(told[0].slot, slot(1));
    let kept = lab.restart(None);
    assert_eq!(kept.marks, told);
    let frame = lab.store().journal.read(told[7].position).unwrap();
    let found = frame.records.iter().find_map(|record| {
        if let Record::Entry { slot, first_index, .. } = record {
            Some((*slot, *first_index))
        } else {
            None
        }
    });
    assert_eq!(found, Some((told[7].slot, told[7].index)));
}

#[test]
fn entries_of_one_write_share_a_mark() {
    let mut lab = Lab::formed();
    assert_eq!(lab.deliver_together(3).len(), 1);
    assert_eq!(lab.restart(None).state.unwrap().1, lab.log);
}

#[test]
fn a_torn_entry_is_delivered_again() {
    let mut lab = Lab::formed();
    lab.deliver(2);
    let durable = lab.log.clone();
    lab.disk.fail_after(0);
    let entry = next_entry(&mut lab.log);
    let failed = lab.store.take().unwrap().append(&[entry]);
    assert!(matches!(failed, Err(JournalError::Storage { .. })));
    assert_eq!(lab.restart(None).state.unwrap().1, durable);
}

#[test]
#[should_panic(expected = "without a gap")]
fn a_gap_is_never_kept() {
    let mut lab = Lab::formed();
    next_entry(&mut lab.log);
    let entry = next_entry(&mut lab.log);
    drop(lab.store.take().unwrap().append(&[entry]));
}

#[test]
fn a_log_that_contradicts_itself_or_its_owner_is_refused() {
    let mut log = Log::new(LIMITS);
    let first = record_of(&next_entry(&mut log));
    next_entry(&mut log);
    let third = record_of(&next_entry(&mut log));
    let formed = Record::Epoch { epoch: epoch(), active: true };
    let stories = [
        ("another directory", directory(8), vec![formed.clone(), first.clone()]),
        ("an entry before the epoch", directory(7), vec![first.clone()]),
        ("a gap", directory(7), vec![formed.clone(), first, third]),
        ("an acceptor's record", directory(7), vec![formed, Record::Trim { slot: slot(1) }]),
    ];
    for (story, owner, records) in stories {
        let disk = Disk::new(SEGMENT);
        let (journal, _) = Journal::open(disk.clone(), None, |_, _| Ok(())).unwrap();
        let summary = || Summary::Learner {
            storage: owner,
            epoch: None,
            slot: Slot::ZERO,
            index: Index::ZERO,
        };
        journal.append(&records, summary).unwrap();
        let opened = open_disk(&disk, None);
        assert!(matches!(opened, Err(JournalError::Refused { .. })), "{story}");
    }
}

// The bench.

/// Learner 7 at its disk.
struct Lab {
    disk: Disk,
    store: Option<Store<Disk>>,
    log: Log,
}

impl Lab {
    fn formed() -> Self {
        let disk = Disk::new(SEGMENT);
        let (store, _) = open_disk(&disk, None).unwrap();
        let store = store.keep_epoch(epoch()).unwrap();
        Self { disk, store: Some(store), log: Log::new(LIMITS) }
    }

    fn store(&self) -> &Store<Disk> {
        self.store.as_ref().unwrap()
    }

    /// Delivers slots and keeps each in a write of its own.
    fn deliver(&mut self, slots: usize) -> Vec<Mark> {
        (0..slots).flat_map(|_| self.deliver_together(1)).collect()
    }

    /// Delivers slots and keeps them in one write.
    fn deliver_together(&mut self, slots: usize) -> Vec<Mark> {
        let entries: Vec<_> = (0..slots).map(|_| next_entry(&mut self.log)).collect();
        let (store, marks) = self.store.take().unwrap().append(&entries).unwrap();
        self.store = Some(store);
        marks
    }

    /// The power fails, and what is on disk is read again.
    fn restart(&mut self, checkpoint: Option<&[u8]>) -> Kept {
        self.disk = self.disk.crashed();
        let (store, kept) = open_disk(&self.disk, checkpoint).unwrap();
        self.store = Some(store);
        kept
    }
}

fn open_disk(disk: &Disk, checkpoint: Option<&[u8]>) -> Result<(Store<Disk>, Kept), JournalError> {
    Store::open(directory(7), disk.clone(), checkpoint)
}

/// Delivers one more slot: the session opens, then a value a slot.
fn next_entry(log: &mut Log) -> Entry {
    let next = log.slot().next();
    let command = match next.get() {
        1 => open(1),
        number => write(1, number, &["value"]),
    };
    let delivered = log.deliver(next, ballot(5, 1), Batch::of(&[command]));
    Entry { delivered, at_ms: next.get() }
}

fn record_of(entry: &Entry) -> Record {
    let delivered = entry.delivered.clone();
    Record::Entry {
        slot: delivered.slot,
        ballot: delivered.ballot,
        first_index: delivered.first_index,
        skipped: delivered.skipped,
        delivered_at_ms: entry.at_ms,
        batch: delivered.batch,
    }
}
