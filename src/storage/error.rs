//! What can go wrong on a disk, named by act and path.

use std::io;
use std::path::{Path, PathBuf};

use crate::paxos::journal::StorageError;

/// Why the disk was not used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The operating system refused.
    #[error("cannot {act} {path}")]
    Io {
        /// What was attempted.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// No room is left.
    #[error("the disk is full: {path} needs {bytes} bytes more")]
    Full {
        /// What was being written.
        path: PathBuf,
        /// How much it takes.
        bytes: u64,
        /// The operating system's words.
        source: io::Error,
    },
    /// Another process holds the directory's lock.
    #[error(
        "another paxosd uses the directory {path}{}",
        holder.as_ref().map_or_else(String::new, |holder| format!(" ({holder})"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who, as the lock file says: `process 7 on acceptor1`. In a container the host is that
        /// of the container or the pod, without which its process 1 says nothing.
        holder: Option<String>,
    },
    /// The directory belongs to someone else.
    #[error(
        "the directory {path} belongs to {found}, but this node is configured as {expected}; \
         configure that directory's node, or name another directory"
    )]
    Mismatch {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asks.
        expected: String,
    },
    /// There is data, but nothing says whose.
    #[error(
        "the directory {path} holds {found} but no identity file; restore it, or name an empty \
         directory"
    )]
    Unidentified {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
    },
    /// A file does not read back as it was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The thread that looks after spare segments is gone.
    #[error("segments in {path} can no longer be retired")]
    Keeper {
        /// Where the segments are.
        path: PathBuf,
    },
}

impl DiskError {
    /// Names the act and the path of an operating system's error.
    pub(super) fn io<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { act, path: path.to_owned(), source: source.into() }
    }

    /// As [`DiskError::io`], for an act that takes `bytes` bytes of room.
    pub(super) fn room<E: Into<io::Error>>(
        act: &'static str,
        path: &Path,
        bytes: u64,
    ) -> impl FnOnce(E) -> Self {
        move |source| {
            let (path, source) = (path.to_owned(), source.into());
            let is_full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
            if is_full.contains(&source.kind()) {
                Self::Full { path, bytes, source }
            } else {
                Self::Io { act, path, source }
            }
        }
    }
}

impl From<DiskError> for StorageError {
    fn from(error: DiskError) -> Self {
        Self::new(error)
    }
}
