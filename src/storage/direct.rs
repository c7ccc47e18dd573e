//! A file that is written in order, past the page cache or through it.
//!
//! A journal is written once, synced at once and seldom read. The cache would copy each batch into
//! a cold page, note the page as dirty, and have the sync look for it. Only whole blocks can be
//! written past it; so the last ones are kept, and written again with what follows in them. What
//! stood in them is the same then, as when the cache writes a page again.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, pwritev, retry_on_intr};

/// Disks ask for offsets and memory that are aligned to 512 or 4096 bytes.
const BLOCK: usize = 4096;
/// What stands behind a batch.
static PADDING: [u8; BLOCK] = [0; BLOCK];
/// Bytes written at once, at most.
const MEMORY: usize = 1 << 20;

/// How segments are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the page cache, for who reads them soon.
    Cached,
    /// Past it, where the disk allows that.
    Direct,
}

/// A file that is written in order, from anywhere on.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    /// Nothing is written from here on.
    end: u64,
    /// `None` where the cache is used.
    blocks: Option<Blocks>,
}

/// The blocks under way, in aligned memory, and after a write the last two of them: a batch ends
/// with zeros, in place of which the next one begins.
struct Blocks {
    block: usize,
    memory: Box<[u8]>,
    /// The offset of the first.
    start: u64,
    /// So many bytes from there on are known.
    known: usize,
}

impl Writer {
    /// Opens the file at `path`, to write its bytes before `end`.
    pub(super) fn open(path: &Path, end: u64, route: Route) -> io::Result<Self> {
        match route {
            Route::Cached => Self::cached(path, end),
            Route::Direct => Self::direct(path, end),
        }
    }

    fn cached(path: &Path, end: u64) -> io::Result<Self> {
        Ok(Self { file: File::options().write(true).open(path)?, end, blocks: None })
    }

    fn direct(path: &Path, end: u64) -> io::Result<Self> {
        // Behind a last block that is not whole stand bytes of someone else.
        if !end.is_multiple_of(bytes(BLOCK)) {
            return Self::cached(path, end);
        }
        // The kept block is read once.
        let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => Ok(Self { file: file.into(), end, blocks: Some(Blocks::new(BLOCK)) }),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Self::refused(path, end),
            Err(error) => Err(error.into()),
        }
    }

    fn refused(path: &Path, end: u64) -> io::Result<Self> {
        tracing::debug!(path = %path.display(), "written through the page cache: no direct writes");
        Self::cached(path, end)
    }

    /// Writes `batch` at `offset`, and zeros behind it to the end of its block. `path` is the
    /// file's.
    pub(super) fn write(&mut self, offset: u64, batch: &[u8], path: &Path) -> io::Result<()> {
        if let Some(blocks) = &mut self.blocks {
            match blocks.write(&self.file, offset, batch) {
                // The disk asks for larger blocks. What has been written is written again.
                Err(error)
                    if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) =>
                {
                    *self = Self::refused(path, self.end)?;
                }
                written => return written,
            }
        }
        self.write_cached(offset, batch)
    }

    /// Up to the end of a page: the rest of one that is not in the cache would be read for it.
    fn write_cached(&self, offset: u64, batch: &[u8]) -> io::Result<()> {
        let end = offset + bytes(batch.len());
        let padded = end.next_multiple_of(bytes(BLOCK)).min(self.end);
        let padding = usize::try_from(padded.saturating_sub(end)).map_err(io::Error::other)?;
        let padding = PADDING.get(..padding).unwrap_or_default();
        let parts = [IoSlice::new(batch), IoSlice::new(padding)];
        let written = retry_on_intr(|| pwritev(&self.file, &parts, offset))?;
        match batch.get(written..) {
            Some(rest) => self.file.write_all_at(rest, offset + bytes(written)),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) const fn is_direct(&self) -> bool {
        self.blocks.is_some()
    }

    /// Makes durable what was written.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Blocks {
    fn new(block: usize) -> Self {
        // Pages that are never touched take no memory.
        let memory = vec![0; MEMORY + block].into_boxed_slice();
        Self { block, memory, start: 0, known: 0 }
    }

    fn write(&mut self, file: &File, mut offset: u64, mut batch: &[u8]) -> io::Result<()> {
        while !batch.is_empty() {
            let start = offset - offset % bytes(self.block);
            let head = usize::try_from(offset - start).map_err(io::Error::other)?;
            self.know(file, start, head)?;
            let (now, rest) = batch.split_at(batch.len().min(MEMORY - head));
            self.write_behind(file, head, now)?;
            offset += bytes(now.len());
            batch = rest;
        }
        Ok(())
    }

    /// Sees to it that the first `head` bytes of the block at `start` are in memory.
    fn know(&mut self, file: &File, start: u64, head: usize) -> io::Result<()> {
        let block = self.block;
        let kept = start.checked_sub(self.start).and_then(|skipped| usize::try_from(skipped).ok());
        match kept.filter(|skipped| skipped.saturating_add(head) <= self.known) {
            Some(skipped) => self.first(skipped + head).copy_within(skipped.., 0),
            None if head > 0 => {
                self.known = 0;
                file.read_exact_at(self.first(block), start)?;
            }
            None => {}
        }
        (self.start, self.known) = (start, head);
        Ok(())
    }

    /// Writes `batch` behind the first `head` bytes, which are known. Keeps the last two blocks.
    fn write_behind(&mut self, file: &File, head: usize, batch: &[u8]) -> io::Result<()> {
        let (block, start) = (self.block, self.start);
        let end = head + batch.len();
        let blocks = self.first(end.next_multiple_of(block));
        let (filled, padding) = blocks.split_at_mut(end);
        filled.split_at_mut(head).1.copy_from_slice(batch);
        padding.fill(0);
        file.write_all_at(blocks, start)?;
        let kept = (end - end % block).saturating_sub(block);
        blocks.copy_within(kept.., 0);
        self.start += bytes(kept);
        self.known = end - kept;
        Ok(())
    }

    /// The first `length` bytes of the memory, which are aligned.
    fn first(&mut self, length: usize) -> &mut [u8] {
        let unaligned = self.memory.as_ptr().align_offset(self.block);
        self.memory.split_at_mut(unaligned).1.split_at_mut(length).0
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block, start, known, .. } = self;
        f.debug_struct("Blocks")
            .field("block", block)
            .field("start", start)
            .field("known", known)
            .finish_non_exhaustive()
    }
}

fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const ROUTES: [Route; 2] = [Route::Cached, Route::Direct];

    /// Offsets and lengths around the ends of blocks and of the memory.
    const WRITES: [(u64, usize); 12] = [
        (0, 1),
        (8, 4080),
        // Zeros that reach into the next block, and what is written in their place.
        (4000, 136),
        (4096, 8),
        (4080, 16),
        (4088, 16),
        (4104, 4088),
        (8192, 4096),
        (12288, 3 << 20),
        (12288 + (3 << 20), 100),
        // A tail that is cut and written anew.
        (12288 + (3 << 20) + 8, 5000),
        (8192, 8),
    ];

    #[test]
    fn bytes_stand_where_they_were_written_and_zeros_behind_them() {
        for route in ROUTES {
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join("7.seg");
            std::fs::write(&path, vec![7; 4 << 20]).unwrap();
            let mut expected = vec![7; 4 << 20];
            let mut writer = Writer::open(&path, 4 << 20, route).unwrap();
            for ((offset, length), nth) in WRITES.into_iter().zip(1..) {
                if nth % 3 == 0 {
                    writer = Writer::open(&path, 4 << 20, route).unwrap();
                }
                let start = usize::try_from(offset).unwrap();
                writer.write(offset, &vec![nth; length], &path).unwrap();
                writer.sync().unwrap();
                expected[start..start + length].fill(nth);
                let end = (start + length).next_multiple_of(BLOCK);
                expected[start + length..end].fill(0);
                assert!(std::fs::read(&path).unwrap() == expected, "{route:?}, write {nth}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// As a journal writes: each batch begins in place of the zeros that end the one before.
        #[test]
        fn batches_of_any_length_stand_one_behind_the_other(
            lengths in vec(1..3 * BLOCK, 1..40),
            reopened in 0..40_usize,
            route in select(&ROUTES),
        ) {
            const BEHIND: usize = 40;
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join("7.seg");
            let room = 128 * BLOCK;
            std::fs::write(&path, vec![7; room]).unwrap();
            let open = || Writer::open(&path, bytes(room), route).unwrap();
            let (mut writer, mut end, mut expected) = (open(), 0, Vec::new());
            for (nth, length) in lengths.into_iter().enumerate() {
                if nth == reopened {
                    writer = open();
                }
                let content = u8::try_from(nth + 100).unwrap();
                let batch = [vec![content; length], vec![0; BEHIND]].concat();
                writer.write(bytes(end), &batch, &path).unwrap();
                expected.truncate(end);
                expected.extend(batch);
                end += length.next_multiple_of(8);
                expected.resize(end + BEHIND, 0);
            }
            let found = std::fs::read(&path).unwrap();
            prop_assert!(found[..end] == expected[..end]);
        }
    }

    #[test]
    fn a_disk_that_wants_larger_blocks_is_written_through_the_cache() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("7.seg");
        std::fs::write(&path, vec![7; 4 * BLOCK]).unwrap();
        let mut writer = Writer::open(&path, bytes(4 * BLOCK), Route::Direct).unwrap();
        writer.blocks = Some(Blocks::new(8));
        writer.write(16, &[1; 100], &path).unwrap();
        writer.write(116, &[2; 100], &path).unwrap();
        let read = std::fs::read(&path).unwrap();
        assert_eq!(read[..16], [7; 16]);
        assert_eq!((&read[16..116], &read[116..216]), (&[1; 100][..], &[2; 100][..]));
        assert!(read[216..BLOCK].iter().all(|&byte| byte == 0));
        assert!(read[BLOCK..].iter().all(|&byte| byte == 7));
    }

    #[test]
    fn a_segment_that_ends_within_a_block_is_written_through_the_cache() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("7.seg");
        std::fs::write(&path, vec![7; 5000]).unwrap();
        let mut writer = Writer::open(&path, 4992, Route::Direct).unwrap();
        writer.write(4984, &[1; 8], &path).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap()[4980..],
            [[7; 4].as_slice(), &[1; 8], &[7; 8]].concat()
        );
    }
}
