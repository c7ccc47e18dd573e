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
const KEEPS_WAITING_MAX: usize = 256;

/// Bytes of batches that may wait for the disk, beside one of any length: a learner that catches up
/// takes in faster than any disk writes.
const KEEP_BYTES_MAX: usize = 8 << 20;

/// Bytes that are written in one sync, or little more: while they are, as many may come in.
const TURN_BYTES: usize = KEEP_BYTES_MAX / 2;

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
        let mut waiting = Waiting { keeps, room: room.clone() };
        let progress = Arc::new(Progress::default());
        let (shared, theirs) = (shared.clone(), progress.clone());
        let spawned = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let _guard = shared.failed.on_panic("log");
            let kept = keep_all(&shared, &directory, store, &mut waiting, &theirs);
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
        let bytes: usize = entries.iter().map(|entry| entry.delivered.batch.len()).sum();
        let bytes = u32::try_from(bytes.min(KEEP_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes).await;
        self.keep(Keep::Entries(entries, room.expect("it is never closed"))).await;
    }

    async fn keep(&self, keep: Keep) {
        if self.keeps.send(keep).await.is_err() {
            tracing::debug!("the log's thread has stopped");
        }
    }
}

/// What waits for the disk.
#[derive(Debug)]
struct Waiting {
    keeps: mpsc::Receiver<Keep>,
    room: Arc<Semaphore>,
}

impl Waiting {
    /// The first of a turn. No answer waits for it, so it gathers more for a moment: the acceptors'
    /// syncs, which answers do wait for, may share the disk.
    fn first(&mut self) -> Option<Keep> {
        let first = self.keeps.blocking_recv()?;
        if KEEP_BYTES_MAX - self.room.available_permits() < TURN_BYTES {
            std::thread::sleep(GATHER);
        }
        Some(first)
    }

    /// The next of a turn that holds `rooms` so far.
    fn next(&mut self, rooms: &[OwnedSemaphorePermit]) -> Option<Keep> {
        let bytes: usize = rooms.iter().map(OwnedSemaphorePermit::num_permits).sum();
        if bytes < TURN_BYTES { self.keeps.try_recv().ok() } else { None }
    }
}

/// Writes what comes, as much as a turn may hold in one sync.
fn keep_all(
    shared: &Shared,
    directory: &Directory,
    mut store: Store<Segments>,
    waiting: &mut Waiting,
    progress: &Progress,
) -> anyhow::Result<()> {
    let (mut entries, mut rooms) = (Vec::new(), Vec::new());
    while let Some(first) = waiting.first() {
        let mut next = Some(first);
        while let Some(keep) = next.take() {
            match keep {
                Keep::Entries(more, room) => {
                    entries.extend(more);
                    rooms.push(room);
                    next = waiting.next(&rooms);
                }
                Keep::Epoch(epoch) => {
                    store = store.keep_epoch(epoch)?;
                    next = waiting.next(&rooms);
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

    /// Somebody who sends, and what waits.
    fn waiting() -> (mpsc::Sender<Keep>, Waiting) {
        let (sender, keeps) = mpsc::channel(KEEPS_WAITING_MAX);
        (sender, Waiting { keeps, room: Arc::new(Semaphore::new(KEEP_BYTES_MAX)) })
    }

    /// Entries that take so many `bytes` of the room in `waiting`.
    fn entries(waiting: &Waiting, bytes: usize) -> Keep {
        let bytes = u32::try_from(bytes).unwrap();
        Keep::Entries(Vec::new(), waiting.room.clone().try_acquire_many_owned(bytes).unwrap())
    }

    fn room(keep: Keep) -> OwnedSemaphorePermit {
        match keep {
            Keep::Entries(_, room) => room,
            Keep::Epoch(_) | Keep::Checkpoint(_) => panic!("entries were sent"),
        }
    }

    #[test]
    fn a_turn_takes_what_waits_until_it_has_enough() {
        let (sender, mut waiting) = waiting();
        for bytes in [1, TURN_BYTES / 2, TURN_BYTES / 2, 1] {
            sender.try_send(entries(&waiting, bytes)).unwrap();
        }
        let mut turn = vec![room(waiting.first().unwrap())];
        while let Some(keep) = waiting.next(&turn) {
            turn.push(room(keep));
        }
        assert_eq!(turn.len(), 3, "the last one is left for the next turn");
        turn.clear();
        assert!(waiting.next(&turn).is_some() && waiting.next(&turn).is_none());
    }
}
