//! The thread that keeps what a learner delivers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::error;

use crate::node::Shared;
use crate::paxos::log::Snapshot;
use crate::paxos::store::{Entry, Mark, Store};
use crate::storage::{Directory, Segments};
use crate::types::{Epoch, Slot};

/// Batches of entries that may wait for the disk.
const KEEPS_WAITING_MAX: usize = 1024;

/// Bytes of batches that may wait for the disk, beside one of any length: a learner that catches up
/// takes in faster than any disk writes.
const KEEP_BYTES_MAX: usize = 4 << 20;

/// Bytes that are enough for one sync, of whole turns of the learner. What was written at once has
/// one checksum, and whoever reads a part of it reads all.
const TURN_BYTES: usize = 512 << 10;

/// What an entry takes in memory beside its batch and what became of that.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// How long delivered entries are gathered before they are written, unless there are enough. A
/// crash loses them to this learner alone, which then has them from the acceptors.
const GATHER: Duration = Duration::from_millis(20);

/// What the log's thread is told.
#[derive(Debug)]
enum Keep {
    Epoch(Epoch),
    /// With the room that they take.
    Entries(Vec<Entry>, OwnedSemaphorePermit),
    Checkpoint(Snapshot),
}

/// What the log's thread has done.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Taken and put under a lock that is held for a push, never across an await.
    kept: Mutex<Kept>,
    changed: Notify,
}

/// What is on disk.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Everything through this slot.
    pub(super) slot: Slot,
    /// Where, of what has come to it since the last look.
    pub(super) marks: Vec<Mark>,
}

impl Progress {
    /// Completes when there is more than at the last look.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Looks, and takes the marks.
    pub(super) fn take(&self) -> Kept {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Kept { slot: kept.slot, marks: std::mem::take(&mut kept.marks) }
    }
}

/// The thread that keeps what is delivered. Each call waits while the disk is behind: the learner
/// then takes no more either.
#[derive(Debug)]
pub(super) struct Keeper {
    keeps: mpsc::Sender<Keep>,
    /// For what waits in it.
    room: Arc<Semaphore>,
    progress: Arc<Progress>,
}

impl Keeper {
    /// Starts the thread, which owns the directory and the log in it.
    pub(super) fn start(
        shared: &Arc<Shared>,
        directory: Directory,
        store: Store<Segments>,
    ) -> anyhow::Result<Self> {
        let (sender, keeps) = mpsc::channel(KEEPS_WAITING_MAX);
        let room = Arc::new(Semaphore::new(KEEP_BYTES_MAX));
        let mut backlog = Backlog { keeps, room: room.clone() };
        let progress = Arc::new(Progress::default());
        let (shared, theirs) = (shared.clone(), progress.clone());
        let spawned = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let _guard = shared.failed.on_panic("log");
            let kept = keep_all(&shared, &directory, store, &mut backlog, &theirs);
            if let Err(error) = kept {
                error!(%error, "the learner's disk failed");
                shared.failed.fail(error.context("keep what was delivered"));
            }
        });
        spawned.context("start the log's thread")?;
        Ok(Self { keeps: sender, room, progress })
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    pub(super) async fn epoch(&self, epoch: Epoch) {
        self.keep(Keep::Epoch(epoch)).await;
    }

    pub(super) async fn checkpoint(&self, snapshot: Snapshot) {
        self.keep(Keep::Checkpoint(snapshot)).await;
    }

    pub(super) async fn entries(&self, entries: Vec<Entry>) {
        let room = self.room.clone().acquire_many_owned(room_of(&entries)).await;
        self.keep(Keep::Entries(entries, room.expect("it is never closed"))).await;
    }

    async fn keep(&self, keep: Keep) {
        if self.keeps.send(keep).await.is_err() {
            tracing::debug!("the log's thread has stopped");
        }
    }
}

/// The room that `entries` take while they wait: no more than there is.
fn room_of(entries: &[Entry]) -> u32 {
    let bytes = |Entry { delivered, .. }: &Entry| {
        ENTRY_BYTES + delivered.batch.len() + size_of_val(&delivered.deliveries[..])
    };
    let bytes: usize = entries.iter().map(bytes).sum();
    u32::try_from(bytes.min(KEEP_BYTES_MAX)).unwrap_or(u32::MAX)
}

/// What waits for the disk.
#[derive(Debug)]
struct Backlog {
    keeps: mpsc::Receiver<Keep>,
    room: Arc<Semaphore>,
}

impl Backlog {
    /// The first of a turn. No answer waits for it, so it gathers more for a moment: the acceptors'
    /// syncs, which answers do wait for, may share the disk.
    fn first(&mut self) -> Option<Keep> {
        let first = self.keeps.blocking_recv()?;
        if !self.has_enough() {
            std::thread::sleep(GATHER);
        }
        Some(first)
    }

    /// Whether as much waits as one turn writes.
    fn has_enough(&self) -> bool {
        KEEP_BYTES_MAX - self.room.available_permits() >= TURN_BYTES
    }

    /// The next of a turn that has `bytes` so far.
    fn next(&mut self, bytes: usize) -> Option<Keep> {
        if bytes < TURN_BYTES { self.keeps.try_recv().ok() } else { None }
    }
}

/// Writes what comes, as much as a turn may hold in one sync.
fn keep_all(
    shared: &Shared,
    directory: &Directory,
    mut store: Store<Segments>,
    backlog: &mut Backlog,
    progress: &Progress,
) -> anyhow::Result<()> {
    let (mut entries, mut rooms) = (Vec::new(), Vec::new());
    while let Some(first) = backlog.first() {
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(keep) = next.take() {
            match keep {
                Keep::Entries(more, room) => {
                    entries.extend(more);
                    bytes += room.num_permits();
                    rooms.push(room);
                    next = backlog.next(bytes);
                }
                Keep::Epoch(epoch) => {
                    store = store.keep_epoch(epoch)?;
                    next = backlog.next(bytes);
                }
                Keep::Checkpoint(snapshot) => {
                    store = append(shared, store, &mut entries, progress)?;
                    rooms.clear();
                    if let Some(bytes) = store.checkpoint(&snapshot) {
                        directory.write_checkpoint(&bytes)?;
                    }
                }
            }
        }
        store = append(shared, store, &mut entries, progress)?;
        rooms.clear();
    }
    Ok(())
}

fn append(
    shared: &Shared,
    store: Store<Segments>,
    entries: &mut Vec<Entry>,
    progress: &Progress,
) -> anyhow::Result<Store<Segments>> {
    if entries.is_empty() {
        return Ok(store);
    }
    let started = std::time::Instant::now();
    let (store, marks) = store.append(entries)?;
    shared.metrics.journal_turn(started.elapsed(), entries.len());
    entries.clear();
    let mut kept = progress.kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.slot = store.slot();
    kept.marks.extend(marks);
    drop(kept);
    progress.changed.notify_one();
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::learner::tail::tests::entry_of;

    fn backlog() -> (mpsc::Sender<Keep>, Backlog) {
        let (sender, keeps) = mpsc::channel(KEEPS_WAITING_MAX);
        (sender, Backlog { keeps, room: Arc::new(Semaphore::new(KEEP_BYTES_MAX)) })
    }

    /// Lets entries wait that take so many `bytes`.
    fn put(sender: &mpsc::Sender<Keep>, backlog: &Backlog, bytes: usize) {
        let room = backlog.room.clone().try_acquire_many_owned(u32::try_from(bytes).unwrap());
        sender.try_send(Keep::Entries(Vec::new(), room.unwrap())).unwrap();
    }

    fn room(keep: Keep) -> OwnedSemaphorePermit {
        match keep {
            Keep::Entries(_, room) => room,
            Keep::Epoch(_) | Keep::Checkpoint(_) => panic!("entries were sent"),
        }
    }

    #[test]
    fn a_turn_takes_what_waits_until_it_has_enough() {
        let (sender, mut backlog) = backlog();
        for bytes in [1, TURN_BYTES / 2, TURN_BYTES / 2, 1] {
            put(&sender, &backlog, bytes);
        }
        let first = room(backlog.first().unwrap());
        let (mut bytes, mut turn) = (first.num_permits(), vec![first]);
        while let Some(keep) = backlog.next(bytes) {
            turn.push(room(keep));
            bytes += turn.last().unwrap().num_permits();
        }
        assert_eq!(turn.len(), 3, "the last one is left for the next turn");
        assert!(backlog.next(0).is_some() && backlog.next(0).is_none());
    }

    #[test]
    fn a_turn_gathers_until_enough_waits() {
        let (sender, backlog) = backlog();
        put(&sender, &backlog, TURN_BYTES - 1);
        assert!(!backlog.has_enough());
        put(&sender, &backlog, 1);
        assert!(backlog.has_enough());
    }

    #[test]
    fn a_batch_larger_than_the_room_takes_all_of_it() {
        let all = u32::try_from(KEEP_BYTES_MAX).unwrap();
        let entry = |bytes| entry_of(1, vec![0; bytes].into());
        assert_eq!(room_of(&[entry(KEEP_BYTES_MAX)]), all);
        assert!((1000..2000).contains(&room_of(&[entry(1000)])));
        let (_, backlog) = backlog();
        let room = backlog.room.clone().try_acquire_many_owned(all);
        assert!(room.is_ok() && backlog.has_enough());
    }
}
