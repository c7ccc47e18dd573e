//! Where entries stand in the files of the log, every so many bytes: scans begin there.

use crate::paxos::store::Mark;
use crate::types::Slot;

/// Bytes from one mark to the next, if they are known so densely: of a log that was there at the
/// start, one of each file is, until scans find more.
const EVERY_BYTES: u64 = 64 << 10;

/// Marks, in the order of their slots.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    /// Adds a mark, unless it stands near behind another one.
    pub(super) fn add(&mut self, mark: Mark) {
        let at = self.0.partition_point(|known| known.slot < mark.slot);
        let is_known = self.0.get(at).is_some_and(|known| known.slot == mark.slot);
        let before = at.checked_sub(1).and_then(|at| self.0.get(at));
        let is_far = before.is_none_or(|before| {
            before.position.generation != mark.position.generation
                || mark.position.offset >= before.position.offset + EVERY_BYTES
        });
        if is_far && !is_known {
            self.0.insert(at, mark);
        }
    }

    /// Where to begin for what stands at `slot`; `None` where nothing is known of it.
    pub(super) fn before(&self, slot: Slot) -> Option<Mark> {
        let after = self.0.partition_point(|mark| mark.slot <= slot);
        after.checked_sub(1).and_then(|at| self.0.get(at)).copied()
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Mark] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::journal::{Generation, Position};
    use crate::types::Index;

    /// The mark of the batch at `offset`, which begins with the slot of that number.
    fn mark(generation: u64, offset: u64) -> Mark {
        let position = Position { generation: Generation::new(generation), offset };
        let number = (generation << 32) + offset;
        Mark { slot: Slot::new(number), index: Index::new(number), position }
    }

    #[test]
    fn marks_stand_apart_and_each_file_has_its_own() {
        let mut marks = Marks::default();
        let all = [mark(1, 0), mark(1, EVERY_BYTES - 1), mark(1, EVERY_BYTES), mark(2, 8)];
        for mark in all {
            marks.add(mark);
        }
        assert_eq!(marks.all(), [mark(1, 0), mark(1, EVERY_BYTES), mark(2, 8)]);
    }

    #[test]
    fn what_a_scan_has_found_is_used_by_the_next() {
        let mut marks = Marks::default();
        marks.add(mark(1, 0));
        marks.add(mark(2, 0));
        let found = mark(1, 3 * EVERY_BYTES);
        assert_eq!(marks.before(found.slot), Some(mark(1, 0)));
        for again in [found, found, mark(1, 3 * EVERY_BYTES + 8)] {
            marks.add(again);
        }
        assert_eq!(marks.before(found.slot), Some(found));
        assert_eq!(marks.all(), [mark(1, 0), found, mark(2, 0)]);
        assert_eq!(marks.before(Slot::new(1)), None, "nothing is known of what comes before");
    }
}
