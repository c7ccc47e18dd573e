//! What was measured, as the file of results keeps it, and what the rounds come to together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cell::{CELLS, Cell};
use crate::load::Borne;
use crate::machine::Machine;
use crate::systems::{SYSTEMS, System};
use crate::tally::micros;

/// All that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// YYYY-MM-DD.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rounds: u32,
    /// How long each cell was counted.
    pub(crate) seconds: u64,
    /// What was measured while the machine itself stood still, and therefore again.
    pub(crate) set_aside: Vec<SetAside>,
    pub(crate) samples: Vec<Sample>,
}

/// A measurement that does not count, for this program itself did not run for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SetAside {
    pub(crate) round: u32,
    pub(crate) system: System,
    pub(crate) cell: Cell,
    /// For how long it did not.
    pub(crate) stood_still_us: u64,
    /// Requests that were not granted meanwhile.
    pub(crate) failed: u64,
}

/// One system under the load of one cell, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) round: u32,
    pub(crate) system: System,
    pub(crate) cell: Cell,
    /// Values written or read.
    pub(crate) operations: u64,
    pub(crate) operations_per_second: f64,
    /// Of a request, which in bulk work is many operations.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
    /// The longest time in which no request was granted.
    pub(crate) gap_us: u64,
    /// Processor time of all processes of the system, for one operation.
    pub(crate) cpu_us: f64,
    /// Processor time of the load, for one operation.
    pub(crate) load_cpu_us: f64,
    /// The most memory that the largest process had so far.
    pub(crate) peak_bytes: u64,
    /// Requests that were not granted, by what they came to.
    pub(crate) failed: BTreeMap<String, u64>,
}

impl Sample {
    /// What `borne` comes to that was counted for `seconds`.
    pub(crate) fn new(
        (round, system, cell): (u32, System, Cell),
        borne: Borne,
        seconds: u64,
        peak_bytes: u64,
    ) -> Self {
        let Borne { seen, cpu, load_cpu, stood_still: _ } = borne;
        let operations = seen.granted * cell.work.values();
        let each = |time| as_f64(micros(time)) / as_f64(operations.max(1));
        Self {
            round,
            system,
            cell,
            operations,
            operations_per_second: as_f64(operations) / as_f64(seconds.max(1)),
            p50_us: seen.p50_us,
            p99_us: seen.p99_us,
            max_us: seen.max_us,
            gap_us: seen.gap_us,
            cpu_us: each(cpu),
            load_cpu_us: each(load_cpu),
            peak_bytes,
            failed: seen.failed,
        }
    }

    /// How many requests were not granted.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// The systems that were measured.
    pub(crate) fn systems(&self) -> Vec<System> {
        let is_there = |system: &System| self.samples.iter().any(|it| it.system == *system);
        SYSTEMS.into_iter().filter(is_there).collect()
    }

    /// The cells that were measured.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let is_there = |cell: &Cell| self.samples.iter().any(|it| it.cell == *cell);
        CELLS.into_iter().filter(is_there).collect()
    }

    /// What `system` did under the load of `cell`, round by round.
    pub(crate) fn of(&self, system: System, cell: Cell) -> Vec<&Sample> {
        self.samples.iter().filter(|it| it.system == system && it.cell == cell).collect()
    }

    /// One figure of `system` under the load of `cell`; `None` where that was not measured.
    pub(crate) fn spread(
        &self,
        system: System,
        cell: Cell,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.of(system, cell).into_iter().map(figure).collect())
    }

    /// One figure of paxosd under the load of `cell` as a multiple of that of `peer`, each round's
    /// with the same round's, since the machine may change from round to round.
    pub(crate) fn ratio(
        &self,
        peer: System,
        cell: Cell,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let peers = self.of(peer, cell.of_peer());
        let ours = self.of(System::Paxosd, cell);
        let ratio = |ours: &Sample| {
            let theirs = peers.iter().find(|theirs| theirs.round == ours.round)?;
            let theirs = figure(theirs);
            (theirs > 0.0).then(|| figure(ours) / theirs)
        };
        Spread::of(ours.into_iter().filter_map(ratio).collect())
    }
}

/// Writes `results` as JSON to `path`, an element of a list a line, so that two files can be
/// compared.
pub(crate) fn write_json(results: &impl Serialize, path: &Path) -> Result<()> {
    let text = serde_json::to_string(results).context("write the results as JSON")?;
    let text = text.replace("[{", "[\n{").replace("},{", "},\n{");
    fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
}

/// The same figure of several rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of no figures.
    pub(crate) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let half = figures.len() / 2;
        let upper = *figures.get(half)?;
        let lower = if figures.len().is_multiple_of(2) { *figures.get(half - 1)? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "2^53 of anything is ages")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cell::Work;

    pub(crate) const WRITES: Cell = Cell { work: Work::Write, clients: 64 };

    pub(crate) fn sample(round: u32, system: System, cell: Cell, per_second: f64) -> Sample {
        Sample {
            round,
            system,
            cell,
            operations: 5_000,
            operations_per_second: per_second,
            p50_us: 1_200,
            p99_us: 4_000,
            max_us: 9_000,
            gap_us: 12_000,
            cpu_us: 80.0,
            load_cpu_us: 20.0,
            peak_bytes: 64 << 20,
            failed: BTreeMap::new(),
        }
    }

    pub(crate) fn results(samples: Vec<Sample>) -> Results {
        let machine = Machine {
            processor: "A processor".to_owned(),
            cores: 2,
            memory_bytes: 8 << 30,
            file_system: "ext4".to_owned(),
            kernel: "Linux 6".to_owned(),
            sync_us: 220,
            load_before: 0.0,
            is_filtered: false,
        };
        let versions = BTreeMap::from([("etcd".to_owned(), "etcd 3.4.23".to_owned())]);
        let date = "2026-11-27".to_owned();
        Results { date, machine, versions, rounds: 3, seconds: 5, set_aside: Vec::new(), samples }
    }

    #[test]
    fn a_spread_is_the_median_between_the_least_and_the_greatest() {
        let spread = |figures: &[f64]| Spread::of(figures.to_vec());
        let odd = Spread { median: 3.0, min: 1.0, max: 10.0 };
        assert_eq!(spread(&[10.0, 1.0, 3.0]), Some(odd));
        let even = Spread { median: 3.0, min: 1.0, max: 8.0 };
        assert_eq!(spread(&[1.0, 2.0, 4.0, 8.0]), Some(even));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_ratio_sets_each_round_beside_the_same_round() {
        let results = results(vec![
            sample(1, System::Paxosd, WRITES, 100.0),
            sample(2, System::Paxosd, WRITES, 10.0),
            sample(3, System::Paxosd, WRITES, 90.0),
            sample(1, System::EtcdHttp, WRITES, 20.0),
            sample(2, System::EtcdHttp, WRITES, 2.0),
            sample(3, System::EtcdHttp, WRITES, 30.0),
        ]);
        let figure = |sample: &Sample| sample.operations_per_second;
        let ratio = results.ratio(System::EtcdHttp, WRITES, figure);
        assert_eq!(ratio, Some(Spread { median: 5.0, min: 3.0, max: 5.0 }));
        assert_eq!(results.ratio(System::Zookeeper, WRITES, figure), None);
        assert_eq!(results.systems(), [System::Paxosd, System::EtcdHttp]);
        assert_eq!(results.cells(), [WRITES]);
    }

    #[test]
    fn a_learners_reads_are_set_beside_stale_reads() {
        let cell = |work| Cell { work, clients: 64 };
        let results = results(vec![
            sample(1, System::Paxosd, cell(Work::Learner), 70.0),
            sample(1, System::Zookeeper, cell(Work::Stale), 10.0),
        ]);
        let figure = |sample: &Sample| sample.operations_per_second;
        let ratio = results.ratio(System::Zookeeper, cell(Work::Learner), figure);
        assert_eq!(ratio, Some(Spread { median: 7.0, min: 7.0, max: 7.0 }));
    }

    #[test]
    fn the_file_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.json");
        let mut failed = sample(2, System::EtcdGrpc, WRITES, 3.25);
        failed.failed.insert("gRPC status 14".to_owned(), 3);
        let results = results(vec![sample(1, System::Paxosd, WRITES, 1.5), failed]);
        write_json(&results, &file).unwrap();
        assert_eq!(Results::read(&file).unwrap(), results);
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
        assert_eq!(results.samples[1].failures(), 3);
    }
}
