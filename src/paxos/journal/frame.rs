//! The frame of a batch: one header and one checksum for all the records of one commit.
//!
//! ```text
//! magic 4 | crc32c 4 | payload length 4 | version 4 |
//! generation 8 | sequence 8 | floor 8 | payload
//! ```
//!
//! All numbers are little-endian; the checksum covers everything behind it, to the end of the
//! payload. The payload is records, each behind its length (4 bytes). A frame starts at a multiple
//! of eight, and zeros in the size of a header are written behind it: in a recycled file they part
//! the last batch from what the file held before.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Generation, StorageError};
use crate::paxos::record::{Record, RecordError};
use crate::types::{Bug, planted};

/// Bytes of a header.
pub(super) const HEADER: usize = 40;
/// Frames start at its multiples.
pub(super) const ALIGNMENT: usize = 8;
/// Not UTF-8, so that no value, which is JSON, can look like a frame.
pub(super) const MAGIC: [u8; 4] = [0xFF, b'P', b'X', 0xFE];
/// Bytes read at once.
pub(super) const WINDOW: usize = 1 << 20;

const VERSION: u32 = 1;
/// Where the part that the checksum covers starts.
const CHECKED: usize = 8;

/// What a header says besides the length and the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) generation: Generation,
    pub(super) sequence: u64,
    /// The oldest segment that is still needed.
    pub(super) floor: Generation,
}

/// A whole frame, its checksum verified.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) stamp: Stamp,
    version: u32,
    payload: Bytes,
    /// Where the next frame of the segment starts.
    pub(super) end: u64,
}

/// What stands at an offset of a segment.
#[derive(Debug)]
pub(super) enum Found {
    /// A frame.
    Sealed(Sealed),
    /// Nothing: zeros, or too little room for a header.
    Blank,
    /// Bytes that are no frame, why, and what the header says, where there is one.
    Bad { reason: &'static str, stamp: Option<Stamp> },
}

/// Where what proves that a batch once stood before it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// A whole frame.
    Whole { offset: u64 },
    /// A frame of which the header alone is known.
    Torn { offset: u64, sequence: u64 },
}

/// Why a whole frame holds no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    #[error("the batch has format version {0}, which this paxosd does not know")]
    Version(u32),
    #[error("the batch ends inside a record")]
    Length,
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The bytes that a frame with `payload` bytes of payload takes, without the zeros behind it.
pub(super) const fn frame_bytes(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(ALIGNMENT)
}

/// Empties `frame` and makes room for the header.
pub(super) fn begin(frame: &mut BytesMut) {
    frame.clear();
    frame.put_bytes(0, HEADER);
}

/// Appends `record` behind its length.
pub(super) fn push(frame: &mut BytesMut, record: &Record) {
    let start = frame.len();
    frame.put_u32_le(0);
    record.encode(frame);
    let length = u32::try_from(frame.len() - start - 4).expect("a record is far below 4 GiB");
    frame
        .get_mut(start..start + 4)
        .expect("the length field was just written")
        .copy_from_slice(&length.to_le_bytes());
}

/// Fills in the header of the frame that `begin` and `push` made, and pads it.
pub(super) fn seal(frame: &mut BytesMut, stamp: Stamp) {
    let payload = u32::try_from(frame.len() - HEADER).expect("a segment is below 4 GiB");
    let mut header = frame.get_mut(CHECKED..HEADER).expect("the header's room is there");
    header.put_u32_le(payload);
    header.put_u32_le(VERSION);
    header.put_u64_le(stamp.generation.get());
    header.put_u64_le(stamp.sequence);
    header.put_u64_le(stamp.floor.get());
    let crc = crc32c::crc32c(frame.get(CHECKED..).expect("the header's room is there"));
    let mut front = frame.get_mut(..CHECKED).expect("the header's room is there");
    front.put_slice(&MAGIC);
    front.put_u32_le(crc);
    frame.put_bytes(0, frame.len().next_multiple_of(ALIGNMENT) - frame.len());
}

impl Sealed {
    /// Its records, which share its memory.
    pub(super) fn records(&self) -> Result<Vec<Record>, PayloadError> {
        if self.version != VERSION {
            return Err(PayloadError::Version(self.version));
        }
        let mut payload = self.payload.clone();
        let mut records = Vec::new();
        while !payload.is_empty() {
            let length = payload.try_get_u32_le().map_err(|_| PayloadError::Length)?;
            let length = usize::try_from(length).map_err(|_| PayloadError::Length)?;
            if length > payload.len() {
                return Err(PayloadError::Length);
            }
            records.push(Record::decode(payload.split_to(length))?);
        }
        Ok(records)
    }
}

/// Reads a segment in large pieces; `read` is a positional read, short at the end of the file.
#[derive(Debug)]
pub(super) struct Window<F> {
    read: F,
    piece: usize,
    bytes: Bytes,
    start: u64,
}

impl<F: FnMut(u64, usize) -> Result<Bytes, StorageError>> Window<F> {
    pub(super) fn new(read: F, piece: usize) -> Self {
        Self { read, piece, bytes: Bytes::new(), start: 0 }
    }

    /// `length` bytes from `offset`; fewer at the end of the file.
    pub(super) fn get(&mut self, offset: u64, length: usize) -> Result<Bytes, StorageError> {
        if let Some(bytes) = self.held(offset, length) {
            return Ok(bytes);
        }
        self.bytes = (self.read)(offset, length.max(self.piece))?;
        self.start = offset;
        Ok(self.bytes.slice(..length.min(self.bytes.len())))
    }

    fn held(&self, offset: u64, length: usize) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(length)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }

    /// What stands at `offset`.
    pub(super) fn examine(&mut self, offset: u64) -> Result<Found, StorageError> {
        let mut header = self.get(offset, HEADER)?;
        if header.len() < HEADER || header.iter().all(|byte| *byte == 0) {
            return Ok(Found::Blank);
        }
        if !header.starts_with(&MAGIC) {
            return Ok(Found::Bad { reason: "no header of a batch", stamp: None });
        }
        header.advance(MAGIC.len());
        let crc = header.get_u32_le();
        let length = header.get_u32_le();
        let version = header.get_u32_le();
        let stamp = Stamp {
            generation: Generation::new(header.get_u64_le()),
            sequence: header.get_u64_le(),
            floor: Generation::new(header.get_u64_le()),
        };
        let Ok(length) = usize::try_from(length) else {
            return Ok(Found::Bad { reason: "an impossible length", stamp: None });
        };
        let frame = self.get(offset, HEADER + length)?;
        let is_whole = frame.len() == HEADER + length
            && (crc32c::crc32c(&frame.slice(CHECKED..)) == crc || planted(Bug::IgnoreChecksum));
        if !is_whole {
            let stamp = (version == VERSION).then_some(stamp);
            return Ok(Found::Bad { reason: "a wrong checksum", stamp });
        }
        let end = offset + u64::try_from(frame_bytes(length)).unwrap_or(u64::MAX);
        Ok(Found::Sealed(Sealed { stamp, version, payload: frame.slice(HEADER..), end }))
    }

    /// The first frame from `offset` on that proves that a batch is lost which stood at `offset`,
    /// and the offset of the end of the file.
    ///
    /// A whole frame of `generation` or a later one does. A torn one does when it comes after the
    /// batch numbered `expected`, the one that should stand at `offset`: that was synced before the
    /// torn one was begun.
    pub(super) fn search(
        &mut self,
        mut offset: u64,
        generation: Generation,
        expected: Option<u64>,
    ) -> Result<(Option<Behind>, u64), StorageError> {
        loop {
            let piece = self.get(offset, self.piece)?;
            for (offset, word) in (offset..).step_by(ALIGNMENT).zip(piece.chunks(ALIGNMENT)) {
                if !word.starts_with(&MAGIC) {
                    continue;
                }
                let behind = match self.examine(offset)? {
                    Found::Sealed(found) if found.stamp.generation >= generation => {
                        Behind::Whole { offset }
                    }
                    Found::Bad { stamp: Some(Stamp { generation: its, sequence, .. }), .. }
                        if its == generation && expected.is_some_and(|due| sequence > due) =>
                    {
                        Behind::Torn { offset, sequence }
                    }
                    Found::Sealed(_) | Found::Blank | Found::Bad { .. } => continue,
                };
                return Ok((Some(behind), offset));
            }
            offset += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if piece.len() < self.piece {
                return Ok((None, offset));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Slot;

    #[test]
    fn a_sealed_frame_reads_back_and_no_other_byte_may_change() {
        let stamp =
            Stamp { generation: Generation::new(3), sequence: 9, floor: Generation::new(2) };
        let records =
            vec![Record::Trim { slot: Slot::new(4) }, Record::Trim { slot: Slot::new(5) }];
        let mut frame = BytesMut::new();
        begin(&mut frame);
        for record in &records {
            push(&mut frame, record);
        }
        let payload = frame.len() - HEADER;
        seal(&mut frame, stamp);
        assert_eq!(frame.len(), frame_bytes(payload));
        let Found::Sealed(sealed) = examine(&frame) else { panic!("a frame") };
        assert_eq!((sealed.stamp, sealed.records()), (stamp, Ok(records)));
        for byte in 0..HEADER + payload {
            let mut flipped = frame.clone();
            flipped[byte] ^= 0x10;
            assert!(!matches!(examine(&flipped), Found::Sealed(_)), "byte {byte}");
        }
    }

    fn examine(bytes: &[u8]) -> Found {
        let bytes = Bytes::copy_from_slice(bytes);
        let read = move |offset, length| {
            let from = bytes.len().min(usize::try_from(offset).unwrap());
            Ok(bytes.slice(from..bytes.len().min(from + length)))
        };
        Window::new(read, WINDOW).examine(0).unwrap()
    }
}
