//! The acceptors that no slot waits for, as long as the others vote.
//!
//! Any phase-2 quorum chooses (Paxos Made Simple §2.2), so one is told at once: the front. The
//! spares beyond it are told a little later, of many slots at once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Effect;
use crate::paxos::message::{Outbound, ToAcceptor};
use crate::types::{AcceptorId, Instant, Quorum, Tally};

/// So many slots owed, and the spares are told.
const OWED_SLOTS_MAX: usize = 64;

/// So many bytes owed, and the spares are told: what is written together costs an acceptor the same
/// up to here, and more of it would only make its disk's work uneven.
const OWED_BYTES_MAX: usize = 64 << 10;

/// Who is told at once, and what the others are owed.
#[derive(Debug)]
pub(super) struct Spares {
    /// A phase-2 quorum; or all acceptors, when there is none that can be reached.
    front: BTreeSet<AcceptorId>,
    owed: Vec<ToAcceptor>,
    bytes: usize,
    /// When the oldest of it was proposed.
    since: Instant,
    /// When the first slot was proposed since which none was chosen by the front alone.
    late_since: Option<Instant>,
}

impl Spares {
    /// Those that have just `promised` answer fast: they are the front.
    pub(super) fn new(quorum: &Quorum, promised: &Tally) -> Self {
        let mut spares = Self {
            front: BTreeSet::new(),
            owed: Vec::new(),
            bytes: 0,
            since: Instant::default(),
            late_since: None,
        };
        spares.choose(quorum, |acceptor| promised.contains(acceptor));
        spares
    }

    /// Makes a front of those that `can` vote, and keeps who is in it already.
    pub(super) fn choose(&mut self, quorum: &Quorum, can: impl Fn(AcceptorId) -> bool) {
        let all = quorum.acceptors();
        if self.front.len() == quorum.phase2() && self.front.iter().all(|&it| can(it)) {
            return;
        }
        let (stay, join): (Vec<_>, Vec<_>) =
            all.iter().filter(|&&it| can(it)).partition(|it| self.front.contains(it));
        let front: BTreeSet<_> =
            stay.into_iter().chain(join).copied().take(quorum.phase2()).collect();
        self.late_since = None;
        self.front = if front.len() == quorum.phase2() { front } else { all.clone() };
    }

    /// Whether there are any.
    pub(super) fn exist(&self, quorum: &Quorum) -> bool {
        self.front.len() < quorum.acceptors().len()
    }

    /// Notes that a slot is chosen that was proposed at `since`; whether one in front has been late
    /// for longer than `patience`. A spare that is told early, of a young slot beside older ones,
    /// may be faster by chance.
    pub(super) fn is_front_late(
        &mut self,
        votes: &Tally,
        since: Instant,
        now: Instant,
        patience: Duration,
    ) -> bool {
        if self.front.iter().all(|&acceptor| votes.contains(acceptor)) {
            self.late_since = None;
            return false;
        }
        now.since(*self.late_since.get_or_insert(since)) > patience
    }

    /// Whether `acceptor` is told later.
    pub(super) fn contains(&self, acceptor: AcceptorId) -> bool {
        !self.front.contains(&acceptor)
    }

    /// Notes that the spares are owed `accept` of so many `bytes`.
    pub(super) fn owe(&mut self, accept: ToAcceptor, bytes: usize, now: Instant) {
        if self.owed.is_empty() {
            self.since = now;
        }
        self.bytes += bytes;
        self.owed.push(accept);
    }

    /// When they are to be told, if they are owed anything and may wait for `patience`.
    pub(super) fn due_at(&self, patience: Duration) -> Option<Instant> {
        let is_much = self.owed.len() >= OWED_SLOTS_MAX || self.bytes >= OWED_BYTES_MAX;
        let patience = if is_much { Duration::ZERO } else { patience };
        (!self.owed.is_empty()).then(|| self.since + patience)
    }

    /// Tells the spares what they are owed.
    pub(super) fn tell(&mut self, quorum: &Quorum, out: &mut Vec<Effect>) {
        self.bytes = 0;
        for accept in self.owed.drain(..) {
            let spares = quorum.acceptors().iter().filter(|it| !self.front.contains(it));
            for &spare in spares {
                out.push(Effect::Send(Outbound::Acceptor(spare, accept.clone())));
            }
        }
    }
}
