//! What `/metrics` shows. Counters and histograms are kept where things happen; gauges are set when
//! somebody looks.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::config::NodeConfig;
use crate::paxos::client::Answer;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DigestLabels {
    digest: String,
}

/// How the node follows its configuration.
#[derive(Debug, Clone, Default)]
struct Following {
    reloads: Family<ResultLabels, Counter>,
    pending_restart: Gauge,
    refused: Gauge,
    runs: Family<DigestLabels, Gauge>,
}

/// The metrics of this node.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    http: Family<HttpLabels, Counter>,
    results: Family<ResultLabels, Counter>,
    commit: Histogram,
    read: Histogram,
    fsync: Histogram,
    turn_records: Histogram,
    dropped: Counter,
    leader_changes: Counter,
    config: Following,
    gauges: Gauges,
}

/// Values that are set when somebody looks.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Whether a leader is known: 1 or 0.
    pub has_leader: Gauge,
    /// The leader's node id, 0 for none.
    pub leader_id: Gauge,
    /// Whether this node leads: 1 or 0.
    pub is_leader: Gauge,
    /// The round of the highest ballot known.
    pub ballot_round: Gauge<u64, AtomicU64>,
    /// The highest slot known to be chosen.
    pub chosen_slot: Gauge<u64, AtomicU64>,
    /// The highest slot delivered.
    pub delivered_slot: Gauge<u64, AtomicU64>,
    /// The highest index delivered.
    pub delivered_index: Gauge<u64, AtomicU64>,
    /// The highest slot that is on this node's disk.
    pub durable_slot: Gauge<u64, AtomicU64>,
    /// Whether this acceptor votes: 1 or 0.
    pub voting: Gauge,
    /// Bytes of the journal.
    pub journal_bytes: Gauge<u64, AtomicU64>,
    queues: Family<QueueLabels, Gauge>,
    members: Gauge,
    members_alive: Gauge,
}

impl Metrics {
    /// The metrics of `node`.
    #[must_use]
    pub fn new(node: &NodeConfig) -> Self {
        let mut registry = Registry::with_prefix("paxosd");
        let seconds = || Histogram::new(exponential_buckets(0.000_05, 2.0, 18));
        let metrics = Self {
            http: Family::default(),
            results: Family::default(),
            commit: seconds(),
            read: seconds(),
            fsync: seconds(),
            turn_records: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            dropped: Counter::default(),
            leader_changes: Counter::default(),
            config: Following::default(),
            gauges: Gauges::default(),
            registry: Arc::default(),
        };
        let info = Info::new(vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("role", node.role.to_string()),
            ("name", node.name.clone()),
            ("id", node.id.to_string()),
        ]);
        registry.register("build", "This node and its version", info);
        registry.register("http_requests", "Requests by route and code", metrics.http.clone());
        registry.register("commands", "Commands by their outcome", metrics.results.clone());
        registry.register(
            "commit_duration_seconds",
            "From a command's arrival at this gateway to its outcome",
            metrics.commit.clone(),
        );
        registry.register(
            "read_duration_seconds",
            "From a read's arrival at this learner to when it may be served",
            metrics.read.clone(),
        );
        registry.register(
            "fsync_duration_seconds",
            "One journal turn: write and sync",
            metrics.fsync.clone(),
        );
        registry.register(
            "turn_records",
            "Requests or entries in one journal turn",
            metrics.turn_records.clone(),
        );
        registry.register(
            "messages_dropped",
            "Messages with no link to go",
            metrics.dropped.clone(),
        );
        registry.register(
            "leader_changes",
            "Leaders this node has seen begin",
            metrics.leader_changes.clone(),
        );
        metrics.config.register(&mut registry);
        metrics.gauges.register(&mut registry);
        Self { registry: Arc::new(registry), ..metrics }
    }

    /// A request was answered.
    pub fn request(&self, route: &'static str, code: u16) {
        self.http.get_or_create(&HttpLabels { route, code }).inc();
    }

    /// A command's outcome was told.
    pub fn commit(&self, took: Duration, answer: &Answer) {
        let result = match answer {
            Answer::Applied { .. } => "applied",
            Answer::Repeated { .. } => "repeated",
            Answer::KeyReused => "key_reused",
            Answer::NotApplied { .. } => "not_applied",
            Answer::Unknown { .. } | Answer::Forgotten => "unknown",
            Answer::Settled(_) => "settled",
        };
        self.results.get_or_create(&ResultLabels { result }).inc();
        if matches!(answer, Answer::Applied { .. }) {
            self.commit.observe(took.as_secs_f64());
        }
    }

    /// A read may be served.
    pub fn read(&self, took: Duration) {
        self.read.observe(took.as_secs_f64());
    }

    /// One journal turn.
    pub fn journal_turn(&self, took: Duration, records: usize) {
        self.fsync.observe(took.as_secs_f64());
        self.turn_records.observe(f64::from(u32::try_from(records).unwrap_or(u32::MAX)));
    }

    /// A message had no link to go.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// A leader began.
    pub fn leader_change(&self) {
        self.leader_changes.inc();
    }

    /// The node runs with the file of this digest.
    pub fn config_runs(&self, digest: u64) {
        let digest = format!("{digest:016x}");
        self.config.runs.clear();
        self.config.runs.get_or_create(&DigestLabels { digest }).set(1);
    }

    /// A changed file of this digest was taken; so many settings of it wait for the next start.
    pub fn config_applied(&self, digest: u64, waiting: usize) {
        self.config.reloads.get_or_create(&ResultLabels { result: "applied" }).inc();
        self.config.refused.set(0);
        set(&self.config.pending_restart, waiting);
        self.config_runs(digest);
    }

    /// A changed file was not taken: it is "invalid", or "refused" for what it would change.
    pub fn config_refused(&self, result: &'static str) {
        self.config.reloads.get_or_create(&ResultLabels { result }).inc();
        self.config.refused.set(1);
    }

    /// How many nodes gossip knows, and how many of them live.
    pub fn members(&self, alive: usize, all: usize) {
        set(&self.gauges.members_alive, alive);
        set(&self.gauges.members, all);
    }

    /// How many wait in a queue.
    pub fn queue(&self, queue: &'static str, depth: usize) {
        set(&self.gauges.queues.get_or_create(&QueueLabels { queue }), depth);
    }

    /// Values to set before they are shown.
    #[must_use]
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing into a string cannot fail; a metric that cannot be written would say so here.
            text.clear();
            let _infallible = text.write_str("# EOF\n");
        }
        text
    }
}

impl Following {
    fn register(&self, registry: &mut Registry) {
        for result in ["applied", "refused", "invalid"] {
            // Shown from the start: what an alert waits for must be there to grow.
            drop(self.reloads.get_or_create(&ResultLabels { result }));
        }
        let reloads = self.reloads.clone();
        registry.register("config_reloads", "Changed files by what became of them", reloads);
        registry.register(
            "config_pending_restart",
            "Changed settings that take effect at the next start",
            self.pending_restart.clone(),
        );
        registry.register(
            "config_refused",
            "Whether the file is not what the node runs with: refused or invalid",
            self.refused.clone(),
        );
        registry.register("config_info", "Digest of the file it runs with", self.runs.clone());
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("has_leader", "Whether a leader is known", self.has_leader.clone());
        registry.register("leader_id", "The leader's node id, 0 for none", self.leader_id.clone());
        registry.register("is_leader", "Whether this node leads", self.is_leader.clone());
        registry.register("ballot_round", "Round of the highest ballot", self.ballot_round.clone());
        registry.register("chosen_slot", "Highest slot known chosen", self.chosen_slot.clone());
        registry.register("delivered_slot", "Highest slot delivered", self.delivered_slot.clone());
        let index = self.delivered_index.clone();
        registry.register("delivered_index", "Highest index delivered", index);
        registry.register("durable_slot", "Highest slot on disk here", self.durable_slot.clone());
        registry.register("voting", "Whether this acceptor votes", self.voting.clone());
        registry.register("journal_bytes", "Bytes of the journal", self.journal_bytes.clone());
        registry.register("queue_depth", "What waits, by queue", self.queues.clone());
        registry.register("gossip_members", "Other nodes known", self.members.clone());
        let alive = self.members_alive.clone();
        registry.register("gossip_members_alive", "Other nodes that live", alive);
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
