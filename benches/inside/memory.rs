//! Segments in memory: what a journal costs without its disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use paxosd::paxos::journal::{Extent, Generation, Storage, StorageError};

use crate::fixture::SEGMENT_BYTES;

/// Segments whose writes are copies and whose syncs are nothing.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    segments: BTreeMap<Generation, Vec<u8>>,
    /// Retired, to be used again: as on a disk, a new segment costs no new pages for long.
    spares: Vec<Vec<u8>>,
}

impl Memory {
    fn segment(&self, generation: Generation) -> Result<&Vec<u8>, StorageError> {
        self.segments.get(&generation).ok_or_else(|| StorageError::new("no such segment"))
    }
}

impl Storage for Memory {
    fn segments(&self) -> Vec<Generation> {
        self.segments.keys().copied().collect()
    }

    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES
    }

    fn extent(&self, generation: Generation) -> Result<Extent, StorageError> {
        self.segment(generation).map(|_| Extent::Whole(SEGMENT_BYTES))
    }

    fn read(
        &self,
        generation: Generation,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StorageError> {
        let segment = self.segment(generation)?;
        let from = usize::try_from(offset).map_err(StorageError::new)?.min(segment.len());
        let until = from.saturating_add(length).min(segment.len());
        Ok(segment.get(from..until).map(Bytes::copy_from_slice).unwrap_or_default())
    }

    fn create(&mut self, generation: Generation) -> Result<(), StorageError> {
        let bytes = usize::try_from(SEGMENT_BYTES).map_err(StorageError::new)?;
        let segment = self.spares.pop().unwrap_or_else(|| vec![0; bytes]);
        self.segments.insert(generation, segment);
        Ok(())
    }

    fn write(
        &mut self,
        generation: Generation,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let from = usize::try_from(offset).map_err(StorageError::new)?;
        let place = self
            .segments
            .get_mut(&generation)
            .and_then(|segment| segment.get_mut(from..from.saturating_add(bytes.len())))
            .ok_or_else(|| StorageError::new("no such place"))?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: Generation) -> Result<(), StorageError> {
        Ok(())
    }

    fn retire(&mut self, generation: Generation) -> Result<(), StorageError> {
        self.spares.extend(self.segments.remove(&generation));
        Ok(())
    }
}
