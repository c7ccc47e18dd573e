//! Segment files: written out ahead of use, synced without metadata, and used again when retired.
//!
//! `segments/00000000000000000007.seg` is segment 7. A spare lies ready as `spare-3`; its blocks
//! are written, so that the sync of a batch has no metadata to write. Behind its bytes each file
//! ends with a mark, so that one that was cut short is known. A thread of its own prepares
//! spares and retires segments, the oldest first.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::{pread, retry_on_intr};

use super::DiskError;
use super::checkpoint::sync_directory;
use super::direct::{Route, Writer};
use crate::paxos::journal::{
    Extent, Frame, Generation, JournalError, Position, Storage, StorageError, find_batch,
    read_batch,
};

/// Ends every file, behind the bytes of its segment.
const END: [u8; 8] = *b"PXSEGEND";
const END_BYTES: u64 = 8;
const DIRECTORY: &str = "segments";
const SPARE: &str = "spare-";
/// Spares kept at most; what is retired beyond them is deleted.
const SPARES_MAX: usize = 2;
/// Orders that wait for the keeper at most.
const ORDERS_MAX: usize = 64;
/// Files that a reader keeps open at most.
const OPEN_FILES_MAX: usize = 16;
/// Bytes of zeros written at once.
const ZEROS: usize = 256 << 10;

/// The segments of one directory.
#[derive(Debug)]
pub struct Segments {
    shelf: Arc<Shelf>,
    live: BTreeSet<Generation>,
    /// The segment that is written.
    current: Option<(Generation, Writer)>,
    route: Route,
    reader: Reader,
    keeper: Keeper,
    /// Declared last: the directory is free only after the keeper has ended.
    _lock: Arc<File>,
}

/// Reads batches while another thread writes. It sees what was committed before the read.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: Arc<Path>,
    files: Arc<Mutex<BTreeMap<Generation, Arc<Open>>>>,
}

/// A file that is read.
#[derive(Debug)]
struct Open {
    file: File,
    extent: Extent,
}

/// The spares.
#[derive(Debug)]
struct Shelf {
    dir: PathBuf,
    segment_bytes: u64,
    spares: Mutex<Spares>,
    /// Why the keeper ended early.
    failure: Mutex<Option<DiskError>>,
}

#[derive(Debug, Default)]
struct Spares {
    ready: Vec<PathBuf>,
    /// The number of the next one.
    next: u64,
}

/// The thread that does what a commit must not wait for.
#[derive(Debug)]
struct Keeper {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    /// Have a spare ready.
    Prepare,
    Retire(Generation),
}

impl Segments {
    /// The segments in `parent`, whose `lock` is held as long as they are.
    pub(super) fn open(
        parent: &Path,
        segment_bytes: u64,
        route: Route,
        lock: Arc<File>,
    ) -> Result<Self, DiskError> {
        let dir = parent.join(DIRECTORY);
        fs::create_dir_all(&dir).map_err(DiskError::io("create the directory", &dir))?;
        sync_directory(parent)?;
        let live = list(&dir)?;
        if route == Route::Direct {
            forget_cached(&dir, &live)?;
        }
        let spares = tidy_spares(&dir, segment_bytes, !live.is_empty())?;
        // Names may have been in memory only when their creator was killed.
        sync_directory(&dir)?;
        let shelf = Arc::new(Shelf {
            dir: dir.clone(),
            segment_bytes,
            spares: Mutex::new(spares),
            failure: Mutex::new(None),
        });
        let keeper = Keeper::start(&shelf)?;
        keeper.order(&shelf, Order::Prepare)?;
        let reader = Reader { dir: dir.into(), files: Arc::default() };
        Ok(Self { shelf, live, current: None, route, reader, keeper, _lock: lock })
    }

    /// A handle that reads batches from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The file of a segment, open for writing.
    fn file(&mut self, generation: Generation) -> Result<&mut Writer, DiskError> {
        let file = match self.current.take() {
            Some((current, file)) if current == generation => file,
            Some(_) | None => {
                let path = path_of(&self.shelf.dir, generation);
                let open = self.reader.file(generation, &path)?;
                let (Extent::Whole(end) | Extent::Cut(end)) = open.extent;
                Writer::open(&path, end, self.route).map_err(DiskError::io("open", &path))?
            }
        };
        Ok(&mut self.current.insert((generation, file)).1)
    }
}

impl Storage for Segments {
    fn segments(&self) -> Vec<Generation> {
        self.live.iter().copied().collect()
    }

    fn segment_bytes(&self) -> u64 {
        self.shelf.segment_bytes
    }

    fn extent(&self, generation: Generation) -> Result<Extent, StorageError> {
        let path = path_of(&self.shelf.dir, generation);
        Ok(self.reader.file(generation, &path)?.extent)
    }

    fn read(
        &self,
        generation: Generation,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StorageError> {
        Ok(self.reader.bytes(generation, offset, length)?)
    }

    fn create(&mut self, generation: Generation) -> Result<(), StorageError> {
        self.shelf.check()?;
        let ready = self.shelf.lock_spares().ready.pop();
        let spare = match ready {
            Some(spare) => spare,
            None => self.shelf.write_spare()?,
        };
        let path = path_of(&self.shelf.dir, generation);
        fs::rename(&spare, &path).map_err(DiskError::io("rename", &spare))?;
        sync_directory(&self.shelf.dir)?;
        self.live.insert(generation);
        self.keeper.order(&self.shelf, Order::Prepare)?;
        Ok(())
    }

    fn write(
        &mut self,
        generation: Generation,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let path = path_of(&self.shelf.dir, generation);
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let file = self.file(generation)?;
        Ok(file.write(offset, bytes, &path).map_err(DiskError::room("write", &path, count))?)
    }

    fn sync(&mut self, generation: Generation) -> Result<(), StorageError> {
        let path = path_of(&self.shelf.dir, generation);
        let file = self.file(generation)?;
        Ok(file.sync().map_err(DiskError::io("sync", &path))?)
    }

    fn retire(&mut self, generation: Generation) -> Result<(), StorageError> {
        self.shelf.check()?;
        self.live.remove(&generation);
        self.reader.lock_files().remove(&generation);
        Ok(self.keeper.order(&self.shelf, Order::Retire(generation))?)
    }
}

impl Reader {
    /// Reads the batch at `position` and verifies it.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written there: also when its segment was retired.
    pub fn read(&self, position: Position) -> Result<Frame, JournalError> {
        read_batch(position, |offset, length| {
            Ok(self.bytes(position.generation, offset, length)?)
        })
    }

    /// Reads the batch at `position` and verifies it; `None` where the segment ends there.
    ///
    /// # Errors
    /// As of [`Reader::read`].
    pub fn find(&self, position: Position) -> Result<Option<Frame>, JournalError> {
        find_batch(position, |offset, length| {
            Ok(self.bytes(position.generation, offset, length)?)
        })
    }

    fn bytes(
        &self,
        generation: Generation,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, DiskError> {
        let path = path_of(&self.dir, generation);
        let open = self.file(generation, &path)?;
        read_at(&open, offset, length).map_err(DiskError::io("read", &path))
    }

    fn file(&self, generation: Generation, path: &Path) -> Result<Arc<Open>, DiskError> {
        let mut files = self.lock_files();
        if let Some(open) = files.get(&generation) {
            return Ok(Arc::clone(open));
        }
        let file = File::open(path).map_err(DiskError::io("open", path))?;
        let extent = extent(&file).map_err(DiskError::io("look at", path))?;
        let open = Arc::new(Open { file, extent });
        if files.len() >= OPEN_FILES_MAX {
            files.pop_first();
        }
        files.insert(generation, Arc::clone(&open));
        Ok(open)
    }

    fn lock_files(&self) -> MutexGuard<'_, BTreeMap<Generation, Arc<Open>>> {
        // A map of open files is whole whatever panicked beside it.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn lock_spares(&self) -> MutexGuard<'_, Spares> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when the keeper did.
    fn check(&self) -> Result<(), DiskError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }

    /// Writes a spare: really written, for blocks only reserved cost a sync their metadata.
    fn write_spare(&self) -> Result<PathBuf, DiskError> {
        let number = self.take_number();
        let spare = self.dir.join(format!("{SPARE}{number}"));
        let beside = spare.with_extension("tmp");
        let written = self.write_zeros(&beside);
        if written.is_err() {
            // Where the disk is full, half a spare must not keep it so.
            drop(fs::remove_file(&beside));
        }
        written?;
        fs::rename(&beside, &spare).map_err(DiskError::io("rename", &beside))?;
        Ok(spare)
    }

    fn write_zeros(&self, path: &Path) -> Result<(), DiskError> {
        let bytes = self.segment_bytes + END_BYTES;
        let file = File::create(path).map_err(DiskError::room("create", path, bytes))?;
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // A file system that cannot reserve writes the zeros all the same.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(DiskError::room("reserve", path, bytes)(error)),
        }
        self.fill(path).map_err(DiskError::room("write", path, bytes))?;
        file.write_all_at(&END, self.segment_bytes)
            .map_err(DiskError::room("write", path, bytes))?;
        file.sync_all().map_err(DiskError::room("sync", path, bytes))
    }

    /// Piece by piece past the cache: what the cache gathers would reach the disk in one long
    /// write, and a vote that is synced meanwhile would wait for the end of it.
    fn fill(&self, path: &Path) -> io::Result<()> {
        let zeros = vec![0; ZEROS];
        let mut writer = Writer::open(path, self.segment_bytes, Route::Direct)?;
        for offset in (0..self.segment_bytes).step_by(ZEROS) {
            let left = usize::try_from(self.segment_bytes - offset).map_err(io::Error::other)?;
            let (piece, _) = zeros.split_at(left.min(ZEROS));
            writer.write(offset, piece, path)?;
        }
        Ok(())
    }

    fn take_number(&self) -> u64 {
        let mut spares = self.lock_spares();
        spares.next += 1;
        spares.next
    }

    fn prepare(&self) -> Result<(), DiskError> {
        if self.lock_spares().ready.is_empty() {
            let spare = self.write_spare()?;
            self.lock_spares().ready.push(spare);
        }
        Ok(())
    }

    /// Makes a spare of a segment, or deletes it. The name is gone for good before the next one's.
    fn retire(&self, generation: Generation) -> Result<(), DiskError> {
        let path = path_of(&self.dir, generation);
        let length = fs::metadata(&path).map_err(DiskError::io("look at", &path))?.len();
        let is_spare = length == self.segment_bytes + END_BYTES;
        if self.lock_spares().ready.len() < SPARES_MAX && is_spare {
            let spare = self.dir.join(format!("{SPARE}{}", self.take_number()));
            fs::rename(&path, &spare).map_err(DiskError::io("rename", &path))?;
            sync_directory(&self.dir)?;
            self.lock_spares().ready.push(spare);
            return Ok(());
        }
        fs::remove_file(&path).map_err(DiskError::io("delete", &path))?;
        sync_directory(&self.dir)
    }
}

impl Keeper {
    fn start(shelf: &Arc<Shelf>) -> Result<Self, DiskError> {
        let (orders, inbox) = mpsc::sync_channel(ORDERS_MAX);
        let kept = Arc::clone(shelf);
        let keep = move || {
            for order in inbox {
                match order {
                    Order::Prepare => {
                        // Whoever needs the spare writes it, and then meets this error.
                        if let Err(error) = kept.prepare() {
                            let cause = error.source().map(tracing::field::display);
                            tracing::warn!(%error, cause, "no spare segment could be prepared");
                        }
                    }
                    Order::Retire(generation) => {
                        // To go on would leave a hole between the segments.
                        if let Err(error) = kept.retire(generation) {
                            let mut failure =
                                kept.failure.lock().unwrap_or_else(PoisonError::into_inner);
                            *failure = Some(error);
                            return;
                        }
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name("segments".to_owned())
            .spawn(keep)
            .map_err(DiskError::io("start a thread for", &shelf.dir))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    fn order(&self, place: &Shelf, what: Order) -> Result<(), DiskError> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(what).is_ok());
        if !sent {
            place.check()?;
            return Err(DiskError::Keeper { path: place.dir.clone() });
        }
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        // Its panic, if there was one, has been reported on its own thread.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Whether the directory `parent` has segments.
pub(super) fn holds_segments(parent: &Path) -> Result<bool, DiskError> {
    let dir = parent.join(DIRECTORY);
    match fs::exists(&dir) {
        Ok(true) => Ok(!list(&dir)?.is_empty()),
        Ok(false) => Ok(false),
        Err(error) => Err(DiskError::io("look at", &dir)(error)),
    }
}

fn path_of(dir: &Path, generation: Generation) -> PathBuf {
    dir.join(format!("{:020}.seg", generation.get()))
}

fn names(dir: &Path) -> Result<Vec<String>, DiskError> {
    let entries = fs::read_dir(dir).map_err(DiskError::io("list", dir))?;
    entries
        .map(|entry| Ok(entry.map_err(DiskError::io("list", dir))?.file_name()))
        .filter_map(|name| name.map(|name| name.into_string().ok()).transpose())
        .collect()
}

/// The segments in `dir`.
fn list(dir: &Path) -> Result<BTreeSet<Generation>, DiskError> {
    let names = names(dir)?;
    let numbers = names.iter().filter_map(|name| name.strip_suffix(".seg"));
    let numbers = numbers.filter(|digits| digits.len() == 20);
    Ok(numbers.filter_map(|digits| digits.parse().ok()).map(Generation::new).collect())
}

/// Makes the kernel read these segments from the disk: what it keeps of them may be older than what
/// was written past it.
fn forget_cached(dir: &Path, live: &BTreeSet<Generation>) -> Result<(), DiskError> {
    for path in live.iter().map(|&generation| path_of(dir, generation)) {
        let file = File::open(&path).map_err(DiskError::io("open", &path))?;
        fadvise(&file, 0, None, Advice::DontNeed).map_err(DiskError::io("forget", &path))?;
    }
    Ok(())
}

/// The spares in `dir` that can be used. The others are deleted: half-written or damaged ones, ones
/// of another size, and, beside an empty journal, all, for what they hold might then look newer
/// than it.
fn tidy_spares(dir: &Path, segment_bytes: u64, usable: bool) -> Result<Spares, DiskError> {
    let mut spares = Spares::default();
    for name in names(dir)? {
        let Some(number) = name.strip_prefix(SPARE) else { continue };
        let path = dir.join(&name);
        let file = File::open(&path).map_err(DiskError::io("open", &path))?;
        let extent = extent(&file).map_err(DiskError::io("look at", &path))?;
        match number.parse() {
            Ok(number) if usable && extent == Extent::Whole(segment_bytes) => {
                spares.next = spares.next.max(number);
                spares.ready.push(path);
            }
            Ok(_) | Err(_) => fs::remove_file(&path).map_err(DiskError::io("delete", &path))?,
        }
    }
    Ok(spares)
}

/// How far the segment in `file` reaches.
fn extent(file: &File) -> io::Result<Extent> {
    let length = file.metadata()?.len();
    let Some(bytes) = length.checked_sub(END_BYTES) else { return Ok(Extent::Cut(length)) };
    let mut end = [0; END.len()];
    file.read_exact_at(&mut end, bytes)?;
    Ok(if end == END { Extent::Whole(bytes) } else { Extent::Cut(length) })
}

/// Up to `length` bytes from `offset`, fewer at the end of the segment.
fn read_at(Open { file, extent }: &Open, offset: u64, length: usize) -> io::Result<Bytes> {
    let (Extent::Whole(end) | Extent::Cut(end)) = *extent;
    let left = end.saturating_sub(offset);
    let length = usize::try_from(left).map_or(length, |left| left.min(length));
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = offset + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if retry_on_intr(|| pread(file, spare_capacity(&mut bytes), at))? == 0 {
            break;
        }
    }
    // There may have been room for more.
    bytes.truncate(length);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;
    use crate::paxos::journal::{Journal, torture};
    use crate::paxos::record::{Record, Summary};
    use crate::storage::{Directory, Identity};
    use crate::types::{NodeId, Role, Slot, StorageId};

    #[test]
    fn the_story_holds_on_a_disk() {
        let temp = tempfile::tempdir().unwrap();
        torture::story(open(temp.path(), 4096), |segments| {
            drop(segments);
            open(temp.path(), 4096)
        });
        let spares = names(&temp.path().join(DIRECTORY)).unwrap();
        let spares = spares.iter().filter(|name| name.starts_with(SPARE)).count();
        assert!((1..=SPARES_MAX + 1).contains(&spares), "{spares} spares");
    }

    #[test]
    fn another_segment_size_is_taken_up_from_the_next_start_on() {
        let temp = tempfile::tempdir().unwrap();
        let mut written = Vec::new();
        for (life, segment_bytes) in (1..).zip([4096, 16384, 2048]) {
            let mut found = Vec::new();
            let visit = |_, record| {
                found.extend(Some(record).filter(|found| matches!(found, Record::Trim { .. })));
                Ok(())
            };
            let (mut journal, _) =
                Journal::open(open(temp.path(), segment_bytes), None, visit).unwrap();
            assert_eq!(found, written);
            for nth in 0..80 {
                let record = Record::Trim { slot: Slot::new(life * 100 + nth) };
                (journal, _) = journal.append(std::slice::from_ref(&record), summary).unwrap();
                written.push(record);
            }
        }
    }

    #[test]
    fn a_torn_batch_is_lost_alone_and_the_file_goes_on() {
        let harms: [fn(&File, u64); 2] = [
            |file, at| file.write_all_at(b"?", at + 9).unwrap(),
            |file, at| file.write_all_at(&[0; 30], at + 20).unwrap(),
        ];
        for harm in harms {
            let temp = tempfile::tempdir().unwrap();
            let trims: Vec<_> = (1..4).map(|n| Record::Trim { slot: Slot::new(n) }).collect();
            let (journal, _) = Journal::open(open(temp.path(), 4096), None, |_, _| Ok(())).unwrap();
            let (journal, _) = journal.append(&trims[..1], summary).unwrap();
            let (journal, torn) = journal.append(&trims[1..2], summary).unwrap();
            drop(journal);
            let path = path_of(&temp.path().join(DIRECTORY), Generation::FIRST);
            harm(&File::options().write(true).open(path).unwrap(), torn[0].offset);

            let (journal, recovery) =
                Journal::open(open(temp.path(), 4096), None, |_, _| Ok(())).unwrap();
            assert_eq!(recovery.torn.map(|torn| torn.position), Some(torn[0]));
            drop(journal.append(&trims[2..], summary).unwrap());
            let mut found = Vec::new();
            let (_, recovery) = Journal::open(open(temp.path(), 4096), None, |_, record| {
                found.push(record);
                Ok(())
            })
            .unwrap();
            assert_eq!(found[1..], [trims[0].clone(), trims[2].clone()]);
            assert_eq!(recovery.torn, None);
        }
    }

    /// Every byte is tried in memory; here a few of real files, also of ones that were used before.
    #[test]
    fn a_file_that_was_cut_or_changed_costs_the_last_batch_at_most_or_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join(DIRECTORY);
        let (mut journal, _) = Journal::open(open(temp.path(), 512), None, |_, _| Ok(())).unwrap();
        for slot in 1..50 {
            let record = Record::Trim { slot: Slot::new(slot) };
            (journal, _) = journal.append(std::slice::from_ref(&record), summary).unwrap();
            if slot == 30 {
                journal.release_before(Generation::new(4));
            }
        }
        drop(journal);
        let files: Vec<(PathBuf, Vec<u8>)> = list(&dir)
            .unwrap()
            .into_iter()
            .map(|generation| path_of(&dir, generation))
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        let whole = trims(temp.path()).unwrap();
        let (mut cut, mut changed) = (0, 0);
        for (path, bytes) in &files {
            let is_last = Some(path) == files.last().map(|(path, _)| path);
            for at in (0..bytes.len()).step_by(61) {
                fs::write(path, &bytes[..at]).unwrap();
                assert!(trims(temp.path()).unwrap_err().to_string().contains("cut short"));
                cut += 1;
                let mut flipped = bytes.clone();
                flipped[at] ^= 4;
                fs::write(path, &flipped).unwrap();
                match trims(temp.path()) {
                    Ok(found) if found == whole => {}
                    Ok(found) => assert!(is_last && found == whole[..whole.len() - 1], "{at}"),
                    Err(error) => assert!(matches!(error, JournalError::Damaged { .. }), "{error}"),
                }
                changed += 1;
                fs::write(path, bytes).unwrap();
            }
        }
        assert!(cut > 20 && changed > 20 && files.len() > 2);
        assert_eq!(trims(temp.path()).unwrap(), whole);
    }

    #[test]
    fn a_segment_has_its_full_length_from_the_start_and_reads_as_zeros() {
        let temp = tempfile::tempdir().unwrap();
        let mut segments = open(temp.path(), 3 << 20);
        segments.create(Generation::FIRST).unwrap();
        let path = path_of(&temp.path().join(DIRECTORY), Generation::FIRST);
        assert_eq!(fs::metadata(path).unwrap().len(), (3 << 20) + END_BYTES);
        let bytes = segments.read(Generation::FIRST, 0, 4 << 20).unwrap();
        assert_eq!((bytes.len(), bytes.iter().all(|byte| *byte == 0)), (3 << 20, true));
        assert!(segments.read(Generation::FIRST, 3 << 20, 9).unwrap().is_empty());
        assert!(segments.read(Generation::FIRST.next(), 0, 9).is_err());
    }

    #[test]
    fn a_reader_on_another_thread_sees_what_was_committed() {
        let temp = tempfile::tempdir().unwrap();
        let segments = open(temp.path(), 4096);
        let reader = segments.reader();
        let (journal, _) = Journal::open(segments, None, |_, _| Ok(())).unwrap();
        let record = Record::Trim { slot: Slot::new(7) };
        let (journal, positions) = journal.append(std::slice::from_ref(&record), summary).unwrap();
        let read = thread::spawn(move || reader.read(positions[0])).join().unwrap().unwrap();
        assert_eq!(read.records, [Record::Summary(summary()), record]);
        assert_eq!(
            journal.read(Position { generation: Generation::FIRST, offset: 0 }).unwrap(),
            read
        );
    }

    #[test]
    fn an_acceptors_segments_are_written_past_the_cache_and_a_learners_through_it() {
        for role in [Role::Acceptor, Role::Learner] {
            let temp = tempfile::tempdir().unwrap();
            let mut segments = open_as(role, temp.path(), 8192);
            segments.create(Generation::FIRST).unwrap();
            let path = path_of(&temp.path().join(DIRECTORY), Generation::FIRST);
            segments.write(Generation::FIRST, 0, &[1; 100]).unwrap();
            segments.sync(Generation::FIRST).unwrap();
            // Where the disk allows it.
            let direct = OFlags::WRONLY | OFlags::DIRECT;
            let may_be_direct = rustix::fs::open(&path, direct, Mode::empty()).is_ok();
            let is_direct = segments.current.unwrap().1.is_direct();
            assert_eq!(is_direct, role == Role::Acceptor && may_be_direct, "{role}");
            assert_eq!(fs::read(&path).unwrap()[..100], [1; 100]);
        }
    }

    #[test]
    fn half_written_spares_and_spares_of_another_size_are_deleted() {
        let temp = tempfile::tempdir().unwrap();
        let mut segments = open(temp.path(), 4096);
        segments.create(Generation::FIRST).unwrap();
        drop(segments);
        let dir = temp.path().join(DIRECTORY);
        fs::write(dir.join("spare-90.tmp"), b"half").unwrap();
        drop(open(temp.path(), 8192));
        let mut lengths: Vec<_> = names(&dir)
            .unwrap()
            .iter()
            .map(|name| fs::metadata(dir.join(name)).unwrap().len())
            .collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [4096 + END_BYTES, 8192 + END_BYTES]);
    }

    #[test]
    fn a_spare_whose_end_is_damaged_is_not_used() {
        let temp = tempfile::tempdir().unwrap();
        let mut segments = open(temp.path(), 4096);
        segments.create(Generation::FIRST).unwrap();
        drop(segments);
        let dir = temp.path().join(DIRECTORY);
        fs::write(dir.join("spare-90"), vec![0; 4096 + 8]).unwrap();
        let mut segments = open(temp.path(), 4096);
        for number in 2..=4 {
            segments.create(Generation::new(number)).unwrap();
            let extent = segments.extent(Generation::new(number)).unwrap();
            assert_eq!(extent, Extent::Whole(4096));
        }
    }

    #[test]
    fn a_retirement_that_fails_is_told_and_never_leaves_a_hole() {
        let temp = tempfile::tempdir().unwrap();
        let mut segments = open(temp.path(), 4096);
        for number in 1..=3 {
            segments.create(Generation::new(number)).unwrap();
        }
        fs::remove_file(path_of(&temp.path().join(DIRECTORY), Generation::FIRST)).unwrap();
        segments.retire(Generation::FIRST).unwrap();
        let refused = (0..1000).any(|_| {
            thread::sleep(std::time::Duration::from_millis(1));
            segments.shelf.failure.lock().unwrap().is_some()
        });
        assert!(refused);
        let error = segments.retire(Generation::new(2)).unwrap_err();
        assert!(error.to_string().contains("00000000000000000001.seg"), "{error}");
        assert!(segments.create(Generation::new(4)).is_err());
        drop(segments);
        let left: Vec<_> = open(temp.path(), 4096).segments();
        assert_eq!(left.first(), Some(&Generation::new(2)));
    }

    #[test]
    fn a_full_disk_is_named_with_the_path_and_the_bytes() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = DiskError::room("write", Path::new("journal/spare-1.tmp"), 4096)(full);
        let message = error.to_string();
        assert_eq!(message, "the disk is full: journal/spare-1.tmp needs 4096 bytes more");
    }

    /// What a journal in segments of 512 bytes holds.
    fn trims(path: &Path) -> Result<Vec<Record>, JournalError> {
        let mut found = Vec::new();
        Journal::open(open(path, 512), None, |_, record| {
            found.extend(Some(record).filter(|it| matches!(it, Record::Trim { .. })));
            Ok(())
        })?;
        Ok(found)
    }

    fn open(path: &Path, segment_bytes: u64) -> Segments {
        open_as(Role::Acceptor, path, segment_bytes)
    }

    fn open_as(role: Role, path: &Path, segment_bytes: u64) -> Segments {
        let node = NodeId::new(4).unwrap();
        let identity = Identity { cluster: "demo".to_owned(), node, role };
        Directory::open(path, &identity).unwrap().segments(segment_bytes).unwrap()
    }

    fn summary() -> Summary {
        Summary::Learner {
            storage: StorageId(uuid::Uuid::from_u128(5)),
            epoch: None,
            slot: Slot::ZERO,
            index: crate::types::Index::ZERO,
        }
    }
}
