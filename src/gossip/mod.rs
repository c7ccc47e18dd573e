//! Gossip: who is there, where, and who seems to lead. Hints, never truth.
//!
//! Every node owns one entry: a life (*incarnation*), a heartbeat (*version*), an address and a few
//! published facts. Once a round it asks a few peers, as in scuttlebutt (van Renesse et al., 2008):
//!
//! ```text
//!   A ── POST /gossip: A's digest, A's own record ──────────► B
//!   A ◄─ 200: B's digest, what A's digest lacked ──────────── B
//!   A ── POST /gossip: what B's digest lacked, if anything ─► B
//! ```
//!
//! A node was last seen when its version was last news, by the local monotonic clock: neither a
//! message that merely repeats it nor anyone's wall clock counts. Silence is judged by phi accrual.
//! Nothing here decides who votes: the epoch does.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod config;
mod member;
mod message;
mod phi;
mod port;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::types::{Instant, NodeId, Role};

pub use config::{
    GossipConfig, METADATA_KEY_BYTES_MAX, METADATA_KEYS_MAX, METADATA_VALUE_BYTES_MAX, NUMBER_MAX,
};
pub use member::{Address, Host, HostError, Member, Seed};
pub use message::{
    Digest, DigestLine, GossipMessage, GossipReply, LeaderHint, NodeRecord, Refusal, RefusalBody,
};
pub use port::{Effect, Event, GossipError, Input, Ticket};
pub use table::{Fault, State};
pub use view::{NodeBody, NodeStatus, NodesBody, View};

use record::{Datum, Record, is_metadata};
use table::Table;

/// The incarnation of a node that starts when its wall clock shows `unix_ms`: later lives are
/// larger, and of two in one millisecond `random` decides. A clock set back is repaired by gossip:
/// a node that hears of a later life of its own rises above it.
#[must_use]
pub fn incarnation_at(unix_ms: u64, random: u8) -> u64 {
    // 45 bits of milliseconds last until the year 3084.
    ((unix_ms & ((1 << 45) - 1)) << 8 | u64::from(random)).max(1)
}

/// The gossip of one node.
#[derive(Debug)]
pub struct Gossip {
    config: GossipConfig,
    table: Table,
    seeds: BTreeSet<Address>,
    leader: Option<LeaderHint>,
    /// Exchanges without an end yet: one an address, so that a slow peer is not piled upon.
    in_flight: BTreeMap<Address, Instant>,
    complaints: BTreeSet<(NodeId, Fault)>,
    next_round: Instant,
    rng: ChaCha8Rng,
}

impl Gossip {
    /// The gossip of `me` in the life `incarnation`, born at `now`. The first round is due at once.
    ///
    /// # Errors
    /// When two seeds configure one id differently, a seed gives this node another role, or
    /// `incarnation` is not in 1 to [`NUMBER_MAX`].
    pub fn new(
        now: Instant,
        config: GossipConfig,
        me: Member,
        incarnation: u64,
        seeds: &[Seed],
        rng_seed: [u8; 32],
    ) -> Result<Self, GossipError> {
        if !(1..=NUMBER_MAX).contains(&incarnation) {
            return Err(GossipError::Incarnation(incarnation));
        }
        let mut table = Table::new(me, incarnation);
        for member in seeds.iter().filter_map(Seed::member) {
            let id = member.id;
            let is_me = id == table.me().member.id;
            // A seed may call this node by another of its names; the role is beyond doubt.
            if table.get(id).is_some_and(|known| {
                known.member.role != member.role
                    || (!is_me && known.member.address != member.address)
            }) {
                return Err(GossipError::Conflict(id));
            }
            table.configure(member, now);
        }
        Ok(Self {
            config,
            seeds: others(seeds, &table.me().member),
            table,
            leader: None,
            in_flight: BTreeMap::new(),
            complaints: BTreeSet::new(),
            next_round: now,
            rng: ChaCha8Rng::from_seed(rng_seed),
        })
    }

    /// Takes one input at `now` and says what is to be done about it.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Asked { ticket, message } => {
                let answer = self.on_message(now, &message, out);
                out.push(Effect::Reply { ticket, answer });
            }
            Input::Answered { to, reply } => self.on_answer(now, to, &reply, out),
            Input::Failed { to } => {
                self.in_flight.remove(&to);
            }
            Input::LeaderSeen(hint) => self.on_leader(hint, out),
        }
    }

    /// Does what is due at `now`: a round of gossip, and a look at who has fallen silent.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if now < self.next_round {
            return;
        }
        // Jittered, lest nodes that started together also talk together for ever.
        let jitter = self.rng.random_range(900..=1100);
        self.next_round = now + self.config.interval * jitter / 1000;
        self.table.beat();
        let events = self.table.judge(now, &self.config);
        self.report(events, out);
        let timeout = self.config.exchange_timeout;
        self.in_flight.retain(|_, since| now.since(*since) < timeout);
        let targets = self.targets();
        if targets.is_empty() {
            return;
        }
        let mut request = self.message();
        request.digest = Some(self.table.digest(now, &self.config));
        let own = self.table.own_record();
        request.nodes.insert(self.table.me().member.id.to_string(), own);
        for to in targets {
            self.send(now, to, request.clone(), out);
        }
    }

    /// Takes another configuration: settings from now on, and the nodes that `seeds` configure.
    /// A node that is configured no more is one that joined by itself: known while it speaks.
    ///
    /// This node's own life, role and address stay as they are.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        config: GossipConfig,
        seeds: &[Seed],
        out: &mut Vec<Effect>,
    ) {
        self.next_round = self.next_round.min(now + config.interval);
        self.config = config;
        self.seeds = others(seeds, &self.table.me().member);
        let configured: Vec<Member> = seeds.iter().filter_map(Seed::member).collect();
        for member in &configured {
            self.table.reconfigure(member, now);
            // What was wrong with its statements may be right by now.
            self.complaints.retain(|(about, _)| *about != member.id);
        }
        let forgotten = self.table.unlist(|id| configured.iter().any(|member| member.id == id));
        self.report(forgotten, out);
    }

    /// When `tick` is next due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.next_round)
    }

    /// Publishes a fact of this node, such as `delivered_index`. An unchanged one costs nothing.
    ///
    /// # Errors
    /// When key or value break the limits; nothing changed then.
    pub fn publish(&mut self, key: &str, value: &str) -> Result<(), GossipError> {
        let me = self.table.me_mut();
        let is_known = me.metadata.contains_key(key);
        if !is_metadata(key, value) || (!is_known && me.metadata.len() >= METADATA_KEYS_MAX) {
            return Err(GossipError::Metadata(key.chars().take(METADATA_KEY_BYTES_MAX).collect()));
        }
        if me.metadata.get(key).is_none_or(|datum| datum.value != value) {
            // A version of its own, so that no digest sent before covers the new value.
            me.version = (me.version + 1).min(NUMBER_MAX);
            let datum = Datum { value: value.to_owned(), version: me.version };
            me.metadata.insert(key.to_owned(), datum);
        }
        Ok(())
    }

    /// Who seems to lead, unless that node seems dead.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let leader = self.leader?.leader()?;
        self.table.get(leader).filter(|entry| entry.state != State::Dead).map(|_| leader)
    }

    /// The nodes known besides this one, with what is thought of each.
    pub fn members(&self) -> impl Iterator<Item = (&Member, State)> {
        let me = self.table.me().member.id;
        self.table
            .entries()
            .filter(move |entry| entry.member.id != me)
            .map(|entry| (&entry.member, entry.state))
    }

    /// This node's own life; it rises when another process speaks under its id.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.table.me().incarnation
    }

    /// The table at `now`, for people.
    #[must_use]
    pub fn view(&self, now: Instant) -> View {
        let nodes = self.table.entries().map(|entry| NodeStatus {
            member: entry.member.clone(),
            configured: entry.configured,
            state: entry.state,
            incarnation: entry.incarnation,
            version: entry.version,
            age: self.table.age(entry, now),
            metadata: entry
                .metadata
                .iter()
                .map(|(key, datum)| (key.clone(), datum.value.clone()))
                .collect(),
        });
        View { leader: self.leader(), nodes: nodes.collect() }
    }

    fn on_message(
        &mut self,
        now: Instant,
        message: &GossipMessage,
        out: &mut Vec<Effect>,
    ) -> Result<GossipReply, Refusal> {
        let sender = NodeId::new(message.sender_id.ok_or(Refusal::MissingSender)?)?;
        if message.cluster.as_ref().is_some_and(|cluster| *cluster != self.config.cluster) {
            return Err(Refusal::OtherCluster);
        }
        if let Some(word) = &message.sender_role {
            let word: String = word.chars().take(32).collect();
            let role: Role = word.parse()?;
            let known = self.table.get(sender).filter(|entry| entry.configured);
            if known.is_some_and(|entry| entry.member.role != role) {
                self.complain(sender, Fault::Role, out);
                return Err(Refusal::Impostor(sender));
            }
        }
        let updates = self.merge(now, message.digest.as_ref(), &message.nodes, out);
        if let Some(hint) = message.leader {
            self.on_leader(hint, out);
        }
        let mut reply = GossipReply {
            status: "ok".to_owned(),
            updates,
            node_count: self.table.len(),
            cluster: Some(self.config.cluster.clone()),
            leader: self.leader,
            ..GossipReply::default()
        };
        if let Some(digest) = &message.digest {
            reply.digest = Some(self.table.digest(now, &self.config));
            reply.delta = self.table.delta(digest, now, self.config.records_bytes_max);
        }
        Ok(reply)
    }

    fn on_answer(&mut self, now: Instant, to: Address, reply: &GossipReply, out: &mut Vec<Effect>) {
        self.in_flight.remove(&to);
        if reply.cluster.as_ref().is_some_and(|cluster| *cluster != self.config.cluster) {
            return;
        }
        self.merge(now, reply.digest.as_ref(), &reply.delta, out);
        if let Some(hint) = reply.leader {
            self.on_leader(hint, out);
        }
        let Some(digest) = &reply.digest else { return };
        let delta = self.table.delta(digest, now, self.config.records_bytes_max);
        if !delta.is_empty() {
            let request = GossipMessage { nodes: delta, ..self.message() };
            self.send(now, to, request, out);
        }
    }

    /// Takes what a peer said of nodes; says how many statements were news.
    fn merge(
        &mut self,
        now: Instant,
        digest: Option<&Digest>,
        records: &BTreeMap<String, NodeRecord>,
        out: &mut Vec<Effect>,
    ) -> usize {
        let mut updates = 0;
        for (key, wire) in records.iter().take(usize::from(NodeId::MAX)) {
            let record = match Record::check(key, wire) {
                Ok(record) => record,
                Err(id) => {
                    if let Some(id) = id {
                        self.complain(id, Fault::Unsound, out);
                    }
                    continue;
                }
            };
            let member = record.member.clone();
            match self.table.on_record(now, &self.config, record) {
                Ok((is_news, events)) => {
                    updates += usize::from(is_news);
                    self.report(events, out);
                }
                Err(fault) => {
                    self.complain(member.id, fault, out);
                    continue;
                }
            }
            if self
                .table
                .get(member.id)
                .is_some_and(|entry| entry.configured && entry.member.address != member.address)
            {
                self.complain(member.id, Fault::Address, out);
            }
        }
        for (id, line) in digest.into_iter().flatten() {
            if let Ok(id) = NodeId::new(u64::from(*id)) {
                let (is_news, events) = self.table.on_line(now, &self.config, id, *line);
                updates += usize::from(is_news);
                self.report(events, out);
            }
        }
        updates
    }

    /// The higher ballot wins, if a known proposer is said to lead by it.
    fn on_leader(&mut self, hint: LeaderHint, out: &mut Vec<Effect>) {
        let is_proposer = hint
            .leader()
            .and_then(|id| self.table.get(id))
            .is_some_and(|entry| entry.member.role == Role::Proposer);
        let is_higher =
            self.leader.is_none_or(|known| hint.proposal_number > known.proposal_number);
        if is_proposer && is_higher {
            self.leader = Some(hint);
            out.push(Effect::Changed(Event::Leader(hint)));
        }
    }

    /// Whom to ask this round: some of the living, and at times one who is silent or was never
    /// heard of, so that a healed partition is noticed by either side.
    fn targets(&mut self) -> Vec<Address> {
        let me = self.table.me().member.id;
        let is_lost = |entry: &&table::Entry| entry.state == State::Dead || !entry.heard;
        let others = || self.table.entries().filter(|entry| entry.member.id != me);
        let is_free = |address: &&Address| !self.in_flight.contains_key(*address);
        let known: BTreeSet<&Address> = others().map(|entry| &entry.member.address).collect();
        let mut live: Vec<Address> = others()
            .filter(|entry| !is_lost(entry))
            .map(|entry| &entry.member.address)
            .filter(is_free)
            .cloned()
            .collect();
        let mut lost: Vec<Address> = others()
            .filter(is_lost)
            .map(|entry| &entry.member.address)
            .chain(self.seeds.iter().filter(|seed| !known.contains(seed)))
            .filter(is_free)
            .cloned()
            .collect();
        let mut targets = Vec::new();
        let lost_wanted = if live.is_empty() {
            self.config.fanout
        } else {
            usize::from(self.rng.random_range(0..=live.len()) < lost.len())
        };
        for (pool, wanted) in [(&mut live, self.config.fanout), (&mut lost, lost_wanted)] {
            for _ in 0..wanted.min(pool.len()) {
                targets.push(pool.swap_remove(self.rng.random_range(0..pool.len())));
            }
        }
        targets
    }

    fn message(&self) -> GossipMessage {
        let me = &self.table.me().member;
        GossipMessage {
            sender_id: Some(u64::from(me.id.get())),
            sender_role: Some(me.role.to_string()),
            leader_id: self.leader().map(|leader| u64::from(leader.get())),
            cluster: Some(self.config.cluster.clone()),
            leader: self.leader,
            ..GossipMessage::default()
        }
    }

    fn send(&mut self, now: Instant, to: Address, request: GossipMessage, out: &mut Vec<Effect>) {
        self.in_flight.insert(to.clone(), now);
        out.push(Effect::Exchange { to, request });
    }

    fn report(&mut self, events: Vec<Event>, out: &mut Vec<Effect>) {
        for event in events {
            if let Event::Joined { member } | Event::Restarted { member, .. } = &event {
                let id = member.id;
                self.complaints.retain(|(about, _)| *about != id);
            }
            out.push(Effect::Changed(event));
        }
    }

    fn complain(&mut self, id: NodeId, fault: Fault, out: &mut Vec<Effect>) {
        if self.complaints.insert((id, fault)) {
            out.push(Effect::Changed(Event::Refused { id, fault }));
        }
    }
}

/// The addresses of `seeds`, without those of `me`.
fn others(seeds: &[Seed], me: &Member) -> BTreeSet<Address> {
    seeds
        .iter()
        .filter(|seed| seed.id != Some(me.id) && seed.address != me.address)
        .map(|seed| seed.address.clone())
        .collect()
}
