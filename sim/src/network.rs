//! The simulated links: one connection per direction, in order and whole like TCP, or by the seed's
//! choice lossy, doubling and overtaking.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use paxosd::paxos::message::{Envelope, Message, ToAcceptor, ToProposer};
use paxosd::types::{Instant, NodeId};
use rand::RngExt;

use crate::chance::{Chance, Of, Source};
use crate::options::Options;
use crate::plan::Kept;

/// How late an unruly message is, drawn from these: see [`stray`].
const LATENESS: Range<u32> = 0..100;

/// A direction between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Who sends.
    pub from: NodeId,
    /// Who receives.
    pub to: NodeId,
}

/// A message, by its number on its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    /// Its way.
    pub route: Route,
    /// It is the so many-th that was sent there.
    pub number: u64,
}

/// What becomes of a message when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way.
    Travels,
    /// It is on its way, and will come before one that was sent earlier, or much later.
    Strays,
    /// It is on its way twice.
    Doubles,
    /// It is lost.
    Lost,
    /// It waits for a partition to end.
    Waits,
    /// There is no connection, or a partition that swallows it.
    Unsent,
}

impl Fate {
    /// Whether a plan may undo it.
    pub(crate) const fn is_unruly(self) -> bool {
        matches!(self, Self::Strays | Self::Doubles | Self::Lost)
    }
}

/// A connection and what it holds.
#[derive(Debug, Default)]
struct Link {
    is_up: bool,
    /// Counts the connections; what an earlier one carried is lost.
    generation: u64,
    last_arrival: Instant,
    /// When it comes and breaks.
    chance: Option<Chance>,
    /// Counts what was sent.
    sent: u64,
    /// A promise that will come a second time once its proposer prepares another ballot, and how
    /// long after: by chance alone a late one hardly ever comes just then.
    promise: Option<(Flight, Duration)>,
    /// What waits for a partition to heal.
    stalled: VecDeque<(MessageId, Envelope)>,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) id: MessageId,
    pub(crate) generation: u64,
    pub(crate) at: Instant,
    pub(crate) envelope: Envelope,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    source: Source,
    /// Which messages may be unruly.
    unruly: Kept<MessageId>,
    links: BTreeMap<Route, Link>,
    /// Directions that carry nothing, and how many partitions say so.
    blocked: BTreeMap<Route, u32>,
    /// Whether the faults of messages are over.
    is_healed: bool,
}

impl Network {
    /// No links yet.
    pub(crate) const fn new(source: Source, unruly: Kept<MessageId>) -> Self {
        Self { source, unruly, links: BTreeMap::new(), blocked: BTreeMap::new(), is_healed: false }
    }

    /// Hands over a message; its name, what becomes of it, and what arrives of it.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        route: Route,
        envelope: Envelope,
        options: &Options,
    ) -> (MessageId, Fate, Vec<Flight>) {
        let again = self.promise_again(now, route, &envelope);
        let (id, fate, mut flights) = self.carry(now, route, envelope, options);
        flights.extend(again);
        (id, fate, flights)
    }

    fn carry(
        &mut self,
        now: Instant,
        route: Route,
        envelope: Envelope,
        options: &Options,
    ) -> (MessageId, Fate, Vec<Flight>) {
        let is_blocked = self.is_blocked(route);
        let is_lossy = options.is_lossy && !self.is_healed;
        let link = self.links.entry(route).or_default();
        link.sent += 1;
        let id = MessageId { route, number: link.sent };
        if !link.is_up || is_lossy && is_blocked {
            return (id, Fate::Unsent, Vec::new());
        }
        if !is_lossy && (is_blocked || !link.stalled.is_empty()) {
            link.stalled.push_back((id, envelope));
            return (id, Fate::Waits, Vec::new());
        }
        let mut chance = self.source.of(Of::Message(route, id.number));
        if !is_lossy {
            let flight = link.queue(now, (id, envelope), options, &mut chance);
            return (id, Fate::Travels, vec![flight]);
        }
        let is_lost = chance.random_bool(options.loss);
        let copies = if chance.random_bool(options.duplication) { 2 } else { 1 };
        if !self.unruly.keeps(&id) {
            // The draws of an unruly message, in the same order, and nothing comes of them.
            chance.random_range(LATENESS);
            let flight = link.queue(now, (id, envelope), options, &mut chance);
            return (id, Fate::Travels, vec![flight]);
        }
        if is_lost {
            return (id, Fate::Lost, Vec::new());
        }
        let mut fate = if copies == 2 { Fate::Doubles } else { Fate::Travels };
        let flights = (0..copies).map(|_| {
            let (span, is_late) = stray(options, &mut chance);
            let at = now + span;
            if fate == Fate::Travels && (is_late || at <= link.last_arrival) {
                fate = Fate::Strays;
            }
            link.last_arrival = link.last_arrival.max(at);
            Flight { id, generation: link.generation, at, envelope: envelope.clone() }
        });
        let flights: Vec<Flight> = flights.collect();
        if is_promise(&envelope)
            && let Some(first) = flights.first()
            && chance.random_bool(options.promise_again)
        {
            link.promise = Some((first.clone(), latency(options, &mut chance)));
            fate = Fate::Doubles;
        }
        (id, fate, flights)
    }

    /// The promise of an earlier ballot that comes again, if `envelope` prepares another.
    fn promise_again(&mut self, now: Instant, route: Route, envelope: &Envelope) -> Option<Flight> {
        let Message::Acceptor(ToAcceptor::Prepare { ballot, .. }) = envelope.message else {
            return None;
        };
        let back = self.links.get_mut(&Route { from: route.to, to: route.from })?;
        let is_other = |(promise, _): &mut (Flight, Duration)| {
            matches!(promise.envelope.message,
                Message::Proposer(ToProposer::Promise { ballot: earlier, .. }) if earlier != ballot)
        };
        let (promise, span) = back.promise.take_if(is_other).filter(|_| !self.is_healed)?;
        Some(Flight { at: now + span, ..promise })
    }

    /// What arrives: the message, unless its connection is gone or the way is blocked.
    pub(crate) fn arrive(&mut self, flight: Flight, options: &Options) -> Option<Envelope> {
        let route = flight.id.route;
        let is_blocked = self.is_blocked(route);
        let link = self.links.get_mut(&route)?;
        if !link.is_up || link.generation != flight.generation {
            return None;
        }
        if is_blocked {
            if !options.is_lossy {
                link.stalled.push_back((flight.id, flight.envelope));
            }
            return None;
        }
        Some(flight.envelope)
    }

    /// The generator of a connection.
    pub(crate) fn chance(&mut self, route: Route) -> &mut Chance {
        let link = self.links.entry(route).or_default();
        link.chance.get_or_insert_with(|| self.source.of(Of::Link(route)))
    }

    /// Opens a connection; whether there was none.
    pub(crate) fn connect(&mut self, route: Route) -> bool {
        let link = self.links.entry(route).or_default();
        !std::mem::replace(&mut link.is_up, true)
    }

    /// Ends a connection; whether there was one. What it held is lost.
    pub(crate) fn disconnect(&mut self, route: Route) -> bool {
        let link = self.links.entry(route).or_default();
        link.generation += 1;
        link.stalled.clear();
        std::mem::replace(&mut link.is_up, false)
    }

    pub(crate) fn is_up(&self, route: Route) -> bool {
        self.links.get(&route).is_some_and(|link| link.is_up)
    }

    pub(crate) fn is_blocked(&self, route: Route) -> bool {
        self.blocked.contains_key(&route)
    }

    /// A partition begins.
    pub(crate) fn block(&mut self, routes: &BTreeSet<Route>) {
        for route in routes {
            *self.blocked.entry(*route).or_default() += 1;
        }
    }

    /// A partition ends: what waited goes on its way.
    pub(crate) fn unblock(
        &mut self,
        now: Instant,
        routes: &BTreeSet<Route>,
        options: &Options,
    ) -> Vec<Flight> {
        let mut flights = Vec::new();
        for route in routes {
            if let Some(count) = self.blocked.get_mut(route) {
                *count -= 1;
                if *count == 0 {
                    self.blocked.remove(route);
                    flights.extend(self.release(now, *route, options));
                }
            }
        }
        flights
    }

    /// Ends every partition and all loss.
    pub(crate) fn heal(&mut self, now: Instant, options: &Options) -> Vec<Flight> {
        self.is_healed = true;
        let routes: Vec<Route> = std::mem::take(&mut self.blocked).into_keys().collect();
        routes.into_iter().flat_map(|route| self.release(now, route, options)).collect()
    }

    fn release(&mut self, now: Instant, route: Route, options: &Options) -> Vec<Flight> {
        let Some(link) = self.links.get_mut(&route) else { return Vec::new() };
        let stalled = std::mem::take(&mut link.stalled);
        let flights = stalled.into_iter().map(|(id, envelope)| {
            let mut chance = self.source.of(Of::Message(route, id.number));
            link.queue(now, (id, envelope), options, &mut chance)
        });
        flights.collect()
    }
}

impl Link {
    /// Behind everything that this connection carries already.
    fn queue(
        &mut self,
        now: Instant,
        (id, envelope): (MessageId, Envelope),
        options: &Options,
        chance: &mut Chance,
    ) -> Flight {
        let at = (now + latency(options, chance)).max(self.last_arrival + Duration::from_nanos(1));
        self.last_arrival = at;
        Flight { id, generation: self.generation, at, envelope }
    }
}

fn latency(options: &Options, chance: &mut Chance) -> Duration {
    chance.random_range(options.latency.clone())
}

fn is_promise(envelope: &Envelope) -> bool {
    matches!(envelope.message, Message::Proposer(ToProposer::Promise { .. }))
}

/// The time that a message takes which others may overtake, now and then longer than any timeout;
/// and whether it is late.
fn stray(options: &Options, chance: &mut Chance) -> (Duration, bool) {
    match chance.random_range(LATENESS).checked_sub(options.late_percent) {
        None => (Duration::from_micros(chance.random_range(1_000..=2_000_000)), true),
        Some(0..10) => (latency(options, chance) * 10, true),
        Some(_) => (latency(options, chance), false),
    }
}
