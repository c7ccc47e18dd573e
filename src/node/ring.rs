//! The newest protocol events of this node, for `/view-logs`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tracing::{info, trace};

use super::clock::{Clock, rfc3339};
use crate::paxos::event::Event;
use crate::types::NodeId;

/// An event with its number and time.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number; they count from 1 at each start.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Protocol(Event),
    Note { kind: &'static str, peer: Option<NodeId>, text: String },
}

/// An event as `/view-logs` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    seq: u64,
    at: String,
    kind: &'static str,
    ballot: Option<u64>,
    slot: Option<u64>,
    peer: Option<u8>,
    text: String,
}

impl Entry {
    /// As `/view-logs` shows it.
    #[must_use]
    pub fn line(&self) -> Line {
        let (seq, at) = (self.seq, rfc3339(self.at_ms));
        match &self.what {
            What::Protocol(event) => Line {
                seq,
                at,
                kind: event.kind(),
                ballot: event.ballot().map(crate::types::Ballot::proposal_number),
                slot: event.slot().map(crate::types::Slot::get),
                peer: event.peer().map(NodeId::get),
                text: event.to_string(),
            },
            What::Note { kind, peer, text } => Line {
                seq,
                at,
                kind,
                ballot: None,
                slot: None,
                peer: peer.map(NodeId::get),
                text: text.clone(),
            },
        }
    }
}

/// A bounded ring of events. It holds every slot's way at normal load; above a rate it holds the
/// way of each 64th slot, so that what it shows of a slot is whole.
#[derive(Debug, Clone)]
pub struct Ring {
    clock: Clock,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Held to push or to copy out, never across an await.
    state: Mutex<State>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<Entry>,
    size: usize,
    seq: u64,
    slots_per_s_max: u64,
    second: u64,
    highest_slot: u64,
    slots: u64,
}

/// Above the rate only slots that are multiples of this are shown.
const SAMPLE: u64 = 64;

impl Ring {
    /// A ring of `size` events that shows at most about `slots_per_s_max` slots a second in full.
    #[must_use]
    pub fn new(clock: Clock, size: usize, slots_per_s_max: u64) -> Self {
        let state = State {
            entries: VecDeque::new(),
            size,
            seq: 0,
            slots_per_s_max,
            second: 0,
            highest_slot: 0,
            slots: 0,
        };
        let inner = Inner { state: Mutex::new(state), newest: watch::Sender::new(0) };
        Self { clock, inner: Arc::new(inner) }
    }

    /// Keeps `size` events and shows about `slots_per_s_max` slots a second from now on.
    pub fn resize(&self, size: usize, slots_per_s_max: u64) {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let excess = state.entries.len().saturating_sub(size);
        state.entries.drain(..excess);
        state.size = size;
        state.slots_per_s_max = slots_per_s_max;
    }

    /// Notes a protocol event; the notable ones are logged at INFO too.
    pub fn event(&self, event: Event) {
        if event.is_notable() {
            info!(kind = event.kind(), "{event}");
        } else {
            trace!(kind = event.kind(), "{event}");
        }
        self.push(What::Protocol(event));
    }

    /// Notes something else that belongs to the node's story.
    pub fn note(&self, kind: &'static str, peer: Option<NodeId>, text: String) {
        self.push(What::Note { kind, peer, text });
    }

    /// The first `limit` events after number `since`, oldest first: a page that the next one joins.
    #[must_use]
    pub fn since(&self, since: u64, limit: usize) -> Vec<Entry> {
        let state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = state.entries.partition_point(|entry| entry.seq <= since);
        state.entries.iter().skip(first).take(limit).cloned().collect()
    }

    /// The newest `limit` events, oldest first.
    #[must_use]
    pub fn newest(&self, limit: usize) -> Vec<Entry> {
        let state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = state.entries.len().saturating_sub(limit);
        state.entries.iter().skip(skip).cloned().collect()
    }

    /// Changes with each event, to the newest number.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.newest.subscribe()
    }

    fn push(&self, what: What) {
        let at_ms = self.clock.unix_ms();
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let What::Protocol(event) = &what
            && !event.is_notable()
            && let Some(slot) = event.slot()
            && !state.admits(at_ms / 1000, slot.get())
        {
            return;
        }
        state.seq += 1;
        let seq = state.seq;
        if state.entries.len() == state.size {
            state.entries.pop_front();
        }
        state.entries.push_back(Entry { seq, at_ms, what });
        drop(state);
        self.inner.newest.send_replace(seq);
    }
}

impl State {
    fn admits(&mut self, second: u64, slot: u64) -> bool {
        if second != self.second {
            self.second = second;
            self.slots = 0;
        }
        if slot > self.highest_slot {
            self.highest_slot = slot;
            self.slots += 1;
        }
        self.slots <= self.slots_per_s_max || slot.is_multiple_of(SAMPLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Slot;

    fn trims(slot: u64) -> Event {
        Event::Trims { slot: Slot::new(slot) }
    }

    #[test]
    fn the_ring_keeps_the_newest_and_pages_by_number() {
        let ring = Ring::new(Clock::start(), 3, 1000);
        for slot in 1..=5 {
            ring.event(trims(slot));
        }
        let seqs = |entries: Vec<Entry>| entries.iter().map(|entry| entry.seq).collect::<Vec<_>>();
        assert_eq!(seqs(ring.since(0, 10)), [3, 4, 5]);
        assert_eq!(seqs(ring.since(4, 10)), [5]);
        assert_eq!(seqs(ring.since(0, 1)), [3]);
        assert_eq!(seqs(ring.newest(2)), [4, 5]);
    }

    #[test]
    fn a_smaller_ring_lets_the_oldest_go_and_a_larger_one_has_room() {
        let ring = Ring::new(Clock::start(), 4, 1000);
        let seqs = || ring.newest(10).iter().map(|entry| entry.seq).collect::<Vec<_>>();
        (1..=4).for_each(|slot| ring.event(trims(slot)));
        ring.resize(2, 1000);
        assert_eq!(seqs(), [3, 4]);
        ring.event(trims(5));
        assert_eq!(seqs(), [4, 5]);
        ring.resize(3, 1000);
        ring.event(trims(6));
        assert_eq!(seqs(), [4, 5, 6]);
    }

    #[test]
    fn above_the_rate_whole_slots_are_left_out() {
        let ring = Ring::new(Clock::start(), 10_000, 10);
        for slot in 1..=1000 {
            ring.event(trims(slot));
        }
        let shown = ring.since(0, 10_000).len();
        assert!((15..=60).contains(&shown), "{shown}");
    }
}
