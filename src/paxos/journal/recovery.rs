//! Opening a journal: what was durable is read back, a torn tail is cut, damage is refused.

use bytes::{Bytes, BytesMut};

use super::frame::{Behind, Found, Sealed, WINDOW, Window};
use super::{
    Extent, FIRST_READ, Generation, Journal, JournalError, Position, SegmentInfo, Staged, Storage,
    StorageError,
};
use crate::paxos::record::{Record, Summary};
use crate::types::{Ballot, Bug, planted};

/// What opening a journal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Segments with a durable batch, also those that were skipped.
    pub segments: usize,
    /// Batches read.
    pub batches: u64,
    /// Records read, summaries included.
    pub records: u64,
    /// The batch that a crash cut short, if there was one; nobody was answered for it.
    pub torn: Option<Torn>,
}

/// A torn batch, cut from the end of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Where it stood.
    pub position: Position,
    /// Bytes cleared, to the end of the segment.
    pub bytes: u64,
    /// What was wrong with it.
    pub reason: &'static str,
}

impl<S: Storage> Journal<S> {
    /// Opens the journal that `storage` holds, perhaps an empty one, and hands every durable record
    /// to `visit`, in order.
    ///
    /// Of the segments before `from`, only the first batch is read, and not visited; what they hold
    /// is known from [`Journal::segments`]. `visit` may refuse a record that cannot be.
    ///
    /// A torn tail is cleared, and the last segment synced: what was read may have been in memory
    /// only. Segments released before a crash are retired.
    ///
    /// # Errors
    /// When a batch that was durable does not read back, a segment is missing, `visit` refuses, or
    /// the storage fails. Nothing was changed on disk then, except that a torn tail may be cleared.
    pub fn open(
        mut storage: S,
        from: Option<Generation>,
        visit: impl FnMut(Position, Record) -> Result<(), String>,
    ) -> Result<(Self, Recovery), JournalError> {
        let bytes = storage.segment_bytes();
        if !(256..u64::from(u32::MAX)).contains(&bytes) {
            return Err(JournalError::SegmentSize { bytes });
        }
        let generations = storage.segments();
        check_contiguous(&generations, from)?;
        let tail_bytes = check_whole(&storage, &generations)?;
        let mut replay = Replay { visit, past: Past::default(), found: Recovery::default() };
        let mut tail = None;
        if let Some((last, before)) = generations.split_last() {
            for generation in before {
                if from.is_some_and(|from| *generation < from) {
                    replay.skip(&storage, *generation)?;
                } else {
                    replay.read_closed(&storage, *generation)?;
                }
            }
            tail = Some(replay.read_last(&mut storage, *last)?);
        }
        let Replay { past, mut found, .. } = replay;
        found.segments = past.segments.len();
        let floor = past.floor.unwrap_or(Generation::FIRST);
        if generations.first().is_some_and(|first| *first > floor) {
            // A file goes only after a batch that says so is durable: this one went otherwise.
            return Err(JournalError::Missing { segment: floor });
        }
        let mut journal = Self {
            storage,
            segments: past.segments,
            tail,
            tail_bytes,
            sequence: past.sequence.unwrap_or(0),
            needed: floor,
            floor,
            promised: past.promised.max(past.summed),
            body: BytesMut::new(),
            opening: BytesMut::new(),
            staged: Vec::new(),
        };
        journal.retire_released()?;
        Ok((journal, found))
    }
}

/// Refuses a gap between segments, and a start that does not exist.
fn check_contiguous(
    generations: &[Generation],
    from: Option<Generation>,
) -> Result<(), JournalError> {
    for (one, other) in generations.iter().zip(generations.iter().skip(1)) {
        if one.next() != *other {
            return Err(JournalError::Missing { segment: one.next() });
        }
    }
    match from {
        Some(segment) if generations.last().is_none_or(|last| *last < segment) => {
            Err(JournalError::Missing { segment })
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a segment that was cut short, also at its very end: no crash does that, and what stood
/// behind the cut is unknown. Tells the bytes of the last segment.
fn check_whole<S: Storage>(storage: &S, generations: &[Generation]) -> Result<u64, JournalError> {
    let mut last = 0;
    for &generation in generations {
        let position = Position { generation, offset: 0 };
        let extent = storage
            .extent(generation)
            .map_err(JournalError::storage("measure a segment", position))?;
        match extent {
            Extent::Whole(bytes) => last = bytes,
            Extent::Cut(offset) => {
                let position = Position { generation, offset };
                return Err(JournalError::damaged(position, "the segment was cut short here"));
            }
        }
    }
    Ok(last)
}

/// What was read so far.
#[derive(Debug, Default)]
struct Past {
    segments: Vec<(Generation, SegmentInfo)>,
    sequence: Option<u64>,
    /// Whether batches behind the last one read were skipped.
    skipped: bool,
    floor: Option<Generation>,
    /// The highest promise of a record.
    promised: Option<Ballot>,
    /// The highest promise of a summary. It may run ahead of the records of its own commit.
    summed: Option<Ballot>,
}

impl Past {
    /// Checks a batch against the ones before it, and remembers it.
    fn follow(
        &mut self,
        position: Position,
        sealed: &Sealed,
        skipping: bool,
    ) -> Result<(), String> {
        let stamp = sealed.stamp;
        if stamp.generation != position.generation {
            return Err(format!("a batch of segment {} stands in its place", stamp.generation));
        }
        if let Some(expected) = self.expected(position) {
            let follows = stamp.sequence == expected || self.skipped && stamp.sequence > expected;
            if !follows {
                return Err(format!("batch {expected} is lost: this is batch {}", stamp.sequence));
            }
        }
        if Some(stamp.floor) < self.floor {
            return Err(format!("the oldest needed segment falls to {}", stamp.floor));
        }
        self.sequence = Some(stamp.sequence);
        self.skipped = skipping;
        self.floor = Some(stamp.floor);
        Ok(())
    }

    /// The sequence of the batch at `position`, or the least that it can have where batches were
    /// skipped.
    fn expected(&self, position: Position) -> Option<u64> {
        let first = position.generation == Generation::FIRST && position.offset == 0;
        if first { Some(1) } else { self.sequence.map(|before| before + 1) }
    }

    /// Checks a record against the ones before it, and remembers it.
    fn note(&mut self, opens: bool, generation: Generation, record: &Record) -> Result<(), String> {
        if let Record::Summary(summary) = record {
            if !opens {
                return Err("a summary stands inside a segment".to_owned());
            }
            if let Summary::Acceptor { promised, .. } = summary {
                if *promised < self.promised.max(self.summed) {
                    return Err("the summary forgets a promise".to_owned());
                }
                self.summed = *promised;
            }
            self.segments.push((generation, SegmentInfo::new(summary.clone())));
            return Ok(());
        }
        if opens {
            return Err("the segment does not open with a summary".to_owned());
        }
        if let Some(ballot) = record.promises() {
            if Some(ballot) < self.promised {
                return Err(format!("the promise falls to {ballot}"));
            }
            self.promised = Some(ballot);
        }
        if let Some((_, info)) = self.segments.last_mut() {
            info.note(Staged::of(record, 0));
        }
        Ok(())
    }
}

/// Where the batches of a segment end, and why there.
struct End {
    position: Position,
    bad: Option<&'static str>,
    length: u64,
}

/// The reading of one journal.
struct Replay<V> {
    visit: V,
    past: Past,
    found: Recovery,
}

impl<V: FnMut(Position, Record) -> Result<(), String>> Replay<V> {
    /// Reads the first batch of a segment that the caller does not need.
    fn skip<S: Storage>(
        &mut self,
        storage: &S,
        generation: Generation,
    ) -> Result<(), JournalError> {
        let position = Position { generation, offset: 0 };
        let found = Window::new(reader(storage, generation), FIRST_READ)
            .examine(0)
            .map_err(JournalError::storage("read a segment", position))?;
        match found {
            Found::Sealed(sealed) => self.take(position, &sealed, true),
            Found::Blank => Err(JournalError::damaged(position, "the segment is empty")),
            Found::Bad { reason, .. } => Err(JournalError::damaged(position, reason)),
        }
    }

    /// Reads a segment that has a later one, and so was whole when that one was created.
    fn read_closed<S: Storage>(
        &mut self,
        storage: &S,
        generation: Generation,
    ) -> Result<(), JournalError> {
        let End { position, bad, .. } = self.read_segment(storage, generation)?;
        match bad {
            Some(reason) => Err(JournalError::damaged(position, reason)),
            None if position.offset == 0 => {
                Err(JournalError::damaged(position, "the segment is empty"))
            }
            None => Ok(()),
        }
    }

    /// Reads the last segment, and clears a torn tail. What the bytes behind a torn header once
    /// were is unknown, so all of them go: nothing may ever be taken for a later batch.
    fn read_last<S: Storage>(
        &mut self,
        storage: &mut S,
        generation: Generation,
    ) -> Result<Position, JournalError> {
        let End { position, bad, length: file_end } = self.read_segment(storage, generation)?;
        if let Some(reason) = bad {
            let zeros = vec![0; WINDOW];
            let mut offset = position.offset;
            while offset < file_end {
                let length = usize::try_from(file_end - offset).map_or(WINDOW, |n| n.min(WINDOW));
                let part = zeros.get(..length).unwrap_or(&zeros);
                storage
                    .write(generation, offset, part)
                    .map_err(JournalError::storage("clear a torn batch", position))?;
                offset += u64::try_from(length).unwrap_or(u64::MAX);
            }
            let bytes = file_end - position.offset;
            self.found.torn = Some(Torn { position, bytes, reason });
        }
        storage
            .sync(generation)
            .map_err(JournalError::storage("sync what was recovered", position))?;
        Ok(position)
    }

    /// Reads the batches of a segment, and makes sure that none stands behind their end.
    fn read_segment<S: Storage>(
        &mut self,
        storage: &S,
        generation: Generation,
    ) -> Result<End, JournalError> {
        let mut position = Position { generation, offset: 0 };
        let mut window = Window::new(reader(storage, generation), WINDOW);
        let bad = loop {
            let found = window
                .examine(position.offset)
                .map_err(JournalError::storage("read a segment", position))?;
            match found {
                Found::Sealed(sealed) if sealed.stamp.generation < generation => break None,
                Found::Sealed(sealed) => {
                    self.take(position, &sealed, false)?;
                    position.offset = sealed.end;
                }
                Found::Blank => break None,
                Found::Bad { reason, .. } => break Some(reason),
            }
        };
        let expected = self.past.expected(position).filter(|_| !self.past.skipped);
        let (behind, file_end) = window
            .search(position.offset, generation, expected)
            .map_err(JournalError::storage("read a segment", position))?;
        if let Some(behind) = behind
            && !planted(Bug::CutTheMiddle)
        {
            let what = bad.unwrap_or("no batch");
            let reason = match behind {
                Behind::Whole { offset } => {
                    format!("{what}, and yet a good batch stands behind it at {offset}")
                }
                Behind::Torn { offset, sequence } => format!(
                    "{what}, and a batch is lost here: a torn one at {offset} is number {sequence}"
                ),
            };
            return Err(JournalError::damaged(position, reason));
        }
        Ok(End { position, bad, length: file_end })
    }

    /// Checks one batch, and hands its records on unless its segment is skipped.
    fn take(
        &mut self,
        position: Position,
        sealed: &Sealed,
        skipping: bool,
    ) -> Result<(), JournalError> {
        self.past
            .follow(position, sealed, skipping)
            .map_err(|reason| JournalError::damaged(position, reason))?;
        let records = sealed.records().map_err(|reason| JournalError::damaged(position, reason))?;
        if position.offset == 0 && records.is_empty() {
            return Err(JournalError::damaged(
                position,
                "the segment does not open with a summary",
            ));
        }
        self.found.batches += 1;
        for (nth, record) in records.into_iter().enumerate() {
            let opens = position.offset == 0 && nth == 0;
            self.past
                .note(opens, position.generation, &record)
                .map_err(|reason| JournalError::damaged(position, reason))?;
            self.found.records += 1;
            if !skipping {
                (self.visit)(position, record)
                    .map_err(|reason| JournalError::Refused { position, reason })?;
            }
        }
        Ok(())
    }
}

fn reader<S: Storage>(
    storage: &S,
    generation: Generation,
) -> impl FnMut(u64, usize) -> Result<Bytes, StorageError> {
    move |offset, length| storage.read(generation, offset, length)
}
