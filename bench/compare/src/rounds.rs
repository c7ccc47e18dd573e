//! Every system under every load, in turn, round after round.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cell::{CELLS, Cell, Work};
use crate::load::UNSOUND;
use crate::options::Options;
use crate::report;
use crate::results::{Results, Sample, SetAside, write_json};
use crate::setup::{Setup, carry_out};
use crate::systems::{Cluster, SYSTEMS, System};
use crate::tally::micros;

/// What every system bears before its first cell, so that none is measured cold: a JVM compiles
/// what runs often, and files grow to their size.
const SETTLE: Cell = Cell { work: Work::Write, clients: 64 };
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// How often the machine may stand still.
const SET_ASIDE_MAX: usize = 20;

/// Measures what `options` name.
pub(crate) fn measure(options: &Options) -> Result<Results> {
    let cells = chosen(&options.cells)?;
    let setup = Setup::new(options, &SYSTEMS)?;
    let results = Results {
        date: setup.date.clone(),
        machine: setup.machine.clone(),
        versions: setup.versions.clone(),
        rounds: options.rounds,
        seconds: options.seconds,
        set_aside: Vec::new(),
        samples: Vec::new(),
    };
    let mut rounds = Rounds { setup, cells, results };
    carry_out(rounds.measure())?;
    Ok(rounds.results)
}

/// The cells with these `names`, or else all.
fn chosen(names: &[String]) -> Result<Vec<Cell>> {
    let is_named =
        |cell: &Cell| names.iter().any(|name| *name == cell.id() || name == cell.work.name());
    let cells: Vec<Cell> =
        CELLS.into_iter().filter(|cell| names.is_empty() || is_named(cell)).collect();
    if cells.is_empty() {
        let all: Vec<String> = CELLS.iter().map(|cell| cell.id()).collect();
        bail!("no cell is called {}; there are {}", names.join(" or "), all.join(", "));
    }
    Ok(cells)
}

/// What is measured, and what was so far.
struct Rounds {
    setup: Setup,
    cells: Vec<Cell>,
    results: Results,
}

impl Rounds {
    async fn measure(&mut self) -> Result<()> {
        println!("{}", report::progress_head());
        for round in 1..=self.results.rounds {
            for system in self.setup.systems.clone() {
                let dir = self.setup.dir.join(format!("round-{round}")).join(system.id());
                self.measure_one(round, system, &dir).await?;
                write_json(&self.results, &self.setup.dir.join("results.json"))?;
            }
        }
        Ok(())
    }

    async fn measure_one(&mut self, round: u32, system: System, dir: &Path) -> Result<()> {
        let seconds = self.results.seconds;
        let mut cluster = Cluster::start(system, &self.setup.programs, dir).await?;
        let settled = cluster.bear(SETTLE, SETTLE_TIME).await?;
        for (what, count) in settled.seen.failed {
            println!("{round:>5}  {:<9}  while it settled, {count} failed: {what}", system.id());
        }
        for cell in self.cells.iter().filter(|cell| system.does(cell.work)) {
            let counted = Duration::from_secs(seconds);
            let mut borne = cluster.bear(*cell, counted).await?;
            while !borne.is_sound() {
                let stood_still_us = micros(borne.stood_still);
                let failed = borne.failures();
                let aside = SetAside { round, system, cell: *cell, stood_still_us, failed };
                println!("{}", report::again(&aside));
                self.results.set_aside.push(aside);
                if self.results.set_aside.len() > SET_ASIDE_MAX {
                    bail!(UNSOUND);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_chosen_by_their_name_or_by_that_of_their_work() {
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(&names).map(|cells| cells.into_iter().map(Cell::id).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]).unwrap().len(), CELLS.len());
        assert_eq!(chosen(&["bulk", "write-64"]).unwrap(), ["write-64", "bulk-8"]);
        let error = chosen(&["wriet"]).unwrap_err().to_string();
        assert!(error.contains("no cell is called wriet; there are write-1, "), "{error}");
    }
}
