//! What paxosd does at its beginning, and with a long log: latencies, memory, disk, restarts, and a
//! learner that starts from nothing.

mod report;

use std::cell::Cell as Flag;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::cell::{BULK_VALUES, Cell, Work};
use crate::load::{Borne, TRIES_MAX, UNSOUND, WARM_UP};
use crate::machine::Machine;
use crate::options::Options;
use crate::procfs;
use crate::results::{Sample, as_f64, write_json};
use crate::setup::{Setup, carry_out};
use crate::systems::{Cluster, Node, System};
use crate::tally::micros;

pub(crate) use report::markdown;

/// What the log holds before the first measurement, some 10,000 values.
const SETTLE: Cell = Cell { work: Work::Write, clients: 1 };
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// What is measured then, and again in the end.
const CELLS: [Cell; 2] =
    [Cell { work: Work::Write, clients: 1 }, Cell { work: Work::Write, clients: 64 }];

/// How often each is measured, for the median.
const ROUNDS: u32 = 3;

/// What fills the log.
const FILL: Cell = Cell { work: Work::Bulk, clients: 8 };
const FILL_TIME: Duration = Duration::from_secs(1);

/// How long the disk may rest from that.
const REST: Duration = Duration::from_secs(10);

/// Who writes while a learner catches up, and how long they are counted at a time.
const WRITERS: Cell = Cell { work: Work::Write, clients: 64 };
const COUNTED: Duration = Duration::from_secs(1);

/// How often they are counted before it does and as often afterwards, to compare.
const USUAL_COUNTS: usize = 10;

/// A learner that is so near to another while clients write is where that one is.
const NEAR_VALUES: u64 = 20_000;

/// How long a learner may take to catch up.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(600);

/// Between two looks how far it is.
const LOOK: Duration = Duration::from_millis(50);

/// All that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Growth {
    /// YYYY-MM-DD.
    date: String,
    machine: Machine,
    version: String,
    /// In the log before `late`.
    values: u64,
    /// Values written a second while the log was filled.
    fill_per_second: f64,
    early: Vec<Sample>,
    late: Vec<Sample>,
    nodes: Vec<Grown>,
    catch_ups: Vec<CatchUp>,
    /// Requests that were not granted, of all.
    failed: u64,
    /// Loads that do not count, for the machine stood still meanwhile.
    set_aside: u32,
}

/// What a node takes with a long log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Grown {
    node: String,
    role: String,
    /// The most memory that it had so far.
    peak_bytes: u64,
    disk_bytes: u64,
    /// From the order to start until it says that it is healthy.
    restart_us: u64,
}

/// A learner that has lost its directory fetches all values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CatchUp {
    values: u64,
    /// From the order to start.
    took_us: u64,
    /// The most memory that it had.
    peak_bytes: u64,
    /// Writes a second, where there were any.
    writers: Option<Writers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Writers {
    /// Before and after.
    usual_per_second: f64,
    meanwhile_per_second: f64,
}

/// Measures paxosd at its beginning, and once it has `values`.
pub(crate) fn measure(options: &Options, values: u64) -> Result<Growth> {
    let setup = Setup::new(options, &[System::Paxosd])?;
    let growth = Growth {
        date: setup.date.clone(),
        machine: setup.machine.clone(),
        version: setup.versions.values().cloned().collect(),
        values,
        fill_per_second: 0.0,
        early: Vec::new(),
        late: Vec::new(),
        nodes: Vec::new(),
        catch_ups: Vec::new(),
        failed: 0,
        set_aside: 0,
    };
    let mut measuring = Measuring { setup, seconds: options.seconds, growth };
    carry_out(measuring.all())?;
    Ok(measuring.growth)
}

/// What is measured, and what was so far.
struct Measuring {
    setup: Setup,
    /// How long a load is counted.
    seconds: u64,
    growth: Growth,
}

impl Measuring {
    async fn all(&mut self) -> Result<()> {
        let dir = self.setup.dir.join(System::Paxosd.id());
        let mut cluster = Cluster::start(System::Paxosd, &self.setup.programs, &dir).await?;
        self.say("measuring at the beginning")?;
        self.bear(&mut cluster, SETTLE, SETTLE_TIME).await?;
        self.growth.early = self.latencies(&mut cluster).await?;
        self.say("filling")?;
        self.growth.fill_per_second = self.fill(&mut cluster).await?;
        sleep(REST).await;
        self.say("measuring with a long log")?;
        self.growth.late = self.latencies(&mut cluster).await?;
        self.say("restarting each node")?;
        self.growth.nodes = self.restart_all(&mut cluster).await?;
        self.say("a learner starts from nothing")?;
        let idle = self.catch_up(&mut cluster).await?;
        self.growth.catch_ups.push(idle);
        self.say("a learner starts from nothing while clients write")?;
        let under_load = self.catch_up_under_load(&mut cluster).await?;
        self.growth.catch_ups.push(under_load);
        self.say("done")?;
        cluster.stop().await
    }

    /// Says what comes next, and keeps what there is so far.
    fn say(&self, next: &str) -> Result<()> {
        println!("{next}");
        write_json(&self.growth, &self.setup.dir.join("results.json"))
    }

    /// Puts the load of `cell` on `cluster`, again where the machine stood still meanwhile.
    async fn bear(
        &mut self,
        cluster: &mut Cluster,
        cell: Cell,
        counted: Duration,
    ) -> Result<Borne> {
        for _ in 0..TRIES_MAX {
            let borne = cluster.bear(cell, counted).await?;
            cluster.check()?;
            self.growth.failed += borne.failures();
            if borne.is_sound() {
                return Ok(borne);
            }
            self.growth.set_aside += 1;
        }
        bail!(UNSOUND)
    }

    async fn latencies(&mut self, cluster: &mut Cluster) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for cell in CELLS {
            for round in 1..=ROUNDS {
                let borne = self.bear(cluster, cell, Duration::from_secs(self.seconds)).await?;
                let peak = cluster.largest_peak()?;
                let of = (round, System::Paxosd, cell);
                samples.push(Sample::new(of, borne, self.seconds, peak));
            }
        }
        Ok(samples)
    }

    /// Writes until every learner has all values; returns how many a second were written.
    async fn fill(&mut self, cluster: &mut Cluster) -> Result<f64> {
        let values = self.growth.values;
        let (mut granted, mut counts) = (0, 0);
        while furthest(&learners(cluster)).await < values {
            let borne = self.bear(cluster, FILL, FILL_TIME).await?;
            granted += borne.seen.granted * BULK_VALUES;
            counts += 1;
        }
        for learner in learners(cluster) {
            reach(cluster, &learner, values).await?;
        }
        Ok(as_f64(granted) / as_f64(counts * FILL_TIME.as_secs()).max(1.0))
    }

    /// Stops and starts every node in turn.
    async fn restart_all(&self, cluster: &mut Cluster) -> Result<Vec<Grown>> {
        let programs = &self.setup.programs;
        let mut all = Vec::new();
        for node in cluster.nodes.clone() {
            let peak_bytes = procfs::largest_peak(&[node.pid])?;
            let disk_bytes = bytes_in(&cluster.dir_of(&node))?;
            cluster.stop_node(programs, &node.name).await?;
            let started = Instant::now();
            let healthy = async {
                cluster.await_health(&node).await?;
                Ok(micros(started.elapsed()))
            };
            let ((), restart_us) =
                tokio::try_join!(cluster.start_node(programs, &node.name), healthy)?;
            cluster.find_again(&node.name).await?;
            let Node { name, role, .. } = node;
            all.push(Grown { node: name, role, peak_bytes, disk_bytes, restart_us });
        }
        Ok(all)
    }

    /// Ends `learner`, and removes all it has.
    async fn wipe(&self, cluster: &Cluster, learner: &Node) -> Result<()> {
        cluster.stop_node(&self.setup.programs, &learner.name).await?;
        let dir = cluster.dir_of(learner);
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
    }

    async fn catch_up(&self, cluster: &mut Cluster) -> Result<CatchUp> {
        let (learner, others) = unlucky(cluster)?;
        self.wipe(cluster, &learner).await?;
        let values = furthest(&others).await;
        let started = Instant::now();
        let there = async {
            reach(cluster, &learner, values).await?;
            Ok(micros(started.elapsed()))
        };
        let start = cluster.start_node(&self.setup.programs, &learner.name);
        let ((), took_us) = tokio::try_join!(start, there)?;
        let peak_bytes = peak_of(cluster, &learner.name).await?;
        Ok(CatchUp { values, took_us, peak_bytes, writers: None })
    }

    async fn catch_up_under_load(&mut self, cluster: &mut Cluster) -> Result<CatchUp> {
        let (learner, others) = unlucky(cluster)?;
        let mut usual = self.count_writes(cluster).await?;
        let phase = Flag::new(Phase::Before);
        let follow = async {
            // The writers are at work by then.
            sleep(WARM_UP).await;
            self.wipe(cluster, &learner).await?;
            let started = Instant::now();
            let there = async {
                phase.set(Phase::Meanwhile);
                let values = follow(cluster, &learner, &others).await?;
                phase.set(Phase::After);
                Ok((values, micros(started.elapsed())))
            };
            let start = cluster.start_node(&self.setup.programs, &learner.name);
            let ((), there) = tokio::try_join!(start, there)?;
            anyhow::Ok(there)
        };
        let write = async {
            let (mut meanwhile, mut failed) = (Vec::new(), 0);
            while phase.get() != Phase::After {
                let at_first = phase.get();
                let borne = cluster.bear_losses(WRITERS, COUNTED).await?;
                failed += borne.failures();
                if at_first == Phase::Meanwhile && phase.get() == Phase::Meanwhile {
                    meanwhile.push(borne.seen.granted);
                }
            }
            anyhow::Ok((meanwhile, failed))
        };
        let ((values, took_us), (meanwhile, failed)) = tokio::try_join!(follow, write)?;
        self.growth.failed += failed;
        if meanwhile.is_empty() {
            bail!("{} caught up too soon to count who wrote: take more values", learner.name);
        }
        let peak_bytes = peak_of(cluster, &learner.name).await?;
        usual.extend(self.count_writes(cluster).await?);
        let per_second = |counts: &[u64]| mean(counts) / COUNTED.as_secs_f64();
        let writers = Some(Writers {
            usual_per_second: per_second(&usual),
            meanwhile_per_second: per_second(&meanwhile),
        });
        Ok(CatchUp { values, took_us, peak_bytes, writers })
    }

    /// What clients write in some counts.
    async fn count_writes(&mut self, cluster: &mut Cluster) -> Result<Vec<u64>> {
        let mut counts = Vec::new();
        for _ in 0..USUAL_COUNTS {
            counts.push(self.bear(cluster, WRITERS, COUNTED).await?.seen.granted);
        }
        Ok(counts)
    }
}

/// Where a learner is that loses its directory while clients write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Meanwhile,
    After,
}

fn learners(cluster: &Cluster) -> Vec<Node> {
    cluster.nodes.iter().filter(|node| node.role == "learner").cloned().collect()
}

/// The learner that loses its directory, and the others.
fn unlucky(cluster: &Cluster) -> Result<(Node, Vec<Node>)> {
    let mut learners = learners(cluster);
    let last = learners.pop().context("there is no learner")?;
    Ok((last, learners))
}

/// How many values that of `learners` has that has most; waits until each says it.
async fn furthest(learners: &[Node]) -> u64 {
    let mut furthest = 0;
    for learner in learners {
        let delivered = loop {
            match learner.delivered().await {
                Some(delivered) => break delivered,
                None => sleep(LOOK).await,
            }
        };
        furthest = furthest.max(delivered);
    }
    furthest
}

/// Waits until `learner` has `values`.
async fn reach(cluster: &Cluster, learner: &Node, values: u64) -> Result<()> {
    await_learner(cluster, learner, async |own| own >= values).await.map(drop)
}

/// Waits until `learner` is near to that of `others` which is furthest; returns what it has.
async fn follow(cluster: &Cluster, learner: &Node, others: &[Node]) -> Result<u64> {
    await_learner(cluster, learner, async |own| own + NEAR_VALUES >= furthest(others).await).await
}

/// Waits until what `learner` has is enough; returns how much that is.
async fn await_learner(
    cluster: &Cluster,
    learner: &Node,
    is_enough: impl AsyncFn(u64) -> bool,
) -> Result<u64> {
    let started = Instant::now();
    while started.elapsed() < CATCH_UP_PATIENCE {
        if let Some(own) = learner.delivered().await
            && is_enough(own).await
        {
            return Ok(own);
        }
        sleep(LOOK).await;
    }
    bail!("{} does not catch up; its logs:\n{}", learner.name, cluster.logs())
}

/// Bytes of the files in `dir`; none where there is no such directory.
fn bytes_in(dir: &Path) -> Result<u64> {
    if !dir.is_dir() {
        return Ok(0);
    }
    let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut bytes = 0;
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
        bytes += if path.is_dir() {
            bytes_in(&path)?
        } else {
            fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?.len()
        };
    }
    Ok(bytes)
}

/// The most memory that the process had which the node `name` is now.
async fn peak_of(cluster: &mut Cluster, name: &str) -> Result<u64> {
    cluster.find_again(name).await?;
    let node = cluster.nodes.iter().find(|node| node.name == name).context("no such node")?;
    procfs::largest_peak(&[node.pid])
}

fn mean(counts: &[u64]) -> f64 {
    let number = u64::try_from(counts.len()).unwrap_or(u64::MAX);
    as_f64(counts.iter().sum()) / as_f64(number).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_as_large_as_the_files_in_it_and_below() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), [0; 10]).unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("below/b"), [0; 5]).unwrap();
        assert_eq!(bytes_in(dir.path()).unwrap(), 15);
        assert_eq!(bytes_in(&dir.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn a_mean_of_nothing_is_nothing() {
        assert_eq!([mean(&[1, 2, 6]), mean(&[])].map(f64::to_bits), [3.0, 0.0].map(f64::to_bits));
    }
}
