//! Small files that are replaced whole: after a crash there is the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::DiskError;

const NAME: &str = "checkpoint";
const MAGIC: [u8; 8] = *b"PXCHECK1";

/// Replaces the checkpoint of the directory `dir`. On return it is durable.
///
/// # Errors
/// When the disk refuses; the former checkpoint is then still there.
pub fn write_checkpoint(dir: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let crc = crc32c::crc32c(bytes).to_le_bytes();
    replace(dir, NAME, &[&MAGIC, &crc, bytes])
}

/// The checkpoint of the directory `dir`; `None` when none was ever written.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub fn read_checkpoint(dir: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    let path = dir.join(NAME);
    let mut bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io("read", &path)(error)),
    };
    let damaged =
        |reason: &str| DiskError::Damaged { path: path.clone(), reason: reason.to_owned() };
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("it is too short"))?;
    let (crc, body) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    if *magic != MAGIC {
        return Err(damaged("it is no checkpoint of this version"));
    }
    if u32::from_le_bytes(*crc) != crc32c::crc32c(body) {
        return Err(damaged("its checksum is wrong"));
    }
    drop(bytes.drain(..MAGIC.len() + crc.len()));
    Ok(Some(bytes))
}

/// Replaces the file `name` in `dir` by `parts`: written beside it, synced, renamed, and the name
/// synced.
pub(super) fn replace(dir: &Path, name: &str, parts: &[&[u8]]) -> Result<(), DiskError> {
    let path = dir.join(name);
    let beside = dir.join(format!("{name}.tmp"));
    let bytes = parts.iter().map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX)).sum();
    let mut file = File::create(&beside).map_err(DiskError::room("create", &beside, bytes))?;
    for part in parts {
        file.write_all(part).map_err(DiskError::room("write", &beside, bytes))?;
    }
    file.sync_all().map_err(DiskError::room("sync", &beside, bytes))?;
    fs::rename(&beside, &path).map_err(DiskError::io("rename", &beside))?;
    sync_directory(dir)
}

/// Makes the names in `dir` durable.
pub(super) fn sync_directory(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(DiskError::io("sync the directory", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_and_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_checkpoint(dir.path()).unwrap(), None);
        for body in [&b"first"[..], b"", b"third"] {
            write_checkpoint(dir.path(), body).unwrap();
            assert_eq!(read_checkpoint(dir.path()).unwrap().as_deref(), Some(body));
        }
        // A crash before the rename leaves a file beside it, which nobody reads.
        fs::write(dir.path().join("checkpoint.tmp"), b"torn").unwrap();
        assert_eq!(read_checkpoint(dir.path()).unwrap().as_deref(), Some(&b"third"[..]));
    }

    #[test]
    fn a_damaged_checkpoint_is_refused_at_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        write_checkpoint(dir.path(), b"state").unwrap();
        let path = dir.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[byte] ^= 1 << bit;
                fs::write(&path, &flipped).unwrap();
                assert!(matches!(read_checkpoint(dir.path()), Err(DiskError::Damaged { .. })));
            }
            fs::write(&path, &whole[..byte]).unwrap();
            assert!(matches!(read_checkpoint(dir.path()), Err(DiskError::Damaged { .. })));
        }
    }
}
