//! A storage in memory for tests: it loses what was not synced, and fails when told to.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Extent, Generation, Storage, StorageError};

/// A segment: what a sync made durable, and what was written since.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) durable: Vec<u8>,
    pub(crate) unsynced: Vec<(usize, Vec<u8>)>,
}

impl Segment {
    /// As it reads before a crash.
    fn seen(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (offset, written) in &self.unsynced {
            bytes[*offset..*offset + written.len()].copy_from_slice(written);
        }
        bytes
    }
}

/// The storage.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStorage {
    pub(crate) segment_bytes: usize,
    pub(crate) segments: BTreeMap<Generation, Segment>,
    pub(crate) spares: Vec<Vec<u8>>,
    pub(crate) writes: usize,
    pub(crate) last_write: Option<(Generation, usize, Vec<u8>)>,
    pub(crate) syncs: usize,
    /// Fails the sync when this many more have succeeded.
    pub(crate) syncs_left: Option<usize>,
}

impl MemoryStorage {
    pub(crate) fn new(segment_bytes: usize) -> Self {
        Self { segment_bytes, ..Self::default() }
    }

    /// What a crash leaves: nothing of what was not synced.
    pub(crate) fn crashed(&self) -> Self {
        let mut after = self.clone();
        after.syncs_left = None;
        after.segments.values_mut().for_each(|segment| segment.unsynced.clear());
        after
    }

    /// What a crash within the last write of `after` leaves: the bytes of it for which `kept` says
    /// so.
    pub(crate) fn torn(&self, after: &Self, kept: impl Fn(usize) -> bool) -> Self {
        let mut torn = self.crashed();
        let (generation, offset, written) = after.last_write.clone().unwrap();
        if !torn.segments.contains_key(&generation) {
            torn.create(generation).unwrap();
        }
        for (nth, byte) in written.into_iter().enumerate().filter(|(nth, _)| kept(*nth)) {
            torn.bytes_of(generation.get())[offset + nth] = byte;
        }
        torn
    }

    pub(crate) fn bytes_of(&mut self, generation: u64) -> &mut Vec<u8> {
        &mut self.segments.get_mut(&Generation::new(generation)).unwrap().durable
    }

    fn segment(&mut self, generation: Generation) -> Result<&mut Segment, StorageError> {
        let gone = || StorageError::new(format!("no segment {generation}"));
        self.segments.get_mut(&generation).ok_or_else(gone)
    }
}

impl Storage for MemoryStorage {
    fn segments(&self) -> Vec<Generation> {
        self.segments.keys().copied().collect()
    }

    fn segment_bytes(&self) -> u64 {
        u64::try_from(self.segment_bytes).unwrap()
    }

    fn extent(&self, generation: Generation) -> Result<Extent, StorageError> {
        let gone = || StorageError::new(format!("no segment {generation}"));
        let bytes = self.segments.get(&generation).ok_or_else(gone)?.durable.len();
        let is_whole = bytes == self.segment_bytes;
        let bytes = u64::try_from(bytes).map_err(StorageError::new)?;
        Ok(if is_whole { Extent::Whole(bytes) } else { Extent::Cut(bytes) })
    }

    fn read(
        &self,
        generation: Generation,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StorageError> {
        let gone = || StorageError::new(format!("no segment {generation}"));
        let bytes = self.segments.get(&generation).ok_or_else(gone)?.seen();
        let from = usize::try_from(offset).map_or(bytes.len(), |from| from.min(bytes.len()));
        let until = from.saturating_add(length).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[from..until]))
    }

    fn create(&mut self, generation: Generation) -> Result<(), StorageError> {
        let durable = self.spares.pop().unwrap_or_else(|| vec![0; self.segment_bytes]);
        assert!(
            self.segments.insert(generation, Segment { durable, unsynced: vec![] }).is_none(),
            "a generation is used once"
        );
        Ok(())
    }

    fn write(
        &mut self,
        generation: Generation,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.writes += 1;
        let offset = usize::try_from(offset).map_err(StorageError::new)?;
        let segment = self.segment(generation)?;
        assert!(offset + bytes.len() <= segment.durable.len(), "a write stays in its segment");
        segment.unsynced.push((offset, bytes.to_vec()));
        self.last_write = Some((generation, offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self, generation: Generation) -> Result<(), StorageError> {
        match &mut self.syncs_left {
            Some(0) => return Err(StorageError::new("the disk is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.syncs += 1;
        let segment = self.segment(generation)?;
        segment.durable = segment.seen();
        segment.unsynced.clear();
        Ok(())
    }

    fn retire(&mut self, generation: Generation) -> Result<(), StorageError> {
        assert_eq!(self.segments.keys().next(), Some(&generation), "the oldest goes first");
        let segment = self.segments.remove(&generation);
        self.spares.extend(segment.map(|segment| segment.durable));
        Ok(())
    }
}
