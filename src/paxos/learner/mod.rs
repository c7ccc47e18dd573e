//! The learner: counts votes, delivers in slot order without a gap, and answers when a read may be
//! served.
//!
//! `tally` counts votes, `catch_up` fetches what is missing, `reads` runs the quorum rounds of
//! linearizable reads.

mod catch_up;
mod reads;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::types::{
    AcceptorId, Ballot, Batch, Bug, Epoch, EpochDigest, Index, Instant, LearnerId, NodeId,
    ProposerId, Quorum, Slot, StorageId, planted,
};

use self::catch_up::CatchUp;
use self::reads::Reads;
use self::tally::Votes;
use super::event::Event;
use super::log::{Delivered, Log};
use super::message::{
    Accepted, Identity, Notice, Outbound, ToAcceptor, ToClient, ToLearner, ToProposer,
};

pub use self::reads::ReadToken;

/// What a learner is told at birth.
#[derive(Debug, Clone)]
pub struct LearnerConfig {
    /// Its id.
    pub me: LearnerId,
    /// The cluster's name.
    pub cluster: String,
    /// The identity of its directory.
    pub storage: StorageId,
    /// The acceptors to ask for the epoch; without effect once it is known.
    pub acceptors: BTreeSet<AcceptorId>,
    /// Where the numbers of its questions begin: drawn at each start, so that answers to an
    /// earlier life fit no question of this one.
    pub first_nonce: u64,
    /// What may change while it runs.
    pub settings: LearnerSettings,
}

/// What a learner can be told anew at any time. None of it bears on safety: it says how long to
/// wait and how much to take, and how often states are compared.
#[derive(Debug, Clone)]
pub struct LearnerSettings {
    /// Slots beyond the next one whose votes are counted; further ones are fetched later.
    pub window_slots: u64,
    /// How long a gap may stand before it is fetched.
    pub gap: Duration,
    /// How long a gap may stand before the leader is asked to settle it.
    pub fill_after: Duration,
    /// After this an unanswered question is asked again.
    pub resend: Duration,
    /// How often the others hear how far this learner is.
    pub report: Duration,
    /// Every so many indices the state hash is compared with the other learners.
    pub checkpoint_indices: u64,
    /// Bytes of another learner's log that are fetched without a pause; a longer lag is made up
    /// with pauses from then on.
    pub prompt_bytes: usize,
    /// Bytes that may be written until a lag is made up, if it can be: the acceptors keep them for
    /// this learner, and at some time have no more room.
    pub kept_bytes_max: usize,
}

impl LearnerSettings {
    /// The part of acceptors' journals of `journal_bytes_max` bytes that may be written until a lag
    /// is made up: three quarters, for an estimate decides, and whole files count.
    #[must_use]
    pub fn kept_bytes_of(journal_bytes_max: u64) -> usize {
        usize::try_from(journal_bytes_max / 4 * 3).unwrap_or(usize::MAX)
    }
}

/// What a learner can be told.
#[derive(Debug, Clone)]
pub enum Input {
    /// A message.
    Received {
        /// From whom.
        from: NodeId,
        /// Under which epoch.
        epoch: Option<EpochDigest>,
        /// What it says.
        message: ToLearner,
    },
    /// Messages to this node can be sent now; earlier ones may be lost.
    LinkUp(NodeId),
    /// The other learners and the proposers, from configuration and gossip.
    Peers {
        /// The other learners.
        learners: BTreeSet<LearnerId>,
        /// The proposers.
        proposers: BTreeSet<ProposerId>,
    },
    /// Other settings than before.
    Settings(LearnerSettings),
    /// Everything through this slot is on disk.
    Durable(Slot),
    /// A linearizable read has arrived.
    Read(ReadToken),
    /// Its caller has gone.
    Forget(ReadToken),
}

/// What a learner wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a message.
    Send(Outbound),
    /// Tell what happened.
    Event(Event),
    /// The epoch is known: keep it.
    Epoch(Epoch),
    /// A slot was delivered: keep it. Callers may be told before it is on disk, since a quorum of
    /// acceptors has it there.
    Deliver(Delivered),
    /// The read may be answered with anything through this index.
    Ready {
        /// Which read.
        token: ReadToken,
        /// Through which index.
        index: Index,
    },
    /// Send this learner the entries from this slot on, from the disk.
    SendEntries {
        /// To whom.
        to: LearnerId,
        /// From which slot.
        from_slot: Slot,
    },
    /// Two learners disagree on the state: this one must not serve any more.
    Diverged {
        /// With whom.
        learner: LearnerId,
        /// At which index.
        index: Index,
    },
}

#[derive(Debug)]
struct Membership {
    epoch: Epoch,
    digest: EpochDigest,
    quorum: Quorum,
}

/// A learner.
#[derive(Debug)]
pub struct Learner {
    config: LearnerConfig,
    membership: Option<Membership>,
    /// The log; absent until the epoch is known, which says how long it remembers.
    log: Option<Log>,
    learners: BTreeSet<LearnerId>,
    proposers: BTreeSet<ProposerId>,
    votes: Votes,
    catch_up: CatchUp,
    reads: Reads,
    durable: Slot,
    reported: Slot,
    reports_until_repeat: u32,
    report_at: Instant,
    /// State hashes at the newest checkpoints, by index.
    checkpoints: BTreeMap<Index, u128>,
    /// The checkpoint that the other learners were told last.
    shared: Index,
    /// Hashes of others at indices that this learner has not reached.
    foreign: BTreeMap<Index, (LearnerId, u128)>,
    diverged: bool,
    leader: Option<Ballot>,
}

/// What a learner looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnerStatus {
    /// The epoch it counts by.
    pub epoch: Option<EpochDigest>,
    /// Everything through this slot is delivered.
    pub delivered_slot: Slot,
    /// The highest index delivered.
    pub delivered_index: Index,
    /// The highest slot it has heard of.
    pub highest_seen: Slot,
    /// Everything through this slot is on disk.
    pub durable_slot: Slot,
    /// The state hash.
    pub state_hash: u128,
    /// Whether so much is missing that votes for the newest slots are not even counted.
    pub is_far_behind: bool,
    /// Whether it has met a learner with another state and serves no more.
    pub diverged: bool,
    /// The highest ballot seen in a vote or heartbeat.
    pub leader: Option<Ballot>,
    /// Reads that wait.
    pub reads_waiting: usize,
}

/// The most notices in one message: some 100 bytes each.
const NOTICES_PER_MESSAGE: usize = 4096;

/// How many state hashes are kept for comparison.
const CHECKPOINTS_KEPT: usize = 16;

/// Every so many reports the acceptors hear what is durable although it has not grown.
const REPORTS_A_REPEAT: u32 = 10;

impl Learner {
    /// A learner as its disk left it: with the epoch and log it had kept, or with neither.
    #[must_use]
    pub fn new(config: LearnerConfig, now: Instant, kept: Option<(Epoch, Log)>) -> Self {
        let mut learner = Self {
            votes: Votes::default(),
            catch_up: CatchUp::new(now),
            reads: Reads::new(config.first_nonce),
            config,
            membership: None,
            log: None,
            learners: BTreeSet::new(),
            proposers: BTreeSet::new(),
            durable: Slot::ZERO,
            reported: Slot::ZERO,
            reports_until_repeat: REPORTS_A_REPEAT,
            report_at: now,
            checkpoints: BTreeMap::new(),
            shared: Index::ZERO,
            foreign: BTreeMap::new(),
            diverged: false,
            leader: None,
        };
        if let Some((epoch, log)) = kept {
            learner.durable = log.slot();
            learner.adopt(epoch, Some(log));
        }
        learner
    }

    /// Takes one input at `now` and appends what is to be done. After the last input that waits,
    /// call [`Learner::flush`].
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        let lagged = self.lag_through().is_some();
        match input {
            Input::Received { epoch, message, .. } => self.receive(now, epoch, message, out),
            Input::LinkUp(node) => self.on_link_up(node, out),
            Input::Peers { learners, proposers } => {
                self.learners = learners;
                self.learners.remove(&self.config.me);
                self.proposers = proposers;
            }
            Input::Settings(settings) => self.on_settings(now, settings),
            Input::Durable(slot) => self.durable = self.durable.max(slot),
            Input::Read(token) => {
                self.reads.wait(token);
                self.start_round(now, out);
            }
            Input::Forget(token) => self.reads.forget(token),
        }
        if !lagged && self.lag_through().is_some() {
            self.catch_up.on_lag(now, &self.config.settings);
        }
    }

    /// Ends a round of inputs: delivers what they completed, and tells each origin once.
    pub fn flush(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.deliver(now, out);
    }

    /// Does what is due at `now`; then too, flush.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if now >= self.report_at {
            self.report_at = now + self.config.settings.report;
            self.report(out);
        }
        if self.membership.is_some() {
            self.tick_round(now, out);
            self.tick_catch_up(now, out);
        }
    }

    /// When [`Learner::tick`] wants to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let mut at = self.report_at;
        if let Some(round) = self.reads.deadline() {
            at = at.min(round);
        }
        if self.lag_through().is_some() {
            at = at.min(self.catch_up.deadline());
        }
        Some(at)
    }

    /// The epoch it counts by.
    #[must_use]
    pub fn epoch(&self) -> Option<EpochDigest> {
        self.membership.as_ref().map(|membership| membership.digest)
    }

    /// The log, once the epoch is known.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// Whether so much is missing that votes for the newest slots are not even counted.
    #[must_use]
    pub fn is_far_behind(&self) -> bool {
        let window = self.config.settings.window_slots;
        self.lag_through().is_some_and(|target| target.beyond(self.delivered_slot()) > window)
    }

    /// What it looks like from outside.
    #[must_use]
    pub fn status(&self) -> LearnerStatus {
        LearnerStatus {
            epoch: self.epoch(),
            delivered_slot: self.delivered_slot(),
            delivered_index: self.log.as_ref().map_or(Index::ZERO, Log::index),
            highest_seen: self.catch_up.target.max(self.delivered_slot()),
            durable_slot: self.durable,
            state_hash: self.log.as_ref().map_or(0, Log::hash),
            is_far_behind: self.is_far_behind(),
            diverged: self.diverged,
            leader: self.leader,
            reads_waiting: self.reads.waiting(),
        }
    }

    /// Nobody waits longer than by the new settings.
    fn on_settings(&mut self, now: Instant, settings: LearnerSettings) {
        self.report_at = self.report_at.min(now + settings.report);
        self.reads.hasten(now + settings.resend);
        self.catch_up.hasten(now, &settings);
        self.config.settings = settings;
    }

    fn delivered_slot(&self) -> Slot {
        self.log.as_ref().map_or(Slot::ZERO, Log::slot)
    }

    fn receive(
        &mut self,
        now: Instant,
        epoch: Option<EpochDigest>,
        message: ToLearner,
        out: &mut Vec<Effect>,
    ) {
        if let ToLearner::Identity(identity) = message {
            self.on_identity(identity, out);
            return;
        }
        if epoch.is_none() || epoch != self.epoch() {
            return;
        }
        let next = self.delivered_slot().next();
        let window_end = next.plus(self.config.settings.window_slots);
        match message {
            ToLearner::Identity(_) | ToLearner::Questions { .. } => {}
            ToLearner::Vote(vote) => {
                self.see_leader(vote.ballot);
                self.catch_up.aim(vote.slot);
                if (next..window_end).contains(&vote.slot) {
                    self.votes.count(vote);
                }
            }
            ToLearner::Proposed(accepted) => {
                self.catch_up.on_live(accepted.batch.len());
                if (next..window_end).contains(&accepted.slot) {
                    self.votes.keep(accepted);
                }
            }
            ToLearner::Chosen(accepted) => {
                self.see_leader(accepted.ballot);
                self.catch_up.aim(accepted.slot);
                self.catch_up.on_live(accepted.batch.len());
                if (next..window_end).contains(&accepted.slot) {
                    self.votes.choose(accepted);
                }
            }
            ToLearner::Heartbeat { ballot, first_unchosen } => {
                self.see_leader(ballot);
                self.catch_up.aim(first_unchosen.previous());
            }
            ToLearner::Votes { acceptor, votes, next_slot, trimmed_slot, .. } => {
                self.on_votes(now, acceptor, votes, next_slot, trimmed_slot, out);
            }
            ToLearner::Mark { acceptor, nonce, slot } => {
                self.on_mark(now, acceptor, nonce, slot, out);
            }
            ToLearner::FetchEntries { learner, from_slot } => {
                if self.durable >= from_slot {
                    out.push(Effect::SendEntries { to: learner, from_slot });
                } else {
                    // Said at once, so that it need not wait before it asks someone else.
                    let nothing = ToLearner::Entries {
                        learner: self.config.me,
                        entries: Vec::new(),
                        delivered_slot: self.durable,
                    };
                    out.push(Effect::Send(Outbound::Learner(learner, nothing)));
                }
            }
            ToLearner::Entries { learner, entries, delivered_slot } => {
                self.on_entries(now, learner, entries, delivered_slot, out);
            }
            ToLearner::Checkpoint { learner, index, hash } => {
                self.catch_up.aim_index(index);
                self.compare(learner, index, hash, out);
            }
        }
    }

    fn see_leader(&mut self, ballot: Ballot) {
        self.leader = self.leader.max(Some(ballot));
    }

    fn on_identity(&mut self, identity: Identity, out: &mut Vec<Effect>) {
        let Some(epoch) = identity.epoch.filter(|_| identity.active) else { return };
        if self.membership.is_some() || epoch.cluster != self.config.cluster {
            return;
        }
        out.push(Effect::Event(Event::EpochKnown { epoch: epoch.digest() }));
        out.push(Effect::Epoch(epoch.clone()));
        self.adopt(epoch, None);
        self.report(out);
    }

    fn adopt(&mut self, epoch: Epoch, log: Option<Log>) {
        let Ok(quorum) = epoch.quorum() else { return };
        self.log = Some(log.unwrap_or_else(|| Log::new(epoch.limits)));
        self.membership = Some(Membership { digest: epoch.digest(), epoch, quorum });
    }

    fn on_link_up(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let acceptor = AcceptorId(node);
        if self.membership.is_none() {
            if self.config.acceptors.contains(&acceptor) {
                out.push(Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Identify)));
            }
            return;
        }
        if self.acceptors().any(|it| it == acceptor) {
            out.push(Effect::Send(Outbound::Acceptor(acceptor, self.durable_report())));
            // Votes that were sent while the link was down are found by asking.
            let from_slot = self.delivered_slot().next();
            out.push(Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Fetch { from_slot })));
        }
        if self.proposers.contains(&ProposerId(node)) {
            let delivered = self.delivered_report();
            out.push(Effect::Send(Outbound::Proposer(ProposerId(node), delivered)));
        }
    }

    /// Delivers what is learned, in order.
    fn deliver(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(membership) = &self.membership else { return };
        let Some(log) = &mut self.log else { return };
        let mut notices: BTreeMap<NodeId, Vec<Notice>> = BTreeMap::new();
        let mut advanced = false;
        while let Some((ballot, batch)) = next_chosen(&mut self.votes, log, &membership.quorum) {
            advanced = true;
            let before = log.index();
            deliver_one(log, ballot, batch, &mut notices, out);
            note_checkpoint(
                &mut self.checkpoints,
                self.config.settings.checkpoint_indices,
                before,
                log,
            );
        }
        if !advanced {
            return;
        }
        tell(self.config.me, &notices, out);
        self.catch_up.on_progress(now);
        self.reads.release(log.slot(), log.index(), out);
        self.share_checkpoints(out);
    }

    fn acceptors(&self) -> impl Iterator<Item = AcceptorId> + use<'_> {
        self.membership.iter().flat_map(|membership| membership.epoch.acceptors.keys().copied())
    }

    fn durable_report(&self) -> ToAcceptor {
        ToAcceptor::Durable {
            learner: self.config.me,
            storage: self.config.storage,
            slot: if planted(Bug::ReportUndurable) { self.delivered_slot() } else { self.durable },
        }
    }

    fn delivered_report(&self) -> ToProposer {
        ToProposer::Delivered { learner: self.config.me, slot: self.delivered_slot() }
    }

    /// Tells the acceptors what is durable, the proposers what is delivered; before the epoch is
    /// known it asks for it.
    fn report(&mut self, out: &mut Vec<Effect>) {
        if self.membership.is_none() {
            for &acceptor in &self.config.acceptors {
                out.push(Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Identify)));
            }
            return;
        }
        // Now and then it is said again although nothing is new: an acceptor whose journal has
        // grown long since may trim by it.
        self.reports_until_repeat = self.reports_until_repeat.saturating_sub(1);
        if self.durable > self.reported || self.reports_until_repeat == 0 {
            self.reported = self.durable;
            self.reports_until_repeat = REPORTS_A_REPEAT;
            for acceptor in self.acceptors() {
                out.push(Effect::Send(Outbound::Acceptor(acceptor, self.durable_report())));
            }
        }
        for &proposer in &self.proposers {
            out.push(Effect::Send(Outbound::Proposer(proposer, self.delivered_report())));
        }
    }

    fn share_checkpoints(&mut self, out: &mut Vec<Effect>) {
        let foreign = std::mem::take(&mut self.foreign);
        for (at, (learner, theirs)) in foreign {
            self.compare(learner, at, theirs, out);
        }
        let Some((&index, &hash)) = self.checkpoints.last_key_value() else { return };
        if index == self.shared {
            return;
        }
        self.shared = index;
        for &learner in &self.learners {
            let checkpoint = ToLearner::Checkpoint { learner: self.config.me, index, hash };
            out.push(Effect::Send(Outbound::Learner(learner, checkpoint)));
        }
    }

    fn compare(&mut self, learner: LearnerId, index: Index, hash: u128, out: &mut Vec<Effect>) {
        let reached = self.log.as_ref().map_or(Index::ZERO, Log::index);
        if index > reached {
            if self.foreign.len() < CHECKPOINTS_KEPT {
                self.foreign.insert(index, (learner, hash));
            }
            return;
        }
        let mine = self.checkpoints.get(&index);
        if mine.is_some_and(|&mine| mine != hash) && !self.diverged {
            self.diverged = true;
            out.push(Effect::Event(Event::Diverged { learner, index }));
            out.push(Effect::Diverged { learner, index });
        }
    }
}

/// What is to be delivered after the log's last slot, if that is learned.
fn next_chosen(votes: &mut Votes, log: &Log, quorum: &Quorum) -> Option<(Ballot, Batch)> {
    let next = log.slot().next();
    let chosen = votes.take_chosen(next, quorum);
    if planted(Bug::DeliverOverGap) {
        return chosen.or_else(|| votes.take_chosen(next.next(), quorum));
    }
    chosen
}

/// Notes the state hash where the index passes a multiple of `every`: the same places on every
/// learner, wherever it started from.
fn note_checkpoint(checkpoints: &mut BTreeMap<Index, u128>, every: u64, before: Index, log: &Log) {
    let every = every.max(1);
    if log.index().get() / every == before.get() / every {
        return;
    }
    checkpoints.insert(log.index(), log.hash());
    if checkpoints.len() > CHECKPOINTS_KEPT {
        checkpoints.pop_first();
    }
}

/// Tells each origin what became of its commands, in messages that fit into a frame.
fn tell(learner: LearnerId, notices: &BTreeMap<NodeId, Vec<Notice>>, out: &mut Vec<Effect>) {
    for (&origin, notices) in notices {
        for page in notices.chunks(NOTICES_PER_MESSAGE) {
            let message = ToClient::Notices { learner, notices: page.to_vec() };
            out.push(Effect::Send(Outbound::Client(origin, message)));
        }
    }
}

fn deliver_one(
    log: &mut Log,
    ballot: Ballot,
    batch: Batch,
    notices: &mut BTreeMap<NodeId, Vec<Notice>>,
    out: &mut Vec<Effect>,
) {
    let slot = log.slot().next();
    out.push(Effect::Event(Event::Learned { ballot, slot }));
    let delivered = log.deliver(slot, ballot, batch);
    for delivery in &delivered.deliveries {
        notices.entry(delivery.origin).or_default().push(Notice {
            name: delivery.name,
            outcome: delivery.outcome,
            slot,
            ballot,
        });
    }
    out.push(Effect::Event(Event::Delivered { slot, ballot, index: delivered.last_index }));
    out.push(Effect::Deliver(delivered));
}
