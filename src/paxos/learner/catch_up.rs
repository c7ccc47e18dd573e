//! Fetching what is missing: from the acceptors, or from another learner; and asking the leader to
//! settle what nobody can tell.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{AcceptorId, Bug, Index, Instant, LearnerId, Slot, planted};

use super::{
    Accepted, Effect, Event, Learner, LearnerSettings, Outbound, ToAcceptor, ToLearner, ToProposer,
    deliver_one, note_checkpoint, tell,
};
use crate::paxos::message::Vote;

/// So often the pause between two questions to the leader is doubled.
const FILLS_DOUBLED: u32 = 3;

/// After a page of a long lag the next one waits so many times as long as that one took: the
/// writers have the machines of both learners for most of the time.
const PAUSE_FACTOR: u32 = 15;

/// All pauses of one lag together.
const PAUSED_MAX: Duration = Duration::from_secs(60);

/// What this learner lacks, and what it does about it.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// The highest slot it has heard of.
    pub(super) target: Slot,
    /// The highest index that another learner has told of.
    target_index: Index,
    /// Since when the next slot has been missing.
    stuck_since: Instant,
    fetch_at: Instant,
    fill_at: Instant,
    /// The acceptors have forgotten the slots through this one: they were chosen, and are with the
    /// other learners.
    trimmed: Slot,
    /// How many times it was fetched since the last progress.
    attempts: usize,
    /// How many times a learner was asked, ever: each in turn, whatever the one before had, or two
    /// that lack the same would feed each other and never ask who has it.
    learners_asked: usize,
    /// How many times the leader was asked to settle it since then.
    fills: u32,
    pace: Pace,
}

/// How fast a lag is made up from another learner.
#[derive(Debug)]
struct Pace {
    /// Bytes that came from there.
    fetched_bytes: usize,
    /// When the last page was asked for.
    asked_at: Instant,
    /// When the one before came.
    page_at: Instant,
    /// Bytes of what the leader sent since then.
    live_bytes: usize,
    /// Slots that it sent since the lag began, and their bytes.
    kept_slots: u64,
    kept_bytes: usize,
    /// When the next page is to be asked for, and of whom; `None` while nothing is held back.
    next_page: Option<(Instant, LearnerId)>,
    /// How long pages were held back.
    paused: Duration,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self {
            fetched_bytes: 0,
            asked_at: now,
            page_at: now,
            live_bytes: 0,
            kept_slots: 0,
            kept_bytes: 0,
            next_page: None,
            paused: Duration::ZERO,
        }
    }

    /// How long the next page is held back after `page`: not at all where the lag is short, or
    /// nobody writes, or it has lasted long; never so long that more than half as much is written
    /// as is fetched; and only so long that the rest comes before the acceptors have no more room
    /// for what is written.
    fn pause_after(&mut self, page: Page, now: Instant, settings: &LearnerSettings) -> Duration {
        let Page { bytes, part, left, held_slots } = page;
        let live_bytes = std::mem::take(&mut self.live_bytes);
        let live_for = now.since(std::mem::replace(&mut self.page_at, now));
        self.fetched_bytes = self.fetched_bytes.saturating_add(bytes);
        if self.fetched_bytes <= settings.prompt_bytes || live_bytes == 0 {
            return Duration::ZERO;
        }
        let took = now.since(self.asked_at);
        let until_half = scaled(live_for, bytes, live_bytes.saturating_mul(2));
        // What stood there before the lag began counts as much as what was written since.
        let held_bytes = u64::try_from(self.kept_bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(held_slots.max(self.kept_slots))
            / self.kept_slots.max(1);
        let held_bytes = usize::try_from(held_bytes).unwrap_or(usize::MAX);
        let room = settings.kept_bytes_max.saturating_sub(held_bytes);
        let until_full = scaled(scaled(live_for, room, live_bytes), part, left.max(1));
        let pause = (took * PAUSE_FACTOR)
            .min(settings.resend)
            .min(until_half.min(until_full).saturating_sub(took))
            .min(PAUSED_MAX.saturating_sub(self.paused));
        self.paused += pause;
        pause
    }
}

/// What came from another learner at once.
#[derive(Debug, Clone, Copy)]
struct Page {
    bytes: usize,
    /// Its part of the lag, beside what is left of that: in values where those are known, or else
    /// in slots.
    part: u64,
    left: u64,
    /// Slots that the acceptors hold for this learner, as far as is known.
    held_slots: u64,
}

/// `span` times `by` over `of`, which is not zero.
fn scaled<N: TryInto<u128>>(span: Duration, by: N, of: N) -> Duration {
    let wide = |number: N| number.try_into().unwrap_or(u128::MAX);
    let nanos = span.as_nanos().saturating_mul(wide(by)) / wide(of);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl CatchUp {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            target: Slot::ZERO,
            target_index: Index::ZERO,
            stuck_since: now,
            fetch_at: now,
            fill_at: now,
            trimmed: Slot::ZERO,
            attempts: 0,
            learners_asked: 0,
            fills: 0,
            pace: Pace::new(now),
        }
    }

    pub(super) fn aim(&mut self, slot: Slot) {
        self.target = self.target.max(slot);
    }

    /// Another learner is at `index`.
    pub(super) fn aim_index(&mut self, index: Index) {
        self.target_index = self.target_index.max(index);
    }

    pub(super) fn deadline(&self) -> Instant {
        let at = self.fetch_at.min(self.fill_at);
        self.pace.next_page.map_or(at, |(next_page, _)| at.min(next_page))
    }

    /// Something is missing from now on. It may well be on its way.
    pub(super) fn on_lag(&mut self, now: Instant, settings: &LearnerSettings) {
        self.stuck_since = now;
        self.fetch_at = now + settings.gap;
        self.fill_at = now + settings.fill_after;
        self.pace = Pace::new(now);
    }

    /// The leader has sent so many bytes of something new.
    pub(super) fn on_live(&mut self, bytes: usize) {
        self.pace.live_bytes = self.pace.live_bytes.saturating_add(bytes);
        self.pace.kept_bytes = self.pace.kept_bytes.saturating_add(bytes);
        self.pace.kept_slots += 1;
    }

    /// Nothing is asked later than `settings` would have it from now on.
    pub(super) fn hasten(&mut self, now: Instant, settings: &LearnerSettings) {
        self.fetch_at = self.fetch_at.min(now + settings.gap.max(settings.resend));
        self.fill_at = self.fill_at.min(now + settings.fill_after);
        self.stuck_since = self.stuck_since.min(now);
        if let Some((at, _)) = &mut self.pace.next_page {
            *at = now.min(*at);
        }
    }

    pub(super) fn on_progress(&mut self, now: Instant) {
        self.stuck_since = now;
        self.attempts = 0;
        self.fills = 0;
        self.fill_at = self.fill_at.min(now);
    }
}

impl Learner {
    /// The highest slot it has heard of, where that is not delivered yet.
    pub(super) fn lag_through(&self) -> Option<Slot> {
        self.membership.as_ref()?;
        let target = self.catch_up.target;
        (target > self.delivered_slot()).then_some(target)
    }

    pub(super) fn tick_catch_up(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(target) = self.lag_through() else { return };
        if let Some((at, learner)) = self.catch_up.pace.next_page
            && now >= at
        {
            self.fetch_entries(now, learner, out);
        }
        let stuck = now.since(self.catch_up.stuck_since);
        if now >= self.catch_up.fetch_at {
            self.catch_up.fetch_at = now + self.config.settings.gap;
            if stuck >= self.config.settings.gap {
                self.fetch(now, out);
            }
        }
        if now >= self.catch_up.fill_at {
            // Settling may cost the leader a phase 1, which does not help a learner that the
            // acceptors cannot reach: it asks ever more seldom.
            let patience =
                self.config.settings.fill_after * (1 << self.catch_up.fills.min(FILLS_DOUBLED));
            self.catch_up.fill_at = now + patience;
            let slot = self.delivered_slot().next();
            // No leader can settle what is trimmed; to ask would only disturb it.
            if stuck >= self.config.settings.fill_after && slot > self.catch_up.trimmed {
                self.catch_up.fills += 1;
                out.push(Effect::Event(Event::AsksFill { slot }));
                for &proposer in &self.proposers {
                    let fill = ToProposer::Fill { from_slot: slot, through: target };
                    out.push(Effect::Send(Outbound::Proposer(proposer, fill)));
                }
            }
        }
    }

    /// Asks for what comes next: another learner where the acceptors have forgotten it or the lag
    /// is long, since one learner's word is enough where several acceptors' votes are needed.
    fn fetch(&mut self, now: Instant, out: &mut Vec<Effect>) {
        self.catch_up.fetch_at = now + self.config.settings.resend;
        let from_slot = self.delivered_slot().next();
        let is_long =
            self.catch_up.target.beyond(from_slot) > self.config.settings.window_slots / 2;
        let is_trimmed = self.catch_up.trimmed >= from_slot;
        let attempt = self.catch_up.attempts;
        self.catch_up.attempts += 1;
        let is_learners_turn =
            if is_trimmed { attempt % 4 != 3 } else { attempt % 2 == usize::from(!is_long) };
        if is_learners_turn && !self.learners.is_empty() {
            let turn = self.catch_up.learners_asked % self.learners.len();
            self.catch_up.learners_asked += 1;
            if let Some(learner) = self.learners.iter().copied().nth(turn) {
                self.fetch_entries(now, learner, out);
            }
            return;
        }
        out.push(Effect::Event(Event::Fetches { slot: from_slot, peer: None }));
        for acceptor in self.acceptors() {
            out.push(Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Fetch { from_slot })));
        }
    }

    fn fetch_entries(&mut self, now: Instant, learner: LearnerId, out: &mut Vec<Effect>) {
        self.catch_up.fetch_at = now + self.config.settings.resend;
        self.catch_up.pace.asked_at = now;
        self.catch_up.pace.next_page = None;
        let from_slot = self.delivered_slot().next();
        out.push(Effect::Event(Event::Fetches { slot: from_slot, peer: Some(learner.node()) }));
        let fetch = ToLearner::FetchEntries { learner: self.config.me, from_slot };
        out.push(Effect::Send(Outbound::Learner(learner, fetch)));
    }

    pub(super) fn on_votes(
        &mut self,
        now: Instant,
        acceptor: AcceptorId,
        votes: Vec<Accepted>,
        next_slot: Option<Slot>,
        trimmed_slot: Slot,
        out: &mut Vec<Effect>,
    ) {
        self.catch_up.trimmed = self.catch_up.trimmed.max(trimmed_slot);
        self.catch_up.aim(trimmed_slot);
        if let Some(more) = next_slot {
            self.catch_up.aim(more);
        }
        let before = self.delivered_slot();
        let window_end = before.next().plus(self.config.settings.window_slots);
        let mut has_more = next_slot.is_some();
        for accepted in votes {
            has_more |= accepted.slot >= window_end;
            self.catch_up.aim(accepted.slot);
            if accepted.slot <= before || accepted.slot >= window_end {
                continue;
            }
            let Accepted { slot, ballot, ref batch } = accepted;
            self.votes.count(Vote { acceptor, slot, ballot, digest: batch.digest() });
            self.votes.keep(accepted);
        }
        self.deliver(now, out);
        // A page that brought progress and is not the end is followed at once.
        if has_more && self.delivered_slot() > before {
            self.fetch(now, out);
        }
    }

    pub(super) fn on_entries(
        &mut self,
        now: Instant,
        learner: LearnerId,
        entries: Vec<Accepted>,
        delivered_slot: Slot,
        out: &mut Vec<Effect>,
    ) {
        self.catch_up.aim(delivered_slot);
        let Some(log) = &mut self.log else { return };
        let (before, index_before) = (log.slot(), log.index());
        let bytes = entries.iter().map(|entry| entry.batch.len()).sum();
        let mut notices = BTreeMap::new();
        for entry in entries {
            // What another learner delivered was chosen; only the next slot can be taken.
            if entry.slot == log.slot().next() || planted(Bug::TakeAnyEntry) {
                let before = log.index();
                deliver_one(log, entry.ballot, entry.batch, &mut notices, out);
                note_checkpoint(
                    &mut self.checkpoints,
                    self.config.settings.checkpoint_indices,
                    before,
                    log,
                );
            }
        }
        let after = log.slot();
        let index = log.index();
        if after == before {
            if delivered_slot <= before {
                // It has nothing either: on to the next.
                self.catch_up.fetch_at = now;
            }
            return;
        }
        // The origins of what is long past were told by that learner, or have asked again.
        if delivered_slot.beyond(after) <= self.config.settings.window_slots {
            tell(self.config.me, &notices, out);
        }
        self.votes.forget_through(after);
        self.catch_up.on_progress(now);
        self.reads.release(after, index, out);
        self.share_checkpoints(out);
        if delivered_slot > after {
            let target = self.catch_up.target;
            let values = (index.beyond(index_before), self.catch_up.target_index.beyond(index));
            let slots = (after.beyond(before), target.beyond(after));
            let is_known = values.0 > 0 && values.1 > 0;
            let (part, left) = if is_known { values } else { slots };
            // As long as no acceptor has said what it has trimmed, nobody knows.
            let trimmed = Some(self.catch_up.trimmed).filter(|slot| *slot > Slot::ZERO);
            let held_slots = trimmed.map_or(0, |slot| target.beyond(slot.max(self.durable)));
            let page = Page { bytes, part, left, held_slots };
            let pause = self.catch_up.pace.pause_after(page, now, &self.config.settings);
            if pause.is_zero() {
                self.fetch_entries(now, learner, out);
            } else {
                self.catch_up.pace.next_page = Some((now + pause, learner));
                // A pause is no reason to ask anybody else.
                self.catch_up.fetch_at = now + pause + self.config.settings.resend;
                self.catch_up.stuck_since = now + pause;
            }
        }
    }
}
