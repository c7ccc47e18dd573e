//! A node's directory: locked by one process, and bound for ever to one node of one cluster.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::system::uname;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::checkpoint::{replace, sync_directory};
use super::direct::Route;
use super::segments::holds_segments;
use super::{DiskError, Segments, read_checkpoint, write_checkpoint};
use crate::types::{NodeId, Role, StorageId};

const LOCK: &str = "lock";
const IDENTITY: &str = "identity.json";
const FORMAT: u32 = 2;

/// Whose directory it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of cluster `{}`", self.role, self.node, self.cluster)
    }
}

/// The identity file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    cluster: String,
    node: u64,
    role: String,
    storage: String,
    /// The CRC32C of the others: a storage identity with one digit changed is one as well.
    check: u32,
}

/// What every format has, so that another one is called by its name.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl Stored {
    fn checksum(&self) -> u32 {
        let Self { format, cluster, node, role, storage, check: _ } = self;
        crc32c::crc32c(format!("{format}\n{cluster}\n{node}\n{role}\n{storage}").as_bytes())
    }
}

/// A directory that this process alone uses, until this and all [`Segments`] from it are dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    role: Role,
    storage: StorageId,
    is_new: bool,
    lock: Arc<File>,
}

impl Directory {
    /// Locks the directory at `path` for `identity`, and creates it where there is none.
    ///
    /// # Errors
    /// When another process uses it, it belongs to another node, role or cluster, its identity file
    /// is gone or damaged, or the disk refuses.
    pub fn open(path: &Path, identity: &Identity) -> Result<Self, DiskError> {
        fs::create_dir_all(path).map_err(DiskError::io("create the directory", path))?;
        let lock = Arc::new(lock(path)?);
        let (storage, is_new) = match read_identity(path, identity)? {
            Some(storage) => (storage, false),
            None => (create_identity(path, identity)?, true),
        };
        // Its name may have been in memory only when its creator was killed.
        sync_directory(path)?;
        Ok(Self { path: path.to_owned(), role: identity.role, storage, is_new, lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity drawn when it was created.
    #[must_use]
    pub const fn storage_id(&self) -> StorageId {
        self.storage
    }

    /// Whether this call of `open` created it.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Its segments, new ones of `segment_bytes` bytes. Open them once.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn segments(&self, segment_bytes: u64) -> Result<Segments, DiskError> {
        let route = match self.role {
            Role::Acceptor => Route::Direct,
            // A learner's log is read by callers.
            Role::Learner | Role::Proposer | Role::Client => Route::Cached,
        };
        Segments::open(&self.path, segment_bytes, route, Arc::clone(&self.lock))
    }

    /// Replaces its checkpoint, durably.
    ///
    /// # Errors
    /// As of [`write_checkpoint`].
    pub fn write_checkpoint(&self, bytes: &[u8]) -> Result<(), DiskError> {
        write_checkpoint(&self.path, bytes)
    }

    /// Its checkpoint, if there is one.
    ///
    /// # Errors
    /// As of [`read_checkpoint`].
    pub fn read_checkpoint(&self) -> Result<Option<Vec<u8>>, DiskError> {
        read_checkpoint(&self.path)
    }
}

/// Takes the lock, and writes into it who holds it. The kernel frees it when the process ends.
fn lock(dir: &Path) -> Result<File, DiskError> {
    let path = dir.join(LOCK);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(DiskError::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // The holder may be writing its name just now; then it stays unnamed.
            let holder = file.read_to_string(&mut text).ok().and_then(|_| holder_of(&text));
            return Err(DiskError::InUse { path: dir.to_owned(), holder });
        }
        Err(error) => return Err(DiskError::io("lock", &path)(error)),
    }
    let holder = format!("{} {}\n", std::process::id(), host());
    file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(DiskError::room(
        "write",
        &path,
        u64::try_from(holder.len()).unwrap_or(u64::MAX),
    ))?;
    Ok(file)
}

/// The name of this machine, or of the container or the pod that this is.
fn host() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

/// Who wrote `text` into the lock file; none where it is no whole line of ours.
fn holder_of(text: &str) -> Option<String> {
    let (pid, host) = text.strip_suffix('\n')?.split_once(' ')?;
    let pid: u32 = pid.parse().ok()?;
    Some(format!("process {pid} on {}", host.escape_debug()))
}

/// The storage identity of the directory, checked against who asks; `None` when it is empty.
fn read_identity(dir: &Path, expected: &Identity) -> Result<Option<StorageId>, DiskError> {
    let path = dir.join(IDENTITY);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let found = if holds_segments(dir)? {
                "segments"
            } else if read_checkpoint(dir)?.is_some() {
                "a checkpoint"
            } else {
                return Ok(None);
            };
            return Err(DiskError::Unidentified { path: dir.to_owned(), found });
        }
        Err(error) => return Err(DiskError::io("read", &path)(error)),
    };
    let damaged = |reason: String| DiskError::Damaged { path: path.clone(), reason };
    let AnyFormat { format } = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if format != FORMAT {
        return Err(damaged(format!("its format is {format}, not {FORMAT}")));
    }
    let stored: Stored = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if stored.check != stored.checksum() {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    let found = Identity {
        cluster: stored.cluster,
        node: NodeId::new(stored.node).map_err(|e| damaged(e.to_string()))?,
        role: stored.role.parse().map_err(|e: crate::types::RoleError| damaged(e.to_string()))?,
    };
    let storage = Uuid::try_parse(&stored.storage).map_err(|e| damaged(e.to_string()))?;
    if found != *expected {
        return Err(DiskError::Mismatch {
            path: dir.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        });
    }
    Ok(Some(StorageId(storage)))
}

/// Makes the directory's own name durable, before anything in it is relied upon.
fn sync_parent(dir: &Path) -> Result<(), DiskError> {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

fn create_identity(dir: &Path, identity: &Identity) -> Result<StorageId, DiskError> {
    sync_parent(dir)?;
    let storage = Uuid::new_v4();
    let mut stored = Stored {
        format: FORMAT,
        cluster: identity.cluster.clone(),
        node: u64::from(identity.node.get()),
        role: identity.role.to_string(),
        storage: storage.to_string(),
        check: 0,
    };
    stored.check = stored.checksum();
    let path = dir.join(IDENTITY);
    let text = serde_json::to_vec_pretty(&stored)
        .map_err(|error| DiskError::io("encode", &path)(io::Error::from(error)))?;
    replace(dir, IDENTITY, &[&text, b"\n"])?;
    Ok(StorageId(storage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::journal::{Generation, Storage};

    #[test]
    fn a_directory_keeps_its_identity() {
        let (_temp, path) = place();
        let first = Directory::open(&path, &acceptor(4)).unwrap();
        assert!(first.is_new());
        let id = first.storage_id();
        drop(first);
        let second = Directory::open(&path, &acceptor(4)).unwrap();
        assert_eq!((second.storage_id(), second.is_new()), (id, false));
        drop(second);
        fs::remove_dir_all(&path).unwrap();
        assert_ne!(Directory::open(&path, &acceptor(4)).unwrap().storage_id(), id);
    }

    #[test]
    fn a_second_process_is_refused_and_told_who_holds_the_directory() {
        let (_temp, path) = place();
        let first = Directory::open(&path, &acceptor(4)).unwrap();
        let segments = first.segments(4096).unwrap();
        drop(first);
        let error = Directory::open(&path, &acceptor(4)).unwrap_err();
        let holder = format!("(process {} on {})", std::process::id(), host());
        assert!(matches!(error, DiskError::InUse { .. }), "{error}");
        assert!(error.to_string().ends_with(&holder), "{error} does not end with {holder}");
        drop(segments);
        Directory::open(&path, &acceptor(4)).unwrap();
    }

    #[test]
    fn a_holder_that_is_still_writing_its_name_stays_unnamed() {
        assert_eq!(holder_of("7 acceptor1\n").as_deref(), Some("process 7 on acceptor1"));
        for half in ["", "7", "7\n", "7 accep", "seven acceptor1\n"] {
            assert_eq!(holder_of(half), None, "{half:?}");
        }
    }

    #[test]
    fn another_node_role_or_cluster_is_refused_with_both_sides_named() {
        let (_temp, path) = place();
        drop(Directory::open(&path, &acceptor(4)).unwrap());
        let others = [
            acceptor(5),
            Identity { role: Role::Learner, ..acceptor(4) },
            Identity { cluster: "other".to_owned(), ..acceptor(4) },
        ];
        for other in others {
            let message = Directory::open(&path, &other).unwrap_err().to_string();
            assert!(message.contains("acceptor 4 of cluster `demo`"), "{message}");
            assert!(message.contains(&other.to_string()), "{message}");
        }
    }

    #[test]
    fn data_without_an_identity_is_refused() {
        let (_temp, path) = place();
        let directory = Directory::open(&path, &acceptor(4)).unwrap();
        directory.segments(4096).unwrap().create(Generation::FIRST).unwrap();
        drop(directory);
        fs::remove_file(path.join(IDENTITY)).unwrap();
        let error = Directory::open(&path, &acceptor(4)).unwrap_err();
        assert!(matches!(error, DiskError::Unidentified { found: "segments", .. }), "{error}");
    }

    #[test]
    fn a_damaged_identity_or_one_of_another_format_is_refused() {
        let (_temp, path) = place();
        drop(Directory::open(&path, &acceptor(4)).unwrap());
        let file = path.join(IDENTITY);
        let text = fs::read_to_string(&file).unwrap();
        for damage in [text.replace("\"format\": 2", "\"format\": 1"), text[..40].to_owned()] {
            fs::write(&file, damage).unwrap();
            let error = Directory::open(&path, &acceptor(4)).unwrap_err();
            assert!(matches!(error, DiskError::Damaged { .. }), "{error}");
        }
        fs::write(&file, r#"{"format": 1, "of": "another time"}"#).unwrap();
        let error = Directory::open(&path, &acceptor(4)).unwrap_err();
        assert!(error.to_string().contains("its format is 1, not 2"), "{error}");
    }

    #[test]
    fn an_identity_harmed_at_any_bit_or_cut_at_any_byte_is_refused_or_the_same() {
        let (_temp, path) = place();
        let storage = Directory::open(&path, &acceptor(4)).unwrap().storage_id();
        let file = path.join(IDENTITY);
        let whole = fs::read(&file).unwrap();
        let flips = (0..whole.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
        let flipped = flips.map(|(byte, bit)| {
            let mut text = whole.clone();
            text[byte] ^= 1 << bit;
            text
        });
        let cut = (0..whole.len()).map(|byte| whole[..byte].to_vec());
        for harmed in flipped.chain(cut) {
            fs::write(&file, &harmed).unwrap();
            match read_identity(&path, &acceptor(4)) {
                Ok(found) => assert_eq!(found, Some(storage), "{}", harmed.escape_ascii()),
                Err(error) => assert!(matches!(error, DiskError::Damaged { .. }), "{error}"),
            }
        }
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data").join("node");
        (temp, path)
    }

    fn acceptor(node: u64) -> Identity {
        let node = NodeId::new(node).unwrap();
        Identity { cluster: "demo".to_owned(), node, role: Role::Acceptor }
    }
}
