//! One exchange of gossip between two nodes, each with news of half of the others: the digest, what
//! it lacked, and what the other digest lacked. As values, and with their JSON, as it travels.

use std::cell::RefCell;
use std::num::NonZeroU16;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use paxosd::gossip::{
    Address, Effect, Gossip, GossipConfig, GossipMessage, GossipReply, Input, Member, NodeRecord,
    Seed, Ticket,
};
use paxosd::types::{Instant, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fixture::{CLUSTER, node};

/// Nodes in each table: the shipped ten, and as many as there can be.
const NODES: [u64; 2] = [10, 99];

/// Longer than the time between two rounds.
const ROUND: Duration = Duration::from_millis(250);

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gossip");
    for nodes in NODES {
        group.throughput(Throughput::Elements(nodes));
        let pair = RefCell::new(Pair::of(nodes));
        group.bench_function(BenchmarkId::new("exchange", nodes), |bencher| {
            bencher.iter_batched(
                || pair.borrow_mut().news(),
                |()| pair.borrow_mut().exchange(|it| it, |it| it),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("exchange as JSON", nodes), |bencher| {
            bencher.iter_batched(
                || pair.borrow_mut().news(),
                |()| pair.borrow_mut().exchange(|it| travel(&it), |it| travel(&it)),
                BatchSize::PerIteration,
            );
        });
        pair.borrow_mut().news();
    }
    group.finish();
}

/// Writes and reads a message.
fn travel<T: Serialize + DeserializeOwned>(message: &T) -> T {
    let json = serde_json::to_vec(message).expect("plain structures can be written");
    serde_json::from_slice(&json).expect("what was written can be read")
}

/// Nodes 1 and 2, of which the first asks.
struct Pair {
    nodes: u64,
    asking: Gossip,
    asked: Gossip,
    now: Instant,
    version: u64,
    out: Vec<Effect>,
    /// Records that went either way in the last exchange.
    moved: Option<(usize, usize)>,
}

impl Pair {
    fn of(nodes: u64) -> Self {
        let seeds: Vec<Seed> = (1..=nodes)
            .map(|id| Seed { id: Some(node(id)), role: Some(role(id)), address: address(id) })
            .collect();
        let gossip = |id| {
            let config = GossipConfig::new(CLUSTER);
            let me =
                Member { id: node(id), role: role(id), address: address(id), monitor_port: None };
            let seed = [node(id).get(); 32];
            Gossip::new(Instant::default(), config, me, 1, &seeds, seed)
                .expect("the seeds agree with one another")
        };
        Self {
            nodes,
            asking: gossip(1),
            asked: gossip(2),
            now: Instant::default(),
            version: 0,
            out: Vec::new(),
            moved: None,
        }
    }

    /// Makes sure that each has learned what the other knew, and tells each of half of the others.
    fn news(&mut self) {
        let (odd, even): (Vec<u64>, Vec<u64>) = (3..=self.nodes).partition(|id| id % 2 == 1);
        if let Some(moved) = self.moved.take() {
            assert_eq!(moved, (even.len() + 1, odd.len()), "all news went the way it had to");
        }
        for effect in self.out.drain(..) {
            if let Effect::Exchange { to, .. } = effect {
                self.asking.step(self.now, Input::Failed { to }, &mut Vec::new());
            }
        }
        self.now = self.now + ROUND;
        self.version += 1;
        for gossip in [&mut self.asking, &mut self.asked] {
            let published = gossip.publish("delivered_index", &self.version.to_string());
            published.expect("the fact is a small one");
        }
        for (gossip, ids) in [(&mut self.asking, odd), (&mut self.asked, even)] {
            let nodes = ids.iter().map(|&id| (id.to_string(), record(id, self.version))).collect();
            let message = GossipMessage {
                sender_id: ids.first().copied(),
                nodes,
                ..GossipMessage::default()
            };
            gossip.step(self.now, Input::Asked { ticket: Ticket(0), message }, &mut Vec::new());
        }
    }

    fn exchange(
        &mut self,
        request_travels: impl Fn(GossipMessage) -> GossipMessage,
        reply_travels: impl Fn(GossipReply) -> GossipReply,
    ) {
        self.asking.tick(self.now, &mut self.out);
        let first = self.out.iter().find_map(|effect| match effect {
            Effect::Exchange { to, request } => Some((to.clone(), request.clone())),
            Effect::Reply { .. } | Effect::Changed(_) => None,
        });
        let (to, request) = first.expect("a round asks somebody");
        let reply = reply_travels(self.ask(request_travels(request)));
        let forth = reply.delta.len();
        let sent = self.out.len();
        self.asking.step(self.now, Input::Answered { to, reply }, &mut self.out);
        let second = self.out.drain(sent..).find_map(|effect| match effect {
            Effect::Exchange { request, .. } => Some(request),
            Effect::Reply { .. } | Effect::Changed(_) => None,
        });
        let request = request_travels(second.expect("it had news as well"));
        let back = request.nodes.len();
        self.ask(request);
        self.moved = Some((forth, back));
    }

    fn ask(&mut self, message: GossipMessage) -> GossipReply {
        let mut out = Vec::new();
        self.asked.step(self.now, Input::Asked { ticket: Ticket(1), message }, &mut out);
        let replies = out.into_iter().find_map(|effect| match effect {
            Effect::Reply { answer, .. } => Some(answer),
            Effect::Exchange { .. } | Effect::Changed(_) => None,
        });
        replies.expect("a question is answered").expect("it is taken")
    }
}

/// A node that publishes three facts, of which one is new in each round.
fn record(id: u64, version: u64) -> NodeRecord {
    let facts = [("version", "0.1.0".to_owned()), ("state", "following".to_owned())];
    let index = ("delivered_index", version.to_string());
    let metadata_versions = [("version", 1), ("state", 1), ("delivered_index", version)];
    NodeRecord {
        id: Some(id),
        role: role(id).to_string(),
        address: address(id).host.to_string(),
        port: address(id).port.get(),
        metadata: facts
            .into_iter()
            .chain([index])
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect(),
        version,
        incarnation: 1,
        metadata_versions: metadata_versions.map(|(key, it)| (key.to_owned(), it)).into(),
        ..NodeRecord::default()
    }
}

fn role(id: u64) -> Role {
    match id % 4 {
        0 => Role::Client,
        1 => Role::Proposer,
        2 => Role::Acceptor,
        _ => Role::Learner,
    }
}

fn address(id: u64) -> Address {
    Address {
        host: format!("node{id}").parse().expect("a name of letters and digits"),
        port: NonZeroU16::MIN,
    }
}
