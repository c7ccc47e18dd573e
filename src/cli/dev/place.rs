//! The directory of a development cluster: what lies where, and the lock on it.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_yaml::Value;

use crate::cli::exit::{Exit, Failure};
use crate::config::Config;

/// The directories beside those of the nodes.
pub(super) const OWN: [&str; 2] = [LOGS, RUN];

const LOGS: &str = "logs";
const RUN: &str = "run";

/// How long a process that has said its last word may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of the end of a log in which its last lines are looked for.
const TAIL_BYTES: u64 = 8 << 10;

const CONFIG_HEAD: &str = "\
# Written by `paxosd dev` at each start, so a change here is lost: change the file that --config
# names instead.
";

/// The directory that `--data` names.
///
/// ```text
/// DIR/cluster.dev.yaml     what the nodes read
/// DIR/NAME/                what a node keeps
/// DIR/logs/NAME.log        what it says
/// DIR/run/NAME.pid         its process
/// DIR/run/dev.pid          ours, locked while it runs
/// DIR/run/dev.sock         where it takes orders
/// ```
#[derive(Debug, Clone)]
pub(super) struct Place {
    dir: PathBuf,
    /// As it was written.
    given: PathBuf,
}

/// The right to run a cluster at a place, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim(File);

impl Drop for Claim {
    fn drop(&mut self) {
        // Whoever reads the file to signal us must not find a number that is another's by then.
        drop(self.0.set_len(0));
    }
}

impl Place {
    /// The place `given`, which need not be there yet.
    pub(super) fn at(given: &Path) -> Result<Self, Failure> {
        let dir = std::path::absolute(given)
            .map_err(|error| Failure::io(format_args!("find {}", given.display()), &error))?;
        Ok(Self { dir, given: given.to_owned() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory as the user wrote it.
    pub(super) fn shown(&self) -> String {
        self.given.display().to_string()
    }

    /// The directory of the logs, likewise.
    pub(super) fn shown_logs(&self) -> String {
        self.given.join(LOGS).display().to_string()
    }

    /// What to add to a command, that it means this place.
    pub(super) fn flag(&self) -> String {
        if self.given == Path::new("./data") {
            return String::new();
        }
        format!(" --data {}", self.given.display())
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.dir.join("cluster.dev.yaml")
    }

    pub(super) fn log_file(&self, node: &str) -> PathBuf {
        self.dir.join(LOGS).join(format!("{node}.log"))
    }

    pub(super) fn pid_file(&self, node: &str) -> PathBuf {
        self.run_dir().join(format!("{node}.pid"))
    }

    pub(super) fn run_dir(&self) -> PathBuf {
        self.dir.join(RUN)
    }

    fn lock_file(&self) -> PathBuf {
        self.run_dir().join("dev.pid")
    }

    /// Makes the directories, and takes the place for this process.
    ///
    /// # Errors
    /// When another process has it, or the disk refuses.
    pub(super) fn claim(&self) -> Result<Claim, Failure> {
        for dir in OWN.map(|name| self.dir.join(name)) {
            fs::create_dir_all(&dir)
                .map_err(|error| Failure::io(format_args!("make {}", dir.display()), &error))?;
        }
        let path = self.lock_file();
        let failure = |error| Failure::io(format_args!("lock {}", path.display()), &error);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failure)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failure(error)),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The holder may be writing its number just now; then it stays unnamed.
                let pid = match file.read_to_string(&mut pid) {
                    Ok(length) if length > 0 => format!(" (pid {})", pid.trim()),
                    Ok(_) | Err(_) => String::new(),
                };
                let message = format!("another `paxosd dev`{pid} runs on {}", self.shown());
                let hint = format!(
                    "stop it with `paxosd dev stop{}`, or choose another directory with --data",
                    self.flag()
                );
                return Err(Failure::new(Exit::Refused, message).hint(hint));
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| Failure::io(format_args!("write {}", path.display()), &error))?;
        Ok(Claim(file))
    }

    /// Waits until nobody has the place, which must be soon.
    pub(super) fn wait_until_free(&self) -> Result<(), Failure> {
        let path = self.lock_file();
        let started = Instant::now();
        while started.elapsed() < END_PATIENCE {
            let Ok(file) = File::open(&path) else { return Ok(()) };
            if file.try_lock_shared().is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let message = format!("`paxosd dev` stopped its nodes, but still runs on {}", self.shown());
        Err(Failure::new(Exit::Error, message))
    }

    /// Writes the file that the nodes read.
    pub(super) fn write_config(&self, config: &Config) -> Result<(), Failure> {
        let path = self.config_file();
        let unwritable = |error: serde_yaml::Error| {
            Failure::new(Exit::Error, format!("cannot write {}: {error}", path.display()))
        };
        let mut document = serde_yaml::to_value(config).map_err(unwritable)?;
        if let Value::Mapping(keys) = &mut document {
            // A key without a value is a slip, and refused as one.
            keys.retain(|_, value| !value.is_null());
        }
        let text = serde_yaml::to_string(&document).map_err(unwritable)?;
        fs::write(&path, format!("{CONFIG_HEAD}{text}"))
            .map_err(|error| Failure::io(format_args!("write {}", path.display()), &error))
    }

    /// The last `count` lines that `node` said; none where there is no log.
    pub(super) fn last_words(&self, node: &str, count: usize) -> Vec<String> {
        let tail = || {
            let mut file = File::open(self.log_file(node)).ok()?;
            let length = file.metadata().ok()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let tail = tail().unwrap_or_default();
        let lines: Vec<&str> = tail.lines().collect();
        let from = lines.len().saturating_sub(count);
        lines.into_iter().skip(from).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_holder_and_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path()).unwrap();
        let claim = place.claim().unwrap();
        let failure = place.claim().unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.contains(&format!("(pid {})", std::process::id())), "{failure}");
        assert!(failure.hint.unwrap().contains("paxosd dev stop --data "));
        drop(claim);
        place.wait_until_free().unwrap();
        drop(place.claim().unwrap());
    }

    #[test]
    fn the_last_words_are_the_last_lines_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path()).unwrap();
        assert!(place.last_words("a", 2).is_empty());
        drop(place.claim().unwrap());
        let long = format!("{}\ntwo\nthree\n", "x".repeat(10_000));
        fs::write(place.log_file("a"), long).unwrap();
        assert_eq!(place.last_words("a", 2), ["two", "three"]);
    }
}
