//! The whole cluster as a model: what can happen next, and what must always hold.
//!
//! The network is the set of all that was ever sent. Anything in it may arrive at any time, again
//! and again, or never: so it loses, repeats, delays and reorders.
//!
//! A reply reaches its proposer at once, or never. That loses nothing. A promise or vote that
//! counts when it comes late finds the proposer in the phase in which it asked, and that phase
//! would have taken it just the same when it was sent: what lies between is other replies of the
//! same phase, and they commute. One that no longer counts changes nothing. A refusal changes no
//! acceptor, and one that comes late with an old ballot does what a campaign after a look at that
//! ballot does.
//!
//! Left out is what promises no safety: witnesses, heartbeats, gossip, timers. All that they can do
//! is to make a proposer give up, or begin phase 1, and that may happen here at any time.

use std::fmt;
use std::sync::Arc;

use paxosd::paxos::message::{ToAcceptor, Vote};
use paxosd::types::{Batch, Slot};
use stateright::{Model, Property};

use super::acceptor::{self, Acceptors};
use super::catalogue::{Catalogue, Local};
use super::ground::{self, ACCEPTORS, ORDERS, PROPOSERS_MAX, moved};
use super::lexicon::{Lexicon, RequestId, Set};
use super::proposer::{self, Proposers};
use super::{Bounds, Planted};

/// A state of the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct State {
    acceptors: [Local; ACCEPTORS],
    proposers: [Local; PROPOSERS_MAX],
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A request reaches an acceptor; its reply is heard, or lost.
    Deliver { request: RequestId, acceptor: usize, is_heard: bool },
    /// A request reaches an acceptor whose disk fails, which therefore dies and restarts.
    Torn { request: RequestId, acceptor: usize },
    /// An acceptor dies and restarts.
    Crash { acceptor: usize },
    /// An acceptor hears that the learner has everything through a slot on disk.
    Durable { acceptor: usize, slot: Slot },
    /// A proposer begins phase 1, after it has seen a ballot of this round.
    Campaign { proposer: usize, seen: u64 },
    /// A proposer dies, and the next one in its place begins phase 1.
    Restart { proposer: usize, seen: u64 },
    /// A leader hears the votes of all that cast this one, a quorum.
    Votes { proposer: usize, vote: Set },
    /// A leader hears that a learner lacks the first slot.
    Fill { proposer: usize },
    /// A proposer hears that a learner has delivered through a slot.
    Delivered { proposer: usize, slot: Slot },
}

/// A cluster within bounds.
pub(super) struct Cluster {
    bounds: Bounds,
    lexicon: Arc<Lexicon>,
    acceptors: Catalogue<Acceptors>,
    proposers: Catalogue<Proposers>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// What Paxos is for.
pub(super) const AGREEMENT: &str = "one value is chosen in a slot";

impl Cluster {
    pub(super) fn new(bounds: Bounds) -> Self {
        let lexicon = Arc::new(Lexicon::default());
        let acceptors = Catalogue::new(Acceptors {
            lexicon: Arc::clone(&lexicon),
            forgets: bounds.planted == Some(Planted::Amnesia),
        });
        let proposers = Catalogue::new(Proposers {
            lexicon: Arc::clone(&lexicon),
            slots: bounds.slots,
            repeats_incarnation: bounds.planted == Some(Planted::SameIncarnation),
        });
        Self { bounds, lexicon, acceptors, proposers }
    }

    /// Local states that were found, and distinct steps of the core that were taken.
    pub(super) fn local(&self) -> (usize, usize) {
        let (acceptors, proposers) = (self.acceptors.len(), self.proposers.len());
        (acceptors.0 + proposers.0, acceptors.1 + proposers.1)
    }

    fn acceptor(&self, state: &State, place: usize) -> acceptor::View {
        self.acceptors.view(at(&state.acceptors, place))
    }

    fn proposer(&self, state: &State, place: usize) -> proposer::View {
        self.proposers.view(at(&state.proposers, place))
    }

    /// The votes that a majority of the acceptors has had on disk, at whatever times, each as a set
    /// too.
    fn chosen(&self, state: &State) -> Vec<(Set, Vote)> {
        let [a, b, c] = state.acceptors.map(|local| self.acceptors.view(local).cast);
        let chosen = a.and(b).or(a.and(c)).or(b.and(c));
        if chosen.is_empty() { Vec::new() } else { self.lexicon.spell_votes(chosen) }
    }

    /// Everything through this slot is chosen.
    fn chosen_through(&self, state: &State) -> Slot {
        let chosen = self.chosen(state);
        let mut through = Slot::ZERO;
        while chosen.iter().any(|(_, vote)| vote.slot == through.next()) {
            through = through.next();
        }
        through
    }

    /// The rounds that `proposer` may have seen when it begins anew: 0 stands for nothing new, the
    /// others are those in use beyond what it knows. Where nobody else has a ballot left, one round
    /// of those that lead to the same place among the others' ballots is enough.
    fn rounds(&self, state: &State, proposer: usize, known: u64) -> Vec<u64> {
        let others = (0..PROPOSERS_MAX).filter(|place| *place != proposer);
        let others: Vec<_> = others.map(|place| (place, self.proposer(state, place))).collect();
        let is_last =
            others.iter().all(|(place, it)| it.ballots >= at(&self.bounds.ballots, *place));
        let mut rounds = vec![0];
        let mut places = Vec::new();
        // A new process may meet the ballots of the old one, too.
        let own = self.proposer(state, proposer).rounds;
        let used = others.iter().fold(own, |used, (_, it)| used | it.rounds);
        for seen in 0..64_u64 {
            if seen > 0 && (seen <= known || used & (1 << seen) == 0) {
                continue;
            }
            let round = seen.max(known) + 1;
            let below = |place: usize, other: u64| (other, place) < (round, proposer);
            let beaten: u32 = others
                .iter()
                .map(|(place, it)| {
                    let used = (0..64).filter(|other| it.rounds & (1 << other) != 0);
                    u32::try_from(used.filter(|other| below(*place, *other)).count()).unwrap_or(0)
                })
                .sum();
            let is_new = !places.contains(&beaten);
            places.push(beaten);
            if seen > 0 && (is_new || !is_last) {
                rounds.push(seen);
            }
        }
        rounds
    }

    fn may_campaign(&self, state: &State, place: usize) -> bool {
        self.proposer(state, place).ballots < at(&self.bounds.ballots, place)
    }

    fn add_requests(&self, state: &State, proposer: usize, actions: &mut Vec<Action>) {
        for &request in self.proposer(state, proposer).sent.iter() {
            for acceptor in 0..ACCEPTORS {
                actions.push(Action::Deliver { request, acceptor, is_heard: true });
                actions.push(Action::Deliver { request, acceptor, is_heard: false });
                actions.push(Action::Torn { request, acceptor });
            }
        }
    }

    /// What only a proposer that has a ballot left can take part in: what it learns otherwise, it
    /// does nothing with.
    fn add_campaigns(&self, state: &State, proposer: usize, actions: &mut Vec<Action>) {
        if !self.may_campaign(state, proposer) {
            return;
        }
        let view = self.proposer(state, proposer);
        let rounds = self.rounds(state, proposer, view.highest_round);
        actions.extend(rounds.into_iter().map(|seen| Action::Campaign { proposer, seen }));
        if view.ballots > 0 && view.life < at(&self.bounds.lives, proposer) {
            let rounds = self.rounds(state, proposer, 0);
            actions.extend(rounds.into_iter().map(|seen| Action::Restart { proposer, seen }));
        }
        if let Some(ballot) = view.leads {
            let votes = self.chosen(state).into_iter();
            let own = votes.filter(|(_, vote)| vote.ballot == ballot);
            actions.extend(own.map(|(vote, _)| Action::Votes { proposer, vote }));
            if self.bounds.learner {
                actions.push(Action::Fill { proposer });
            }
        }
    }

    /// The least of the states that `state` becomes when acceptors change places: they are alike,
    /// so what is true of one of these is true of all.
    fn representative(&self, state: State) -> State {
        if self.bounds.planted.is_some() {
            // A counterexample is read more easily where everybody keeps the name.
            return state;
        }
        let acceptors = state.acceptors.map(|local| self.acceptors.orbit(local));
        let proposers = state.proposers.map(|local| self.proposers.orbit(local));
        let mut least = state;
        for (nth, order) in ORDERS.into_iter().enumerate() {
            let mut other = state;
            for (place, orbit) in acceptors.iter().enumerate() {
                put(&mut other.acceptors, moved(place, order), at(orbit, nth));
            }
            for (place, orbit) in proposers.iter().enumerate() {
                put(&mut other.proposers, place, at(orbit, nth));
            }
            least = least.min(other);
        }
        least
    }

    fn after_acceptor(
        &self,
        state: &State,
        place: usize,
        event: acceptor::Event,
    ) -> (State, Option<acceptor::Answer>) {
        let mut next = *state;
        let (local, reply) = self.acceptors.step(at(&state.acceptors, place), event);
        put(&mut next.acceptors, place, local);
        (next, reply)
    }

    fn after_proposer(&self, state: &State, place: usize, event: proposer::Event) -> State {
        let mut next = *state;
        let (local, ()) = self.proposers.step(at(&state.proposers, place), event);
        put(&mut next.proposers, place, local);
        next
    }

    fn deliver(
        &self,
        state: &State,
        request: RequestId,
        acceptor: usize,
        is_heard: bool,
    ) -> Option<State> {
        let event = acceptor::Event::Request(request);
        let (lost, reply) = self.after_acceptor(state, acceptor, event);
        if !is_heard {
            return Some(lost);
        }
        let reply = reply?;
        let place = request.sender;
        if reply.is_refusal && !self.may_campaign(state, place) {
            // It could only begin anew, and has no ballot left.
            return None;
        }
        let mut heard =
            self.after_proposer(&lost, place, proposer::Event::Reply { acceptor, reply: reply.id });
        if self.bounds.planted == Some(Planted::PromiseCountsTwice) {
            let acceptor = (acceptor + 1) % ACCEPTORS;
            heard = self.after_proposer(
                &heard,
                place,
                proposer::Event::Reply { acceptor, reply: reply.id },
            );
        }
        // What the proposer does not notice is as good as lost.
        (heard != lost).then_some(heard)
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let acceptors = [0, 1, 2].map(|place| self.acceptors.birth(place));
        let proposers = [0, 1, 2].map(|place| self.proposers.birth(place));
        vec![State { acceptors, proposers }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for proposer in 0..PROPOSERS_MAX {
            self.add_requests(state, proposer, actions);
            self.add_campaigns(state, proposer, actions);
        }
        actions.extend((0..ACCEPTORS).map(|acceptor| Action::Crash { acceptor }));
        let slot = if self.bounds.learner { self.chosen_through(state) } else { Slot::ZERO };
        if slot > Slot::ZERO {
            actions.extend((0..ACCEPTORS).map(|acceptor| Action::Durable { acceptor, slot }));
            let proposers = (0..PROPOSERS_MAX).filter(|place| self.may_campaign(state, *place));
            actions.extend(proposers.map(|proposer| Action::Delivered { proposer, slot }));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = match action {
            Action::Deliver { request, acceptor, is_heard } => {
                self.deliver(state, request, acceptor, is_heard)?
            }
            Action::Torn { request, acceptor } => {
                self.after_acceptor(state, acceptor, acceptor::Event::Torn(request)).0
            }
            Action::Crash { acceptor } => {
                self.after_acceptor(state, acceptor, acceptor::Event::Crash).0
            }
            Action::Durable { acceptor, slot } => {
                self.after_acceptor(state, acceptor, acceptor::Event::Durable(slot)).0
            }
            Action::Votes { proposer, vote } => {
                let voters = state.acceptors.map(|local| {
                    let cast = self.acceptors.view(local).cast;
                    !cast.and(vote).is_empty()
                });
                self.after_proposer(state, proposer, proposer::Event::Votes { vote, voters })
            }
            Action::Campaign { proposer, seen } => {
                self.after_proposer(state, proposer, proposer::Event::Campaign { seen })
            }
            Action::Restart { proposer, seen } => {
                self.after_proposer(state, proposer, proposer::Event::Restart { seen })
            }
            Action::Fill { proposer } => {
                self.after_proposer(state, proposer, proposer::Event::Fill)
            }
            Action::Delivered { proposer, slot } => {
                self.after_proposer(state, proposer, proposer::Event::Delivered(slot))
            }
        };
        if next == *state || (0..PROPOSERS_MAX).any(|place| self.is_beyond(&next, place)) {
            return None;
        }
        Some(self.representative(next))
    }

    fn format_action(&self, action: &Action) -> String {
        self.tell(*action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(AGREEMENT, Self::agrees),
            Property::always("a ballot has one value in a slot", Self::has_one_value_a_ballot),
            Property::always("what is chosen was submitted, or is a no-op", Self::is_valid),
            Property::always("what a proposer holds for chosen is chosen", Self::is_well_informed),
            Property::always("a promise only rises", |cluster: &Self, state| {
                (0..ACCEPTORS).all(|place| cluster.acceptor(state, place).keeps_word)
            }),
            Property::always("an acceptor comes back as it was", |cluster: &Self, state| {
                (0..ACCEPTORS).all(|place| cluster.acceptor(state, place).outlives_crash)
            }),
            Property::sometimes("every slot is chosen", |cluster: &Self, state| {
                cluster.chosen_through(state).get() == cluster.bounds.slots
            }),
            Property::sometimes("a value is chosen again at another ballot", Self::chooses_again),
        ];
        if self.bounds.slots > 1 {
            properties.push(Property::sometimes("a no-op is chosen", |cluster: &Self, state| {
                let noop = Batch::noop().digest();
                cluster.chosen(state).iter().any(|(_, vote)| vote.digest == noop)
            }));
        }
        properties
    }
}

/// The rules.
impl Cluster {
    fn agrees(&self, state: &State) -> bool {
        let chosen = self.chosen(state);
        chosen.iter().all(|(_, vote)| {
            let mut same = chosen.iter().filter(|(_, other)| other.slot == vote.slot);
            same.all(|(_, other)| other.digest == vote.digest)
        })
    }

    fn has_one_value_a_ballot(&self, state: &State) -> bool {
        let cast = state.acceptors.map(|local| self.acceptors.view(local).cast);
        let all = cast.into_iter().fold(Set::default(), Set::or);
        let votes = self.lexicon.spell_votes(all);
        votes.iter().all(|(_, vote)| {
            let place = (vote.slot, vote.ballot);
            let mut same = votes.iter().filter(|(_, other)| (other.slot, other.ballot) == place);
            same.all(|(_, other)| other.digest == vote.digest)
        })
    }

    fn is_valid(&self, state: &State) -> bool {
        let chosen = self.chosen(state);
        if chosen.is_empty() {
            return true;
        }
        let submitted = state.proposers.map(|local| self.proposers.view(local).submitted);
        let submitted = submitted.into_iter().fold(Set::default(), Set::or);
        let mut values = self.lexicon.spell_values(submitted);
        values.push(Batch::noop());
        chosen.iter().all(|(_, vote)| values.iter().any(|value| value.digest() == vote.digest))
    }

    fn is_well_informed(&self, state: &State) -> bool {
        let through = self.chosen_through(state);
        (0..PROPOSERS_MAX).all(|place| self.proposer(state, place).first_unchosen <= through.next())
    }

    fn chooses_again(&self, state: &State) -> bool {
        let chosen = self.chosen(state);
        chosen.iter().any(|(_, vote)| {
            chosen.iter().any(|(_, it)| it.slot == vote.slot && it.ballot != vote.ballot)
        })
    }

    fn is_beyond(&self, state: &State, place: usize) -> bool {
        self.proposer(state, place).ballots > at(&self.bounds.ballots, place)
    }

    /// An action in words.
    fn tell(&self, action: Action) -> String {
        let name = |request: RequestId| {
            let from = ground::proposer(request.sender);
            match self.lexicon.spell_request(request) {
                ToAcceptor::Prepare { ballot, .. } => {
                    format!("prepare {ballot} of proposer {from}")
                }
                ToAcceptor::Accept { ballot, slot, batch, .. } => {
                    format!("accept {ballot} of proposer {from}, slot {slot}, {batch:?}")
                }
                other @ (ToAcceptor::Identify
                | ToAcceptor::Form { .. }
                | ToAcceptor::Mark { .. }
                | ToAcceptor::Fetch { .. }
                | ToAcceptor::Durable { .. }) => format!("{other:?} of proposer {from}"),
            }
        };
        let (asked, led) = (ground::acceptor, ground::proposer);
        match action {
            Action::Deliver { request, acceptor, is_heard } => {
                let end = if is_heard { "the reply is heard" } else { "the reply is on its way" };
                format!("acceptor {} takes: {}; {end}", asked(acceptor), name(request))
            }
            Action::Torn { request, acceptor } => {
                format!("acceptor {} dies while it writes: {}", asked(acceptor), name(request))
            }
            Action::Crash { acceptor } => format!("acceptor {} restarts", asked(acceptor)),
            Action::Durable { acceptor, slot } => {
                format!("acceptor {} hears that slot {slot} is durable", asked(acceptor))
            }
            Action::Campaign { proposer, seen } => {
                format!("proposer {} begins phase 1, having seen round {seen}", led(proposer))
            }
            Action::Restart { proposer, seen } => {
                format!("a new proposer {} begins phase 1 after round {seen}", led(proposer))
            }
            Action::Votes { proposer, .. } => format!("proposer {} hears a quorum", led(proposer)),
            Action::Fill { proposer } => format!("proposer {} is asked to fill", led(proposer)),
            Action::Delivered { proposer, slot } => {
                format!("proposer {} hears that slot {slot} is delivered", led(proposer))
            }
        }
    }
}

fn at<T: Copy, const N: usize>(all: &[T; N], place: usize) -> T {
    *all.get(place).expect("a place is within the bounds")
}

fn put<const N: usize>(locals: &mut [Local; N], place: usize, local: Local) {
    *locals.get_mut(place).expect("a place is within the bounds") = local;
}
