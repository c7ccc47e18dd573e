//! What a segment file of a journal holds, for tests that damage it.

/// The mark at the end of each file, which is none of its segment.
const END: &str = "PXSEGEND";

/// The bytes from the first one to the last that was written.
pub(crate) fn written(file: &[u8]) -> usize {
    let end = file.len() - END.len();
    file[..end].iter().rposition(|byte| *byte != 0).unwrap() + 1
}
