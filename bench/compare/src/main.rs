//! `cargo compare`: the same load on paxosd, etcd and ZooKeeper, in turn, on this machine.
//!
//! - `options`: the command line. `programs`: what is measured, and where it is.
//! - `setup`: what a measurement begins with. `rounds`: loads in turn. `failover`: leaders that go.
//!   `growth`: a long log.
//! - `cell`, `value`: what is asked for. `systems`: who is asked. `wire`: how they are talked to.
//! - `server`: their processes. `procfs`, `machine`: what the kernel says of them and of itself.
//! - `load`, `tally`: the load, and what it saw.
//! - `results`: all figures. `report`, `chart`, `document`: how they are shown.
#![expect(clippy::print_stdout, reason = "a command line tells on standard output")]

mod cell;
mod chart;
mod document;
mod failover;
mod growth;
mod load;
mod machine;
mod options;
mod procfs;
mod programs;
mod report;
mod results;
mod rounds;
mod server;
mod setup;
mod systems;
mod tally;
mod value;
mod wire;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;

use options::Options;
use programs::root;
use results::{Results, write_json};

/// The document that the figures go into, below docs/, and what lies beside it.
const DOCUMENT: &str = "PERFORMANCE.md";
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
    match (options.failover, options.grown) {
        (Some(runs), _) => {
            let target = Target::of(options, "failover", "failover.json")?;
            let failovers = failover::measure(options, runs)?;
            target.show(&failover::markdown(&failovers), &failovers)
        }
        (None, Some(values)) => {
            let target = Target::of(options, "growth", "growth.json")?;
            let growth = growth::measure(options, values)?;
            target.show(&growth::markdown(&growth), &growth)
        }
        (None, None) => {
            let target = Target::of(options, "compare", "performance.json")?;
            let results = match &options.from {
                Some(file) => Results::read(file)?,
                None => rounds::measure(options)?,
            };
            let words = report::in_words(&results);
            target.show(&report::markdown(&results, CHART, &words), &results)?;
            target.draw(&chart::svg(&results))
        }
    }
}

/// Where results go, beside standard output.
struct Target {
    /// Where documents are, if they are to be changed.
    docs: Option<PathBuf>,
    /// The part of the document.
    part: &'static str,
    /// The file with all figures.
    figures: &'static str,
}

impl Target {
    /// # Errors
    /// When the document is to be changed, and has no such part.
    fn of(options: &Options, part: &'static str, figures: &'static str) -> Result<Self> {
        let docs = options.write.then(|| root().join("docs"));
        if let Some(docs) = &docs {
            document::check(&docs.join(DOCUMENT), part)?;
        }
        Ok(Self { docs, part, figures })
    }

    /// Shows `results`, of which `text` tells.
    fn show(&self, text: &str, results: &impl Serialize) -> Result<()> {
        println!("\n{text}");
        let Some(docs) = &self.docs else { return Ok(()) };
        document::put(&docs.join(DOCUMENT), self.part, text)?;
        write_json(results, &docs.join(self.figures))?;
        println!("\nwritten: docs/{DOCUMENT}, docs/{}", self.figures);
        Ok(())
    }

    /// Writes the chart.
    fn draw(&self, svg: &str) -> Result<()> {
        let Some(docs) = &self.docs else { return Ok(()) };
        let chart = docs.join(CHART);
        fs::write(&chart, svg).with_context(|| format!("write {}", chart.display()))?;
        println!("written: docs/{CHART}");
        Ok(())
    }
}

/// Writes to standard error. Where that fails, nobody listens.
fn complain(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stderr().lock(), "cargo compare: {text}"));
}
