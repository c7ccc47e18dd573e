//! What was measured as text: lines as it goes on, and the part of docs/PERFORMANCE.md.

use std::collections::BTreeMap;

use crate::cell::{BULK_VALUES, Cell, VALUE_BYTES, Work};
use crate::machine::Machine;
use crate::results::{Results, Sample, SetAside, Spread, as_f64};
use crate::systems::System;

/// The head of the lines of [`progress`].
pub(crate) fn progress_head() -> String {
    row([
        "round", "system", "cell", "ops/s", "p50", "p99", "gap", "cpu/op", "load/op", "peak",
        "failed",
    ])
}

/// One sample in a line.
pub(crate) fn progress(sample: &Sample) -> String {
    let mut line = row([
        &sample.round.to_string(),
        sample.system.id(),
        &sample.cell.id(),
        &rounded(sample.operations_per_second),
        &ms(as_f64(sample.p50_us)),
        &ms(as_f64(sample.p99_us)),
        &ms(as_f64(sample.gap_us)),
        &us(sample.cpu_us),
        &us(sample.load_cpu_us),
        &mebibytes(as_f64(sample.peak_bytes)),
        &sample.failures().to_string(),
    ]);
    for (what, count) in &sample.failed {
        line = format!("{line}\n      {count} failed: {what}");
    }
    line
}

/// A measurement that does not count, in a line.
pub(crate) fn again(it: &SetAside) -> String {
    format!(
        "{:>5}  {:<9}  {:<10}  again: the machine stood still for {}, and {} requests failed",
        it.round,
        it.system.id(),
        it.cell.id(),
        ms(as_f64(it.stood_still_us)),
        it.failed,
    )
}

fn row(cells: [&str; 11]) -> String {
    let [round, system, cell, ops, p50, p99, gap, cpu, load, peak, failed] = cells;
    format!(
        "{round:>5}  {system:<9}  {cell:<10}  {ops:>9}  {p50:>10}  {p99:>10}  {gap:>10}  \
         {cpu:>9}  {load:>9}  {peak:>9}  {failed:>6}"
    )
}

/// All of it, as Markdown; `chart` is its picture's file, and `alternative` that in words.
pub(crate) fn markdown(results: &Results, chart: &str, alternative: &str) -> String {
    let mut parts = vec![conditions(results), format!("![{alternative}]({chart})")];
    if results.systems().contains(&System::Paxosd) && results.systems().len() > 1 {
        parts.push(format!(
            "### Operations a second, as multiples of the peers'\n\n{}",
            ratios(results)
        ));
        parts.push(format!(
            "### Latency and processor time, as multiples of the peers'\n\n\
             Median latency / 99th percentile / processor time of all nodes for one operation; \
             less is better.\n\n{}",
            cost_ratios(results)
        ));
    }
    parts.push(format!("### What was measured\n\n{}", figures(results)));
    parts.push(failures(results));
    parts.extend(set_aside(results));
    parts.join("\n\n")
}

fn conditions(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<&str> = results.versions.values().map(String::as_str).collect();
    let (rounds, seconds) = (results.rounds, results.seconds);
    let mut text = format!(
        "Measured on {} by `cargo compare`: {rounds} round{}, each system alone in turn in each, \
         fresh nodes every time, and every cell for {seconds} s after 1 s of warm-up. Figures are \
         medians of the rounds, with the least and the greatest in brackets; a ratio is taken \
         within a round.\n\n",
        results.date,
        if rounds == 1 { "" } else { "s" },
    );
    let memory = as_f64(machine.memory_bytes) / as_f64(1 << 30);
    let rows = [
        ("Machine", format!("{}, {} cores, {memory:.0} GiB", machine.processor, machine.cores)),
        ("System", format!("{}, {}", machine.kernel, machine.file_system)),
        (
            "Durability",
            format!(
                "fsync on, for all: a write is answered when a majority has synced it; 4 KiB and \
                 its fdatasync take this disk {} us",
                grouped(machine.sync_us)
            ),
        ),
        ("Versions", versions.join("; ")),
        (
            "Nodes",
            "etcd and ZooKeeper three, paxosd ten (three proposers, three acceptors, two \
             learners, two client gateways), every setting at its default; all of them and the \
             load share the machine"
                .to_owned(),
        ),
        (
            "Load",
            format!(
                "closed loop, on one thread; values of {VALUE_BYTES} bytes, every one under a name \
                 of its own; bulk is {BULK_VALUES} values in one request, all or none"
            ),
        ),
        (
            "Network",
            if machine.is_filtered {
                "the loopback, behind a packet filter that follows connections"
            } else {
                "the loopback, with no packet filter"
            }
            .to_owned(),
        ),
        (
            "Connections",
            "HTTP: one a client; gRPC: ten, which all clients share; ZooKeeper: one session a \
             client; spread over paxosd's two gateways, or all three nodes"
                .to_owned(),
        ),
    ];
    text.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        text = format!("{text}| {name} | {value} |\n");
    }
    text.trim_end().to_owned() + &bewares(machine)
}

/// What makes the figures of `machine` lower than they could be, each in a paragraph behind others.
pub(crate) fn bewares(machine: &Machine) -> String {
    let paragraphs = machine.warnings().into_iter().map(|it| format!("\n\nBeware: {it}."));
    paragraphs.collect()
}

/// `machine` in a few words.
pub(crate) fn in_short(machine: &Machine) -> String {
    let Machine { processor, cores, kernel, file_system, .. } = machine;
    format!("{processor}, {cores} cores, {kernel}, {file_system}")
}

/// The peers that were measured.
fn peers(results: &Results) -> Vec<System> {
    results.systems().into_iter().filter(|system| *system != System::Paxosd).collect()
}

fn ratios(results: &Results) -> String {
    ratio_table(results, |peer, cell| {
        let ratio = results.ratio(peer, cell, |sample| sample.operations_per_second)?;
        Some(with_range(ratio, times, "**"))
    })
}

fn cost_ratios(results: &Results) -> String {
    ratio_table(results, |peer, cell| {
        let p50 = results.ratio(peer, cell, |sample| as_f64(sample.p50_us))?;
        let p99 = results.ratio(peer, cell, |sample| as_f64(sample.p99_us))?;
        let cpu = results.ratio(peer, cell, |sample| sample.cpu_us)?;
        Some([p50, p99, cpu].map(|ratio| times(ratio.median)).join(" / "))
    })
}

fn ratio_table(results: &Results, ratio: impl Fn(System, Cell) -> Option<String>) -> String {
    let peers = peers(results);
    let mut table = Markdown::new(
        std::iter::once("paxosd beside".to_owned())
            .chain(peers.iter().map(|peer| peer.title().to_owned())),
    );
    for cell in results.cells() {
        let ratios = peers.iter().map(|peer| ratio(*peer, cell).unwrap_or_else(|| "–".to_owned()));
        table.row(std::iter::once(cell.title()).chain(ratios));
    }
    table.text
}

fn figures(results: &Results) -> String {
    let mut table = Markdown::new(
        [
            "load",
            "system",
            "operations/s",
            "p50",
            "p99",
            "longest gap",
            "CPU an operation",
            "of the load itself",
            "peak RSS of a node",
            "failed",
        ]
        .map(str::to_owned),
    );
    for cell in results.cells() {
        for system in results.systems() {
            if let Some(row) = figures_of(results, system, cell) {
                table.row(row);
            }
        }
    }
    format!(
        "Latencies are those of requests. The processor time is that of all nodes together, and of \
         the load itself. The memory is that of the largest process since its start.\n\n{}",
        table.text
    )
}

fn figures_of(results: &Results, system: System, cell: Cell) -> Option<[String; 10]> {
    let of = |figure: fn(&Sample) -> f64| results.spread(system, cell, figure);
    let spread = |figure, shown: fn(f64) -> String| of(figure).map(|it| with_range(it, shown, ""));
    let failed: u64 = results.of(system, cell).into_iter().map(Sample::failures).sum();
    Some([
        cell.title(),
        system.title().to_owned(),
        spread(|sample| sample.operations_per_second, rounded)?,
        spread(|sample| as_f64(sample.p50_us), ms)?,
        spread(|sample| as_f64(sample.p99_us), ms)?,
        spread(|sample| as_f64(sample.gap_us), ms)?,
        us(of(|sample| sample.cpu_us)?.median),
        us(of(|sample| sample.load_cpu_us)?.median),
        mebibytes(of(|sample| as_f64(sample.peak_bytes))?.max),
        grouped(failed),
    ])
}

/// The median between `marks`, and the range of the rounds where they differ.
fn with_range(spread: Spread, shown: impl Fn(f64) -> String, marks: &str) -> String {
    let median = format!("{marks}{}{marks}", shown(spread.median));
    let (min, max) = (shown(spread.min), shown(spread.max));
    if min == max { median } else { format!("{median} ({min}–{max})") }
}

fn failures(results: &Results) -> String {
    let mut all: BTreeMap<(System, Cell, &str), u64> = BTreeMap::new();
    for sample in &results.samples {
        for (what, count) in &sample.failed {
            *all.entry((sample.system, sample.cell, what)).or_default() += count;
        }
    }
    if all.is_empty() {
        return "No request failed.".to_owned();
    }
    let told = all.into_iter().map(|((system, cell, what), count)| {
        format!("- {}, {}: {} failed: {what}", system.title(), cell.title(), grouped(count))
    });
    format!("Requests that failed:\n\n{}", told.collect::<Vec<_>>().join("\n"))
}

/// What was measured again, if anything.
fn set_aside(results: &Results) -> Option<String> {
    let longest = results.set_aside.iter().map(|it| it.stood_still_us).max()?;
    let failed = results.set_aside.iter().map(|it| it.failed).sum();
    Some(format!(
        "Measured again, for the machine itself stood still meanwhile, so that not even the load \
         ran: {} measurement{}, for {} at the longest; {} requests failed in what was set aside.",
        results.set_aside.len(),
        if results.set_aside.len() == 1 { "" } else { "s" },
        ms(as_f64(longest)),
        grouped(failed),
    ))
}

/// The writes of the chart, as its text alternative.
pub(crate) fn in_words(results: &Results) -> String {
    let told = results.systems().into_iter().map(|system| {
        let figures = results.cells().into_iter().filter(|cell| cell.work == Work::Write);
        let figures = figures.filter_map(|cell| {
            let spread = results.spread(system, cell, |sample| sample.operations_per_second)?;
            Some(format!("{} with {}", rounded(spread.median), cell.clients))
        });
        format!("{}: {}", system.title(), figures.collect::<Vec<_>>().join(", "))
    });
    let told: Vec<String> = told.collect();
    format!("Durable writes a second by number of clients. {}.", told.join("; "))
}

/// A table as Markdown has it.
pub(crate) struct Markdown {
    pub(crate) text: String,
}

impl Markdown {
    pub(crate) fn new(heads: impl IntoIterator<Item = String>) -> Self {
        let heads: Vec<String> = heads.into_iter().collect();
        let rule = "---|".repeat(heads.len());
        let mut table = Self { text: String::new() };
        table.row(heads);
        table.text = format!("{}\n|{rule}", table.text);
        table
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push('|');
        for cell in cells {
            self.text = format!("{} {cell}{}|", self.text, if cell.is_empty() { "" } else { " " });
        }
    }
}

/// A ratio, to two digits or more.
pub(crate) fn times(ratio: f64) -> String {
    let digits = match ratio {
        ratio if ratio < 1.0 => 2,
        ratio if ratio < 20.0 => 1,
        _ => 0,
    };
    format!("{ratio:.digits$}x")
}

pub(crate) fn ms(micros: f64) -> String {
    let ms = micros / 1e3;
    if ms < 100.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

fn us(micros: f64) -> String {
    if micros < 10.0 { format!("{micros:.1} us") } else { format!("{} us", rounded(micros)) }
}

pub(crate) fn mebibytes(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

/// `number` to the nearest whole, its thousands apart.
pub(crate) fn rounded(number: f64) -> String {
    let text = format!("{number:.0}");
    text.parse().map_or(text, grouped)
}

/// `number` with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{WRITES, results, sample};

    #[test]
    fn a_ratio_is_shown_with_its_range_beside_each_peer() {
        let results = results(vec![
            sample(1, System::Paxosd, WRITES, 24_000.0),
            sample(2, System::Paxosd, WRITES, 27_000.0),
            sample(3, System::Paxosd, WRITES, 21_000.0),
            sample(1, System::EtcdHttp, WRITES, 3_000.0),
            sample(2, System::EtcdHttp, WRITES, 3_000.0),
            sample(3, System::EtcdHttp, WRITES, 3_000.0),
        ]);
        assert_eq!(
            ratios(&results),
            "| paxosd beside | etcd HTTP/JSON |\n|---|---|\n\
             | writes, 64 clients | **8.0x** (7.0x–9.0x) |"
        );
        assert!(cost_ratios(&results).ends_with("| 1.0x / 1.0x / 1.0x |"));
        let text = markdown(&results, "chart.svg", "words");
        assert!(text.contains("24,000 (21,000–27,000) | 1.20 ms | 4.00 ms"), "{text}");
        assert!(text.contains("![words](chart.svg)") && text.contains("No request failed."));
        assert!(text.contains("etcd 3.4.23") && text.contains("2 cores, 8 GiB"), "{text}");
        assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
    }

    #[test]
    fn a_peer_without_figures_gets_a_dash_and_none_at_all_no_ratios() {
        let ours = sample(1, System::Paxosd, WRITES, 24_000.0);
        let bulk = Cell { work: Work::Bulk, clients: 8 };
        let theirs = sample(1, System::Zookeeper, bulk, 3_000.0);
        let text = ratios(&results(vec![ours.clone(), theirs]));
        assert!(text.contains("| writes, 64 clients | – |"), "{text}");
        assert!(!markdown(&results(vec![ours]), "", "").contains("multiples"));
    }

    #[test]
    fn failures_are_told_wherever_they_were() {
        let mut failed = sample(2, System::Zookeeper, WRITES, 10.0);
        failed.failed.insert("ZooKeeper error -4".to_owned(), 1_500);
        assert!(progress(&failed).ends_with("1500 failed: ZooKeeper error -4"));
        let results = results(vec![failed]);
        let text = markdown(&results, "", "");
        assert!(text.contains("ZooKeeper, writes, 64 clients: 1,500 failed: ZooKeeper error -4"));
        assert!(text.contains("| 1,500 |"), "{text}");
    }

    #[test]
    fn what_was_measured_again_is_told() {
        let mut results = results(vec![sample(1, System::EtcdGrpc, WRITES, 10.0)]);
        assert!(!markdown(&results, "", "").contains("again"));
        let (system, cell) = (System::EtcdGrpc, WRITES);
        let paused = SetAside { round: 1, system, cell, stood_still_us: 13_900_000, failed: 62 };
        assert!(again(&paused).ends_with("stood still for 13900 ms, and 62 requests failed"));
        results.set_aside.push(paused);
        let text = markdown(&results, "", "");
        assert!(text.contains("1 measurement, for 13900 ms at the longest; 62 req"), "{text}");
    }

    #[test]
    fn the_columns_of_what_goes_on_stand_below_their_heads() {
        let line = progress(&sample(1, System::EtcdHttp, WRITES, 24_156.4));
        assert_eq!(line.chars().count(), progress_head().chars().count(), "{line}");
        assert!(line.contains("  24,156  ") && line.contains("64 MiB"), "{line}");
    }

    #[test]
    fn figures_are_shown_to_the_digits_that_matter() {
        assert_eq!([0.124, 1.0, 8.04, 33.3].map(times), ["0.12x", "1.0x", "8.0x", "33x"]);
        assert_eq!([420.0, 123_456.0].map(ms), ["0.42 ms", "123 ms"]);
        assert_eq!([3.24, 254.4].map(us), ["3.2 us", "254 us"]);
        assert_eq!([0, 999, 1_000, 12_345_678].map(grouped), ["0", "999", "1,000", "12,345,678"]);
    }
}
