//! Gossip in the simulated world: each node runs the daemon's own, and knows of the others only
//! what its configuration lists and what gossip tells it.

use std::num::NonZeroU16;
use std::time::Duration;

use paxosd::gossip::{
    Address, Effect, Gossip, GossipConfig, GossipMessage, GossipReply, Input, LeaderHint, Member,
    Refusal, Seed, Ticket, incarnation_at,
};
use paxosd::types::{Ballot, Instant, NodeId};
use rand::{Rng, RngExt};

use crate::chance::{Chance, Of};
use crate::host::{Arrival, Known};
use crate::network::Route;
use crate::report::{place_in_role, role_of};
use crate::roles::CLUSTER;
use crate::trace::Kind;
use crate::world::{Happening, Liveness, World};

/// How long a node waits for the answer to what it said.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after its time a node that stands still looks again whether it may gossip.
const STALLED: Duration = Duration::from_millis(50);
/// What the wall clocks show when a run begins, in milliseconds.
pub(crate) const CLOCK_MS: u64 = 1_700_000_000_000;

/// What one node says to another beside the links.
#[derive(Debug)]
pub(crate) enum Word {
    /// A question, of this life of who asks.
    Asks(u64, Box<GossipMessage>),
    /// The answer to a question of this life of who asked; `None` when none came in time.
    Answers(u64, Option<Box<GossipReply>>),
}

impl World {
    /// Whether the one configuration file lists a node. The others join.
    fn is_listed(&self, id: NodeId) -> bool {
        place_in_role(id) < self.options.listed(role_of(id))
    }

    /// The gossip of a node that starts.
    pub(crate) fn new_gossip(&mut self, id: NodeId) -> Gossip {
        let mut chance = self.gossip_chance(id);
        let mut config = GossipConfig::new(CLUSTER);
        config.exchange_timeout = ANSWER_TIMEOUT;
        config.forget_after = self.options.forget_after;
        let listed = self.nodes.keys().copied().filter(|&id| self.is_listed(id));
        let seeds: Vec<Seed> = listed
            .map(|id| Seed { id: Some(id), role: Some(role_of(id)), address: address_of(id) })
            .collect();
        let me = Member { id, role: role_of(id), address: address_of(id), monitor_port: None };
        // A clock may be set back between two lives.
        let clock_ms = CLOCK_MS + chance.random_range(0..=3_600_000);
        let mut seed = [0; 32];
        chance.fill_bytes(&mut seed);
        Gossip::new(self.now, config, me, incarnation_at(clock_ms, 1), &seeds, seed)
            .expect("one file lists the nodes, and contradicts itself nowhere")
    }

    /// Chance for the next thing that a node's gossip does.
    fn gossip_chance(&mut self, id: NodeId) -> Chance {
        let number = self.nodes.get_mut(&id).map_or(0, |node| {
            node.words += 1;
            node.words
        });
        self.chances.of(Of::Gossip(id, number))
    }

    /// Whether a node knows of another.
    pub(crate) fn knows(&self, id: NodeId, other: NodeId) -> bool {
        let gossip = self.nodes.get(&id).and_then(|node| node.gossip.as_ref());
        gossip.is_some_and(|gossip| gossip.members().any(|(member, _)| member.id == other))
    }

    /// Whom a node knows of.
    pub(crate) fn known_to(&self, id: NodeId) -> Known {
        let gossip = self.nodes.get(&id).and_then(|node| node.gossip.as_ref());
        Known::of(gossip.into_iter().flat_map(|it| it.members().map(|(member, _)| member.id)))
    }

    /// It may be time for a round.
    pub(crate) fn on_gossip_due(&mut self, id: NodeId, life: u64) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.life == life) else { return };
        if node.liveness == Liveness::Paused {
            self.schedule(STALLED, Happening::GossipDue(id, life));
            return;
        }
        self.with_gossip(id, Gossip::tick);
        self.plan_gossip(id);
    }

    /// Plans the next round of a node.
    pub(crate) fn plan_gossip(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        let (life, due) = (node.life, node.gossip.as_ref().and_then(Gossip::deadline));
        if let Some(at) = due {
            self.schedule_at(at, Happening::GossipDue(id, life));
        }
    }

    /// A node has seen a leader.
    pub(crate) fn gossip_leader(&mut self, id: NodeId, ballot: Ballot) {
        let hint = LeaderHint {
            proposal_number: ballot.proposal_number(),
            leader_id: ballot.proposer.node().get(),
        };
        self.with_gossip(id, |gossip, now, out| gossip.step(now, Input::LeaderSeen(hint), out));
    }

    /// A word reaches its receiver, or the time for its answer is up.
    pub(crate) fn on_word(&mut self, Route { from, to }: Route, word: Word) {
        match word {
            Word::Asks(life, request) => {
                self.trace.note(self.now, Some(to), (Kind::Gossips, &[from.get().into()]), || {
                    format!("is asked by gossip of {from}")
                });
                let input = Input::Asked { ticket: Ticket(0), message: *request };
                let mut answer = None;
                if self.is_up(to) {
                    answer = self.with_gossip(to, |gossip, now, out| gossip.step(now, input, out));
                }
                let reply = answer.and_then(Result::ok).map(Box::new);
                self.say(Route { from: to, to: from }, Word::Answers(life, reply));
            }
            Word::Answers(life, reply) => {
                let address = address_of(from);
                let input = match reply {
                    Some(reply) => Input::Answered { to: address, reply: *reply },
                    None => Input::Failed { to: address },
                };
                if self.nodes.get(&to).is_some_and(|node| node.life == life) {
                    self.with_gossip(to, |gossip, now, out| gossip.step(now, input, out));
                }
            }
        }
    }

    /// Sends a word on its way. One that is lost, like an answer of nobody, is the end of its time
    /// for who waits.
    fn say(&mut self, route: Route, word: Word) {
        let mut chance = self.gossip_chance(route.from);
        let is_lost = self.network.is_blocked(route) || chance.random_bool(self.options.loss);
        let latency = chance.random_range(self.options.latency.clone());
        let back = Route { from: route.to, to: route.from };
        let (life, waits) = match &word {
            Word::Asks(life, _) => (*life, back),
            Word::Answers(life, _) => (*life, route),
        };
        if is_lost || matches!(word, Word::Answers(_, None)) {
            self.schedule(ANSWER_TIMEOUT, Happening::Word(waits, Word::Answers(life, None)));
        } else {
            self.schedule(latency, Happening::Word(route, word));
        }
    }

    /// Lets the gossip of a node act, and does what it wants; what it answers to a question.
    fn with_gossip(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut Gossip, Instant, &mut Vec<Effect>),
    ) -> Option<Result<GossipReply, Refusal>> {
        let now = self.now;
        let node = self.nodes.get_mut(&id)?;
        let (life, gossip) = (node.life, node.gossip.as_mut()?);
        let mut out = Vec::new();
        act(gossip, now, &mut out);
        let mut answered = None;
        let mut has_changed = false;
        for effect in out {
            match effect {
                Effect::Exchange { to, request } => {
                    let Some(to) = node_at(&to) else { continue };
                    self.say(Route { from: id, to }, Word::Asks(life, Box::new(request)));
                }
                Effect::Reply { answer, .. } => answered = Some(answer),
                Effect::Changed(_) => has_changed = true,
            }
        }
        if has_changed {
            let known = self.known_to(id);
            self.give(id, Arrival::Known(known));
        }
        answered
    }
}

fn address_of(id: NodeId) -> Address {
    let host = format!("n{id}").parse().expect("a letter and a number are a host");
    Address { host, port: NonZeroU16::MIN }
}

fn node_at(address: &Address) -> Option<NodeId> {
    NodeId::new(address.host.as_str().strip_prefix('n')?.parse().ok()?).ok()
}
