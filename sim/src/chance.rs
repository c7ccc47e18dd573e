//! Chance: a generator of its own for each thing that may turn out one way or another, so that
//! taking one thing out of a run leaves the draws of all others as they were. Over the seed that
//! they follow may stand the bytes of a schedule, so that a fuzzer that changes a byte changes one
//! thing.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use paxosd::types::NodeId;
use rand::{Rng, RngExt, TryRng};

use crate::network::Route;

/// What a generator decides about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Of {
    /// How the cluster is made.
    Options,
    /// A node's pace, its disk's, and whatever it draws at its starts.
    Node(NodeId),
    /// A connection, when it breaks and comes.
    Link(Route),
    /// One message of a route, by its number there.
    Message(Route, u64),
    /// One fault, by its number.
    Strike(u64),
    /// One operation of a caller, by its number.
    Operation(u64),
    /// Who stays dead when the faults end.
    Heal,
    /// One thing that a node's gossip does, by its number there.
    Gossip(NodeId, u64),
}

/// A generator: `SplitMix64` (Steele, Lea and Flood, 2014), since one is made for every message.
#[derive(Debug, Clone)]
pub struct Chance(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Chance {
    /// A generator that `seed` alone determines.
    #[must_use]
    pub const fn of_seed(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A generator that `bytes` alone determine.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        bytes.iter().fold(Self::of_seed(0), |chance, byte| chance.fork(u64::from(*byte)))
    }

    /// The generator of one thing under `seed`.
    pub(crate) fn new(seed: u64, of: Of) -> Self {
        let way = |route: Route| u64::from(route.from.get()) << 8 | u64::from(route.to.get());
        let (kind, which, number) = match of {
            Of::Options => (1, 0, 0),
            Of::Node(id) => (2, u64::from(id.get()), 0),
            Of::Link(route) => (3, way(route), 0),
            Of::Message(route, number) => (4, way(route), number),
            Of::Strike(number) => (5, 0, number),
            Of::Operation(number) => (6, 0, number),
            Of::Heal => (7, 0, 0),
            Of::Gossip(id, number) => (8, u64::from(id.get()), number),
        };
        Self(seed).fork(kind << 16 | which).fork(number)
    }

    /// A generator apart from this one, the same for the same number; this one does not move.
    pub(crate) const fn fork(&self, number: u64) -> Self {
        Self(mix(self.0 ^ mix(number.wrapping_add(GAMMA))))
    }

    /// A span of so many milliseconds.
    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_micros(self.random_range(range.start() * 1_000..=range.end() * 1_000))
    }

    /// One of `candidates`: whoever is not among them changes the choice only by being it.
    pub(crate) fn any(&mut self, candidates: impl Iterator<Item = NodeId>) -> Option<NodeId> {
        let lot = Self(self.next_u64());
        candidates.min_by_key(|id| lot.fork(id.get().into()).0)
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let bytes = self.try_next_u64()?.to_be_bytes();
        let (high, _) = bytes.split_at(4);
        Ok(high.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(GAMMA);
        Ok(mix(self.0))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for part in out.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_le_bytes();
            part.iter_mut().zip(bytes).for_each(|(byte, drawn)| *byte = drawn);
        }
        Ok(())
    }
}

/// Where the generators of a run come from: each follows its seed and, as long as there are any,
/// the next byte of its schedule.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    seed: u64,
    schedule: Rc<RefCell<VecDeque<u8>>>,
}

impl Source {
    /// The source of one run.
    pub(crate) fn new(seed: u64, schedule: &[u8]) -> Self {
        Self { seed, schedule: Rc::new(RefCell::new(schedule.iter().copied().collect())) }
    }

    /// The generator of one thing.
    pub(crate) fn of(&self, of: Of) -> Chance {
        let chance = Chance::new(self.seed, of);
        match self.schedule.borrow_mut().pop_front() {
            Some(byte) => chance.fork(byte.into()),
            None => chance,
        }
    }
}

/// The generators of all nodes, and the source of all others.
#[derive(Debug)]
pub(crate) struct Chances {
    source: Source,
    nodes: BTreeMap<NodeId, Chance>,
}

impl Chances {
    /// Those of one source.
    pub(crate) const fn new(source: Source) -> Self {
        Self { source, nodes: BTreeMap::new() }
    }

    /// The one of a node.
    pub(crate) fn node(&mut self, id: NodeId) -> &mut Chance {
        self.nodes.entry(id).or_insert_with(|| self.source.of(Of::Node(id)))
    }

    /// A new one of anything else.
    pub(crate) fn of(&self, of: Of) -> Chance {
        self.source.of(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    #[test]
    fn what_one_thing_draws_does_not_move_another() {
        let route = Route { from: node(1), to: node(11) };
        let mut first = Chance::new(7, Of::Message(route, 1));
        let alone = Chance::new(7, Of::Message(route, 2)).next_u64();
        first.next_u64();
        assert_eq!(Chance::new(7, Of::Message(route, 2)).next_u64(), alone);
        assert_ne!(first.next_u64(), alone);
        assert_ne!(Chance::new(8, Of::Message(route, 2)).next_u64(), alone);
    }

    #[test]
    fn each_byte_of_a_schedule_changes_one_thing() {
        let drawn = |schedule: &[u8]| {
            let source = Source::new(7, schedule);
            [1, 2, 3].map(|number| source.of(Of::Strike(number)).next_u64())
        };
        let [first, second, third] = drawn(&[4, 5]);
        let [same, other, free] = drawn(&[4, 6]);
        assert_eq!((first, third), (same, free));
        assert_ne!(second, other);
        assert_eq!(third, Chance::new(7, Of::Strike(3)).next_u64(), "its seed decides the rest");
    }

    #[test]
    fn a_choice_outlives_those_it_did_not_fall_on() {
        let all: Vec<NodeId> = (1..=9).map(node).collect();
        for seed in 0..50 {
            let chance = Chance::new(seed, Of::Heal);
            let chosen = chance.clone().any(all.iter().copied()).unwrap();
            for gone in all.iter().filter(|id| **id != chosen) {
                let rest = all.iter().copied().filter(|id| id != gone);
                assert_eq!(chance.clone().any(rest), Some(chosen));
            }
        }
    }

    #[test]
    fn every_bit_is_drawn_about_as_often_as_not() {
        let mut chance = Chance::new(3, Of::Options);
        let draws = 4_000;
        let mut ones = [0_u32; 64];
        for _ in 0..draws {
            let bits = chance.next_u64();
            (0..64)
                .zip(&mut ones)
                .for_each(|(bit, count)| *count += u32::from(bits >> bit & 1 == 1));
        }
        assert!(ones.iter().all(|count| (1_800..=2_200).contains(count)), "{ones:?}");
    }
}
