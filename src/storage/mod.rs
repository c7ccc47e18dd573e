//! The disk: a locked directory with an identity, the segment files of a journal, and a checkpoint.

mod checkpoint;
mod direct;
mod directory;
mod error;
mod segments;

pub use checkpoint::{read_checkpoint, write_checkpoint};
pub use directory::{Directory, Identity};
pub use error::DiskError;
pub use segments::{Reader, Segments};
