//! A journal is written by way of commits, crashes and recycled segments; then its disk is harmed;
//! then it is opened again. It holds what it held, or lacks the end that was harmed, or is refused.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use paxosd::paxos::journal::{Generation, Journal, JournalError, Position};
use paxosd::paxos::record::{Record, Summary};
use paxosd::types::{
    Ballot, Batch, Epoch, Incarnation, Index, LogLimits, NodeId, ProposerId, Slot, StorageId,
};
use sim::chance::Chance;
use sim::disk::{Disk, SimStorage};
use uuid::Uuid;

use crate::input::Input;

const SEGMENT_BYTES: usize = 640;
/// Acts of writing at most.
const ACTS_MAX: usize = 48;
/// Bytes of a frame's header, and where in it the length of the payload stands.
const HEADER: usize = 40;
const LENGTH: std::ops::Range<usize> = 8..12;

/// Writes, harms and opens a journal as `bytes` say.
///
/// # Panics
/// When the journal comes to hold what it did not hold, or less than it must.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let harms = input.byte() % 4;
    let mut lab = Lab::new();
    for _ in 0..ACTS_MAX {
        // A few bytes are left for the harms.
        match input.byte() {
            0 => break,
            act => lab.act(act, &mut input),
        }
    }
    let written = lab.written;
    drop(lab.journal);
    let before = segments_of(&lab.disk, &written);
    let mut is_small = harms <= 1;
    for _ in 0..harms {
        is_small &= harm(&lab.disk, &written, &mut input);
    }
    judge(&lab.disk, &written, &before, is_small);
}

/// A batch that was written, the summary of its segment left out.
#[derive(Debug, Clone)]
struct Written {
    position: Position,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Lab {
    disk: Rc<RefCell<Disk>>,
    journal: Option<Journal<SimStorage>>,
    /// The durable batches, oldest first.
    written: Vec<Written>,
    round: u64,
    slot: u64,
}

impl Lab {
    fn new() -> Self {
        let storage = StorageId(Uuid::from_u128(5));
        let disk = Rc::new(RefCell::new(Disk::new(storage, SEGMENT_BYTES)));
        let (journal, _) = open(&disk).expect("an empty disk is a journal");
        Self { disk, journal: Some(journal), written: Vec::new(), round: 1, slot: 0 }
    }

    fn act(&mut self, act: u8, input: &mut Input<'_>) {
        match act % 8 {
            0 => {
                self.append(input);
                self.crash(input.bytes(12));
            }
            1 => self.restart(),
            2 => self.release(input),
            _ => {
                self.append(input);
                self.disk.borrow_mut().settle();
            }
        }
    }

    /// Commits a few records. They are durable only when the disk has settled.
    fn append(&mut self, input: &mut Input<'_>) {
        let count = input.below(3) + 1;
        let records: Vec<Record> = (0..count).map(|_| self.record(input)).collect();
        self.commit(&records);
    }

    fn commit(&mut self, records: &[Record]) {
        let journal = self.journal.take().expect("it was opened again");
        let summary = self.summary();
        let (journal, positions) =
            journal.append(records, || summary).expect("the disk works and records are small");
        for (record, position) in records.iter().zip(positions) {
            match self.written.last_mut() {
                Some(last) if last.position == position => last.records.push(record.clone()),
                Some(_) | None => {
                    self.written.push(Written { position, records: vec![record.clone()] });
                }
            }
        }
        self.keep_from(&journal);
        self.journal = Some(journal);
    }

    /// Forgets the batches of segments that were retired.
    fn keep_from(&mut self, journal: &Journal<SimStorage>) {
        let first = journal.segments().first().map_or(Generation::FIRST, |(first, _)| *first);
        self.written.retain(|batch| batch.position.generation >= first);
    }

    /// The disk dies before it has settled: of the newest commit, the last batches may be lost.
    fn crash(&mut self, tear: &[u8]) {
        self.journal = None;
        self.disk.borrow_mut().crash(&mut Chance::of_bytes(tear));
        let (journal, found) = open(&self.disk).expect("a crash damages no journal");
        self.disk.borrow_mut().settle();
        self.keep_from(&journal);
        assert!(is_prefix(&found, &self.written), "a batch is there as a whole or not at all");
        self.written.truncate(found.len());
        self.journal = Some(journal);
    }

    fn restart(&mut self) {
        self.journal = None;
        let (journal, found) = open(&self.disk).expect("a restart damages no journal");
        self.disk.borrow_mut().settle();
        assert_eq!(found.len(), self.written.len(), "a restart loses nothing");
        assert!(is_prefix(&found, &self.written), "a restart changes nothing");
        self.journal = Some(journal);
    }

    /// Lets old segments go, so that their files are used again.
    fn release(&mut self, input: &mut Input<'_>) {
        let journal = self.journal.as_mut().expect("it was opened again");
        let nth = input.below(journal.segments().len());
        if let Some((generation, _)) = journal.segments().get(nth) {
            let generation = *generation;
            journal.release_before(generation);
        }
        self.commit(&[Record::Trim { slot: Slot::new(self.slot) }]);
        self.disk.borrow_mut().settle();
    }

    fn record(&mut self, input: &mut Input<'_>) -> Record {
        self.round += u64::from(input.byte() % 2);
        self.slot += 1;
        let (ballot, slot) = (ballot(self.round), Slot::new(self.slot));
        let kind = input.byte();
        let batch = Batch::from_bytes(match input.below(250) {
            count if kind > 127 => Bytes::from(vec![kind; count]),
            // As values are UTF-8, none of them can hold the magic of a frame.
            count => input.bytes(count).iter().map(|byte| byte & 0x7F).collect(),
        });
        match kind % 6 {
            0 => Record::Promise { ballot },
            1 => Record::Trim { slot },
            2 => Record::Epoch { epoch: epoch(), active: kind > 127 },
            3 => Record::Entry {
                slot,
                ballot,
                first_index: Index::new(self.slot),
                skipped: vec![u32::from(kind)],
                delivered_at_ms: self.round,
                batch,
            },
            _ => Record::Vote { ballot, slot, batch },
        }
    }

    fn summary(&self) -> Summary {
        Summary::Acceptor {
            storage: StorageId(Uuid::from_u128(5)),
            promised: Some(ballot(self.round)),
            trimmed_slot: Slot::ZERO,
            highest_voted: Slot::new(self.slot),
            epoch: Some((epoch(), true)),
        }
    }
}

/// One harm to the disk; whether it is a small one, after which at most one batch may be missing.
fn harm(disk: &Rc<RefCell<Disk>>, written: &[Written], input: &mut Input<'_>) -> bool {
    let generations = generations(written);
    let Some(generation) = generations.get(input.below(generations.len())) else { return true };
    let mut disk = disk.borrow_mut();
    let kind = input.byte() % 5;
    let other = generations.get(input.below(generations.len())).copied();
    let from = input.below(SEGMENT_BYTES);
    let copied = other.and_then(|other| disk.bytes_of(other)).and_then(|it| it.get(from..));
    let copied = copied.unwrap_or_default().to_vec();
    let segment = disk.bytes_of(*generation).expect("a segment with batches is on the disk");
    let at = input.below(segment.len() + 1);
    let harmed = segment.get_mut(at..).unwrap_or_default();
    match kind {
        0 => {
            if let Some(byte) = harmed.first_mut() {
                *byte ^= 1 << (input.byte() % 8);
            }
            return true;
        }
        1 => {
            segment.truncate(at);
            return true;
        }
        2 => {
            let count = input.below(SEGMENT_BYTES);
            harmed.iter_mut().take(count).for_each(|byte| *byte = 0);
        }
        3 => {
            let count = input.below(64);
            harmed.iter_mut().zip(input.bytes(count)).for_each(|(to, from)| *to = *from);
        }
        // A write that went to the wrong place.
        _ => {
            let count = input.below(SEGMENT_BYTES);
            harmed.iter_mut().zip(copied).take(count).for_each(|(to, from)| *to = from);
        }
    }
    false
}

/// The bytes of the segments that hold batches.
fn segments_of(disk: &Rc<RefCell<Disk>>, written: &[Written]) -> Vec<(Generation, Vec<u8>)> {
    let mut disk = disk.borrow_mut();
    let bytes = |generation| disk.bytes_of(generation).map(|bytes| (generation, bytes.clone()));
    generations(written).into_iter().filter_map(bytes).collect()
}

fn generations(written: &[Written]) -> Vec<Generation> {
    let mut generations: Vec<_> = written.iter().map(|batch| batch.position.generation).collect();
    generations.dedup();
    generations
}

/// Opens the harmed disk, and compares with what was on it.
fn judge(
    disk: &Rc<RefCell<Disk>>,
    written: &[Written],
    before: &[(Generation, Vec<u8>)],
    is_small: bool,
) {
    let after = segments_of(disk, written);
    let is_harmed: Vec<bool> =
        written.iter().map(|batch| frame(before, batch) != frame(&after, batch)).collect();
    let (journal, found) = match open(disk) {
        Ok(opened) => opened,
        Err(
            error @ (JournalError::Damaged { .. }
            | JournalError::Missing { .. }
            | JournalError::Refused { .. }),
        ) => return assert_ne!(before, after, "nothing was harmed, and yet: {error}"),
        Err(error) => panic!("the disk works: {error}"),
    };
    let count = found.len();
    assert!(is_prefix(&found, written), "nothing comes to be that was not written");
    let first = is_harmed.iter().position(|harmed| *harmed).unwrap_or(written.len());
    assert_eq!(count, first, "what was not harmed is there, what was harmed is not");
    let lost = is_harmed.get(count..).unwrap_or_default();
    assert!(lost.iter().all(|harmed| *harmed), "no good batch is given up");
    assert!(!is_small || lost.len() <= 1, "a small harm costs the last batch at most");
    let later = written.get(count + 1..).unwrap_or_default();
    assert!(
        later.iter().all(|batch| header(before, batch) != header(&after, batch)),
        "a header that is there tells of the batch that is lost before it"
    );
    go_on(disk, journal, &found);
}

/// What was opened takes a further batch, and holds it.
fn go_on(disk: &Rc<RefCell<Disk>>, journal: Journal<SimStorage>, found: &[Written]) {
    let records = [Record::Promise { ballot: ballot(1 << 40) }];
    let summary = Summary::Acceptor {
        storage: StorageId(Uuid::from_u128(5)),
        promised: Some(ballot(1 << 40)),
        trimmed_slot: Slot::ZERO,
        highest_voted: Slot::new(1 << 40),
        epoch: None,
    };
    let (journal, positions) = journal.append(&records, || summary).expect("the disk works");
    drop(journal);
    disk.borrow_mut().settle();
    let (_, again) = open(disk).expect("a journal that was opened opens again");
    let (last, rest) = again.split_last().expect("something was just written");
    assert!(rest.len() == found.len() && is_prefix(rest, found), "what was there is still there");
    assert_eq!((Some(&last.position), &last.records[..]), (positions.first(), &records[..]));
}

/// The bytes of the header of a batch's frame on a disk.
fn header<'a>(segments: &'a [(Generation, Vec<u8>)], batch: &Written) -> Option<&'a [u8]> {
    frame(segments, batch)?.get(..HEADER)
}

/// The bytes of a batch's frame on a disk.
fn frame<'a>(segments: &'a [(Generation, Vec<u8>)], batch: &Written) -> Option<&'a [u8]> {
    let Position { generation, offset } = batch.position;
    let (_, segment) = segments.iter().find(|(found, _)| *found == generation)?;
    let frame = segment.get(usize::try_from(offset).ok()?..)?;
    let length = u32::from_le_bytes(frame.get(LENGTH)?.try_into().ok()?);
    frame.get(..HEADER + usize::try_from(length).ok()?)
}

fn is_prefix(found: &[Written], written: &[Written]) -> bool {
    let is_same = |(one, other): (&Written, &Written)| {
        one.position == other.position && one.records == other.records
    };
    found.len() <= written.len() && found.iter().zip(written).all(is_same)
}

/// The journal on `disk`, and its batches without the summaries.
fn open(disk: &Rc<RefCell<Disk>>) -> Result<(Journal<SimStorage>, Vec<Written>), JournalError> {
    let mut found: Vec<Written> = Vec::new();
    let storage = SimStorage(Rc::clone(disk));
    let (journal, _) = Journal::open(storage, None, |position, record| {
        if found.last().is_none_or(|last| last.position != position) {
            found.push(Written { position, records: Vec::new() });
        }
        if let (Some(batch), false) = (found.last_mut(), matches!(record, Record::Summary(_))) {
            batch.records.push(record);
        }
        Ok(())
    })?;
    Ok((journal, found))
}

fn ballot(round: u64) -> Ballot {
    let proposer = ProposerId(NodeId::new(1).expect("1 is an id"));
    Ballot { round, proposer, incarnation: Incarnation(1) }
}

fn epoch() -> Epoch {
    Epoch {
        cluster: "fuzzed".to_owned(),
        acceptors: std::collections::BTreeMap::new(),
        learners: std::collections::BTreeSet::new(),
        limits: LogLimits { idempotency_window: 1, session_window: 1, sessions_max: 1 },
    }
}
