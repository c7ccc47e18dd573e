//! The acceptor's thread: drain, step, commit, answer; and the witness beside it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::Shared;
use super::inbox::{Input, Received};
use crate::paxos::acceptor::{AcceptorConfig, Reply, Request, Standing};
use crate::paxos::durable::Durable;
use crate::paxos::event::Event;
use crate::paxos::journal::JournalError;
use crate::paxos::message::{
    Accepted, JournalPressure, Outbound, ToAcceptor, ToLearner, ToProposer, ToWitness,
};
use crate::paxos::witness::Witness;
use crate::storage::{Directory, Identity, Segments};
use crate::types::{
    AcceptorId, Ballot, Epoch, EpochDigest, LearnerId, NodeId, ProposerId, Role, Slot,
};

/// Who waits for a reply.
#[derive(Debug)]
pub enum Caller {
    /// The node that asked, over its link.
    Peer,
    /// An HTTP handler.
    Http(oneshot::Sender<Reply>),
}

/// Requests that arrived together.
pub type Turn = Vec<(Caller, Request)>;

/// Turns that may wait for the disk.
const TURNS_WAITING_MAX: usize = 1024;

/// Bytes of values that may wait for the disk, beside one request of any length.
const BYTES_WAITING_MAX: usize = 128 << 20;

/// Where an acceptor's requests go.
#[derive(Debug, Clone)]
pub struct AcceptorInbox {
    turns: mpsc::Sender<Turn>,
    /// Bytes in it.
    bytes: Arc<AtomicUsize>,
}

/// As much waits for the disk as may, or the disk has failed; what was offered is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

impl AcceptorInbox {
    fn new() -> (Self, mpsc::Receiver<Turn>) {
        let (turns, receiver) = mpsc::channel(TURNS_WAITING_MAX);
        (Self { turns, bytes: Arc::default() }, receiver)
    }

    /// Offers requests that arrived together.
    ///
    /// # Errors
    /// When as much waits as may.
    pub fn offer(&self, turn: Turn) -> Result<(), Overloaded> {
        let bytes = turn_bytes(&turn);
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_too_much = waiting > 0 && waiting.saturating_add(bytes) > BYTES_WAITING_MAX;
        if is_too_much || self.turns.try_send(turn).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Overloaded);
        }
        Ok(())
    }
}

/// What an acceptor looks like from outside.
#[derive(Debug, Clone)]
pub struct AcceptorStatus {
    /// Whether it votes, and if not, why.
    pub state: AcceptorState,
    /// The highest ballot promised.
    pub promised: Option<Ballot>,
    /// The highest slot it voted in.
    pub highest_voted: Slot,
    /// Forgotten through this slot.
    pub trimmed_slot: Slot,
    /// Its newest vote.
    pub newest_vote: Option<Accepted>,
    /// Bytes of its journal.
    pub journal_bytes: u64,
    /// Learners that keep it from trimming.
    pub lagging: BTreeSet<LearnerId>,
}

/// Whether an acceptor votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptorState {
    /// The cluster is not formed yet.
    Unformed,
    /// It votes under this epoch.
    Voting(EpochDigest),
    /// The cluster knows another directory of it.
    Stranger(EpochDigest),
    /// Its journal cannot be trusted.
    Damaged(String),
}

impl AcceptorState {
    /// Why it does not vote; `None` when it does, or the cluster is still being formed.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Unformed | Self::Voting(_) => None,
            Self::Stranger(epoch) => Some(format!(
                "this acceptor does not vote: the cluster (epoch {epoch}) was formed with another \
                 directory of it, which was lost or replaced; put the old directory back, or go on \
                 with the other acceptors"
            )),
            Self::Damaged(why) => Some(format!("this acceptor does not vote: {why}")),
        }
    }
}

/// The acceptor, as the rest of the node sees it.
#[derive(Debug, Clone)]
pub struct AcceptorHandle {
    inbox: AcceptorInbox,
    status: watch::Receiver<AcceptorStatus>,
    /// Held, with its lock, while its journal is damaged and no thread holds it.
    _directory: Option<Arc<Directory>>,
}

impl AcceptorHandle {
    /// Its state after the last turn.
    #[must_use]
    pub fn status(&self) -> AcceptorStatus {
        self.status.borrow().clone()
    }

    /// Where its requests go.
    #[must_use]
    pub fn inbox(&self) -> AcceptorInbox {
        self.inbox.clone()
    }

    /// Asks it as a person does; `None` when it does not vote or is overloaded.
    pub async fn ask(&self, request: Request) -> Option<Reply> {
        let (caller, reply) = oneshot::channel();
        self.inbox.offer(vec![(Caller::Http(caller), request)]).ok()?;
        reply.await.ok()
    }
}

/// Opens the directory and starts the thread and the witness. A damaged journal is no reason to
/// stop: the node stays up, does not vote and says why.
///
/// # Errors
/// When the directory cannot be used: locked, of another node, or unreadable.
pub fn start(
    shared: &Arc<Shared>,
    witness_inbox: mpsc::Receiver<Input<ToWitness, ()>>,
) -> anyhow::Result<AcceptorHandle> {
    let me = AcceptorId(shared.me.id);
    let path = shared.config().node_dir(&shared.me);
    let identity = Identity {
        cluster: shared.config().cluster.name.clone(),
        node: shared.me.id,
        role: Role::Acceptor,
    };
    let directory = Directory::open(&path, &identity).context("open the acceptor's directory")?;
    let settings = shared.config().acceptor.clone();
    let config = AcceptorConfig {
        me,
        cluster: shared.config().cluster.name.clone(),
        storage: directory.storage_id(),
        page_bytes: settings.promise_page_bytes,
        accept_window_slots: settings.accept_window_slots,
        trim_slots: super::TRIM_SLOTS,
    };
    if directory.is_new() {
        info!(storage = %directory.storage_id(), "new directory");
    }
    let (inbox, turns) = AcceptorInbox::new();
    let opened = directory
        .segments(shared.config().journal.segment_bytes)
        .context("open the acceptor's journal")
        .map(|segments| Durable::open(config, segments))?;
    let mut kept = None;
    let status = match opened {
        Ok((durable, recovery)) => {
            if let Some(torn) = recovery.torn {
                let (segment, offset) = (torn.position.generation, torn.position.offset);
                let text = format!(
                    "cut a torn tail at segment {segment} offset {offset} ({}): what was written \
                     there was never answered",
                    torn.reason
                );
                warn!("{text}");
                shared.ring.note("torn-tail", None, text);
            }
            info!(records = recovery.records, segments = recovery.segments, "journal replayed");
            if let Some(epoch) = durable.acceptor().formed() {
                shared.compare_with_file(epoch);
            }
            let (sender, status) = watch::channel(status_of(&durable));
            let waiting = inbox.bytes.clone();
            let worker = Worker { shared: shared.clone(), me, turns, waiting, status: sender };
            let failed = shared.failed.clone();
            std::thread::Builder::new()
                .name("acceptor".to_owned())
                .spawn(move || {
                    let _directory = directory;
                    let _guard = failed.on_panic("acceptor");
                    if let Err(error) = worker.run(durable) {
                        error!(%error, "the acceptor's disk failed");
                        failed.fail(anyhow::Error::new(error).context("write the journal"));
                    }
                })
                .context("start the acceptor's thread")?;
            status
        }
        Err(
            error @ (JournalError::Storage { .. }
            | JournalError::TooLarge { .. }
            | JournalError::SegmentSize { .. }),
        ) => return Err(anyhow::Error::new(error).context("replay the acceptor's journal")),
        Err(
            error @ (JournalError::Damaged { .. }
            | JournalError::Missing { .. }
            | JournalError::Refused { .. }),
        ) => {
            let why = format!("{error}; restore this directory from the same disk, or leave it");
            error!(%error, "the journal is damaged: this acceptor does not vote");
            shared.ring.note("damaged", None, why.clone());
            kept = Some(Arc::new(directory));
            watch::channel(AcceptorStatus::damaged(why)).1
        }
    };
    let handle = AcceptorHandle { inbox, status, _directory: kept };
    let witness = WitnessTask::new(shared.clone(), me, handle.status.clone());
    shared.tracker.spawn(witness.run(witness_inbox));
    Ok(handle)
}

impl AcceptorStatus {
    fn damaged(why: String) -> Self {
        Self {
            state: AcceptorState::Damaged(why),
            promised: None,
            highest_voted: Slot::ZERO,
            trimmed_slot: Slot::ZERO,
            newest_vote: None,
            journal_bytes: 0,
            lagging: BTreeSet::new(),
        }
    }
}

fn status_of(durable: &Durable<Segments>) -> AcceptorStatus {
    let acceptor = durable.acceptor();
    AcceptorStatus {
        state: match acceptor.standing() {
            Standing::Unformed => AcceptorState::Unformed,
            Standing::Member(epoch) => AcceptorState::Voting(epoch),
            Standing::Stranger(epoch) => AcceptorState::Stranger(epoch),
        },
        promised: acceptor.promised(),
        highest_voted: acceptor.highest_voted(),
        trimmed_slot: acceptor.trimmed_slot(),
        newest_vote: acceptor.newest_vote().cloned(),
        journal_bytes: durable.journal_bytes(),
        lagging: acceptor.lagging_learners(),
    }
}

struct Worker {
    shared: Arc<Shared>,
    me: AcceptorId,
    turns: mpsc::Receiver<Turn>,
    /// Bytes in `turns`.
    waiting: Arc<AtomicUsize>,
    status: watch::Sender<AcceptorStatus>,
}

impl Worker {
    fn run(mut self, mut durable: Durable<Segments>) -> Result<(), JournalError> {
        while let Some(mut turn) = self.turns.blocking_recv() {
            let config = self.shared.config();
            let settings = &config.acceptor;
            durable.set_limits(settings.promise_page_bytes, settings.accept_window_slots);
            let bytes_max = settings.turn_bytes_max;
            let mut bytes = turn_bytes(&turn);
            while bytes < bytes_max
                && let Ok(more) = self.turns.try_recv()
            {
                bytes += turn_bytes(&more);
                turn.extend(more);
            }
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            let was = durable.acceptor().standing();
            let started = std::time::Instant::now();
            let replies;
            (durable, replies) = durable.turn(
                turn.into_iter().map(|(caller, request)| ((caller, request.from), request)),
            )?;
            self.shared.metrics.journal_turn(started.elapsed(), replies.len());
            let is = durable.acceptor().standing();
            if was != is {
                self.tell_standing(is, durable.acceptor().formed());
            }
            // The witness must know of a promise before anybody can act on it.
            self.status.send_replace(status_of(&durable));
            let epoch = match is {
                Standing::Member(epoch) => Some(epoch),
                Standing::Unformed | Standing::Stranger(_) => None,
            };
            let mut out = Vec::new();
            for ((caller, from), reply) in replies {
                self.release(caller, from, reply, &mut out);
            }
            // From this thread, which has just come from the disk: to wake the links' tasks for it
            // would take about as long as to send it.
            self.shared.send_now(epoch, out);
        }
        Ok(())
    }

    fn tell_standing(&self, standing: Standing, formed: Option<&Epoch>) {
        match standing {
            Standing::Unformed => {}
            Standing::Member(epoch) => {
                self.shared.ring.event(Event::EpochKnown { epoch });
                if let Some(formed) = formed {
                    self.shared.compare_with_file(formed);
                }
            }
            Standing::Stranger(epoch) => {
                let state = AcceptorState::Stranger(epoch);
                let why = state.fault().unwrap_or_default();
                error!("{why}");
                self.shared.ring.note("not-member", None, why);
            }
        }
    }

    fn release(&self, caller: Caller, from: NodeId, reply: Reply, out: &mut Vec<Outbound>) {
        self.note(from, &reply);
        if let Reply::Vote { vote, learner } = reply {
            let tell = |to| Outbound::Learner(to, ToLearner::Vote(vote));
            if let Some(learner) = learner {
                out.push(tell(learner));
            } else {
                let learners = self.shared.peers.directory().borrow().learners();
                out.extend(learners.into_iter().map(tell));
            }
        }
        match caller {
            Caller::Http(caller) => {
                if caller.send(reply).is_err() {
                    tracing::debug!("the caller of a protocol call has gone");
                }
            }
            Caller::Peer => {
                let role = self.shared.peers.directory().borrow().0.get(&from).map(|it| it.role);
                out.extend(self.answer(from, role, reply));
            }
        }
    }

    fn answer(&self, from: NodeId, role: Option<Role>, reply: Reply) -> Option<Outbound> {
        let acceptor = self.me;
        let proposer = |message| Some(Outbound::Proposer(ProposerId(from), message));
        let learner = |message| Some(Outbound::Learner(LearnerId(from), message));
        match reply {
            Reply::Identity(identity) => match role {
                Some(Role::Proposer) => proposer(ToProposer::Identity(identity)),
                Some(Role::Learner) => learner(ToLearner::Identity(identity)),
                Some(Role::Acceptor | Role::Client) | None => None,
            },
            Reply::Promise { ballot, from_slot, accepted, next_slot, trimmed_slot } => {
                proposer(ToProposer::Promise {
                    acceptor,
                    ballot,
                    from_slot,
                    accepted,
                    next_slot,
                    trimmed_slot,
                })
            }
            Reply::Vote { vote, .. } => proposer(ToProposer::Vote(vote)),
            Reply::Nack { ballot, slot, refusal } => {
                proposer(ToProposer::Nack { acceptor, ballot, slot, refusal })
            }
            Reply::Mark { nonce, slot } => learner(ToLearner::Mark { acceptor, nonce, slot }),
            Reply::Votes { from_slot, votes, next_slot, trimmed_slot } => {
                learner(ToLearner::Votes { acceptor, from_slot, votes, next_slot, trimmed_slot })
            }
            Reply::Noted { .. } | Reply::OtherEpoch => None,
        }
    }

    fn note(&self, from: NodeId, reply: &Reply) {
        let event = match reply {
            Reply::Promise { ballot, .. } => {
                Event::Promises { ballot: *ballot, proposer: ballot.proposer }
            }
            Reply::Vote { vote, .. } => Event::Accepts { ballot: vote.ballot, slot: vote.slot },
            Reply::Nack { ballot, slot, .. } => {
                Event::Refused { ballot: *ballot, slot: *slot, peer: from }
            }
            Reply::Noted { trimmed: Some(slot) } => Event::Trims { slot: *slot },
            Reply::Identity(_)
            | Reply::Mark { .. }
            | Reply::Votes { .. }
            | Reply::Noted { trimmed: None }
            | Reply::OtherEpoch => return,
        };
        self.shared.ring.event(event);
    }
}

fn turn_bytes(turn: &Turn) -> usize {
    turn.iter()
        .map(|(_, request)| match &request.message {
            ToAcceptor::Accept { batch, .. } => batch.len() + 64,
            ToAcceptor::Identify
            | ToAcceptor::Form { .. }
            | ToAcceptor::Prepare { .. }
            | ToAcceptor::Mark { .. }
            | ToAcceptor::Fetch { .. }
            | ToAcceptor::Durable { .. } => 64,
        })
        .sum()
}

/// Answers heartbeats and questions at once, whatever the disk does.
struct WitnessTask {
    shared: Arc<Shared>,
    me: AcceptorId,
    status: watch::Receiver<AcceptorStatus>,
    witness: Witness,
}

impl WitnessTask {
    fn new(shared: Arc<Shared>, me: AcceptorId, status: watch::Receiver<AcceptorStatus>) -> Self {
        let timeout = Duration::from_millis(shared.config().election.timeout_ms);
        let witness = Witness::new(shared.clock.now(), timeout);
        Self { shared, me, status, witness }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Input<ToWitness, ()>>) {
        let _guard = self.shared.failed.on_panic("witness");
        let shutdown = self.shared.stop.clone();
        let mut config = self.shared.config_changes();
        loop {
            let input = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Ok(()) = config.changed() => {
                    let timeout = config.borrow_and_update().election.timeout_ms;
                    let timeout = Duration::from_millis(timeout);
                    self.witness.set_timeout(self.shared.clock.now(), timeout);
                    continue;
                }
                Some(input) = inbox.recv() => input,
                else => return,
            };
            match input {
                Input::Messages(messages) => {
                    for message in messages {
                        self.answer(&message);
                    }
                }
                Input::LinkDown(node) => self.witness.on_link_down(node),
                Input::LinkUp(_) | Input::Call(()) => {}
            }
        }
    }

    fn answer(&mut self, received: &Received<ToWitness>) {
        let now = self.shared.clock.now();
        let status = self.status.borrow();
        // Who does not vote must not look like part of a quorum.
        let AcceptorState::Voting(epoch) = status.state else { return };
        if received.epoch != Some(epoch) {
            return;
        }
        if let Some(promised) = status.promised {
            self.witness.on_promise(promised);
        }
        let acceptor = self.me;
        let answer = match received.message {
            ToWitness::Heartbeat { ballot } => {
                self.witness.on_heartbeat(now, ballot);
                self.shared.see_leader(ballot);
                let full = status.journal_bytes >= self.shared.config().journal.max_bytes;
                let lagging = if full { status.lagging.clone() } else { BTreeSet::new() };
                let pressure = JournalPressure { full, lagging };
                ToProposer::HeartbeatAck { acceptor, ballot, pressure }
            }
            ToWitness::AskLed { nonce } => ToProposer::Led {
                acceptor,
                nonce,
                led: self.witness.is_led(now),
                promised: self.witness.promised(),
            },
            ToWitness::Resign { ballot } => {
                self.witness.on_resign(ballot);
                return;
            }
        };
        drop(status);
        let to = Outbound::Proposer(ProposerId(received.from), answer);
        self.shared.send(Some(epoch), to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Batch, NodeId};
    use bytes::Bytes;

    fn accept(bytes: usize) -> Turn {
        let message = ToAcceptor::Accept {
            ballot: Ballot::from_proposal_number(101).unwrap(),
            slot: Slot::FIRST,
            first_unchosen: Slot::FIRST,
            learner: None,
            batch: Batch::from_bytes(Bytes::from(vec![0; bytes])),
        };
        let request = Request { from: NodeId::new(1).unwrap(), epoch: None, message };
        vec![(Caller::Peer, request)]
    }

    #[test]
    fn an_inbox_takes_one_request_of_any_length_and_then_as_many_bytes_as_may_wait() {
        let (inbox, mut turns) = AcceptorInbox::new();
        assert_eq!(inbox.offer(accept(BYTES_WAITING_MAX)), Ok(()));
        assert_eq!(inbox.offer(accept(1)), Err(Overloaded));
        let taken = turns.try_recv().unwrap();
        inbox.bytes.fetch_sub(turn_bytes(&taken), Ordering::Relaxed);
        assert_eq!(inbox.offer(accept(1)), Ok(()));
        drop(turns);
        assert_eq!(inbox.offer(accept(1)), Err(Overloaded));
    }
}
