//! A log that has grown, as text.

use crate::cell::Cell;
use crate::cell::{BULK_VALUES, VALUE_BYTES};
use crate::report::{Markdown, bewares, grouped, in_short, mebibytes, ms, rounded};
use crate::results::{Sample, Spread, as_f64};

use super::{CELLS, CatchUp, FILL, Grown, Growth, NEAR_VALUES, ROUNDS, WRITERS};

/// All of it, as Markdown.
pub(crate) fn markdown(growth: &Growth) -> String {
    let values = rounded(as_f64(growth.values));
    format!(
        "Measured on {} by `cargo compare --grown {}` ({}; {}): ten nodes, filled by {} clients \
         with {BULK_VALUES} values of {VALUE_BYTES} bytes a request, {} values a second, \
         synced. Latencies are the medians of {ROUNDS} rounds.{}\n\n{}\n\n\
         Memory at its peak, disk, and the time from the order to start a stopped node until it \
         says that it is healthy, the greatest of each role, with {values} values:\n\n{}\n\n{}\n\n\
         {}",
        growth.date,
        growth.values,
        in_short(&growth.machine),
        growth.version,
        FILL.clients,
        rounded(growth.fill_per_second),
        bewares(&growth.machine),
        latencies(growth),
        nodes(&growth.nodes),
        growth.catch_ups.iter().map(catch_up).collect::<Vec<_>>().join("\n\n"),
        failures(growth),
    )
}

fn failures(growth: &Growth) -> String {
    let failed = match growth.failed {
        0 => "No request failed.".to_owned(),
        failed => format!("Requests that failed: {}.", grouped(failed)),
    };
    match growth.set_aside {
        0 => failed,
        times => format!("{failed} Measured again, for the machine stood still: {times}."),
    }
}

fn latencies(growth: &Growth) -> String {
    let values = rounded(as_f64(growth.values));
    let mut table = Markdown::new([
        "p50 / p99 / a second".to_owned(),
        "from 10,000 values on".to_owned(),
        format!("from {values} on"),
        "p50 and p99 as multiples".to_owned(),
    ]);
    for cell in CELLS {
        let (early, late) = (Latency::of(&growth.early, cell), Latency::of(&growth.late, cell));
        let (Some(early), Some(late)) = (early, late) else { continue };
        let ratios = (late.p50_us / early.p50_us, late.p99_us / early.p99_us);
        let ratios = format!("{:.2}x, {:.2}x", ratios.0, ratios.1);
        table.row([cell.title(), early.told(), late.told(), ratios]);
    }
    table.text
}

/// The medians of some rounds.
struct Latency {
    p50_us: f64,
    p99_us: f64,
    per_second: f64,
}

impl Latency {
    /// Under the load of `cell`; `None` where that was not measured.
    fn of(samples: &[Sample], cell: Cell) -> Option<Self> {
        let median = |figure: fn(&Sample) -> f64| {
            let of = samples.iter().filter(|it| it.cell == cell).map(figure);
            Spread::of(of.collect()).map(|spread| spread.median)
        };
        Some(Self {
            p50_us: median(|it| as_f64(it.p50_us))?,
            p99_us: median(|it| as_f64(it.p99_us))?,
            per_second: median(|it| it.operations_per_second)?,
        })
    }

    fn told(&self) -> String {
        format!("{} / {} / {}", ms(self.p50_us), ms(self.p99_us), rounded(self.per_second))
    }
}

fn nodes(nodes: &[Grown]) -> String {
    let mut roles: Vec<&str> = nodes.iter().map(|node| node.role.as_str()).collect();
    roles.dedup();
    let mut table = Markdown::new(["role", "memory", "disk", "restart"].map(str::to_owned));
    for role in roles {
        let most = |figure: fn(&Grown) -> u64| {
            as_f64(nodes.iter().filter(|it| it.role == role).map(figure).max().unwrap_or(0))
        };
        table.row([
            role.to_owned(),
            mebibytes(most(|it| it.peak_bytes)),
            mebibytes(most(|it| it.disk_bytes)),
            ms(most(|it| it.restart_us)),
        ]);
    }
    table.text
}

fn catch_up(it: &CatchUp) -> String {
    let seconds = as_f64(it.took_us) / 1e6;
    let (values, rate) = (rounded(as_f64(it.values)), rounded(as_f64(it.values) / seconds));
    let peak = mebibytes(as_f64(it.peak_bytes));
    let Some(writers) = it.writers else {
        return format!(
            "A learner whose directory was removed while nobody writes has {values} values again \
             {seconds:.1} s after its start, {rate} values a second; its memory peaks at {peak}."
        );
    };
    format!(
        "One whose directory was removed while {} clients write has {values} values, and is within \
         {} of the other one, {seconds:.1} s after its start, {rate} values a second; its memory \
         peaks at {peak}. They write {} values a second meanwhile, {} before and after.",
        WRITERS.clients,
        grouped(NEAR_VALUES),
        rounded(writers.meanwhile_per_second),
        rounded(writers.usual_per_second),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::Writers;
    use crate::results::tests::{WRITES, results, sample};
    use crate::results::write_json;
    use crate::systems::System;

    fn growth() -> Growth {
        let results = results(Vec::new());
        let early = sample(1, System::Paxosd, WRITES, 40_000.0);
        let late = Sample { p50_us: 1_320, p99_us: 6_000, ..early.clone() };
        let grown = |node: &str, restart_us| Grown {
            node: node.to_owned(),
            role: "learner".to_owned(),
            peak_bytes: 32 << 20,
            disk_bytes: 1400 << 20,
            restart_us,
        };
        let writers = Writers { usual_per_second: 40_000.0, meanwhile_per_second: 37_000.0 };
        let idle =
            CatchUp { values: 10_000_000, took_us: 5_000_000, peak_bytes: 37 << 20, writers: None };
        let under_load = CatchUp { writers: Some(writers), ..idle.clone() };
        Growth {
            date: results.date,
            machine: results.machine,
            version: "paxosd 0.1.0".to_owned(),
            values: 10_000_000,
            fill_per_second: 480_000.0,
            early: vec![early],
            late: vec![late],
            nodes: vec![grown("learner1", 700_000), grown("learner2", 90_000)],
            catch_ups: vec![idle, under_load],
            failed: 0,
            set_aside: 0,
        }
    }

    #[test]
    fn what_was_measured_is_told() {
        let text = markdown(&growth());
        for told in [
            "| writes, 64 clients | 1.20 ms / 4.00 ms / 40,000 | 1.32 ms / 6.00 ms / 40,000 | 1.10x, 1.50x |",
            "| learner | 32 MiB | 1400 MiB | 700 ms |",
            "nobody writes has 10,000,000 values again 5.0 s after its start, 2,000,000 values a",
            "removed while 64 clients write has 10,000,000 values, and is within 20,000 of the",
            "They write 37,000 values a second meanwhile, 40,000 before and after.\n\nNo request failed.",
        ] {
            assert!(text.contains(told), "{told}\n{text}");
        }
    }

    #[test]
    fn what_went_wrong_is_told() {
        let text = markdown(&Growth { failed: 1_500, set_aside: 2, ..growth() });
        let told = "Requests that failed: 1,500. Measured again, for the machine stood still: 2.";
        assert!(text.ends_with(told), "{text}");
    }

    #[test]
    fn the_file_has_an_entry_a_line_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("growth.json");
        write_json(&growth(), &file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(serde_json::from_str::<Growth>(&text).unwrap(), growth());
        assert_eq!(text.lines().count(), 7);
    }
}
