//! What a load came to, for people and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::disk::{Synced, is_too_fast};
use super::tally::{Kind, Seen};
use crate::cli::args::{BenchArgs, Work};
use crate::cli::output::{Cell, Table};

/// What a load came to. Its fields are what `--output json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    work: &'static str,
    clients: u32,
    /// Requests a second that were asked for, in an open loop; absent in a closed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u64>,
    value_bytes: u32,
    values_per_request: u32,
    /// For how long answers were counted.
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Side>,
    /// The journals of the acceptors that could be asked.
    acceptors: Vec<Synced>,
    warnings: Vec<String>,
}

/// One kind of request.
#[derive(Debug, Serialize)]
struct Side {
    granted: u64,
    granted_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    values_per_second: Option<f64>,
    failed: BTreeMap<String, u64>,
    latency_us: Latency,
    longest_gap_ms: f64,
    /// From the start of the count.
    longest_gap_at_s: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Report {
    /// The report of the load `args` that was counted for `counted`.
    pub(super) fn new(
        args: &BenchArgs,
        mut seen: BTreeMap<Kind, Seen>,
        counted: Duration,
        acceptors: Vec<Synced>,
    ) -> Self {
        let seconds = counted.as_secs_f64().max(f64::MIN_POSITIVE);
        let values = (args.values > 1).then_some(args.values);
        let writes = seen.remove(&Kind::Write).map(|seen| Side::new(&seen, seconds, values));
        let reads = seen.remove(&Kind::Read).map(|seen| Side::new(&seen, seconds, None));
        let mut report = Self {
            work: name(args.work),
            clients: args.clients,
            rate: args.rate,
            value_bytes: args.value_bytes,
            values_per_request: args.values,
            seconds,
            writes,
            reads,
            acceptors,
            warnings: Vec::new(),
        };
        report.warnings = report.doubts(args.work);
        report
    }

    /// Requests that were granted.
    pub(super) fn granted(&self) -> u64 {
        self.sides().map(|(_, side)| side.granted).sum()
    }

    /// What became of the others, for one who asks why none was granted.
    pub(super) fn failures(&self) -> String {
        let failures = self.sides().flat_map(|(_, side)| &side.failed);
        let told: Vec<String> = failures.map(|(what, count)| format!("{count}x {what}")).collect();
        if told.is_empty() { "no answer came in time".to_owned() } else { told.join(", ") }
    }

    fn sides(&self) -> impl Iterator<Item = (&'static str, &Side)> {
        let sides = [("writes", &self.writes), ("reads", &self.reads)];
        sides.into_iter().filter_map(|(name, side)| Some((name, side.as_ref()?)))
    }

    fn doubts(&self, work: Work) -> Vec<String> {
        // Reads ask acceptors, and write nothing: then a turn says nothing of the disk.
        let writes_only = work == Work::Write;
        let mut doubts = Vec::new();
        if let Some(fast) = self.acceptors.iter().find(|it| writes_only && is_too_fast(it)) {
            doubts.push(format!(
                "an acceptor writes and syncs in {:.0} us: its disk does not really sync, and \
                 these figures are not those of durable writes",
                fast.mean_us
            ));
        }
        doubts
    }

    /// The report for people.
    pub(super) fn text(&self, colour: bool) -> String {
        let pace = match self.rate {
            Some(rate) => format!("open loop, {} a second", grouped(rate)),
            None => "closed loop".to_owned(),
        };
        let values = match self.values_per_request {
            1 => format!("values of {} bytes", self.value_bytes),
            many => format!("{many} values of {} bytes a request", self.value_bytes),
        };
        let mut lines = vec![format!(
            "{}: {} clients, {values}, {pace}, {:.1} s",
            self.work, self.clients, self.seconds
        )];
        let mut table =
            Table::new(["", "granted", "a second", "p50", "p90", "p99", "p99.9", "max", "gap"]);
        for (name, side) in self.sides() {
            table.row(side.row(name));
        }
        lines.push(table.render(colour));
        for (name, side) in self.sides() {
            lines.extend(side.remarks(name));
        }
        lines.extend(self.disks());
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines.join("\n")
    }

    fn disks(&self) -> Option<String> {
        if self.acceptors.is_empty() {
            return None;
        }
        let turn = |it: &Synced| format!("{:.0} x {:.0} us", it.turns, it.mean_us);
        let turns: Vec<String> = self.acceptors.iter().map(turn).collect();
        Some(format!("journal turns of the acceptors, each one sync: {}", turns.join(", ")))
    }
}

impl Side {
    fn new(seen: &Seen, seconds: f64, values: Option<u32>) -> Self {
        let granted = seen.latencies.len();
        let granted_per_second = as_f64(granted) / seconds;
        let at = |quantile| seen.latencies.value_at_quantile(quantile);
        Self {
            granted,
            granted_per_second,
            values_per_second: values.map(|values| granted_per_second * f64::from(values)),
            failed: seen.failures.clone(),
            latency_us: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: seen.latencies.max(),
            },
            longest_gap_ms: seen.gap.as_secs_f64() * 1e3,
            longest_gap_at_s: seen.gap_at.as_secs_f64(),
        }
    }

    fn row(&self, name: &str) -> [Cell; 9] {
        let Latency { p50, p90, p99, p999, max } = self.latency_us;
        let ms = |micros: u64| format!("{:.2} ms", as_f64(micros) / 1e3);
        [
            name.into(),
            grouped(self.granted).into(),
            rounded(self.granted_per_second).into(),
            ms(p50).into(),
            ms(p90).into(),
            ms(p99).into(),
            ms(p999).into(),
            ms(max).into(),
            format!("{:.0} ms", self.longest_gap_ms).into(),
        ]
    }

    fn remarks(&self, name: &str) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(values) = self.values_per_second {
            remarks.push(format!("{name}: {} values a second", rounded(values)));
        }
        remarks.push(format!(
            "{name}: the longest time without an answer began at {:.2} s",
            self.longest_gap_at_s
        ));
        for (what, count) in &self.failed {
            remarks.push(format!("{name}: {} failed: {what}", grouped(*count)));
        }
        remarks
    }
}

fn name(work: Work) -> &'static str {
    match work {
        Work::Write => "write",
        Work::Read => "read",
        Work::ReadStale => "read-stale",
        Work::Mixed => "mixed",
    }
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "2^53 requests are ages")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// `number` to the nearest whole, its thousands apart.
fn rounded(number: f64) -> String {
    let text = format!("{number:.0}");
    text.parse().map_or(text, grouped)
}

/// `number` with its thousands apart.
fn grouped(number: u64) -> String {
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
    use super::super::tally::Tally;
    use super::*;
    use clap::Parser;
    use tokio::time::Instant;

    use crate::cli::args::{Cli, Verb};

    fn args(line: &[&str]) -> BenchArgs {
        let cli = Cli::try_parse_from(["paxosd", "bench"].iter().chain(line)).unwrap();
        let Verb::Bench(args) = cli.verb else { panic!("not bench") };
        args
    }

    fn report(line: &[&str], acceptors: Vec<Synced>) -> Report {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut tally = Tally::new(start, &[Kind::Write]);
        for number in 0..100 {
            tally.note(Kind::Write, ms(number * 20), ms(number * 20 + 5), Ok(()));
        }
        tally.note(Kind::Write, ms(0), ms(1_990), Err("status 503".to_owned()));
        let (seen, counted) = tally.close(ms(2_000));
        Report::new(&args(line), seen, counted, acceptors)
    }

    #[test]
    fn a_report_says_rates_latencies_the_gap_and_failures() {
        let report = report(&["write", "--values", "20"], vec![]);
        let text = report.text(false);
        for part in ["64 clients", "closed loop", "2.0 s", "100 ", "50 ", "5.00 ms", "20 ms"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.contains("writes: 1,000 values a second"), "{text}");
        assert!(text.contains("writes: 1 failed: status 503"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["writes"]["granted"], 100);
        assert_eq!(json["writes"]["failed"]["status 503"], 1);
        assert_eq!(json["writes"]["values_per_second"], 1_000.0);
        assert!(json.get("reads").is_none() && json.get("rate").is_none());
    }

    #[test]
    fn a_disk_that_does_not_sync_is_warned_of_where_only_writes_were_measured() {
        let fast = vec![Synced { turns: 900.0, mean_us: 4.0 }];
        assert!(report(&["write"], fast.clone()).text(false).contains("does not really sync"));
        assert!(!report(&["mixed"], fast).text(false).contains("does not really sync"));
        let real = vec![Synced { turns: 900.0, mean_us: 240.0 }];
        let text = report(&["write"], real).text(false);
        assert!(text.contains("900 x 240 us") && !text.contains("warning"), "{text}");
    }

    #[test]
    fn thousands_stand_apart() {
        let shown = [0, 999, 1_000, 12_345_678].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "12,345,678"]);
    }
}
