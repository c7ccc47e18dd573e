//! The journal: the one door between a decision and its answer.
//!
//! A role hands its answers over sealed, as [`Pending`]; only [`Journal::commit`] opens them, after
//! the records that they stand on are durable. All that waits is one batch: one contiguous write,
//! one sync. Batch n+1 is written only after batch n is synced, and from that follows how a journal
//! is read after a crash: a bad batch with a good one behind it, or the header of one, is *damage*,
//! and refused; a bad last batch is a *torn tail*, which nobody was answered for, and cut.
//!
//! Rot of the last batch alone cannot be told from a torn tail, nor can rot of all from some batch
//! to the end. They lie outside of the fault model.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod frame;
#[cfg(test)]
pub(crate) mod memory;
mod recovery;
#[cfg(test)]
pub(crate) mod torture;

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use self::frame::{ALIGNMENT, Found, HEADER, Stamp, Window};
pub use self::recovery::{Recovery, Torn};
use super::record::{Record, Summary};
use crate::types::{Ballot, Bug, Index, Slot, planted};

/// The number of a segment: 1, 2, 3, …, never used twice, also when its file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// The first segment.
    pub const FIRST: Self = Self(1);

    /// The segment numbered `number`.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The segment after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment.
    pub generation: Generation,
    /// Bytes from the segment's start.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.generation, self.offset)
    }
}

/// What a storage says when it fails; it names the file.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StorageError(Box<dyn std::error::Error + Send + Sync>);

impl StorageError {
    /// The failure `source`.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// How far a segment reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// To the end that it was created with, behind so many bytes.
    Whole(u64),
    /// Its end is missing: it breaks off behind so many bytes.
    Cut(u64),
}

/// The port to the disk: numbered segments of one size, written at positions.
pub trait Storage: fmt::Debug {
    /// The segments there are, ascending.
    fn segments(&self) -> Vec<Generation>;

    /// Bytes of a new segment.
    fn segment_bytes(&self) -> u64;

    /// How far a segment reaches. A journal whose segment was cut short is refused: what stood
    /// behind the cut may have been answered.
    ///
    /// # Errors
    /// When the segment does not exist or cannot be read.
    fn extent(&self, generation: Generation) -> Result<Extent, StorageError>;

    /// Up to `length` bytes from `offset`; fewer only at the end of the segment. A torn header may
    /// ask for 4 GiB: no more memory is taken than the segment has bytes.
    ///
    /// # Errors
    /// When the segment does not exist or cannot be read.
    fn read(
        &self,
        generation: Generation,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StorageError>;

    /// Creates a segment of zeros, or of what a retired segment held. On return its name is
    /// durable.
    ///
    /// # Errors
    /// When the disk refuses, as when it is full.
    fn create(&mut self, generation: Generation) -> Result<(), StorageError>;

    /// Writes all of `bytes` at `offset`; they are durable only after [`Storage::sync`]. Behind
    /// them, as far as the end of a block of 4096 bytes, may stand zeros then.
    ///
    /// # Errors
    /// When the disk refuses.
    fn write(
        &mut self,
        generation: Generation,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError>;

    /// Makes every write to the segment durable.
    ///
    /// # Errors
    /// When the disk refuses. What was written since the last sync is then in doubt for ever.
    fn sync(&mut self, generation: Generation) -> Result<(), StorageError>;

    /// Gives a segment up. It may go later than this returns, but never before an older one.
    ///
    /// # Errors
    /// When the disk refuses, or has refused an earlier retirement.
    fn retire(&mut self, generation: Generation) -> Result<(), StorageError>;
}

/// Why a journal cannot go on. State on disk is as it was after the last commit that succeeded,
/// perhaps with a torn batch behind it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The storage failed.
    #[error("{act} at {position}")]
    Storage {
        /// What was attempted.
        act: &'static str,
        /// Where.
        position: Position,
        /// What the storage says.
        source: StorageError,
    },
    /// What was durable no longer reads back.
    #[error("the journal is damaged at segment {segment} offset {offset}: {reason}")]
    Damaged {
        /// The segment.
        segment: Generation,
        /// Bytes from its start.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A segment that is still needed does not exist.
    #[error("segment {segment} of the journal is missing")]
    Missing {
        /// The segment.
        segment: Generation,
    },
    /// The reader of the records found them impossible.
    #[error("the record at {position} cannot be: {reason}")]
    Refused {
        /// Where its batch stands.
        position: Position,
        /// Its words.
        reason: String,
    },
    /// One record exceeds a segment.
    #[error("a record needs {bytes} bytes of a segment, which has {capacity} beside its summary")]
    TooLarge {
        /// Bytes of the record.
        bytes: usize,
        /// Bytes that a segment has for it.
        capacity: usize,
    },
    /// Segments of a size that cannot work.
    #[error("segments of {bytes} bytes: at least 256 and less than 4 GiB are possible")]
    SegmentSize {
        /// The size asked for.
        bytes: u64,
    },
}

impl JournalError {
    fn storage(act: &'static str, position: Position) -> impl FnOnce(StorageError) -> Self {
        move |source| Self::Storage { act, position, source }
    }

    fn damaged(position: Position, reason: impl fmt::Display) -> Self {
        let Position { generation: segment, offset } = position;
        Self::Damaged { segment, offset, reason: reason.to_string() }
    }
}

/// A sealed answer: it leaves only through [`Journal::commit`], once its record is durable.
///
/// A positive answer carries its record also when it repeats one, so that it can never overtake the
/// sync of the first. There is no way to look inside:
///
/// ```compile_fail,E0616
/// fn early<T>(pending: paxosd::paxos::journal::Pending<T>) -> T {
///     pending.reply
/// }
/// ```
#[must_use = "an answer leaves only through a commit"]
pub struct Pending<T> {
    record: Option<Record>,
    reply: T,
}

impl<T> fmt::Debug for Pending<T> {
    /// Shows the record alone: the answer does not leave as text either.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("record", &self.record).finish_non_exhaustive()
    }
}

impl<T> Pending<T> {
    /// An answer that may leave once `record` is durable.
    pub const fn after(record: Record, reply: T) -> Self {
        Self { record: Some(record), reply }
    }

    /// A refusal: nothing to write, but it keeps its place among the answers.
    pub const fn in_order(reply: T) -> Self {
        Self { record: None, reply }
    }

    /// Attaches a companion, such as the one who waits for the answer, without opening it.
    pub fn with<U>(self, companion: U) -> Pending<(U, T)> {
        Pending { record: self.record, reply: (companion, self.reply) }
    }
}

/// What a segment holds, known without reading it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// What it opens with.
    pub summary: Summary,
    /// Slot and first index of its first [`Record::Entry`].
    pub first_entry: Option<(Slot, Index)>,
    /// The highest slot of a [`Record::Vote`] in it; zero without one. Of a segment that
    /// [`Journal::open`] skipped, only its first batch counts.
    pub highest_vote: Slot,
}

/// The records of one batch, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// In the order in which they were committed. The first of a segment is its summary.
    pub records: Vec<Record>,
    /// Where the next batch of the segment stands, if it has one.
    pub next: Position,
}

/// A journal over segments.
///
/// A failed commit consumes it, so that a failed sync cannot be tried again: what is on disk is
/// then unknown, and only a new start finds out.
///
/// ```
/// use paxosd::paxos::journal::{Journal, JournalError, Pending, Storage};
/// use paxosd::paxos::record::Summary;
///
/// fn turn<S: Storage>(
///     journal: Journal<S>,
///     summary: fn() -> Summary,
/// ) -> Result<Journal<S>, JournalError> {
///     let (journal, replies) = journal.commit(vec![Pending::in_order("no")], summary)?;
///     assert_eq!(replies, ["no"]);
///     Ok(journal)
/// }
/// ```
///
/// ```compile_fail,E0382
/// use paxosd::paxos::journal::{Journal, Pending, Storage};
/// use paxosd::paxos::record::Summary;
///
/// fn again<S: Storage>(journal: Journal<S>, summary: fn() -> Summary) {
///     if journal.commit(vec![Pending::in_order(())], summary).is_err() {
///         drop(journal.commit(vec![Pending::in_order(())], summary));
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Journal<S> {
    storage: S,
    /// Segments with a durable batch, ascending.
    segments: Vec<(Generation, SegmentInfo)>,
    /// Where the next batch goes; at offset 0 into a segment created but still empty.
    tail: Option<Position>,
    /// Bytes of the segment of `tail`, which may be of an earlier size.
    tail_bytes: u64,
    /// Of the last durable batch; they count from 1.
    sequence: u64,
    /// The oldest segment that is still needed; durable with the end of the next commit.
    needed: Generation,
    /// The same as the newest durable batch tells it: what comes before may have gone.
    floor: Generation,
    /// The highest promise that is durable.
    promised: Option<Ballot>,
    body: BytesMut,
    opening: BytesMut,
    staged: Vec<Staged>,
}

/// A record of the commit under way, encoded in `body`.
#[derive(Debug, Clone, Copy)]
struct Staged {
    end: usize,
    vote: Slot,
    entry: Option<(Slot, Index)>,
}

impl Staged {
    fn of(record: &Record, end: usize) -> Self {
        let (vote, entry) = match record {
            Record::Vote { slot, .. } => (*slot, None),
            Record::Entry { slot, first_index, .. } => (Slot::ZERO, Some((*slot, *first_index))),
            Record::Summary(_)
            | Record::Epoch { .. }
            | Record::Promise { .. }
            | Record::Trim { .. } => (Slot::ZERO, None),
        };
        Self { end, vote, entry }
    }
}

impl SegmentInfo {
    const fn new(summary: Summary) -> Self {
        Self { summary, first_entry: None, highest_vote: Slot::ZERO }
    }

    fn note(&mut self, staged: Staged) {
        self.highest_vote = self.highest_vote.max(staged.vote);
        self.first_entry = self.first_entry.or(staged.entry);
    }
}

impl<S: Storage> Journal<S> {
    /// Makes the records of `batch` durable, in one write and one sync, and opens its answers.
    ///
    /// `summary` tells the state after this batch; it is called when a segment must be opened. A
    /// batch without records costs nothing. One that exceeds a segment is written in parts, each
    /// synced before the next; the answers wait for all of them.
    ///
    /// # Errors
    /// When the storage fails, or when one record alone exceeds a segment. The journal is consumed.
    ///
    /// # Panics
    /// When a record falls below the highest promise: an acceptor with such a fault must not
    /// answer.
    pub fn commit<T>(
        mut self,
        batch: Vec<Pending<T>>,
        summary: impl FnOnce() -> Summary,
    ) -> Result<(Self, Vec<T>), JournalError> {
        self.stage(batch.iter().filter_map(|pending| pending.record.as_ref()));
        self.write_staged(summary, |_| ())?;
        Ok((self, batch.into_iter().map(|pending| pending.reply).collect()))
    }

    /// Makes `records` durable as [`Journal::commit`] does, and tells for each where its batch
    /// stands.
    ///
    /// # Errors
    /// As of [`Journal::commit`].
    ///
    /// # Panics
    /// As [`Journal::commit`].
    pub fn append(
        mut self,
        records: &[Record],
        summary: impl FnOnce() -> Summary,
    ) -> Result<(Self, Vec<Position>), JournalError> {
        let mut positions = Vec::with_capacity(records.len());
        self.stage(records.iter());
        self.write_staged(summary, |position| positions.push(position))?;
        Ok((self, positions))
    }

    /// Reads the batch at `position` and verifies it.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn read(&self, position: Position) -> Result<Frame, JournalError> {
        read_batch(position, |offset, length| {
            self.storage.read(position.generation, offset, length)
        })
    }

    /// The segments with a durable batch, ascending.
    #[must_use]
    pub fn segments(&self) -> &[(Generation, SegmentInfo)] {
        &self.segments
    }

    /// Bytes of the segments that are still needed, each counted whole.
    #[must_use]
    pub fn bytes_in_use(&self) -> u64 {
        let live = self.tail.map_or(0, |tail| tail.generation.get() + 1 - self.needed.get());
        live.saturating_mul(self.storage.segment_bytes())
    }

    /// Says that the segments before `needed` may go. The current segment always stays.
    ///
    /// They go after the next commit that has records: its last batch first makes durable that
    /// they are no longer needed, so that a file that vanished by other means is always noticed.
    pub fn release_before(&mut self, needed: Generation) {
        if let Some((current, _)) = self.segments.last() {
            self.needed = self.needed.max(needed.min(*current));
        }
    }

    /// Says that every vote through `slot` may go: the oldest segments without a higher vote go as
    /// [`Journal::release_before`] tells. Commit the [`Record::Trim`] next.
    pub fn release_votes(&mut self, slot: Slot) {
        let needed = self.segments.iter().find(|(_, info)| info.highest_vote > slot);
        if let Some((generation, _)) = needed.or(self.segments.last()) {
            self.release_before(*generation);
        }
    }

    /// Encodes the records, each once, behind room for a header.
    fn stage<'a>(&mut self, records: impl Iterator<Item = &'a Record>) {
        frame::begin(&mut self.body);
        self.staged.clear();
        for record in records {
            if let Some(ballot) = record.promises() {
                assert!(Some(ballot) >= self.promised, "a durable promise never falls");
                self.promised = Some(ballot);
            }
            frame::push(&mut self.body, record);
            self.staged.push(Staged::of(record, self.body.len()));
        }
    }

    /// Writes what is staged, as one batch wherever it fits.
    fn write_staged(
        &mut self,
        summary: impl FnOnce() -> Summary,
        mut written: impl FnMut(Position),
    ) -> Result<(), JournalError> {
        let mut summary = Opening::Uncalled(Some(summary));
        let count = self.staged.len();
        let mut from = 0;
        while from < count {
            let open = self.tail.filter(|tail| tail.offset > 0);
            let left = open.map_or(0, |tail| room(self.tail_bytes, tail.offset));
            let rest = self.body.len() - self.start_of(from);
            let (position, until) = match open {
                Some(tail) if rest <= left => (tail, count),
                Some(_) | None => {
                    let promised = self.promised;
                    let bytes = summary.encoded(&mut self.opening, promised);
                    let fresh = room(self.fresh_bytes(), 0).saturating_sub(bytes);
                    match open {
                        Some(tail) if rest > fresh && self.fitting(from, left) > from => {
                            (tail, self.fitting(from, left))
                        }
                        Some(_) | None => (self.next_segment()?, self.fitting(from, fresh)),
                    }
                }
            };
            if until == from {
                return Err(JournalError::TooLarge {
                    bytes: self.end_of(from) - self.start_of(from),
                    capacity: room(self.tail_bytes, 0).saturating_sub(self.opening.len()),
                });
            }
            self.write_batch(position, from, until, &summary)?;
            for _ in from..until {
                written(position);
            }
            from = until;
        }
        Ok(())
    }

    /// Writes one batch at `position`, syncs it, and lets go of what it made needless.
    fn write_batch<F>(
        &mut self,
        position: Position,
        from: usize,
        until: usize,
        summary: &Opening<F>,
    ) -> Result<(), JournalError> {
        let Position { generation, offset } = position;
        // What makes a segment needless may stand in the last part of a commit: a crash behind an
        // earlier part must find every segment.
        if until == self.staged.len() || planted(Bug::ReleaseWithFirstPart) {
            self.floor = self.needed;
        }
        if planted(Bug::RetireEarly) {
            self.retire_released()?;
        }
        let stamp = Stamp { generation, sequence: self.sequence + 1, floor: self.floor };
        let whole = offset > 0 && from == 0 && until == self.staged.len();
        let mut frame =
            if whole { std::mem::take(&mut self.body) } else { self.assemble(offset, from, until) };
        frame::seal(&mut frame, stamp);
        let end = offset + u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let behind = self.tail_bytes.saturating_sub(end);
        frame.put_bytes(0, usize::try_from(behind).map_or(HEADER, |behind| behind.min(HEADER)));

        self.storage
            .write(generation, offset, &frame)
            .map_err(JournalError::storage("write a batch", position))?;
        if !planted(Bug::AnswerBeforeSync) {
            self.storage
                .sync(generation)
                .map_err(JournalError::storage("sync a batch", position))?;
        }

        if whole {
            self.body = frame;
        }
        self.sequence += 1;
        self.tail = Some(Position { generation, offset: end });
        if offset == 0
            && let Opening::Called(summary) = summary
        {
            self.segments.push((generation, SegmentInfo::new(summary.clone())));
        }
        if let Some((_, info)) = self.segments.last_mut() {
            self.staged.iter().take(until).skip(from).for_each(|staged| info.note(*staged));
        }
        self.retire_released()
    }

    /// A frame of a part of what is staged, behind the summary where it opens a segment.
    fn assemble(&self, offset: u64, from: usize, until: usize) -> BytesMut {
        let mut frame = BytesMut::new();
        frame::begin(&mut frame);
        if offset == 0 {
            frame.put_slice(&self.opening);
        }
        let part = self.start_of(from)..self.start_of(until);
        frame.put_slice(self.body.get(part).expect("staged records lie in the body"));
        frame
    }

    /// Retires the segments below the durable floor, the oldest first.
    fn retire_released(&mut self) -> Result<(), JournalError> {
        let released = self.segments.partition_point(|(generation, _)| *generation < self.floor);
        for (generation, _) in self.segments.drain(..released) {
            let position = Position { generation, offset: 0 };
            self.storage
                .retire(generation)
                .map_err(JournalError::storage("retire a segment", position))?;
        }
        Ok(())
    }

    /// The start of an empty segment: the one at hand, or else a new one.
    fn next_segment(&mut self) -> Result<Position, JournalError> {
        let generation = match self.tail {
            Some(tail) if tail.offset == 0 => return Ok(tail),
            Some(tail) => tail.generation.next(),
            None => Generation::FIRST,
        };
        let position = Position { generation, offset: 0 };
        self.storage
            .create(generation)
            .map_err(JournalError::storage("create a segment", position))?;
        self.tail = Some(position);
        self.tail_bytes = self.storage.segment_bytes();
        Ok(position)
    }

    /// Bytes of the segment that [`Self::next_segment`] comes to.
    fn fresh_bytes(&self) -> u64 {
        match self.tail {
            Some(tail) if tail.offset == 0 => self.tail_bytes,
            Some(_) | None => self.storage.segment_bytes(),
        }
    }

    /// The end of the longest run of staged records from `from` on that takes at most `room` bytes.
    fn fitting(&self, from: usize, room: usize) -> usize {
        let start = self.start_of(from);
        self.staged.partition_point(|staged| staged.end.saturating_sub(start) <= room).max(from)
    }

    fn start_of(&self, staged: usize) -> usize {
        staged.checked_sub(1).map_or(HEADER, |before| self.end_of(before))
    }

    fn end_of(&self, staged: usize) -> usize {
        self.staged.get(staged).map_or(self.body.len(), |staged| staged.end)
    }
}

/// Bytes of payload that fit behind `offset` into a segment of `segment_bytes` bytes.
fn room(segment_bytes: u64, offset: u64) -> usize {
    let bytes = usize::try_from(segment_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
    (bytes / ALIGNMENT * ALIGNMENT).saturating_sub(HEADER)
}

/// The summary of a commit, asked for at most once.
enum Opening<F> {
    Uncalled(Option<F>),
    Called(Summary),
}

impl<F: FnOnce() -> Summary> Opening<F> {
    /// Encodes it into `opening` when it is first needed; tells its length.
    fn encoded(&mut self, opening: &mut BytesMut, promised: Option<Ballot>) -> usize {
        if let Self::Uncalled(ask) = self
            && let Some(ask) = ask.take()
        {
            let summary = ask();
            if let Summary::Acceptor { promised: summed, .. } = &summary {
                assert!(*summed >= promised, "a summary never forgets a promise");
            }
            let record = Record::Summary(summary);
            opening.clear();
            frame::push(opening, &record);
            if let Record::Summary(summary) = record {
                *self = Self::Called(summary);
            }
        }
        opening.len()
    }
}

/// Bytes that a reader asks for at first; most batches are shorter.
const FIRST_READ: usize = 16 << 10;

/// Reads and verifies the batch at `position`; `read` is a positional read in its segment.
///
/// # Errors
/// When it cannot be read, or is not a batch of that segment: also when its segment was retired.
pub fn read_batch(
    position: Position,
    read: impl FnMut(u64, usize) -> Result<Bytes, StorageError>,
) -> Result<Frame, JournalError> {
    let frame = find_batch(position, read)?;
    frame.ok_or_else(|| JournalError::damaged(position, "no batch stands here"))
}

/// As [`read_batch`], but `None` where the segment ends at `position`.
///
/// # Errors
/// As of [`read_batch`].
pub fn find_batch(
    position: Position,
    read: impl FnMut(u64, usize) -> Result<Bytes, StorageError>,
) -> Result<Option<Frame>, JournalError> {
    let found = Window::new(read, FIRST_READ)
        .examine(position.offset)
        .map_err(JournalError::storage("read a batch", position))?;
    let sealed = match found {
        Found::Sealed(sealed) => sealed,
        Found::Blank => return Ok(None),
        Found::Bad { reason, .. } => return Err(JournalError::damaged(position, reason)),
    };
    if sealed.stamp.generation != position.generation {
        let reason = format!("this batch is of segment {}", sealed.stamp.generation);
        return Err(JournalError::damaged(position, reason));
    }
    let records = sealed.records().map_err(|reason| JournalError::damaged(position, reason))?;
    Ok(Some(Frame { records, next: Position { offset: sealed.end, ..position } }))
}
