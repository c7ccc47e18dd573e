//! The oracle: it sees everything that leaves a node and judges it by the rules, after every event.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use paxosd::paxos::acceptor;
use paxosd::paxos::client::Answer;
use paxosd::paxos::log::{Delivered, Outcome, Settled};
use paxosd::paxos::message::{Accepted, Vote};
use paxosd::types::{
    AcceptorId, Ballot, Batch, BatchDigest, IdempotencyKey, Index, LearnerId, LogLimits, Name,
    NodeId, Operation, SessionId, Slot, StorageId,
};

/// A rule that a run has broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Violation {
    /// The rule, in a few words that stay the same.
    pub rule: &'static str,
    /// What happened.
    pub detail: String,
}

impl Violation {
    const ASSERTION: &str = "assertions hold";

    /// A panic of the core, in its words.
    pub(crate) fn assertion(detail: String) -> Self {
        Self { rule: Self::ASSERTION, detail }
    }

    /// Whether the core itself noticed.
    #[must_use]
    pub fn is_assertion(&self) -> bool {
        self.rule == Self::ASSERTION
    }
}

/// What a judgement is about: a story tells of what concerns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subject {
    /// The node that acted.
    pub actor: Option<NodeId>,
    /// The slot.
    pub slot: Option<Slot>,
    /// The ballot.
    pub ballot: Option<Ballot>,
    /// The operation, by its number.
    pub operation: Option<u64>,
    /// The command.
    pub name: Option<Name>,
}

/// The number of an operation of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OperationId(pub(crate) u64);

/// A write as its caller made it.
#[derive(Debug)]
struct Write {
    key: Option<IdempotencyKey>,
    values: Vec<Bytes>,
    /// The highest index that any caller had been told of when it was submitted.
    floor: Index,
    /// Where it stands, each time it was applied.
    applied: Vec<(Index, Index)>,
    /// It was answered that it never was and never will be applied.
    is_denied: bool,
}

/// What learners delivered in a slot, the same for all of them.
#[derive(Debug)]
struct Place {
    digest: BatchDigest,
    first_index: Index,
    last_index: Index,
    outcomes: Vec<(Name, Outcome)>,
}

/// What one acceptor has said for good.
#[derive(Debug, Default)]
struct Acceptor {
    promised: Option<Ballot>,
    votes: BTreeMap<Slot, (Ballot, BatchDigest)>,
    trimmed: Slot,
}

/// What one proposal has gathered.
#[derive(Debug)]
struct Proposal {
    digest: BatchDigest,
    voters: BTreeSet<AcceptorId>,
}

/// The judge of one run.
#[derive(Debug)]
pub(crate) struct Oracle {
    quorum: usize,
    /// The learners that count.
    counted: BTreeSet<LearnerId>,
    limits: LogLimits,
    acceptors: BTreeMap<(AcceptorId, StorageId), Acceptor>,
    /// The directory with which each acceptor took part first.
    members: BTreeMap<AcceptorId, StorageId>,
    proposals: BTreeMap<(Slot, Ballot), Proposal>,
    chosen: BTreeMap<Slot, (Ballot, BatchDigest)>,
    log: Vec<Place>,
    hashes: BTreeMap<Slot, u128>,
    writes: BTreeMap<OperationId, Write>,
    by_values: BTreeMap<Vec<Bytes>, Vec<OperationId>>,
    /// Sessions that were opened, with the slot that did it.
    opened: BTreeMap<SessionId, Slot>,
    /// Names that a delivered cancellation has settled as never applied, or forgotten for ever.
    dead: BTreeMap<Name, Slot>,
    /// Cancellations that were delivered: a later copy repeats the first outcome.
    cancelled: BTreeSet<Name>,
    applied_names: BTreeMap<Name, (Index, Index)>,
    key_uses: BTreeMap<IdempotencyKey, Index>,
    durable: BTreeMap<LearnerId, Slot>,
    wiped_learners: BTreeSet<LearnerId>,
    answered: Index,
    subject: Subject,
    violation: Option<Violation>,
}

impl Oracle {
    pub(crate) fn new(acceptors: usize, counted: BTreeSet<LearnerId>, limits: LogLimits) -> Self {
        Self {
            quorum: acceptors / 2 + 1,
            counted,
            limits,
            acceptors: BTreeMap::new(),
            members: BTreeMap::new(),
            proposals: BTreeMap::new(),
            chosen: BTreeMap::new(),
            log: Vec::new(),
            hashes: BTreeMap::new(),
            writes: BTreeMap::new(),
            by_values: BTreeMap::new(),
            opened: BTreeMap::new(),
            dead: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            applied_names: BTreeMap::new(),
            key_uses: BTreeMap::new(),
            durable: BTreeMap::new(),
            wiped_learners: BTreeSet::new(),
            answered: Index::ZERO,
            subject: Subject::default(),
            violation: None,
        }
    }

    /// The first rule that was broken.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// What was judged last; what broke the rule, once one is broken.
    pub(crate) fn subject(&self) -> Subject {
        self.subject
    }

    fn turn_to(&mut self, subject: Subject) {
        if self.violation.is_none() {
            self.subject = subject;
        }
    }

    /// The highest index that any caller was told of.
    pub(crate) fn answered(&self) -> Index {
        self.answered
    }

    /// Says that a rule is broken; the first one counts.
    pub(crate) fn accuse(&mut self, rule: &'static str, detail: String) {
        self.violation.get_or_insert(Violation { rule, detail });
    }

    fn check(&mut self, holds: bool, rule: &'static str, detail: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(Violation { rule, detail: detail() });
        }
    }

    /// A proposer sends phase 2a.
    pub(crate) fn on_proposal(&mut self, ballot: Ballot, slot: Slot, batch: &Batch) {
        self.turn_to(Subject { slot: Some(slot), ballot: Some(ballot), ..Subject::default() });
        let digest = batch.digest();
        let proposal = self
            .proposals
            .entry((slot, ballot))
            .or_insert_with(|| Proposal { digest, voters: BTreeSet::new() });
        let is_same = proposal.digest == digest;
        self.check(is_same, "one batch per slot and ballot", || {
            format!("slot {slot} ballot {ballot:?}: two batches are proposed")
        });
        if let Some(&(chosen, value)) = self.chosen.get(&slot) {
            self.check(ballot < chosen || digest == value, "the value rule", || {
                format!("slot {slot}: chosen at {chosen:?}, another batch proposed at {ballot:?}")
            });
        }
    }

    /// An acceptor takes part: from then on nobody may under its name but that directory.
    fn on_part(&mut self, (acceptor, storage): (AcceptorId, StorageId)) {
        let member = *self.members.entry(acceptor).or_insert(storage);
        self.check(member == storage, "who counts never changes", || {
            format!("acceptor {acceptor} takes part with a directory that never joined")
        });
    }

    /// An acceptor's vote has left it.
    pub(crate) fn on_vote(&mut self, storage: StorageId, vote: Vote) {
        let Vote { acceptor, slot, ballot, digest } = vote;
        self.turn_to(Subject { slot: Some(slot), ballot: Some(ballot), ..Subject::default() });
        self.on_part((acceptor, storage));
        let said = self.acceptors.entry((acceptor, storage)).or_default();
        let is_kept = Some(ballot) >= said.promised;
        let is_above = slot > said.trimmed;
        said.promised = said.promised.max(Some(ballot));
        said.votes.insert(slot, (ballot, digest));
        self.check(is_kept, "promises only rise", || {
            format!("acceptor {acceptor} votes at {ballot:?} in slot {slot} below its promise")
        });
        self.check(is_above, "no vote in a trimmed slot", || {
            format!("acceptor {acceptor} votes in slot {slot}, which it trimmed")
        });
        self.on_voted(vote);
    }

    /// A durable vote was seen: as it left, or told later of one whose answer a crash swallowed.
    pub(crate) fn on_voted(&mut self, vote: Vote) {
        let Vote { acceptor, slot, ballot, digest } = vote;
        self.turn_to(Subject { slot: Some(slot), ballot: Some(ballot), ..Subject::default() });
        let Some(proposal) = self.proposals.get_mut(&(slot, ballot)) else {
            self.accuse("a vote needs a proposal", format!("acceptor {acceptor} slot {slot}"));
            return;
        };
        let is_same = proposal.digest == digest;
        proposal.voters.insert(acceptor);
        let is_chosen = proposal.voters.len() >= self.quorum;
        self.check(is_same, "one batch per slot and ballot", || {
            format!("acceptor {acceptor} voted for another batch in slot {slot} at {ballot:?}")
        });
        if is_chosen {
            let (first, value) = *self.chosen.entry(slot).or_insert((ballot, digest));
            self.check(value == digest, "one value per slot", || {
                format!("slot {slot}: chosen at {first:?} and, another value, at {ballot:?}")
            });
        }
    }

    /// An acceptor tells of votes that it holds.
    pub(crate) fn on_votes(&mut self, acceptor: AcceptorId, accepted: &[Accepted]) {
        for Accepted { slot, ballot, batch } in accepted {
            self.on_voted(Vote { acceptor, slot: *slot, ballot: *ballot, digest: batch.digest() });
        }
    }

    /// A page of an acceptor's promise has left it.
    pub(crate) fn on_promise(
        &mut self,
        (acceptor, storage): (AcceptorId, StorageId),
        ballot: Ballot,
        (from_slot, next_slot): (Slot, Option<Slot>),
        accepted: &[Accepted],
        trimmed: Slot,
    ) {
        self.turn_to(Subject { ballot: Some(ballot), ..Subject::default() });
        self.on_part((acceptor, storage));
        self.on_votes(acceptor, accepted);
        let said = self.acceptors.entry((acceptor, storage)).or_default();
        let is_kept = Some(ballot) >= said.promised;
        let is_rising = trimmed >= said.trimmed;
        said.promised = said.promised.max(Some(ballot));
        said.trimmed = said.trimmed.max(trimmed);
        said.votes = said.votes.split_off(&trimmed.next());
        let until = next_slot.unwrap_or(Slot::new(u64::MAX));
        let told: BTreeMap<Slot, Ballot> = accepted.iter().map(|it| (it.slot, it.ballot)).collect();
        let forgotten = said
            .votes
            .range(from_slot.min(until)..until)
            .find(|(slot, (voted, _))| told.get(slot).is_none_or(|told| told < voted))
            .map(|(slot, (voted, _))| (*slot, *voted));
        let slot = forgotten.map(|(slot, _)| slot);
        self.turn_to(Subject { slot, ballot: Some(ballot), ..Subject::default() });
        self.check(is_kept, "promises only rise", || {
            format!("acceptor {acceptor} promises {ballot:?} below its promise")
        });
        self.check(is_rising, "trimmed slots only rise", || format!("acceptor {acceptor}"));
        self.check(forgotten.is_none(), "a promise tells every vote", || {
            format!("acceptor {acceptor} promises {ballot:?} and forgets its vote {forgotten:?}")
        });
    }

    /// An acceptor says how far its votes reach.
    pub(crate) fn on_mark(&mut self, (acceptor, storage): (AcceptorId, StorageId), mark: Slot) {
        let Some(said) = self.acceptors.get(&(acceptor, storage)) else { return };
        let highest = said.votes.keys().next_back().copied().unwrap_or(Slot::ZERO);
        let highest = highest.max(said.trimmed);
        self.turn_to(Subject { slot: Some(highest), ..Subject::default() });
        self.check(mark >= highest, "a mark tells the highest vote", || {
            format!(
                "acceptor {acceptor} says that its votes reach slot {mark}; it had voted in slot \
                 {highest}"
            )
        });
    }

    /// An acceptor forgot slots.
    pub(crate) fn on_trim(&mut self, (acceptor, storage): (AcceptorId, StorageId), through: Slot) {
        let said = self.acceptors.entry((acceptor, storage)).or_default();
        said.trimmed = said.trimmed.max(through);
        said.votes = said.votes.split_off(&through.next());
        self.turn_to(Subject { slot: Some(through), ..Subject::default() });
        let holds = |learner| self.durable.get(learner).is_some_and(|&slot| slot >= through);
        let holders = self.counted.iter().filter(|learner| holds(learner)).count();
        let wiped = self.wiped_learners.intersection(&self.counted).count();
        let majority = self.counted.len() / 2 + 1;
        self.check(holders + wiped >= majority, "only what learners hold is trimmed", || {
            format!("acceptor {acceptor} trims through {through}, which {holders} learners hold")
        });
    }

    /// An acceptor was read back from its disk.
    pub(crate) fn on_acceptor_start(
        &mut self,
        (id, storage): (AcceptorId, StorageId),
        started: &acceptor::Acceptor,
    ) {
        let Some(said) = self.acceptors.get(&(id, storage)) else { return };
        let (promised, trimmed) = (started.promised(), started.trimmed_slot());
        let forgotten = said.votes.range(trimmed.next()..).find(|(slot, (ballot, _))| {
            started.vote_in(**slot).is_none_or(|vote| vote.ballot < *ballot)
        });
        let forgotten = forgotten.map(|(slot, _)| *slot);
        let holds = promised >= said.promised && trimmed >= said.trimmed && forgotten.is_none();
        let highest = said.votes.keys().next_back().copied();
        let subject =
            Subject { slot: forgotten.or(highest), ballot: said.promised, ..Subject::default() };
        let said = format!(
            "promise {:?}, votes up to {highest:?}, trimmed {}",
            said.promised, said.trimmed
        );
        self.turn_to(subject);
        self.check(holds, "what was answered survives a crash", || {
            format!(
                "acceptor {id} had said {said}; it starts with promise {promised:?}, trimmed \
                 {trimmed}, and without its vote in slot {forgotten:?}"
            )
        });
    }

    /// A learner has a slot on its disk.
    pub(crate) fn on_durable(&mut self, learner: LearnerId, slot: Slot) {
        self.durable.insert(learner, slot);
    }

    /// A learner's directory was deleted.
    pub(crate) fn on_learner_wiped(&mut self, learner: LearnerId) {
        self.durable.remove(&learner);
        self.wiped_learners.insert(learner);
    }

    /// A learner was read back from its disk.
    pub(crate) fn on_learner_start(&mut self, learner: LearnerId, slot: Slot, hash: u128) {
        self.turn_to(Subject { slot: Some(slot), ..Subject::default() });
        let durable = self.durable.get(&learner).copied().unwrap_or(Slot::ZERO);
        self.check(slot >= durable, "what was kept survives a crash", || {
            format!("learner {learner} starts at slot {slot}, it had reported {durable}")
        });
        self.durable.insert(learner, slot);
        self.on_hash(learner, slot, hash);
    }

    /// A learner's state hash after a slot.
    pub(crate) fn on_hash(&mut self, learner: LearnerId, slot: Slot, hash: u128) {
        self.turn_to(Subject { slot: Some(slot), ..Subject::default() });
        let known = *self.hashes.entry(slot).or_insert(hash);
        self.check(known == hash, "state hashes agree", || {
            format!("learner {learner} has another state hash after slot {slot}")
        });
    }

    /// A learner delivered a slot.
    pub(crate) fn on_delivered(&mut self, learner: LearnerId, delivered: &Delivered) {
        let slot = delivered.slot;
        let ballot = Some(delivered.ballot);
        self.turn_to(Subject { slot: Some(slot), ballot, ..Subject::default() });
        let digest = delivered.batch.digest();
        let value = self.chosen.get(&slot).map(|&(_, value)| value);
        self.check(value == Some(digest), "only chosen values are delivered", || {
            format!("learner {learner} delivers slot {slot}; chosen is {value:?}, not {digest:?}")
        });
        let proposed = self.proposals.get(&(slot, delivered.ballot)).map(|it| it.digest);
        self.check(proposed == Some(digest), "delivered under the ballot proposed", || {
            format!("learner {learner} delivers slot {slot} under ballot {:?}", delivered.ballot)
        });
        let outcomes: Vec<(Name, Outcome)> =
            delivered.deliveries.iter().map(|it| (it.name, it.outcome)).collect();
        let place = usize::try_from(slot.get()).unwrap_or(usize::MAX).saturating_sub(1);
        if let Some(known) = self.log.get(place) {
            let is_same = known.digest == digest
                && known.first_index == delivered.first_index
                && known.last_index == delivered.last_index
                && known.outcomes == outcomes;
            self.check(is_same, "learners are prefixes of each other", || {
                format!("learner {learner} delivers slot {slot} otherwise than the first did")
            });
            return;
        }
        self.check(place == self.log.len(), "no gap is delivered", || {
            format!("learner {learner} delivers slot {slot}, nobody delivered the one before")
        });
        self.log.push(Place {
            digest,
            first_index: delivered.first_index,
            last_index: delivered.last_index,
            outcomes: outcomes.clone(),
        });
        self.judge_commands(slot, delivered, &outcomes);
    }

    fn judge_commands(&mut self, slot: Slot, delivered: &Delivered, outcomes: &[(Name, Outcome)]) {
        for (command, &(name, outcome)) in delivered.batch.commands().zip(outcomes) {
            let ballot = Some(delivered.ballot);
            let subject = Subject { slot: Some(slot), ballot, ..Subject::default() };
            self.turn_to(Subject { name: Some(name), ..subject });
            let Ok(command) = command else {
                self.accuse("only what was sent is delivered", format!("slot {slot}: no command"));
                return;
            };
            match command.operation {
                Operation::Write { key, values } => {
                    self.judge_write(slot, name, outcome, key, &values);
                }
                Operation::Cancel { target } => {
                    if let Outcome::Settled(settled) = outcome
                        && self.cancelled.insert(name)
                    {
                        self.judge_settled(slot, target, settled);
                    }
                }
                Operation::Open => {
                    if outcome == Outcome::Opened {
                        self.opened.entry(name.session).or_insert(slot);
                    }
                }
            }
        }
    }

    fn judge_write(
        &mut self,
        slot: Slot,
        name: Name,
        outcome: Outcome,
        key: Option<IdempotencyKey>,
        values: &[Bytes],
    ) {
        let Some(ids) = self.by_values.get(values).cloned() else {
            self.accuse("only what was sent is delivered", format!("slot {slot} name {name}"));
            return;
        };
        let Outcome::Applied { first, last } = outcome else { return };
        let known = self.applied_names.insert(name, (first, last));
        if known.is_some_and(|known| known != (first, last)) {
            self.accuse("each command is applied once", format!("{name}: {known:?}, slot {slot}"));
        }
        if known.is_some() {
            return;
        }
        let died = self.dead.get(&name).copied();
        self.check(died.is_none(), "what is settled stays so", || {
            format!("{name} is applied in slot {slot}, a cancellation settled it in slot {died:?}")
        });
        if let Some(key) = key {
            let used = self.key_uses.insert(key, last);
            let window = self.limits.idempotency_window;
            let is_far = used.is_none_or(|used| first.previous().beyond(used) >= window);
            self.check(is_far, "one effect per idempotency key", || {
                format!("{name} is applied at {first} although its key was used at {used:?}")
            });
        }
        let is_keyed = key.is_some();
        let mut denied = None;
        let mut again = None;
        for id in ids {
            let Some(write) = self.writes.get_mut(&id) else { continue };
            if !is_keyed && !write.applied.is_empty() {
                again = Some(id);
            }
            if write.is_denied && !is_keyed {
                denied = Some(id);
            }
            write.applied.push((first, last));
        }
        self.check(again.is_none(), "each command is applied once", || {
            format!("operation {again:?}, now named {name}, is applied again in slot {slot}")
        });
        self.check(denied.is_none(), "not applied means never", || {
            format!("operation {denied:?} named {name} is applied in slot {slot} after all")
        });
    }

    fn judge_settled(&mut self, slot: Slot, target: Name, settled: Settled) {
        let applied = self.applied_names.get(&target).copied();
        match settled {
            Settled::NotApplied => {
                self.check(applied.is_none(), "a cancellation tells the truth", || {
                    format!("slot {slot} says {target} was not applied; it was at {applied:?}")
                });
                self.dead.entry(target).or_insert(slot);
            }
            // Of a session that was not open yet nothing can be known.
            Settled::Forgotten if !self.opened.contains_key(&target.session) => {}
            Settled::Forgotten => {
                self.dead.entry(target).or_insert(slot);
            }
            Settled::Applied { .. } => {}
        }
    }

    /// A caller submits a write.
    pub(crate) fn on_submit(
        &mut self,
        id: OperationId,
        key: Option<IdempotencyKey>,
        values: Vec<Bytes>,
    ) {
        self.by_values.entry(values.clone()).or_default().push(id);
        let floor = self.answered;
        let write = Write { key, values, floor, applied: Vec::new(), is_denied: false };
        self.writes.insert(id, write);
    }

    /// A caller is answered.
    pub(crate) fn on_answer(&mut self, id: OperationId, answer: &Answer) {
        self.turn_to(Subject { operation: Some(id.0), ..Subject::default() });
        let Some(write) = self.writes.get_mut(&id) else { return };
        let (applied, floor, is_keyed) = (write.applied.clone(), write.floor, write.key.is_some());
        match *answer {
            Answer::Applied { first, last, .. } => {
                let count = u64::try_from(write.values.len()).unwrap_or(u64::MAX);
                let is_true = applied.contains(&(first, last))
                    || is_keyed && self.is_applied_somewhere(id, (first, last));
                self.check(is_true, "an answer is true", || {
                    format!("operation {id:?} is told to stand at {first}..={last}: {applied:?}")
                });
                self.check(last.beyond(first) + 1 == count, "all values or none", || {
                    format!("operation {id:?} of {count} values stands at {first}..={last}")
                });
                self.check(first > floor || is_keyed, "writes follow real time", || {
                    format!("operation {id:?} stands at {first}; {floor} was answered before it")
                });
                self.answered = self.answered.max(last);
            }
            Answer::Repeated { first, last } => {
                let is_true = self.is_applied_somewhere(id, (first, last));
                self.check(is_true, "an answer is true", || {
                    format!("operation {id:?} is told to repeat {first}..={last}")
                });
                self.answered = self.answered.max(last);
            }
            Answer::NotApplied { .. } => {
                write.is_denied = true;
                self.check(applied.is_empty() || is_keyed, "not applied means never", || {
                    format!("operation {id:?} is denied, it stands at {applied:?}")
                });
            }
            Answer::KeyReused => {
                // A repetition shares its values with an earlier one, which may well stand.
                self.check(applied.is_empty() || is_keyed, "an answer is true", || {
                    format!("operation {id:?} reuses a key, and stands at {applied:?}")
                });
            }
            Answer::Unknown { .. } | Answer::Forgotten | Answer::Settled(_) => {}
        }
    }

    fn is_applied_somewhere(&self, id: OperationId, place: (Index, Index)) -> bool {
        let Some(write) = self.writes.get(&id) else { return false };
        let Some(ids) = self.by_values.get(&write.values) else { return false };
        ids.iter().filter_map(|id| self.writes.get(id)).any(|it| it.applied.contains(&place))
    }

    /// A linearizable read that began when `floor` had been answered is served through `index`.
    pub(crate) fn on_read(&mut self, id: u64, learner: LearnerId, floor: Index, index: Index) {
        self.turn_to(Subject { operation: Some(id), ..Subject::default() });
        self.check(index >= floor, "reads follow real time", || {
            format!("learner {learner} serves a read at {index}; {floor} was answered before it")
        });
        self.answered = self.answered.max(index);
    }

    /// A node has met a learner with another state.
    pub(crate) fn on_diverged(&mut self, learner: LearnerId, other: LearnerId, index: Index) {
        self.accuse(
            "learners agree",
            format!("learner {learner} differs from learner {other} at index {index}"),
        );
    }
}
