//! Choices read from bytes, one after the other; none are left at the end.

/// What is left of an input.
#[derive(Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number below `bound`, or 0 where that is 0; of one byte, or of two where one is too few.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let low = usize::from(self.byte());
        let number = if bound > 256 { low | usize::from(self.byte()) << 8 } else { low };
        number.checked_rem(bound).unwrap_or(0)
    }

    /// A number from 1 to `most`.
    pub(crate) fn upto(&mut self, most: u8) -> u64 {
        u64::from(self.byte() % most.max(1)) + 1
    }

    /// The next `count` bytes, or fewer at the end.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}
