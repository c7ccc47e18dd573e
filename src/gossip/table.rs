//! The table of nodes: what was said, by whom it may be said, and when it was last news.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::Serialize;

use crate::types::{Instant, NodeId};

use super::Event;
use super::config::{GossipConfig, METADATA_KEYS_MAX, NUMBER_MAX};
use super::member::Member;
use super::message::{Digest, DigestLine, NodeRecord};
use super::phi::Detector;
use super::record::{Datum, Record};

/// What is thought of a node, from the news of it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// News of it keeps coming.
    Alive,
    /// It has been silent for longer than it used to be.
    Suspect,
    /// It has been silent for so long that nobody should wait for it.
    Dead,
}

/// Why a statement about a node was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is not well-formed.
    Unsound,
    /// It names another role than the one that is known.
    Role,
    /// It names another address than the configured one, which stays; the rest was taken.
    Address,
    /// The table holds as many nodes as it may.
    TableFull,
}

/// One node. Only the node itself writes what stands here; everyone else repeats it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) member: Member,
    /// Named in the configuration. Gossip never decides whether a node votes.
    pub(super) configured: bool,
    /// Whether it was ever heard of; a configured node stands here before.
    pub(super) heard: bool,
    pub(super) state: State,
    pub(super) incarnation: u64,
    pub(super) version: u64,
    pub(super) metadata: BTreeMap<String, Datum>,
    detector: Detector,
}

impl Entry {
    fn new(member: Member, configured: bool, last: Instant) -> Self {
        Self {
            member,
            configured,
            heard: false,
            state: State::Suspect,
            incarnation: 0,
            version: 0,
            metadata: BTreeMap::new(),
            detector: Detector::new(last),
        }
    }

    fn metadata_version(&self) -> u64 {
        self.metadata.values().map(|datum| datum.version).max().unwrap_or(0)
    }

    /// News of the node arrived at `now`.
    fn on_news(&mut self, now: Instant, config: &GossipConfig) -> Option<Event> {
        self.detector.observe(now, config.suspect_after);
        if self.state == State::Alive {
            return None;
        }
        let from = self.state;
        self.state = State::Alive;
        Some(Event::Revived { id: self.member.id, from })
    }

    fn judge(&self, now: Instant, config: &GossipConfig) -> State {
        let silence = self.detector.silence(now);
        let phi = self.detector.phi(now, config.interval);
        if silence >= config.dead_after && phi >= config.dead_phi {
            State::Dead
        } else if silence >= config.suspect_after && phi >= config.suspect_phi {
            State::Suspect
        } else {
            // Only news brings a node back, so judging never improves its state.
            self.state
        }
    }

    fn line(&self, age: Duration) -> DigestLine {
        DigestLine {
            incarnation: self.incarnation,
            version: self.version,
            metadata_version: self.metadata_version(),
            age_ms: millis(age),
        }
    }

    /// The record for a peer that has this life's metadata through `above`.
    fn record(&self, above: Option<u64>, age: Duration) -> NodeRecord {
        let news = || {
            let is_news = move |datum: &Datum| above.is_none_or(|above| datum.version > above);
            self.metadata.iter().filter(move |(_, datum)| is_news(datum))
        };
        NodeRecord {
            id: Some(u64::from(self.member.id.get())),
            role: self.member.role.to_string(),
            address: self.member.address.host.to_string(),
            port: self.member.address.port.get(),
            last_seen: None,
            metadata: news()
                .map(|(key, datum)| (key.clone(), datum.value.clone().into()))
                .collect(),
            version: self.version,
            incarnation: self.incarnation,
            metadata_versions: news().map(|(key, datum)| (key.clone(), datum.version)).collect(),
            monitor_port: self.member.monitor_port.map(NonZeroU16::get),
            age_ms: millis(age),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// All nodes that are known. Ids are 1 to 99, so entries and tombstones are bounded.
#[derive(Debug)]
pub(super) struct Table {
    me: NodeId,
    entries: BTreeMap<NodeId, Entry>,
    /// How far the forgotten were known, so that old gossip does not bring them back.
    tombstones: BTreeMap<NodeId, (u64, u64)>,
}

impl Table {
    pub(super) fn new(me: Member, incarnation: u64) -> Self {
        let id = me.id;
        let mut own = Entry::new(me, true, Instant::default());
        own.incarnation = incarnation;
        own.state = State::Alive;
        own.heard = true;
        Self { me: id, entries: BTreeMap::from([(id, own)]), tombstones: BTreeMap::new() }
    }

    /// Enters a configured node, which counts as silent since `birth`.
    pub(super) fn configure(&mut self, member: Member, birth: Instant) {
        self.entries.entry(member.id).or_insert_with(|| Entry::new(member, true, birth));
    }

    /// Takes note that the configuration names `member` now, at this address; what is known of its
    /// life stays. A node of another role under its id was another node.
    pub(super) fn reconfigure(&mut self, member: &Member, now: Instant) {
        if member.id == self.me {
            return;
        }
        self.tombstones.remove(&member.id);
        match self.entries.get_mut(&member.id) {
            Some(entry) if entry.member.role == member.role => {
                entry.configured = true;
                entry.member.address = member.address.clone();
            }
            Some(_) | None => {
                self.entries.insert(member.id, Entry::new(member.clone(), true, now));
            }
        }
    }

    /// Takes note that the configuration names only those who are `listed`. Of the others, whoever
    /// does not live is forgotten.
    pub(super) fn unlist(&mut self, listed: impl Fn(NodeId) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        let (me, tombstones) = (self.me, &mut self.tombstones);
        self.entries.retain(|id, entry| {
            let was_configured = entry.configured;
            entry.configured = *id == me || listed(*id);
            let keep =
                entry.configured || !was_configured || (entry.heard && entry.state != State::Dead);
            if !keep {
                tombstones.insert(*id, (entry.incarnation, entry.version));
                events.push(Event::Forgotten { id: *id });
            }
            keep
        });
        events
    }

    pub(super) fn me(&self) -> &Entry {
        self.entries.get(&self.me).expect("a node knows itself")
    }

    pub(super) fn me_mut(&mut self) -> &mut Entry {
        self.entries.get_mut(&self.me).expect("a node knows itself")
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How long ago news of `entry` came; nothing for a node never heard of, zero for this one.
    pub(super) fn age(&self, entry: &Entry, now: Instant) -> Option<Duration> {
        if entry.member.id == self.me {
            return Some(Duration::ZERO);
        }
        entry.heard.then(|| entry.detector.silence(now))
    }

    /// Starts a round: this node's own version rises, which is its heartbeat.
    pub(super) fn beat(&mut self) {
        let me = self.me_mut();
        me.version = (me.version + 1).min(NUMBER_MAX);
    }

    /// Judges every node's silence, and forgets the unconfigured who kept it too long.
    pub(super) fn judge(&mut self, now: Instant, config: &GossipConfig) -> Vec<Event> {
        let mut events = Vec::new();
        let me = self.me;
        for entry in self.entries.values_mut().filter(|entry| entry.member.id != me) {
            let state = entry.judge(now, config);
            if state > entry.state {
                entry.state = state;
                let id = entry.member.id;
                events.push(match state {
                    State::Dead => Event::Dead { id },
                    State::Alive | State::Suspect => Event::Suspect { id },
                });
            }
        }
        let tombstones = &mut self.tombstones;
        self.entries.retain(|id, entry| {
            let keep = entry.configured
                || entry.state != State::Dead
                || entry.detector.silence(now) < config.forget_after;
            if !keep {
                tombstones.insert(*id, (entry.incarnation, entry.version));
                events.push(Event::Forgotten { id: *id });
            }
            keep
        });
        events
    }

    /// How far every node is known here, the forgotten included, lest peers send them again.
    pub(super) fn digest(&self, now: Instant, config: &GossipConfig) -> Digest {
        let forgotten = self.tombstones.iter().map(|(id, (incarnation, version))| {
            let age_ms = millis(config.forget_after);
            (id.get(), DigestLine::from([*incarnation, *version, *version, age_ms]))
        });
        let known = self
            .entries
            .iter()
            .filter_map(|(id, entry)| self.age(entry, now).map(|age| (id.get(), entry.line(age))));
        forgotten.chain(known).collect()
    }

    /// This node's own record, whole.
    pub(super) fn own_record(&self) -> NodeRecord {
        self.me().record(None, Duration::ZERO)
    }

    /// What a peer with `digest` lacks, the most stale first, in at most `bytes_max` bytes.
    pub(super) fn delta(
        &self,
        digest: &Digest,
        now: Instant,
        bytes_max: usize,
    ) -> BTreeMap<String, NodeRecord> {
        let mut lacking: Vec<_> = self
            .entries
            .values()
            .filter_map(|entry| {
                let age = self.age(entry, now)?;
                let (gap, above) = match digest.get(&entry.member.id.get()) {
                    Some(known) if known.incarnation > entry.incarnation => return None,
                    Some(known) if known.incarnation == entry.incarnation => {
                        let above = known.metadata_version;
                        (entry.metadata_version().saturating_sub(above), Some(above))
                    }
                    Some(_) | None => (u64::MAX, None),
                };
                (gap > 0).then_some((gap, entry, above, age))
            })
            .collect();
        lacking.sort_by_key(|(gap, entry, ..)| (Reverse(*gap), entry.member.id));
        let mut left = bytes_max;
        let mut delta = BTreeMap::new();
        for (_, entry, above, age) in lacking {
            let record = entry.record(above, age);
            let bytes = serde_json::to_vec(&record).map_or(usize::MAX, |json| json.len() + 8);
            let Some(rest) = left.checked_sub(bytes) else { break };
            left = rest;
            delta.insert(entry.member.id.to_string(), record);
        }
        delta
    }

    /// Takes a digest's line. A higher version of a known life is a sign of life.
    pub(super) fn on_line(
        &mut self,
        now: Instant,
        config: &GossipConfig,
        id: NodeId,
        line: DigestLine,
    ) -> (bool, Vec<Event>) {
        if line.incarnation > NUMBER_MAX || line.version > NUMBER_MAX {
            return (false, Vec::new());
        }
        if id == self.me {
            return (false, self.on_self(line.incarnation, line.version));
        }
        let age = Duration::from_millis(line.age_ms);
        if let Some(known) = self.tombstones.get(&id) {
            // With the stone gone the next digest asks for the node, so its record follows.
            if (line.incarnation, line.version) > *known && age < config.forget_after {
                self.tombstones.remove(&id);
            }
            return (false, Vec::new());
        }
        let Some(entry) = self.entries.get_mut(&id) else { return (false, Vec::new()) };
        if !entry.heard || entry.incarnation != line.incarnation || entry.version >= line.version {
            return (false, Vec::new());
        }
        entry.version = line.version;
        // News that was already old when it was sent is no sign of life.
        let event = if age < config.dead_after { entry.on_news(now, config) } else { None };
        (true, event.into_iter().collect())
    }

    /// Takes a record. Says whether it was news, and what changed by it.
    ///
    /// # Errors
    /// The fault for which nothing of the record was taken.
    pub(super) fn on_record(
        &mut self,
        now: Instant,
        config: &GossipConfig,
        record: Record,
    ) -> Result<(bool, Vec<Event>), Fault> {
        let id = record.member.id;
        if id == self.me {
            return Ok((false, self.on_self(record.incarnation, record.version)));
        }
        if let Some(known) = self.tombstones.get(&id)
            && record.incarnation <= known.0
        {
            // The peer left out what the stone's line claims to be known; with the stone gone, the
            // next digest asks for the whole record.
            if (record.incarnation, record.version) > *known && record.age < config.forget_after {
                self.tombstones.remove(&id);
            }
            return Ok((false, Vec::new()));
        }
        if !self.entries.contains_key(&id) {
            return self.on_stranger(now, config, record);
        }
        let entry = self.entries.get_mut(&id).expect("it was found above");
        if entry.member.role != record.member.role {
            return Err(Fault::Role);
        }
        if !entry.heard || record.incarnation > entry.incarnation {
            return Ok((true, on_new_life(entry, now, config, record)));
        }
        if record.incarnation < entry.incarnation {
            return Ok((false, Vec::new()));
        }
        let mut is_news = false;
        for (key, datum) in record.metadata {
            if entry.metadata.get(&key).is_none_or(|known| datum.version > known.version)
                && (entry.metadata.contains_key(&key) || entry.metadata.len() < METADATA_KEYS_MAX)
            {
                entry.metadata.insert(key, datum);
                is_news = true;
            }
        }
        let mut events = Vec::new();
        if record.version > entry.version {
            entry.version = record.version;
            is_news = true;
            if record.age < config.dead_after {
                events.extend(entry.on_news(now, config));
            }
        }
        Ok((is_news, events))
    }

    /// A node that is not in the table joins it, unless it is long gone already.
    fn on_stranger(
        &mut self,
        now: Instant,
        config: &GossipConfig,
        record: Record,
    ) -> Result<(bool, Vec<Event>), Fault> {
        let id = record.member.id;
        if record.age >= config.forget_after {
            self.tombstones.insert(id, (record.incarnation, record.version));
            return Ok((false, Vec::new()));
        }
        if self.entries.len() >= config.members_max {
            return Err(Fault::TableFull);
        }
        self.tombstones.remove(&id);
        let mut entry = Entry::new(record.member.clone(), false, now);
        let events = on_new_life(&mut entry, now, config, record);
        self.entries.insert(id, entry);
        Ok((true, events))
    }

    /// Hears of itself. What names a later life than this one was said of another process under
    /// this id, or of this one before its clock was set back: this life rises above it.
    fn on_self(&mut self, incarnation: u64, version: u64) -> Vec<Event> {
        let me = self.me_mut();
        if (incarnation, version) <= (me.incarnation, me.version) {
            return Vec::new();
        }
        me.incarnation = (incarnation + 1).min(NUMBER_MAX);
        if me.incarnation == incarnation {
            // No life lies above: outlive the other one's heartbeat instead.
            me.version = (version + 1).min(NUMBER_MAX);
        }
        vec![Event::Contested { heard: incarnation, now: me.incarnation }]
    }
}

/// A node's first or next life begins: nothing said of the last one holds.
fn on_new_life(
    entry: &mut Entry,
    now: Instant,
    config: &GossipConfig,
    record: Record,
) -> Vec<Event> {
    let was_heard = entry.heard;
    let address =
        if entry.configured { entry.member.address.clone() } else { record.member.address };
    entry.member = Member { address, ..record.member };
    entry.heard = true;
    entry.incarnation = record.incarnation;
    entry.version = record.version;
    entry.metadata = record.metadata;
    let from = entry.state;
    entry.detector = Detector::new(now - record.age);
    if record.age < config.dead_after {
        entry.state = State::Alive;
    }
    let member = entry.member.clone();
    if was_heard {
        let mut events = vec![Event::Restarted { member, incarnation: entry.incarnation }];
        if from != entry.state {
            events.push(Event::Revived { id: entry.member.id, from });
        }
        events
    } else {
        vec![Event::Joined { member }]
    }
}
