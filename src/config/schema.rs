//! Every setting there is: its type, its default, what it may be, and what it means.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::change::Changes;
use super::identity::Seed;
use super::locate::KeyPath;
use super::source::Source;
use crate::types::{NodeId, Role};

/// What may be written for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number between two bounds, both allowed.
    Number { least: u64, most: u64 },
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// When a setting that was changed in the file takes effect in a node that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// At once.
    Now,
    /// At the next start; the node goes on with the value it has.
    NextStart,
    /// Never: it was fixed when the cluster was formed. The change is refused.
    Never,
}

/// The keys of one mapping, with what may be written for each.
pub(super) type Keys = &'static [(&'static str, Kind)];

macro_rules! kind {
    ($least:literal..=$most:literal) => {
        Kind::Number { least: $least, most: $most }
    };
    (flag) => {
        Kind::Flag
    };
    (text) => {
        Kind::Text
    };
    ($($word:literal)|+) => {
        Kind::Word(&[$($word),+])
    };
}

macro_rules! when {
    (now) => {
        When::Now
    };
    (next_start) => {
        When::NextStart
    };
    (never) => {
        When::Never
    };
}

/// Declares a section from one list: the struct, its defaults, its table of keys, and what becomes
/// of a change of each key. One that does not say when a change takes effect does not compile.
macro_rules! section {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$doc:meta])*
                $key:ident: $type:ty = $default:expr, [$($kind:tt)+], $when:ident;)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(
                $(#[$doc])*
                #[doc = concat!(
                    "\n\nDefault `", stringify!($default), "`; may be `", stringify!($($kind)+),
                    "`. A change takes effect: `", stringify!($when), "`."
                )]
                pub $key: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default),+ }
            }
        }

        impl $name {
            const KEYS: Keys = &[$((stringify!($key), kind!($($kind)+))),+];

            /// What of `new` takes effect in a node that runs with `self`; the keys that differ,
            /// and when each does, go to `changes`.
            pub(super) fn follow(
                &self,
                new: &Self,
                at: &KeyPath,
                changes: &mut Changes<'_>,
            ) -> Self {
                Self {
                    $($key: changes.setting(
                        &at.key(stringify!($key)),
                        when!($when),
                        (&self.$key, &new.$key),
                    )),+
                }
            }
        }
    };
}

section! {
    /// What the cluster is.
    Cluster {
        /// Its name. Every message and record carries it; nodes of another cluster are refused.
        name: String = "paxos".to_owned(), [text], never;
    }
}

section! {
    /// How a leader is kept and replaced.
    Election {
        /// Milliseconds between two heartbeats of the leader.
        heartbeat_ms: u64 = 50, [1..=60_000], now;
        /// Milliseconds without a heartbeat after which a leader counts as lost; at least twice
        /// the heartbeat, so that one lost message never deposes anybody.
        timeout_ms: u64 = 300, [2..=600_000], now;
    }
}

section! {
    /// What the leader takes in and sends out.
    Proposer {
        /// Slots in flight at once. What arrives while all are in use becomes the next batch.
        window_slots: u64 = 8, [1..=10_000], now;
        /// Milliseconds by which acceptors beyond a quorum are told later, of many slots at
        /// once, but a heartbeat at most. 0: at once.
        spare_delay_ms: u64 = 5, [0..=1_000], now;
        /// Bytes of commands that must wait before another slot is opened beside one in flight;
        /// as many more for each that is. 1: at once.
        batch_bytes_min: usize = 16_384, [1..=268_435_456], now;
        /// Bytes of commands in one slot's batch. A single larger command makes a batch alone.
        batch_bytes_max: usize = 1_048_576, [1_024..=268_435_456], now;
        /// Commands in one slot's batch.
        batch_commands_max: usize = 4_096, [1..=1_000_000], now;
        /// Commands that wait for a slot; above it callers get 429.
        queue_commands_max: usize = 65_536, [1..=10_000_000], now;
        /// Bytes of the commands that wait for a slot; above it callers get 429.
        queue_bytes_max: usize = 67_108_864, [1_024..=17_179_869_184], now;
        /// Milliseconds that a leader told to stop gives its open slots to finish.
        drain_ms: u64 = 2_000, [0..=600_000], now;
    }
}

section! {
    /// What an acceptor takes.
    Acceptor {
        /// Slots above the highest voted one within which it votes; further up it refuses, so
        /// that nobody can make a hole.
        accept_window_slots: u64 = 10_000, [1..=1_000_000_000], now;
        /// Bytes of one page of a promise.
        promise_page_bytes: usize = 1_048_576, [1_024..=268_435_456], now;
        /// Bytes of records that one turn, and so one `fdatasync`, gathers before it stops
        /// draining its inbox.
        turn_bytes_max: usize = 4_194_304, [1_024..=268_435_456], now;
    }
}

section! {
    /// How a learner keeps up, and what it serves.
    Learner {
        /// Slots above the delivered one for which it counts votes.
        window_slots: u64 = 4_096, [1..=1_000_000], now;
        /// Milliseconds that a gap may last before the learner fetches what is missing.
        gap_ms: u64 = 20, [1..=60_000], now;
        /// Milliseconds after which the leader is asked to fill slots that a read waits for.
        fill_after_ms: u64 = 300, [1..=600_000], now;
        /// Slots between two checkpoints, at which learners also compare their state.
        checkpoint_slots: u64 = 10_000, [1..=100_000_000], now;
        /// Values in one page of an answer.
        page_values_max: usize = 10_000, [1..=1_000_000], now;
        /// Reads that wait at once; above it callers get 429.
        read_waiters_max: usize = 16_384, [1..=1_000_000], now;
    }
}

section! {
    /// How a client passes requests on, and what it remembers.
    Client {
        /// Milliseconds that a caller waits who named no `timeout_ms`.
        timeout_ms: u64 = 5_000, [1..=3_600_000], now;
        /// Milliseconds before a request without an answer is tried again, under its name.
        retry_ms: u64 = 250, [1..=600_000], now;
        /// Requests under way at once; above it callers get 429.
        in_flight_max: usize = 20_000, [1..=1_000_000], now;
        /// Bytes of their values; above it too. A single larger request is taken alone.
        in_flight_bytes_max: usize = 268_435_456, [1..=68_719_476_736], now;
        /// Delivered values that `/get-responses` shows.
        responses_kept: usize = 1_000, [1..=1_000_000], now;
        /// Finished requests that `/requests/{id}` can still resolve from memory.
        requests_kept: usize = 10_000, [1..=10_000_000], now;
    }
}

section! {
    /// The files of acceptors' journals and of learners' logs.
    Journal {
        /// Bytes of one segment file, allocated when it is opened.
        segment_bytes: u64 = 16_777_216, [65_536..=4_294_967_296], next_start;
        /// Bytes that all segments may grow to while learners are missing; at it the leader sheds.
        max_bytes: u64 = 268_435_456, [262_144..=1_099_511_627_776], now;
    }
}

section! {
    /// How nodes hear of each other. Gossip is a hint: it never changes who counts.
    Gossip {
        /// Milliseconds between two rounds.
        interval_ms: u64 = 200, [10..=60_000], now;
        /// Milliseconds of silence after which a node is suspected.
        suspect_ms: u64 = 1_000, [11..=600_000], now;
        /// Milliseconds of silence after which a node counts as dead.
        dead_ms: u64 = 3_000, [12..=3_600_000], now;
        /// Milliseconds after which a dead node that joined by gossip is forgotten.
        forget_ms: u64 = 3_600_000, [13..=604_800_000], now;
        /// Nodes told in one round.
        fanout: usize = 3, [1..=99], now;
    }
}

section! {
    /// What is accepted from outside, and how much of it is remembered.
    Limits {
        /// Bytes of one value as JSON; above it callers get 413.
        value_bytes: usize = 1_048_576, [1..=268_435_456], now;
        /// Bytes of one request's body; above it callers get 413.
        request_bytes: usize = 8_388_608, [1..=268_435_456], now;
        /// Values in one request; above it callers get 413.
        request_values: usize = 10_000, [1..=1_000_000], now;
        /// Delivered indices over which an `Idempotency-Key` is remembered.
        idempotency_window: u64 = 1_000_000, [1..=1_000_000_000], never;
        /// Delivered indices after which a session without a command is evicted.
        session_window: u64 = 1_000_000, [1..=1_000_000_000], never;
        /// Sessions open at once; above it the longest unused one is evicted.
        sessions_max: usize = 100_000, [1..=10_000_000], never;
        /// Connections that one port holds open at once.
        connections_max: usize = 4_096, [1..=1_000_000], now;
        /// Bytes of one frame between nodes; a longer one ends its connection.
        frame_bytes_max: usize = 16_777_216, [65_536..=1_073_741_824], next_start;
        /// Frames that wait for one peer; above it the newest is dropped.
        peer_queue_frames: usize = 16_384, [1..=1_000_000], next_start;
    }
}

section! {
    /// What the API port serves beside the contract.
    Api {
        /// Whether `/prepare`, `/accept` and `/learn` are open to callers with curl. A caller who
        /// skips the value rule there can break agreement.
        protocol_calls: bool = false, [flag], now;
    }
}

section! {
    /// What is written to standard error.
    Log {
        /// The least severe level that is written.
        level: LogLevel = LogLevel::Info,
            ["off" | "error" | "warn" | "info" | "debug" | "trace"], now;
        /// How a line looks.
        format: LogFormat = LogFormat::Text, ["text" | "json"], next_start;
    }
}

section! {
    /// The protocol events behind `/view-logs`.
    Events {
        /// Events kept.
        ring: usize = 10_000, [1..=10_000_000], now;
        /// Slots a second whose way is kept in full; above it they are sampled.
        slots_per_s_max: u64 = 1_000, [1..=1_000_000], now;
    }
}

/// How severe a line must be to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing is written.
    Off,
    /// Something is broken.
    Error,
    /// Something to look at.
    Warn,
    /// A change that an operator would mention.
    Info,
    /// One early exit or decision.
    Debug,
    /// Every message.
    Trace,
}

impl LogLevel {
    /// The word used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// One node of the cluster: who it is and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Its name, a DNS label, unique in the cluster; also the name of its data directory.
    pub name: String,
    /// Its number, 1 to 99, unique in the cluster.
    #[serde(with = "id")]
    pub id: NodeId,
    /// What it is for.
    #[serde(with = "role")]
    pub role: Role,
    /// The DNS name or IP address at which other nodes reach it; resolved at each connect.
    pub host: String,
    /// The port that serves everything.
    pub api_port: u16,
    /// The port that takes no write.
    pub monitor_port: u16,
}

impl NodeConfig {
    /// What each key of an entry of `nodes` may be; all of them must be there.
    pub(super) const KEYS: Keys = &[
        ("name", kind!(text)),
        ("id", kind!(1..=99)),
        ("role", kind!("proposer" | "acceptor" | "learner" | "client")),
        ("host", kind!(text)),
        ("api_port", kind!(1..=65_535)),
        ("monitor_port", kind!(1..=65_535)),
    ];
}

/// The configuration of a cluster, and of the node that reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of the node that reads this file, where nothing else says it.
    #[serde(default)]
    pub name: Option<String>,
    /// The directory in which each node has a directory of its name. Default `./data`.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// What the cluster is.
    #[serde(default)]
    pub cluster: Cluster,
    /// Its nodes.
    pub nodes: Vec<NodeConfig>,
    /// How a leader is kept and replaced.
    #[serde(default)]
    pub election: Election,
    /// What the leader takes in and sends out.
    #[serde(default)]
    pub proposer: Proposer,
    /// What an acceptor takes.
    #[serde(default)]
    pub acceptor: Acceptor,
    /// How a learner keeps up, and what it serves.
    #[serde(default)]
    pub learner: Learner,
    /// How a client passes requests on, and what it remembers.
    #[serde(default)]
    pub client: Client,
    /// The files of acceptors' journals and of learners' logs.
    #[serde(default)]
    pub journal: Journal,
    /// How nodes hear of each other.
    #[serde(default)]
    pub gossip: Gossip,
    /// What is accepted from outside, and how much of it is remembered.
    #[serde(default)]
    pub limits: Limits,
    /// What the API port serves beside the contract.
    #[serde(default)]
    pub api: Api,
    /// What is written to standard error.
    #[serde(default)]
    pub log: Log,
    /// The protocol events behind `/view-logs`.
    #[serde(default)]
    pub events: Events,
    /// Further addresses at which gossip may begin, from `SEED_NODES`. They never count.
    #[serde(skip)]
    pub seeds: Vec<Seed>,
    /// Where each value stands, for errors found later.
    #[serde(skip)]
    pub(super) source: Source,
}

fn data_dir() -> PathBuf {
    PathBuf::from("./data")
}

/// The single keys at the top of the file.
pub(super) const TOP: Keys = &[("name", kind!(text)), ("data_dir", kind!(text))];

/// The sections, which are mappings of settings.
pub(super) const SECTIONS: &[(&str, Keys)] = &[
    ("cluster", Cluster::KEYS),
    ("election", Election::KEYS),
    ("proposer", Proposer::KEYS),
    ("acceptor", Acceptor::KEYS),
    ("learner", Learner::KEYS),
    ("client", Client::KEYS),
    ("journal", Journal::KEYS),
    ("gossip", Gossip::KEYS),
    ("limits", Limits::KEYS),
    ("api", Api::KEYS),
    ("log", Log::KEYS),
    ("events", Events::KEYS),
];

/// What may be written for `key` in the mapping with these `keys`.
pub(super) fn kind_of(keys: Keys, key: &str) -> Option<Kind> {
    keys.iter().find(|(known, _)| *known == key).map(|(_, kind)| *kind)
}

/// The keys of the section `name`.
pub(super) fn section(name: &str) -> Option<Keys> {
    SECTIONS.iter().find(|(known, _)| *known == name).map(|(_, keys)| *keys)
}

/// A node's id as its number.
mod id {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::types::NodeId;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(super) fn serialize<S: Serializer>(id: &NodeId, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u8(id.get())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NodeId, D::Error> {
        NodeId::new(u64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A node's role as its word.
mod role {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::types::Role;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(super) fn serialize<S: Serializer>(role: &Role, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(role.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
