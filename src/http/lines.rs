//! Lines of a body that is never whole in memory.

use bytes::{Buf, Bytes, BytesMut};

/// A line, without the newline that ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number: 1, 2, 3, …
    pub number: u64,
    /// What it says.
    pub text: Text,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// All of it. It may share memory with its chunk, so copy what is to be kept.
    Whole(Bytes),
    /// More than is allowed, none of which is kept.
    TooLong {
        /// How long it is.
        bytes: u64,
    },
}

/// Takes a body apart into lines, however its bytes are cut into chunks. It holds no more of them
/// than one line may have.
#[derive(Debug)]
pub struct Splitter {
    bytes_max: usize,
    /// What is there of the line that is not whole yet; nothing once it is too long.
    begun: BytesMut,
    /// How much of that line has come, also where it is not kept.
    bytes: u64,
    /// Lines that have ended.
    ended: u64,
}

impl Splitter {
    /// For lines of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, begun: BytesMut::new(), bytes: 0, ended: 0 }
    }

    /// Takes bytes from `chunk` as far as the first newline, and gives the line that it ends. With
    /// none the chunk is used up.
    pub fn next(&mut self, chunk: &mut Bytes) -> Option<Line> {
        let newline = chunk.iter().position(|&byte| byte == b'\n');
        let part = chunk.split_to(newline.unwrap_or(chunk.len()));
        self.bytes += u64::try_from(part.len()).unwrap_or(u64::MAX);
        let is_too_long = self.is_too_long();
        if is_too_long {
            // Its memory is given back too.
            self.begun = BytesMut::new();
        }
        if newline.is_none() {
            if !is_too_long {
                self.begun.extend_from_slice(&part);
            }
            return None;
        }
        chunk.advance(1);
        if self.begun.is_empty() && !is_too_long {
            return Some(self.end(part));
        }
        self.begun.extend_from_slice(if is_too_long { &[] } else { &part });
        let whole = self.begun.split().freeze();
        Some(self.end(whole))
    }

    /// The line after the last newline, if there is one. Only for a body that has ended well: of
    /// one that broke off, nobody knows whether `12` was to be `123`.
    pub fn finish(&mut self) -> Option<Line> {
        let whole = self.begun.split().freeze();
        (self.bytes > 0).then(|| self.end(whole))
    }

    fn is_too_long(&self) -> bool {
        usize::try_from(self.bytes).is_ok_and(|bytes| bytes > self.bytes_max)
    }

    fn end(&mut self, whole: Bytes) -> Line {
        let text = if self.is_too_long() {
            Text::TooLong { bytes: self.bytes }
        } else {
            Text::Whole(whole)
        };
        self.bytes = 0;
        self.ended += 1;
        Line { number: self.ended, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lines of `chunks`, each at most `bytes_max` long.
    fn split<'a>(bytes_max: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Line> {
        let mut splitter = Splitter::new(bytes_max);
        let mut lines = Vec::new();
        for chunk in chunks {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(line) = splitter.next(&mut chunk) {
                lines.push(line);
            }
            assert!(chunk.is_empty(), "a chunk is used up");
            assert!(splitter.begun.len() <= bytes_max, "no more is held than a line may have");
        }
        lines.extend(splitter.finish());
        lines
    }

    fn whole(number: u64, text: &'static str) -> Line {
        Line { number, text: Text::Whole(Bytes::from_static(text.as_bytes())) }
    }

    #[test]
    fn empty_lines_count_and_the_last_one_needs_no_newline() {
        let lines = split(9, [&b"1\n\n\"two\"\n4"[..]]);
        assert_eq!(lines, [whole(1, "1"), whole(2, ""), whole(3, "\"two\""), whole(4, "4")]);
        assert_eq!(split(9, [&b"1\n"[..]]), [whole(1, "1")]);
        assert_eq!(split(9, []), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_measured_and_not_held() {
        let long = [b'x'; 1000];
        let chunks = [&b"123\n"[..], &long, &long, &b"y\n12"[..], &b"34\n1234\n"[..]];
        let too_long = |number, bytes| Line { number, text: Text::TooLong { bytes } };
        let expected = [whole(1, "123"), too_long(2, 2001), whole(3, "1234"), whole(4, "1234")];
        assert_eq!(split(4, chunks), expected);
        assert_eq!(split(4, [&b"1\n12345"[..]]), [whole(1, "1"), too_long(2, 5)]);
    }

    proptest! {
        #[test]
        fn any_cut_into_chunks_gives_the_same_lines(
            letters in prop::collection::vec(prop::sample::select(&b"ab\n\r"[..]), 0..200),
            sizes in prop::collection::vec(1..20_usize, 1..20),
            bytes_max in 1..12_usize,
        ) {
            let mut chunks = Vec::new();
            let mut rest = letters.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at(rest.len().min(*size));
                chunks.push(chunk);
                rest = after;
            }
            let mut expected: Vec<&[u8]> = letters.split(|&byte| byte == b'\n').collect();
            // What follows the last newline is a line only where it is something.
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let expected: Vec<Line> = (1..)
                .zip(expected)
                .map(|(number, line)| {
                    let bytes = u64::try_from(line.len()).unwrap();
                    let text = if line.len() > bytes_max {
                        Text::TooLong { bytes }
                    } else {
                        Text::Whole(Bytes::copy_from_slice(line))
                    };
                    Line { number, text }
                })
                .collect();
            prop_assert_eq!(split(bytes_max, chunks), expected);
        }
    }
}
