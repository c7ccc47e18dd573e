//! The simulated disk of one node: it tears what a crash interrupts, and fails when told to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use paxosd::paxos::journal::{Extent, Generation, Storage, StorageError};
use paxosd::types::StorageId;
use rand::RngExt;

use crate::chance::Chance;

/// What a crash tears: a disk keeps or loses a sector as a whole.
const SECTOR: usize = 512;
/// Retired segments that are kept to be used again.
const SPARES_MAX: usize = 2;

/// A change that is not settled: a crash before the moment of its completion may undo it.
#[derive(Debug, Clone)]
enum Change {
    Created(Generation),
    Written {
        generation: Generation,
        offset: usize,
        old: Vec<u8>,
        /// What was the newest batch before.
        newest: Option<(Generation, usize)>,
    },
    Retired {
        generation: Generation,
        bytes: Vec<u8>,
    },
}

/// A disk, as its process sees it, and what a crash would take back.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The identity of the directory.
    pub(crate) id: StorageId,
    /// The learner's checkpoint, swapped as a whole.
    pub(crate) checkpoint: Option<Vec<u8>>,
    /// The next sync fails.
    pub is_failing: bool,
    /// No new segment can be had.
    pub is_full: bool,
    segment_bytes: usize,
    segments: BTreeMap<Generation, Vec<u8>>,
    spares: Vec<Vec<u8>>,
    unsettled: Vec<Change>,
    unsynced: BTreeSet<Generation>,
    /// Where the newest batch begins: the fault model rots only what lies before it.
    newest: Option<(Generation, usize)>,
}

impl Disk {
    /// An empty disk, the directory on it called `id`.
    #[must_use]
    pub fn new(id: StorageId, segment_bytes: usize) -> Self {
        Self {
            id,
            checkpoint: None,
            is_failing: false,
            is_full: false,
            segment_bytes,
            segments: BTreeMap::new(),
            spares: Vec::new(),
            unsettled: Vec::new(),
            unsynced: BTreeSet::new(),
            newest: None,
        }
    }

    /// Whether changes wait to be settled.
    pub(crate) fn is_busy(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Whether those open a segment or give one up.
    pub(crate) fn turns_segments(&self) -> bool {
        self.unsettled.iter().any(|change| !matches!(change, Change::Written { .. }))
    }

    /// Whether those are more than one write: of a turn that no segment had room for.
    pub(crate) fn is_in_parts(&self) -> bool {
        let is_write = |change: &&Change| matches!(change, Change::Written { .. });
        self.unsettled.iter().filter(is_write).count() > 1
    }

    /// Whether something was written and not synced: no answer may leave then.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// The moment has come at which everything that was synced is durable.
    pub fn settle(&mut self) {
        for change in std::mem::take(&mut self.unsettled) {
            // As on a real disk, what was retired is used again with all that it holds.
            if let Change::Retired { bytes, .. } = change
                && self.spares.len() < SPARES_MAX
            {
                self.spares.push(bytes);
            }
        }
    }

    /// The process or machine dies: of the unsettled changes, those before a random one happened,
    /// that one is torn, and those after it never happened.
    pub fn crash(&mut self, chance: &mut Chance) {
        let torn = chance.random_range(0..=self.unsettled.len());
        while self.unsettled.len() > torn {
            let is_torn = self.unsettled.len() == torn + 1;
            if let Some(change) = self.unsettled.pop() {
                self.undo(change, is_torn.then_some(&mut *chance));
            }
        }
        self.settle();
        self.unsynced.clear();
        self.is_failing = false;
    }

    /// Flips one bit of what was durable before the newest batch; whether there was any.
    pub(crate) fn rot(&mut self, chance: &mut Chance) -> bool {
        let Some((newest, offset)) = self.newest else { return false };
        let nth = chance.random_range(0..self.segments.len().max(1));
        let Some((&generation, bytes)) = self.segments.iter_mut().nth(nth) else { return false };
        let until = if generation < newest { bytes.len() } else { offset };
        if generation > newest || until == 0 {
            return false;
        }
        if let Some(byte) = bytes.get_mut(chance.random_range(0..until)) {
            *byte ^= 1 << chance.random_range(0..8_u32);
        }
        true
    }

    /// The bytes of a segment, for one who means to harm them.
    pub fn bytes_of(&mut self, generation: Generation) -> Option<&mut Vec<u8>> {
        self.segments.get_mut(&generation)
    }

    fn undo(&mut self, change: Change, tear: Option<&mut Chance>) {
        match change {
            Change::Created(generation) => {
                if tear.is_none_or(|chance| chance.random_bool(0.5)) {
                    self.spares.extend(self.segments.remove(&generation));
                }
            }
            Change::Retired { generation, bytes } => {
                if tear.is_none_or(|chance| chance.random_bool(0.5)) {
                    self.segments.insert(generation, bytes);
                }
            }
            Change::Written { generation, offset, old, newest } => {
                self.newest = newest;
                let Some(segment) = self.segments.get_mut(&generation) else { return };
                let Some(written) = segment.get_mut(offset..offset + old.len()) else { return };
                match tear {
                    None => written.copy_from_slice(&old),
                    Some(lot) => tear_write(written, &old, lot),
                }
            }
        }
    }
}

/// Either a prefix arrived, or any of the sectors.
fn tear_write(written: &mut [u8], old: &[u8], chance: &mut Chance) {
    if chance.random_bool(0.5) {
        let arrived = chance.random_range(0..=old.len());
        for (byte, before) in written.iter_mut().zip(old).skip(arrived) {
            *byte = *before;
        }
        return;
    }
    for (sector, before) in written.chunks_mut(SECTOR).zip(old.chunks(SECTOR)) {
        if chance.random_bool(0.5) {
            sector.copy_from_slice(before);
        }
    }
}

/// The port through which a journal sees a disk.
#[derive(Debug, Clone)]
pub struct SimStorage(pub Rc<RefCell<Disk>>);

fn gone(generation: Generation) -> StorageError {
    StorageError::new(format!("no segment {generation}"))
}

impl Storage for SimStorage {
    fn segments(&self) -> Vec<Generation> {
        self.0.borrow().segments.keys().copied().collect()
    }

    fn segment_bytes(&self) -> u64 {
        u64::try_from(self.0.borrow().segment_bytes).unwrap_or(u64::MAX)
    }

    fn extent(&self, generation: Generation) -> Result<Extent, StorageError> {
        let disk = self.0.borrow();
        let bytes = disk.segments.get(&generation).ok_or_else(|| gone(generation))?.len();
        let is_whole = bytes == disk.segment_bytes;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Ok(if is_whole { Extent::Whole(bytes) } else { Extent::Cut(bytes) })
    }

    fn read(
        &self,
        generation: Generation,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StorageError> {
        let disk = self.0.borrow();
        let bytes = disk.segments.get(&generation).ok_or_else(|| gone(generation))?;
        let from = usize::try_from(offset).map_or(bytes.len(), |from| from.min(bytes.len()));
        let until = from.saturating_add(length).min(bytes.len());
        Ok(Bytes::copy_from_slice(bytes.get(from..until).unwrap_or_default()))
    }

    fn create(&mut self, generation: Generation) -> Result<(), StorageError> {
        let disk = &mut *self.0.borrow_mut();
        if disk.is_full {
            return Err(StorageError::new("no space left on the simulated disk"));
        }
        let bytes = disk.spares.pop().unwrap_or_else(|| vec![0; disk.segment_bytes]);
        disk.segments.insert(generation, bytes);
        disk.unsettled.push(Change::Created(generation));
        Ok(())
    }

    fn write(
        &mut self,
        generation: Generation,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let disk = &mut *self.0.borrow_mut();
        let offset = usize::try_from(offset).map_err(StorageError::new)?;
        let segment = disk.segments.get_mut(&generation).ok_or_else(|| gone(generation))?;
        let place = segment
            .get_mut(offset..offset + bytes.len())
            .ok_or_else(|| StorageError::new("a write beyond the segment's end"))?;
        let old = place.to_vec();
        place.copy_from_slice(bytes);
        let newest = disk.newest;
        // Zeros clear what a crash tore; they are no batch.
        if bytes.iter().any(|byte| *byte != 0) {
            disk.newest = Some((generation, offset));
        }
        disk.unsettled.push(Change::Written { generation, offset, old, newest });
        disk.unsynced.insert(generation);
        Ok(())
    }

    fn sync(&mut self, generation: Generation) -> Result<(), StorageError> {
        let disk = &mut *self.0.borrow_mut();
        if disk.is_failing {
            return Err(StorageError::new("the simulated disk failed to sync"));
        }
        disk.unsynced.remove(&generation);
        Ok(())
    }

    fn retire(&mut self, generation: Generation) -> Result<(), StorageError> {
        let disk = &mut *self.0.borrow_mut();
        let bytes = disk.segments.remove(&generation).ok_or_else(|| gone(generation))?;
        disk.unsettled.push(Change::Retired { generation, bytes });
        Ok(())
    }
}
