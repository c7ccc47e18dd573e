//! What callers see when the leader goes: for how long none of them is granted anything, and how
//! many of their requests fail.

mod report;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::cell::{Cell, Work};
use crate::load::{TRIES_MAX, UNSOUND, WARM_UP};
use crate::machine::Machine;
use crate::options::Options;
use crate::results::write_json;
use crate::setup::{Setup, carry_out};
use crate::systems::{Cluster, System};

pub(crate) use report::markdown;

/// Who writes meanwhile.
const LOAD: Cell = Cell { work: Work::Write, clients: 16 };

/// How long they write before it happens, beside the warm-up.
const BEFORE: Duration = Duration::from_secs(1);

/// The systems, in the order in which they take turns. How etcd is talked to makes no difference.
const SYSTEMS: [System; 3] = [System::Paxosd, System::EtcdHttp, System::Zookeeper];

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    /// It is killed, and its connections break.
    Kill,
    /// It falls silent, and its connections stay.
    Stop,
    /// It is asked to end.
    Terminate,
}

const EVENTS: [Event; 3] = [Event::Kill, Event::Stop, Event::Terminate];

impl Event {
    /// How directories are named after it.
    const fn id(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Terminate => "terminate",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Kill => "`kill -9`",
            Self::Stop => "SIGSTOP",
            Self::Terminate => "SIGTERM",
        }
    }

    const fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Stop => Signal::STOP,
            Self::Terminate => Signal::TERM,
        }
    }

    /// How long `system` is watched afterwards, longer than it mostly needs.
    const fn watched(self, system: System) -> Duration {
        let seconds = match (self, system) {
            // Its nodes bear with a silent one for syncLimit, 10 s, and then elect another.
            (Self::Stop, System::Zookeeper) => 30,
            // Requests that were passed on to a silent leader wait for some seconds.
            (Self::Stop, System::EtcdHttp | System::EtcdGrpc) => 15,
            (Self::Stop, System::Paxosd) => 5,
            (Self::Kill, System::EtcdHttp | System::EtcdGrpc) => 6,
            (Self::Kill | Self::Terminate, _) => 3,
        };
        Duration::from_secs(seconds)
    }
}

/// All that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failovers {
    /// YYYY-MM-DD.
    date: String,
    machine: Machine,
    versions: BTreeMap<String, String>,
    /// Runs that do not count, for the machine stood still meanwhile.
    set_aside: u32,
    samples: Vec<Failover>,
}

/// One leader that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Failover {
    run: u32,
    system: System,
    event: Event,
    /// The longest time in which no request was granted.
    gap_us: u64,
    /// It lasted to the end, and maybe longer.
    is_open: bool,
    /// Requests that were not granted.
    failed: u64,
}

/// Lets the leader of every system that `options` name go, in each way so many `runs`.
pub(crate) fn measure(options: &Options, runs: u32) -> Result<Failovers> {
    let setup = Setup::new(options, &SYSTEMS)?;
    let mut failovers = Failovers {
        date: setup.date.clone(),
        machine: setup.machine.clone(),
        versions: setup.versions.clone(),
        set_aside: 0,
        samples: Vec::new(),
    };
    carry_out(measure_all(&setup, runs, &mut failovers))?;
    Ok(failovers)
}

async fn measure_all(setup: &Setup, runs: u32, failovers: &mut Failovers) -> Result<()> {
    println!("{}", report::progress_head());
    for run in 1..=runs {
        for event in EVENTS {
            for system in setup.systems.iter().copied() {
                let mut tries = 1..=TRIES_MAX;
                let sample = loop {
                    let number = tries.next().context(UNSOUND)?;
                    let dir = format!("{}-{}-{run}-{number}", system.id(), event.id());
                    let dir = setup.dir.join(dir);
                    match measure_one(setup, (run, system, event), &dir).await? {
                        Some(sample) => break sample,
                        None => failovers.set_aside += 1,
                    }
                };
                println!("{}", report::progress(&sample));
                failovers.samples.push(sample);
                write_json(failovers, &setup.dir.join("results.json"))?;
            }
        }
    }
    Ok(())
}

/// One leader of fresh nodes goes; `None` where the machine stood still meanwhile.
async fn measure_one(
    setup: &Setup,
    (run, system, event): (u32, System, Event),
    dir: &Path,
) -> Result<Option<Failover>> {
    let cluster = Cluster::start(system, &setup.programs, dir).await?;
    let load = cluster.bear_losses(LOAD, BEFORE + event.watched(system));
    let (borne, gone) = tokio::try_join!(load, happen(&cluster, event))?;
    if event == Event::Stop {
        send(Signal::KILL, gone)?;
    }
    if cluster.leader().await? == gone {
        bail!("{} still leads {} after {}", gone, system.title(), event.title());
    }
    cluster.stop().await?;
    let (gap_us, is_open) = (borne.seen.gap_us, borne.seen.is_gap_open);
    let sample = Failover { run, system, event, gap_us, is_open, failed: borne.failures() };
    Ok(borne.is_sound().then_some(sample))
}

/// Lets `event` happen to the process that leads in the midst of the load, and returns which.
async fn happen(cluster: &Cluster, event: Event) -> Result<u32> {
    sleep(WARM_UP + BEFORE).await;
    let leader = cluster.leader().await?;
    send(event.signal(), leader)?;
    Ok(leader)
}

fn send(signal: Signal, process: u32) -> Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{process} is no process"))?;
    kill_process(pid, signal).with_context(|| format!("send a signal to process {process}"))
}
