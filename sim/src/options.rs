//! What one seed draws before its run: how large the cluster is, how it is tuned, and which faults
//! it meets. Each seed gets another mix, so that rare combinations are tried too (swarm testing).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use paxosd::types::{LogLimits, Role};
use rand::RngExt;

use crate::chance::Chance;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// A node dies and comes back; its disk is torn where it was written.
    Crash,
    /// A node stands still for a while, its connections stay.
    Pause,
    /// Many nodes die at once.
    MassCrash,
    /// A proposer is asked to leave, and comes back.
    Leave,
    /// Connections are reset.
    Reset,
    /// Links carry nothing for a while: halves, one way, or one of the partial partitions.
    Partition,
    /// A node dies in the middle of a write to its disk, and comes back.
    TornWrite,
    /// The next sync fails.
    SyncError,
    /// No segment can be created for a while.
    DiskFull,
    /// A disk is slow for a while.
    SlowDisk,
    /// A bit of an older batch flips on the disk of a node that is then restarted.
    BitRot,
    /// A node's directory is deleted.
    Wipe,
}

impl FaultKind {
    /// A word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Pause => "pause",
            Self::MassCrash => "mass crash",
            Self::Leave => "leave",
            Self::Reset => "reset",
            Self::Partition => "partition",
            Self::TornWrite => "torn write",
            Self::SyncError => "sync error",
            Self::DiskFull => "disk full",
            Self::SlowDisk => "slow disk",
            Self::BitRot => "bit rot",
            Self::Wipe => "wipe",
        }
    }
}

const KINDS: [FaultKind; 12] = [
    FaultKind::Crash,
    FaultKind::Pause,
    FaultKind::MassCrash,
    FaultKind::Leave,
    FaultKind::Reset,
    FaultKind::Partition,
    FaultKind::TornWrite,
    FaultKind::SyncError,
    FaultKind::DiskFull,
    FaultKind::SlowDisk,
    FaultKind::BitRot,
    FaultKind::Wipe,
];

/// The draw of one seed.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) proposers: u64,
    pub(crate) acceptors: u64,
    pub(crate) learners: u64,
    pub(crate) clients: u64,

    /// How many proposers, learners and clients the configuration lists at most; the others join.
    pub(crate) listed: u64,
    /// How long a node that joined and fell silent is remembered.
    pub(crate) forget_after: Duration,

    /// How long faults last.
    pub(crate) chaos: Duration,
    /// Which faults there are.
    pub(crate) faults: BTreeSet<FaultKind>,
    /// The time between two faults, on average.
    pub(crate) fault_pause: Duration,
    /// Whether a minority of the acceptors and a learner stay dead in the end.
    pub(crate) leaves_some_dead: bool,
    /// Whether directories may be deleted while the cluster is being formed.
    pub(crate) wipes_early: bool,

    /// The time a message takes.
    pub(crate) latency: RangeInclusive<Duration>,
    /// Whether messages are lost, doubled and overtake one another, as TCP would not let them.
    pub(crate) is_lossy: bool,
    /// Chance that a message is lost, of 1.
    pub(crate) loss: f64,
    /// Chance that a message arrives twice, of 1.
    pub(crate) duplication: f64,
    /// Of a hundred messages that may overtake others, so many come later than any timeout.
    pub(crate) late_percent: u32,
    /// Chance that a copy of a promise comes when the next ballot is prepared, of 1.
    pub(crate) promise_again: f64,
    /// The time a write and its sync take.
    pub(crate) sync: RangeInclusive<Duration>,
    pub(crate) segment_bytes: usize,
    pub(crate) journal_bytes_max: u64,

    pub(crate) heartbeat: Duration,
    pub(crate) timeout: Duration,
    pub(crate) resend: Duration,
    pub(crate) window_slots: usize,
    pub(crate) spare_delay: Duration,
    pub(crate) batch_bytes_min: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) batch_commands_max: usize,
    pub(crate) queue_commands_max: usize,
    pub(crate) page_bytes: usize,
    pub(crate) accept_window_slots: u64,
    pub(crate) trim_slots: u64,
    pub(crate) learner_window_slots: u64,
    pub(crate) checkpoint_indices: u64,
    pub(crate) entries_bytes: usize,
    pub(crate) prompt_bytes: usize,
    pub(crate) limits: LogLimits,

    /// The time between two operations of one gateway, on average.
    pub(crate) think: Duration,
    /// How long a caller waits.
    pub(crate) patience: RangeInclusive<Duration>,
    /// Bytes that a value is padded with at most.
    pub(crate) padding_max: usize,
    /// One in so many operations is a read.
    pub(crate) reads_one_in: u32,
    /// One in so many operations is a cancellation of an earlier one.
    pub(crate) cancels_one_in: u32,
    /// One in so many writes repeats the key and the values of an earlier one.
    pub(crate) repeats_one_in: u32,
}

fn millis(rng: &mut Chance, range: RangeInclusive<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

fn micros(rng: &mut Chance, range: RangeInclusive<u64>) -> Duration {
    Duration::from_micros(rng.random_range(range))
}

impl Options {
    /// How many nodes of a role the configuration lists.
    pub(crate) fn listed(&self, role: Role) -> u64 {
        match role {
            Role::Proposer => self.proposers.min(self.listed),
            Role::Learner => self.learners.min(self.listed),
            Role::Client => self.clients.min(self.listed),
            Role::Acceptor => self.acceptors,
        }
    }

    /// Draws a mix.
    pub(crate) fn draw(rng: &mut Chance) -> Self {
        let heartbeat = millis(rng, 40..=100);
        let timeout = heartbeat * rng.random_range(4..=8);
        let window_slots = rng.random_range(1..=16);
        let clients = rng.random_range(1..=4);
        let is_lossy = rng.random_bool(0.5);
        let is_forgetful = rng.random_bool(0.4);
        let fast = micros(rng, 50..=2_000);
        // A solid-state disk, or one that turns: then whole segments wait for one turn.
        let is_slow = rng.random_ratio(1, 5);
        let fast_sync = micros(rng, if is_slow { 4_000..=20_000 } else { 20..=1_000 });
        let slowest_sync = fast_sync * rng.random_range(1..=if is_slow { 3 } else { 30 });
        Self {
            proposers: rng.random_range(1..=5),
            acceptors: rng.random_range(3..=7),
            learners: rng.random_range(1..=4),
            clients,
            listed: if rng.random_bool(0.3) { rng.random_range(1..=2) } else { u64::MAX },
            forget_after: millis(rng, 4_000..=20_000),
            chaos: millis(rng, 4_000..=9_000),
            faults: KINDS.into_iter().filter(|_| rng.random_bool(0.5)).collect(),
            fault_pause: millis(rng, 100..=1_000),
            leaves_some_dead: rng.random_bool(0.5),
            wipes_early: rng.random_bool(0.1),
            latency: fast..=fast * rng.random_range(1..=20),
            is_lossy,
            loss: if is_lossy { rng.random_range(0.0..0.3) } else { 0.0 },
            duplication: if is_lossy { rng.random_range(0.0..0.5) } else { 0.0 },
            late_percent: if rng.random_ratio(1, 3) { rng.random_range(5..=30) } else { 1 },
            sync: fast_sync..=slowest_sync,
            segment_bytes: 4096 << rng.random_range(0..=3_u32),
            journal_bytes_max: 1 << rng.random_range(17..=22_u32),
            heartbeat,
            timeout,
            resend: millis(rng, 60..=250),
            window_slots,
            batch_bytes_max: rng.random_range(64..=2048),
            batch_commands_max: rng.random_range(1..=16),
            queue_commands_max: rng.random_range(4..=64),
            page_bytes: rng.random_range(1..=8192),
            accept_window_slots: rng.random_range(32..=512),
            trim_slots: rng.random_range(1..=64),
            learner_window_slots: rng.random_range(4..=256),
            checkpoint_indices: rng.random_range(1..=32),
            entries_bytes: rng.random_range(64..=8192),
            limits: LogLimits {
                idempotency_window: if is_forgetful { rng.random_range(2..=40) } else { 10_000 },
                session_window: if is_forgetful { rng.random_range(3..=40) } else { 10_000 },
                sessions_max: if is_forgetful { clients + rng.random_range(1..=4) } else { 100 },
            },
            think: millis(rng, 10..=120),
            patience: millis(rng, 100..=600)..=millis(rng, 700..=3_000),
            padding_max: if rng.random_ratio(1, 3) { 450 } else { 120 },
            reads_one_in: rng.random_range(2..=8),
            cancels_one_in: rng.random_range(8..=40),
            repeats_one_in: rng.random_range(4..=20),
            promise_again: if is_lossy { rng.random_range(0.0..0.8) } else { 0.0 },
            spare_delay: if rng.random_bool(0.5) { millis(rng, 1..=30) } else { Duration::ZERO },
            batch_bytes_min: if rng.random_bool(0.5) { rng.random_range(1..=512) } else { 1 },
            prompt_bytes: rng.random_range(0..=16_384),
        }
    }
}
