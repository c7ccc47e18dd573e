//! The task that owns the learner, and the thread that keeps what it delivers.

mod handle;
mod keeper;
mod marks;
mod pages;
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{error, info, warn};

use self::handle::scan;
pub use self::handle::{Asker, Call, Found, LearnerHandle, Plan, Search, TooManyReads};
use self::keeper::Keeper;
use self::marks::Marks;
pub(in crate::node) use self::pages::page;
use self::pages::{Pages, short};
use self::tail::Tail;
use super::Shared;
use super::inbox::{Input, Received};
use crate::config::Config;
use crate::paxos::journal::JournalError;
use crate::paxos::learner::{self, Effect, Learner, LearnerConfig, LearnerSettings, ReadToken};
use crate::paxos::log::Lookup;
use crate::paxos::message::{Accepted, Outbound, Page, Question, Reading, ToClient, ToLearner};
use crate::paxos::store::{Entry, Mark, Store, StoredEntry};
use crate::storage::{Directory, Identity, Reader};
use crate::types::{Index, Instant, LearnerId, Role, Slot};

/// The most inputs taken before what they ask for is done.
const INPUTS_PER_TURN: usize = 1024;

/// Bytes of delivered slots sent to another learner in one message, where frames are that long.
const ENTRIES_BYTES_MAX: usize = 1 << 20;

/// Bytes of another learner's log that are fetched without a pause: what is written within seconds,
/// and takes some tenths of one to fetch.
const PROMPT_BYTES: usize = 32 << 20;

/// Bytes that one delivered slot needs in a message beside its batch.
const ENTRY_BYTES: usize = 64;

struct Waiting {
    call: Call,
    since: Instant,
}

struct Task {
    shared: Arc<Shared>,
    learner: Learner,
    out: Vec<Effect>,
    keeper: Keeper,
    marks: Marks,
    tail: Tail,
    durable: Slot,
    waiting: BTreeMap<ReadToken, Waiting>,
    /// Reads that wait for an index, without a quorum round.
    after: BTreeMap<(Index, u64), Waiting>,
    next_token: u64,
    pages: Pages,
    delivered: watch::Sender<Index>,
    fault: watch::Sender<Option<String>>,
    reader: Reader,
    inbox: mpsc::WeakSender<Input<ToLearner, Call>>,
    checkpoint_at: Slot,
}

/// Opens the directory and starts the task and the log's thread.
///
/// # Errors
/// When the directory or the log in it cannot be used.
pub fn start(
    shared: &Arc<Shared>,
    sender: &mpsc::Sender<Input<ToLearner, Call>>,
    inbox: mpsc::Receiver<Input<ToLearner, Call>>,
) -> anyhow::Result<LearnerHandle> {
    let config = shared.config();
    let path = config.node_dir(&shared.me);
    let identity =
        Identity { cluster: config.cluster.name.clone(), node: shared.me.id, role: Role::Learner };
    let directory = Directory::open(&path, &identity).context("open the learner's directory")?;
    let checkpoint = match directory.read_checkpoint() {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            warn!(%error, "the checkpoint cannot be read; the whole log is replayed instead");
            None
        }
    };
    let segments = directory.segments(config.journal.segment_bytes).context("open the log")?;
    let reader = segments.reader();
    let (store, kept) = Store::open(directory.storage_id(), segments, checkpoint.as_deref())
        .context(
            "replay the learner's log; if it is damaged, delete this node's directory and it \
                  fetches everything from the others again",
        )?;
    info!(slot = %store.slot(), records = kept.recovery.records, "log replayed");
    let learner_config = LearnerConfig {
        me: LearnerId(shared.me.id),
        cluster: config.cluster.name.clone(),
        storage: directory.storage_id(),
        acceptors: config.acceptors(),
        first_nonce: shared.chance_u64() >> 16 << 16,
        settings: settings_of(&config),
    };
    let now = shared.clock.now();
    let durable = store.slot();
    if let Some((epoch, _)) = &kept.state {
        shared.compare_with_file(epoch);
    }
    let learner = Learner::new(learner_config, now, kept.state);
    let keeper = Keeper::start(shared, directory, store)?;
    let tail = Tail::after(learner.status().delivered_index);
    let delivered = watch::Sender::new(tail.delivered());
    let fault = watch::Sender::new(None);
    let handle = LearnerHandle {
        inbox: sender.clone(),
        delivered: delivered.subscribe(),
        reader: reader.clone(),
        fault: fault.subscribe(),
        searching: Arc::new(Semaphore::new(1)),
    };
    let mut task = Task {
        shared: shared.clone(),
        learner,
        out: Vec::new(),
        keeper,
        marks: Marks::default(),
        tail,
        durable,
        waiting: BTreeMap::new(),
        after: BTreeMap::new(),
        next_token: 0,
        pages: Pages::default(),
        delivered,
        fault,
        reader,
        inbox: sender.downgrade(),
        checkpoint_at: durable,
    };
    task.add_marks(kept.marks);
    shared.tracker.spawn(task.run(inbox));
    Ok(handle)
}

fn settings_of(config: &Config) -> LearnerSettings {
    let ms = Duration::from_millis;
    LearnerSettings {
        window_slots: config.learner.window_slots,
        gap: ms(config.learner.gap_ms),
        fill_after: ms(config.learner.fill_after_ms),
        resend: ms(config.election.timeout_ms) / 2,
        report: ms(config.election.timeout_ms) / 3,
        checkpoint_indices: config.learner.checkpoint_slots,
        prompt_bytes: PROMPT_BYTES,
        kept_bytes_max: LearnerSettings::kept_bytes_of(config.journal.max_bytes),
    }
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Input<ToLearner, Call>>) {
        let _guard = self.shared.failed.on_panic("learner");
        let stop = self.shared.stop.clone();
        let mut directory = self.shared.peers.directory();
        let mut config = self.shared.config_changes();
        let progress = self.keeper.progress();
        let mut inputs = Vec::with_capacity(INPUTS_PER_TURN);
        self.set_peers();
        loop {
            let deadline = self.learner.deadline().unwrap_or(Instant::from_nanos(u64::MAX));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = directory.changed() => self.set_peers(),
                Ok(()) = config.changed() => self.set_settings(&config.borrow_and_update()),
                () = progress.changed() => self.on_kept(),
                _ = inbox.recv_many(&mut inputs, INPUTS_PER_TURN) => {
                    for input in inputs.drain(..) {
                        self.take(input);
                    }
                }
                () = tokio::time::sleep_until(self.shared.clock.to_tokio(deadline)) => {
                    self.forget_abandoned();
                }
            }
            let now = self.shared.clock.now();
            if self.learner.deadline().is_some_and(|deadline| deadline <= now) {
                self.learner.tick(now, &mut self.out);
            }
            self.learner.flush(now, &mut self.out);
            self.perform().await;
        }
    }

    fn set_settings(&mut self, config: &Config) {
        let input = learner::Input::Settings(settings_of(config));
        self.learner.step(self.shared.clock.now(), input, &mut self.out);
    }

    fn set_peers(&mut self) {
        let directory = self.shared.peers.directory();
        let directory = directory.borrow();
        let learners: BTreeSet<LearnerId> = directory.learners();
        let proposers = directory.proposers();
        drop(directory);
        let input = learner::Input::Peers { learners, proposers };
        self.learner.step(self.shared.clock.now(), input, &mut self.out);
    }

    fn take(&mut self, input: Input<ToLearner, Call>) {
        let now = self.shared.clock.now();
        match input {
            Input::Messages(messages) => {
                for Received { from, epoch, message } in messages {
                    if let ToLearner::Heartbeat { ballot, .. } = &message {
                        self.shared.see_leader(*ballot);
                    }
                    if let ToLearner::Questions { gateway, questions } = message {
                        for Question { number, reading } in questions {
                            self.on_read(now, reading, Asker::Gateway { gateway, number });
                        }
                        continue;
                    }
                    let input = learner::Input::Received { from, epoch, message };
                    self.learner.step(now, input, &mut self.out);
                }
            }
            Input::LinkUp(node) => {
                self.learner.step(now, learner::Input::LinkUp(node), &mut self.out);
            }
            Input::LinkDown(_) => {}
            Input::Call(call) => self.on_call(now, call),
        }
    }

    fn on_call(&mut self, now: Instant, call: Call) {
        match call {
            Call::Read(reading, asker) => self.on_read(now, reading, asker),
            Call::LookUp(_, reply) if self.is_full() => super::answer(reply, Err(TooManyReads)),
            Call::LookUp(..) => self.await_round(now, call),
            Call::Hint(acceptor) => {
                // The acceptor is asked for its votes, and what it says counts.
                let input = learner::Input::LinkUp(acceptor.node());
                self.learner.step(now, input, &mut self.out);
            }
            Call::Status(reply) => super::answer(reply, self.learner.status()),
            Call::Search(reply) => super::answer(
                reply,
                Search {
                    marks: self.marks.all().to_vec(),
                    durable: self.durable,
                    tail: self.tail.entries().cloned().collect(),
                },
            ),
            Call::Entries(to, entries) => self.send_entries(to, entries),
            Call::Passed(marks) => self.add_marks(marks),
        }
    }

    fn on_read(&mut self, now: Instant, reading: Reading, asker: Asker) {
        // The gateway then asks another learner first, who can answer sooner.
        let passes_on = matches!(asker, Asker::Gateway { .. }) && self.learner.is_far_behind();
        if passes_on || self.is_full() {
            self.decline(asker);
        } else if reading.linearizable {
            self.await_round(now, Call::Read(reading, asker));
        } else {
            self.next_token += 1;
            let waiting = Waiting { call: Call::Read(reading, asker), since: now };
            self.after.insert((reading.after, self.next_token), waiting);
            self.answer_after();
        }
    }

    /// Answers `call` when a quorum has said how far the votes reach.
    fn await_round(&mut self, now: Instant, call: Call) {
        self.next_token += 1;
        let token = ReadToken(self.next_token);
        self.waiting.insert(token, Waiting { call, since: now });
        self.learner.step(now, learner::Input::Read(token), &mut self.out);
    }

    fn decline(&mut self, asker: Asker) {
        match asker {
            Asker::Handler(reply) => super::answer(reply, Err(TooManyReads)),
            Asker::Gateway { gateway, number } => {
                self.pages.push(gateway, Page { number, body: None });
            }
        }
    }

    fn on_kept(&mut self) {
        let kept = self.keeper.progress().take();
        self.add_marks(kept.marks);
        self.durable = kept.slot;
        self.tail.trim(self.durable);
        let durable = learner::Input::Durable(kept.slot);
        self.learner.step(self.shared.clock.now(), durable, &mut self.out);
    }

    fn add_marks(&mut self, marks: Vec<Mark>) {
        for mark in marks {
            self.marks.add(mark);
        }
    }

    async fn perform(&mut self) {
        let epoch = self.learner.epoch();
        let (mut sends, mut entries) = (Vec::new(), Vec::new());
        for effect in std::mem::take(&mut self.out) {
            match effect {
                Effect::Send(outbound) => sends.push(outbound),
                Effect::Event(event) => self.shared.ring.event(event),
                Effect::Epoch(epoch) => {
                    self.shared.compare_with_file(&epoch);
                    self.keeper.epoch(epoch).await;
                }
                Effect::Deliver(delivered) => {
                    let entry = Entry { delivered, at_ms: self.shared.clock.unix_ms() };
                    self.tail.push(&entry);
                    entries.push(entry);
                }
                Effect::Ready { token, index } => self.answer_read(token, index),
                Effect::SendEntries { to, from_slot } => self.read_entries(to, from_slot),
                Effect::Diverged { learner, index } => {
                    let why = format!(
                        "the state at index {index} differs from that of learner {learner}: one \
                         of the two has a fault; compare their state_hash, delete the directory \
                         of the wrong one and start it again"
                    );
                    error!("{why}");
                    self.fault.send_replace(Some(why));
                }
            }
        }
        self.shared.send_now(epoch, sends);
        if !entries.is_empty() {
            self.on_delivered(entries).await;
        }
        self.send_pages();
    }

    async fn on_delivered(&mut self, entries: Vec<Entry>) {
        self.keeper.entries(entries).await;
        let status = self.learner.status();
        if status.delivered_slot.beyond(self.checkpoint_at)
            >= self.shared.config().learner.checkpoint_slots
            && let Some(log) = self.learner.log()
        {
            self.checkpoint_at = status.delivered_slot;
            let snapshot = log.snapshot();
            self.keeper.checkpoint(snapshot).await;
        }
        self.delivered.send_replace(self.tail.delivered());
        self.answer_after();
        self.tail.trim(self.durable);
    }

    /// Here, and not when it is asked, it counts whether the learner serves: it may find in this
    /// very turn that it must not. Over HTTP a gateway hears why.
    fn send_pages(&mut self) {
        let learner = LearnerId(self.shared.me.id);
        let epoch = self.learner.epoch();
        let serves = self.fault.borrow().is_none();
        let mut sends = Vec::new();
        for (gateway, mut pages) in self.pages.take(self.message_bytes_max()) {
            for page in &mut pages {
                page.body.take_if(|_| !serves);
            }
            sends.push(Outbound::Client(gateway, ToClient::Pages { learner, pages }));
        }
        self.shared.send_now(epoch, sends);
    }

    /// Bytes of values in one message.
    fn message_bytes_max(&self) -> usize {
        ENTRIES_BYTES_MAX.min(self.shared.config().limits.frame_bytes_max / 2)
    }

    fn answer_read(&mut self, token: ReadToken, index: Index) {
        let Some(waiting) = self.waiting.remove(&token) else { return };
        let after = match &waiting.call {
            Call::Read(reading, _) => reading.after,
            Call::LookUp(..)
            | Call::Search(_)
            | Call::Hint(_)
            | Call::Status(_)
            | Call::Entries(..)
            | Call::Passed(_) => Index::ZERO,
        };
        if after > index {
            // The caller wants to read its own write: that must be delivered too.
            self.after.insert((after, token.0), waiting);
        } else {
            self.answer_waiting(waiting);
        }
    }

    /// Answers the reads that waited for an index that is delivered by now.
    fn answer_after(&mut self) {
        let delivered = self.tail.delivered();
        while let Some(entry) = self.after.first_entry() {
            if entry.key().0 > delivered {
                return;
            }
            let waiting = entry.remove();
            self.answer_waiting(waiting);
        }
    }

    fn answer_waiting(&mut self, waiting: Waiting) {
        self.shared.metrics.read(self.shared.clock.now().since(waiting.since));
        match waiting.call {
            Call::Read(reading, Asker::Handler(reply)) => {
                super::answer(reply, Ok(self.tail.plan(self.marks.all(), &reading)));
            }
            Call::Read(reading, Asker::Gateway { gateway, number }) => {
                let plan = self.tail.plan(self.marks.all(), &reading);
                self.pages.push(gateway, short(number, &plan));
            }
            Call::LookUp(name, reply) => {
                let found = self.learner.log().map_or(Lookup::Unknown, |log| log.look_up(name));
                super::answer(reply, Ok(found));
            }
            Call::Search(_)
            | Call::Hint(_)
            | Call::Status(_)
            | Call::Entries(..)
            | Call::Passed(_) => {}
        }
    }

    /// Finds delivered slots for another learner: in memory, else on disk, on a thread that may
    /// block.
    fn read_entries(&self, to: LearnerId, from_slot: Slot) {
        let bytes_max = self.message_bytes_max();
        if let Some(entries) = self.tail.since(from_slot) {
            let mut page = EntriesPage::new(bytes_max);
            for entry in entries {
                if !page.takes(entry) {
                    break;
                }
            }
            self.send_entries(to, page.entries);
            return;
        }
        let Some(mark) = self.marks.before(from_slot) else { return };
        let (reader, inbox) = (self.reader.clone(), self.inbox.clone());
        let durable = self.durable;
        self.shared.tracker.spawn_blocking(move || {
            let (entries, passed) =
                match entries_on_disk(&reader, mark, from_slot, durable, bytes_max) {
                    Ok(found) => found,
                    Err(error) => {
                        error!(%error, "the log cannot be read back");
                        return;
                    }
                };
            let Some(inbox) = inbox.upgrade() else { return };
            let calls = [Call::Passed(passed), Call::Entries(to, entries)];
            if calls.map(|call| inbox.blocking_send(Input::Call(call))).iter().any(Result::is_err) {
                tracing::debug!("the learner has stopped");
            }
        });
    }

    fn send_entries(&self, to: LearnerId, entries: Vec<Accepted>) {
        let delivered_slot = self.durable;
        let learner = LearnerId(self.shared.me.id);
        let message = ToLearner::Entries { learner, entries, delivered_slot };
        self.shared.send(self.learner.epoch(), Outbound::Learner(to, message));
    }

    /// Whether as many reads wait as may, those left out whose callers have gone.
    fn is_full(&mut self) -> bool {
        let most = self.shared.config().learner.read_waiters_max;
        if self.waiting.len() + self.after.len() >= most {
            self.forget_abandoned();
        }
        self.waiting.len() + self.after.len() >= most
    }

    /// Drops the reads whose callers have gone.
    fn forget_abandoned(&mut self) {
        let now = self.shared.clock.now();
        let gone: Vec<ReadToken> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.is_abandoned(now))
            .map(|(&token, _)| token)
            .collect();
        for token in gone {
            self.waiting.remove(&token);
            self.learner.step(now, learner::Input::Forget(token), &mut self.out);
        }
        self.after.retain(|_, waiting| !waiting.is_abandoned(now));
    }
}

/// So long a gateway may wait for an answer over its link, and much longer than it does.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(5);

impl Waiting {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self, now: Instant) -> bool {
        match &self.call {
            Call::Read(_, Asker::Handler(reply)) => reply.is_closed(),
            Call::Read(_, Asker::Gateway { .. }) => now.since(self.since) > GATEWAY_PATIENCE,
            Call::LookUp(_, reply) => reply.is_closed(),
            Call::Search(_)
            | Call::Hint(_)
            | Call::Status(_)
            | Call::Entries(..)
            | Call::Passed(_) => false,
        }
    }
}

/// Delivered slots for one message.
struct EntriesPage {
    entries: Vec<Accepted>,
    bytes: usize,
    bytes_max: usize,
}

impl EntriesPage {
    fn new(bytes_max: usize) -> Self {
        Self { entries: Vec::new(), bytes: 0, bytes_max }
    }

    /// Takes `entry`, unless that makes the page too long; the first one always fits. Tells whether
    /// it did.
    fn takes(&mut self, entry: &StoredEntry) -> bool {
        self.bytes += entry.batch.len() + ENTRY_BYTES;
        if self.bytes > self.bytes_max && !self.entries.is_empty() {
            return false;
        }
        let batch = entry.batch.clone();
        self.entries.push(Accepted { slot: entry.slot, ballot: entry.ballot, batch });
        true
    }
}

/// Entries from `from_slot` on, and where the batches stand that were read for them.
fn entries_on_disk(
    reader: &Reader,
    mark: Mark,
    from_slot: Slot,
    durable: Slot,
    bytes_max: usize,
) -> Result<(Vec<Accepted>, Vec<Mark>), JournalError> {
    let mut page = EntriesPage::new(bytes_max);
    let passed = scan(reader, mark, |entry| {
        entry.slot < from_slot || (page.takes(&entry) && entry.slot < durable)
    })?;
    Ok((page.entries, passed))
}
