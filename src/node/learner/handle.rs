//! The learner, as the rest of the node sees it: what it is asked, and its log, read back.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::node::inbox::Input;
use crate::paxos::journal::{Generation, JournalError, Position};
use crate::paxos::learner::LearnerStatus;
use crate::paxos::log::Lookup;
use crate::paxos::message::{Accepted, Reading, ToLearner};
use crate::paxos::store::{Mark, StoredEntry, ValueAt};
use crate::storage::Reader;
use crate::types::{AcceptorId, Ballot, Index, LearnerId, Name, NodeId, Slot};

/// What the rest of the node asks of the learner.
#[derive(Debug)]
pub enum Call {
    /// Values, once the read may be served.
    Read(Reading, Asker),
    /// What is known of a name, once everything answered before is delivered.
    LookUp(Name, oneshot::Sender<Result<Lookup, TooManyReads>>),
    /// Where is everything that was delivered?
    Search(oneshot::Sender<Search>),
    /// Somebody says that an acceptor voted: ask that acceptor.
    Hint(AcceptorId),
    /// What does it look like?
    Status(oneshot::Sender<LearnerStatus>),
    /// Delivered slots for another learner were read from the disk.
    Entries(LearnerId, Vec<Accepted>),
    /// A scan of the disk has come by these: others may begin there.
    Passed(Vec<Mark>),
}

/// Who waits for values.
#[derive(Debug)]
pub enum Asker {
    /// An HTTP handler, which is told where they are.
    Handler(oneshot::Sender<Result<Plan, TooManyReads>>),
    /// A gateway, over its link.
    Gateway {
        /// Which.
        gateway: NodeId,
        /// Its number for the question.
        number: u64,
    },
}

/// As many reads wait as may; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyReads;

/// Where everything is that was delivered.
#[derive(Debug, Clone)]
pub struct Search {
    /// Where on disk, ascending.
    pub(super) marks: Vec<Mark>,
    /// Everything through this slot is on disk.
    pub(super) durable: Slot,
    /// What memory holds, oldest first.
    pub(super) tail: Vec<Arc<StoredEntry>>,
}

/// What the delivered slots tell of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Its values stand at these indices.
    Applied {
        /// The first.
        first: Index,
        /// The last.
        last: Index,
        /// The slot that carried it.
        slot: Slot,
        /// The ballot it was chosen under.
        ballot: Ballot,
    },
    /// It was chosen, and applied nothing.
    Skipped,
    /// It was not chosen.
    Absent,
}

impl Found {
    fn is_applied(self) -> bool {
        matches!(self, Self::Applied { .. })
    }

    /// A retry may have been chosen a second time, and then applied nothing.
    fn or(self, other: Self) -> Self {
        if other == Self::Absent { self } else { other }
    }
}

/// Where the values of an answer are.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whether every write is seen that was answered before the read.
    pub linearizable: bool,
    /// The first index wanted; one beyond the last delivered when there is none.
    pub from: Index,
    /// The index after the last one wanted.
    pub until: Index,
    /// The highest index delivered.
    pub delivered: Index,
    /// Where on disk to begin, when memory does not hold all of it.
    pub mark: Option<Mark>,
    /// What memory holds of it.
    pub entries: Vec<Arc<StoredEntry>>,
}

/// The learner, as the rest of the node sees it.
#[derive(Debug, Clone)]
pub struct LearnerHandle {
    /// Where its calls go.
    pub inbox: mpsc::Sender<Input<ToLearner, Call>>,
    /// Changes with each delivery, to the highest index.
    pub delivered: watch::Receiver<Index>,
    /// Reads what is on disk.
    pub reader: Reader,
    /// Why it must not serve; `None` while it may.
    pub fault: watch::Receiver<Option<String>>,
    /// Held by the one search that reads the log back.
    pub(super) searching: Arc<Semaphore>,
}

impl Plan {
    /// The values that memory holds.
    pub(super) fn in_memory(&self) -> Vec<ValueAt> {
        let values = self.entries.iter().flat_map(|entry| entry.values());
        values.filter(|value| (self.from..self.until).contains(&value.index)).collect()
    }
}

impl LearnerHandle {
    /// Asks the task; `None` while the node stops.
    pub async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Input::Call(call(reply))).await.ok()?;
        answer.await.ok()
    }

    /// Reads the values of `plan` that memory does not hold, then those it holds. Blocks on the
    /// disk: call it where that is allowed.
    ///
    /// # Errors
    /// When the log cannot be read back as it was written.
    pub fn fetch(&self, plan: &Plan) -> Result<Vec<ValueAt>, JournalError> {
        let mut values = Vec::new();
        let in_memory = plan.entries.first().map_or(plan.until, |entry| entry.first_index);
        if let Some(mark) = plan.mark {
            let until = in_memory.min(plan.until);
            let passed = scan(&self.reader, mark, |entry| {
                let entry_values = entry.values();
                let is_last = entry_values.last().is_some_and(|last| last.index.next() >= until);
                let is_asked = |value: &ValueAt| (plan.from..until).contains(&value.index);
                values.extend(entry_values.into_iter().filter(is_asked));
                !is_last
            })?;
            // Without this the next scan begins where this one did.
            if passed.len() > 1 && self.inbox.try_send(Input::Call(Call::Passed(passed))).is_err() {
                tracing::debug!("the learner has no time to hear what a scan came by");
            }
        }
        values.extend(plan.in_memory());
        Ok(values)
    }

    /// Looks for the command whose caller was told `name`, from the newest slots back, because
    /// people ask about what was lately. One search reads at a time, and the others wait without a
    /// thread. `None` while the node stops.
    ///
    /// # Errors
    /// When the log cannot be read back as it was written.
    pub async fn search(&self, name: Name) -> Option<Result<Found, JournalError>> {
        let turn = self.searching.clone().acquire_owned().await.ok()?;
        let search = self.ask(Call::Search).await?;
        let learner = self.clone();
        let found = tokio::task::spawn_blocking(move || {
            // Held to the end, even if the caller has gone.
            let _turn = turn;
            learner.find(&search, name)
        });
        found.await.ok()
    }

    fn find(&self, search: &Search, name: Name) -> Result<Found, JournalError> {
        let mut found = Found::Absent;
        for entry in search.tail.iter().rev() {
            found = found.or(find_in(entry, name));
            if found.is_applied() {
                return Ok(found);
            }
        }
        let mut end = search.tail.first().map_or(search.durable.next(), |entry| entry.slot);
        for &mark in search.marks.iter().rev() {
            if found.is_applied() {
                break;
            }
            if mark.slot < end {
                scan(&self.reader, mark, |entry| {
                    found = found.or(find_in(&entry, name));
                    !found.is_applied() && entry.slot.next() < end
                })?;
                end = mark.slot;
            }
        }
        Ok(found)
    }
}

/// What one slot tells of the command whose caller was told `name`.
fn find_in(entry: &StoredEntry, name: Name) -> Found {
    let values = entry.values();
    let mut of_name =
        values.iter().filter(|value| value.name.told() == name).map(|value| value.index);
    if let Some(first) = of_name.next() {
        let last = of_name.next_back().unwrap_or(first);
        return Found::Applied { first, last, slot: entry.slot, ballot: entry.ballot };
    }
    let is_here = entry.batch.commands().flatten().any(|command| command.name.told() == name);
    if is_here { Found::Skipped } else { Found::Absent }
}

/// Reads entries from `mark` on until `visit` has enough, which must come before the log ends.
/// Returns where the batches stand that were read: what follows is in the last of them, or behind.
pub(super) fn scan(
    reader: &Reader,
    mark: Mark,
    mut visit: impl FnMut(StoredEntry) -> bool,
) -> Result<Vec<Mark>, JournalError> {
    let (mut position, mut passed) = (mark.position, Vec::new());
    loop {
        let Some(frame) = reader.find(position)? else {
            // The segment ends here. What is asked for is durable, so another one follows.
            let generation = Generation::new(position.generation.get() + 1);
            position = Position { generation, offset: 0 };
            continue;
        };
        let records = frame.records.into_iter();
        let mut entries = records.filter_map(StoredEntry::from_record).peekable();
        if let Some(StoredEntry { slot, first_index, .. }) = entries.peek() {
            passed.push(Mark { slot: *slot, index: *first_index, position });
        }
        for entry in entries {
            if entry.slot >= mark.slot && !visit(entry) {
                return Ok(passed);
            }
        }
        position = frame.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::learner::tail::tests::entry_of;
    use crate::paxos::store::Store;
    use crate::storage::{Directory, Identity};
    use crate::types::{Role, Slot};

    #[test]
    fn a_scan_tells_where_others_may_begin() {
        let temp = tempfile::tempdir().unwrap();
        let node = NodeId::new(7).unwrap();
        let identity = Identity { cluster: "demo".to_owned(), node, role: Role::Learner };
        let directory = Directory::open(temp.path(), &identity).unwrap();
        let segments = directory.segments(1 << 20).unwrap();
        let reader = segments.reader();
        let (mut store, _) = Store::open(directory.storage_id(), segments, None).unwrap();
        let mut marks = Vec::new();
        // Three slots in each batch.
        for batch in 0..4 {
            let entries = [1, 2, 3].map(|of| entry_of(3 * batch + of, "0".into()));
            let (next, more) = store.append(&entries).unwrap();
            marks.extend(more);
            store = next;
        }
        let first = marks[0];
        let mut seen = Vec::new();
        let passed = scan(&reader, first, |entry| {
            seen.push(entry.slot.get());
            entry.slot < Slot::new(8)
        });
        assert_eq!(passed.unwrap(), marks[..3]);
        assert_eq!(seen, (1..=8).collect::<Vec<_>>());
        let passed = scan(&reader, marks[2], |entry| entry.slot < Slot::new(10));
        assert_eq!(passed.unwrap(), marks[2..]);
    }
}
