//! `cargo compare`: the same load on paxosd, etcd and ZooKeeper, in turn, on this machine.
//!
//! - `options`: the command line. `programs`: what is measured, and where it is.
//! - `cell`, `value`: what is asked for. `systems`: who is asked. `wire`: how they are talked to.
//! - `server`: their processes. `procfs`, `machine`: what the kernel says of them and of itself.
//! - `load`, `tally`: the load, and what it saw.
//! - `results`: all figures. `report`, `chart`, `document`: how they are shown.
#![expect(clippy::print_stdout, reason = "a command line tells on standard output")]

mod cell;
mod chart;
mod document;
mod load;
mod machine;
mod options;
mod procfs;
mod programs;
mod report;
mod results;
mod server;
mod systems;
mod tally;
mod value;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use cell::{CELLS, Cell, Work};
use machine::Machine;
use options::{Options, Product};
use programs::{Programs, is_stale, own_folder, root};
use results::{Results, Sample, SetAside};
use systems::{Cluster, SYSTEMS, System};

/// What every system bears before its first cell, so that none is measured cold: a JVM compiles
/// what runs often, and files grow to their size.
const SETTLE: Cell = Cell { work: Work::Write, clients: 64 };
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// This program gets its turn sooner whatever the load is. If it does not, then the machine did not
/// run, as a virtual one does not while its host copies it, and nothing on it was measured.
const STILL: Duration = Duration::from_millis(500);

/// How often that may happen.
const SET_ASIDE_MAX: usize = 20;

/// The chart, beside the document.
const CHART: &str = "performance.svg";

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let results = match &options.from {
        Some(file) => Results::read(file)?,
        None => measure_all(options)?,
    };
    let alternative = report::in_words(&results);
    let part = report::markdown(&results, CHART, &alternative);
    println!("\n{part}");
    if options.write {
        let docs = root().join("docs");
        document::put(&docs.join("PERFORMANCE.md"), &part)?;
        let chart = docs.join(CHART);
        fs::write(&chart, chart::svg(&results))
            .with_context(|| format!("write {}", chart.display()))?;
        results.write(&docs.join("performance.json"))?;
        println!("\nwritten: docs/PERFORMANCE.md, docs/{CHART}, docs/performance.json");
    }
    Ok(())
}

/// The systems and cells that `options` name.
fn chosen(options: &Options) -> Result<(Vec<System>, Vec<Cell>)> {
    let is_wanted = |product: Product| options.only.is_empty() || options.only.contains(&product);
    let systems = SYSTEMS.into_iter().filter(|system| is_wanted(system.product())).collect();
    let names = &options.cells;
    let is_named =
        |cell: &Cell| names.iter().any(|name| *name == cell.id() || name == cell.work.name());
    let cells: Vec<Cell> =
        CELLS.into_iter().filter(|cell| names.is_empty() || is_named(cell)).collect();
    if cells.is_empty() {
        let all: Vec<String> = CELLS.iter().map(|cell| cell.id()).collect();
        bail!("no cell is called {}; there are {}", names.join(" or "), all.join(", "));
    }
    Ok((systems, cells))
}

fn measure_all(options: &Options) -> Result<Results> {
    let (systems, cells) = chosen(options)?;
    let mut products: Vec<Product> = systems.iter().map(|system| system.product()).collect();
    products.dedup();
    let programs = Programs::find(&products, options.paxosd.as_deref())?;
    let dir = place(options)?;
    let results = Results {
        date: machine::today(),
        machine: Machine::look(&dir)?,
        versions: programs.versions(&products)?,
        rounds: options.rounds,
        seconds: options.seconds,
        set_aside: Vec::new(),
        samples: Vec::new(),
    };
    println!("logs and figures: {}", dir.display());
    let stale = options.paxosd.is_none().then(|| is_stale(&programs.paxosd)).flatten();
    for warning in results.machine.warnings().into_iter().chain(stale) {
        println!("warning: {warning}");
    }
    let mut run = Run { programs, dir, systems, cells, results };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    // On this very thread: the kernel ends the servers when the thread that made them ends.
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).context("listen for signals")?;
        let local = LocalSet::new();
        // What is dropped half-way kills the servers that it had started.
        tokio::select! {
            measured = local.run_until(run.measure()) => measured,
            _ = tokio::signal::ctrl_c() => bail!("interrupted; the servers are killed"),
            _ = terminated.recv() => bail!("terminated; the servers are killed"),
        }
    })?;
    Ok(run.results)
}

/// A directory of this run's own.
fn place(options: &Options) -> Result<PathBuf> {
    let base = match &options.dir {
        Some(dir) => dir.clone(),
        None => own_folder()?.join("../compare"),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let dir = base.join(format!("run-{}", since.as_secs()));
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    fs::canonicalize(&dir).with_context(|| format!("find {}", dir.display()))
}

/// What is measured, and what was so far.
struct Run {
    programs: Programs,
    dir: PathBuf,
    systems: Vec<System>,
    cells: Vec<Cell>,
    results: Results,
}

impl Run {
    async fn measure(&mut self) -> Result<()> {
        println!("{}", report::progress_head());
        for round in 1..=self.results.rounds {
            for system in self.systems.clone() {
                let dir = self.dir.join(format!("round-{round}")).join(system.id());
                self.measure_one(round, system, &dir).await?;
                self.results.write(&self.dir.join("results.json"))?;
            }
        }
        Ok(())
    }

    async fn measure_one(&mut self, round: u32, system: System, dir: &Path) -> Result<()> {
        let seconds = self.results.seconds;
        let mut cluster = Cluster::start(system, &self.programs, dir).await?;
        let settled = cluster.bear(SETTLE, SETTLE_TIME).await?;
        for (what, count) in settled.seen.failed {
            println!("{round:>5}  {:<9}  while it settled, {count} failed: {what}", system.id());
        }
        for cell in self.cells.iter().filter(|cell| system.does(cell.work)) {
            let counted = Duration::from_secs(seconds);
            let mut borne = cluster.bear(*cell, counted).await?;
            while borne.stood_still >= STILL {
                let stood_still_us = tally::micros(borne.stood_still);
                let failed = borne.seen.failed.values().sum();
                let aside = SetAside { round, system, cell: *cell, stood_still_us, failed };
                println!("{}", report::again(&aside));
                self.results.set_aside.push(aside);
                if self.results.set_aside.len() > SET_ASIDE_MAX {
                    bail!("the machine stands still too often to measure anything on it");
                }
                // Leaders may have changed meanwhile.
                cluster.bear(SETTLE, SETTLE_TIME).await?;
                borne = cluster.bear(*cell, counted).await?;
            }
            cluster.check()?;
            let peak = cluster.largest_peak()?;
            let sample = Sample::new((round, system, *cell), borne, seconds, peak);
            println!("{}", report::progress(&sample));
            self.results.samples.push(sample);
        }
        cluster.stop().await
    }
}

/// Writes to standard error. Where that fails, nobody listens.
fn complain(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stderr().lock(), "cargo compare: {text}"));
}
