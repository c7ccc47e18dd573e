//! The acceptors that no slot waits for, as long as the others vote.
//!
//! Any phase-2 quorum chooses (Paxos Made Simple §2.2), so one is told at once: the front. The
//! spares beyond it are told a little later, many slots in one message.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Effect;
use crate::paxos::message::{Outbound, ToAcceptor};
use crate::types::{AcceptorId, Instant, Quorum, Tally};

/// Slots that spares may be owed at most.
const OWED_SLOTS_MAX: usize = 64;

/// Bytes that spares may be owed at most: what is written together costs an acceptor the same up to
/// here, and beyond it a late message would only make its disk's work uneven.
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
}

impl Spares {
    /// Those that have just `promised` answer fast: they are the front.
    pub(super) fn new(quorum: &Quorum, promised: &Tally) -> Self {
        let mut spares =
            Self { front: BTreeSet::new(), owed: Vec::new(), bytes: 0, since: Instant::default() };
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
        self.front = if front.len() == quorum.phase2() { front } else { all.clone() };
    }

    /// Whether a slot that was chosen with `votes` had to wait for a spare's.
    pub(super) fn waited_for(&self, votes: &Tally) -> bool {
        self.front.iter().any(|&acceptor| !votes.contains(acceptor))
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
