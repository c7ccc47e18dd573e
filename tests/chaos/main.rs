//! Ten real processes under real faults, and a judge: nothing that was answered may turn out false.
//!
//! The run lasts 60 s, or as many as `PAXOSD_CHAOS_SECONDS` says; `PAXOSD_CHAOS_SEED` repeats the
//! choices of a run, though not its timing. A run in which a kind of fault never bit, or no leader
//! changed, proves nothing: its verdict is *unknown*, and it does not pass. Neither does one with
//! fewer operations a second than `PAXOSD_CHAOS_RATE_MIN`, where that is set: a slow machine alone
//! is no reason to fail.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer, in its helpers too"
)]

#[expect(dead_code, reason = "the end-to-end tests use more of it")]
#[path = "../e2e/cluster.rs"]
mod cluster;
#[expect(dead_code, reason = "the end-to-end tests use more of it")]
#[path = "../e2e/http.rs"]
mod http;
mod nemesis;
#[path = "../e2e/ports.rs"]
mod ports;
mod proxy;
mod record;
#[path = "../e2e/turns.rs"]
mod turns;
mod workload;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paxosd::config::Config;
use paxosd::types::Role;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sim::linearizable::check_file;

use cluster::{Cluster, write_config};
use nemesis::{Deeds, Fault, Nemesis};
use proxy::Network;
use record::{Figures, Record};
use workload::Workload;

/// The variables that steer a run.
const SECONDS: &str = "PAXOSD_CHAOS_SECONDS";
const SEED: &str = "PAXOSD_CHAOS_SEED";
const RATE_MIN: &str = "PAXOSD_CHAOS_RATE_MIN";

/// How long a run hurts its cluster, unless told otherwise.
const SECONDS_DEFAULT: u64 = 60;

/// Writes that must be applied after the last fault.
const WRITES_AFTER: u64 = 50;

/// How long ten nodes may need to start, to come back in the end, and to show all they have.
const AROUND: Duration = Duration::from_secs(300);

/// A small file, so that journals often go on to the next one.
const SEGMENT_BYTES: u32 = 2 << 20;

#[test]
fn under_every_fault_what_was_answered_stays_true() {
    let (seed, lasts) = (number(SEED), number(SECONDS).unwrap_or(SECONDS_DEFAULT));
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one("chaos"));
    eprintln!("to have it again: {SEED}={seed} {SECONDS}={lasts} cargo test --test chaos");
    let run = run(seed, Duration::from_secs(lasts));
    eprintln!("{run}");
    let doubts = run.doubts();
    assert!(doubts.is_empty(), "unknown, as {}", doubts.join(", and "));
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// What a run that was judged linearizable came to.
struct Run {
    deeds: Deeds,
    figures: Figures,
    lasted: Duration,
    values: usize,
}

/// Hurts a cluster for `lasts` while callers use it, and judges what they were answered.
fn run(seed: u64, lasts: Duration) -> Run {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut cluster = Cluster::prepare(change);
    cluster.deadline = Instant::now() + 2 * lasts + AROUND;
    let (mut network, files) = Network::between(&cluster.config, &cluster.runtime());
    for (name, file) in files {
        let path = cluster.data_dir().join(format!("{name}.yaml"));
        write_config(&file, &path);
        cluster.own_files.insert(name, path);
    }
    for name in cluster.names() {
        cluster.start_node(&name);
    }
    cluster.wait_serving();
    let record = Arc::new(Record::default());
    let gateways = [cluster.client(1), cluster.client(2)];
    let began = Instant::now();
    let workload = Workload::start(gateways, record.clone(), cluster.runtime(), chance.random());
    let deeds = Nemesis::new(&mut cluster, &mut network, &record, chance).rage(lasts);
    cluster.wait_serving();
    let goal = record.applied_so_far() + WRITES_AFTER;
    cluster.poll("writes are applied again", || (record.applied_so_far() >= goal).then_some(()));
    let lasted = began.elapsed();
    workload.finish();
    let values = cluster.agreed_values(&["learner1", "learner2"]);
    for learner in cluster.config.with_role(Role::Learner) {
        record.log(u64::from(learner.id.get()), &values);
    }
    judge(&cluster, &record);
    Run { deeds, figures: record.figures(), lasted, values: values.len() }
}

fn change(config: &mut Config) {
    config.limits.value_bytes = 256 << 10;
    config.limits.request_bytes = 1 << 20;
    config.limits.frame_bytes_max = SEGMENT_BYTES.try_into().unwrap();
    config.acceptor.turn_bytes_max = 1 << 20;
    config.journal.segment_bytes = SEGMENT_BYTES.into();
}

/// That the history can be explained. It is kept where it cannot, beside the logs of the nodes.
fn judge(cluster: &Cluster, record: &Record) {
    let path = cluster.data_dir().join("history.jsonl");
    record.history().save(&path).unwrap();
    let report = check_file(&path).unwrap();
    if let Some(violation) = report.violation {
        for (line, event) in &violation.shown {
            eprintln!("{line:>8} {event}");
        }
        let (reason, lines) = (violation.reason, violation.prefix_lines);
        panic!("{reason}: the first {lines} lines of {} cannot be explained", path.display());
    }
}

impl Run {
    /// Writes that were applied and linearizable reads that were served, faults or not.
    fn operations_per_s(&self) -> u64 {
        (self.figures.applied + self.figures.reads) / self.lasted.as_secs().max(1)
    }

    fn leader_changes(&self) -> usize {
        self.figures.proposals.len().saturating_sub(1)
    }

    /// Why this run proves nothing.
    fn doubts(&self) -> Vec<String> {
        let missing = Fault::ALL.into_iter().filter(|fault| self.deeds.count(*fault) == 0);
        let mut doubts: Vec<String> = missing.map(|fault| format!("{fault:?} never bit")).collect();
        if self.leader_changes() == 0 {
            doubts.push("no leader changed".to_owned());
        }
        let least = number(RATE_MIN).unwrap_or(0);
        let reached = self.operations_per_s();
        if reached < least {
            doubts.push(format!("{reached} operations/s are fewer than {least}"));
        }
        doubts
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        writeln!(f, "linearizable: {} values in {:.1} s", self.values, self.lasted.as_secs_f64())?;
        for fault in Fault::ALL {
            writeln!(f, "{:>8} {fault:?}", self.deeds.count(fault))?;
        }
        for (count, what) in [
            (self.deeds.without_effect, "faults found nothing to hurt"),
            (self.deeds.killed, "processes killed"),
            (figures.attempts, "attempts at writes"),
            (figures.applied, "of them applied"),
            (figures.not_applied, "certainly not applied"),
            (figures.unknown, "unknown"),
            (figures.told_later, "of these told later"),
            (figures.reads, "linearizable reads"),
            (figures.stale_reads, "stale reads"),
            (figures.reads_refused, "reads refused"),
        ] {
            writeln!(f, "{count:>8} {what}")?;
        }
        writeln!(f, "{:>8} leader changes", self.leader_changes())?;
        write!(f, "{:>8} operations/s", self.operations_per_s())
    }
}
