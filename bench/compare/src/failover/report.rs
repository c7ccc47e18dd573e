//! Leaders that went, as text.

use crate::report::{Markdown, bewares, grouped, in_short, ms};
use crate::results::{Spread, as_f64};

use super::{EVENTS, Failover, Failovers, LOAD, SYSTEMS};

/// The head of the lines of [`progress`].
pub(super) fn progress_head() -> String {
    row(["run", "system", "leader", "gap", "failed"])
}

/// One sample in a line.
pub(super) fn progress(it: &Failover) -> String {
    row([
        &it.run.to_string(),
        it.system.id(),
        it.event.title(),
        &ms(as_f64(it.gap_us)),
        &it.failed.to_string(),
    ])
}

fn row([run, system, leader, gap, failed]: [&str; 5]) -> String {
    format!("{run:>5}  {system:<9}  {leader:<9}  {gap:>10}  {failed:>6}")
}

/// All of it, as Markdown.
pub(crate) fn markdown(failovers: &Failovers) -> String {
    let versions: Vec<&str> = failovers.versions.values().map(String::as_str).collect();
    let mut table = Markdown::new(
        ["what happens to the leader", "system", "runs", "median", "longest", "failed requests"]
            .map(str::to_owned),
    );
    for event in EVENTS {
        for system in SYSTEMS {
            let of = |it: &&Failover| it.event == event && it.system == system;
            let samples: Vec<&Failover> = failovers.samples.iter().filter(of).collect();
            let gaps = samples.iter().map(|it| as_f64(it.gap_us)).collect();
            let Some(gap) = Spread::of(gaps) else { continue };
            // Where a gap lasted to the end, nobody knows for how long it would have.
            let at_least = |gap_us: f64| {
                let is_open = samples.iter().any(|it| it.is_open && as_f64(it.gap_us) <= gap_us);
                format!("{}{}", if is_open { "at least " } else { "" }, ms(gap_us))
            };
            table.row([
                event.title().to_owned(),
                system.title().to_owned(),
                samples.len().to_string(),
                at_least(gap.median),
                at_least(gap.max),
                grouped(samples.iter().map(|it| it.failed).sum()),
            ]);
        }
    }
    format!(
        "Measured on {} by `cargo compare --failover` ({}; {}): the longest time in which none of \
         {} clients that write without pause is granted anything, on fresh nodes every time, every \
         setting at its default. A client that loses its node, or waits for it for 10 s, goes on \
         at the next one. A third of the peers' clients talk to the leader itself, and lose the \
         requests that are on their way; none of paxosd's do, for gateways stand between.{}\n\n\
         {}{}",
        failovers.date,
        in_short(&failovers.machine),
        versions.join("; "),
        LOAD.clients,
        bewares(&failovers.machine),
        table.text,
        set_aside(failovers),
    )
}

/// What does not count, if anything.
fn set_aside(failovers: &Failovers) -> String {
    match failovers.set_aside {
        0 => String::new(),
        times => format!("\n\nMeasured again, for the machine stood still: {times}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::Event;
    use crate::results::tests::results;
    use crate::results::write_json;
    use crate::systems::System;

    fn failovers(samples: Vec<Failover>) -> Failovers {
        let results = results(Vec::new());
        let (machine, versions) = (results.machine, results.versions);
        Failovers { date: results.date, machine, versions, set_aside: 0, samples }
    }

    fn killed(run: u32, system: System, gap_us: u64) -> Failover {
        let is_open = gap_us > 2_000_000;
        Failover { run, system, event: Event::Kill, gap_us, is_open, failed: run.into() }
    }

    #[test]
    fn what_was_measured_stands_in_a_table_and_nothing_else() {
        let text = markdown(&failovers(vec![
            killed(1, System::EtcdHttp, 930_000),
            killed(2, System::EtcdHttp, 1_910_000),
            killed(1, System::Paxosd, 13_000),
            killed(1, System::Zookeeper, 3_000_000),
            killed(2, System::Zookeeper, 500_000),
            killed(3, System::Zookeeper, 400_000),
        ]));
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(
            rows,
            [
                "| `kill -9` | paxosd | 1 | 13.00 ms | 13.00 ms | 1 |",
                "| `kill -9` | etcd HTTP/JSON | 2 | 1420 ms | 1910 ms | 3 |",
                "| `kill -9` | ZooKeeper | 3 | 500 ms | at least 3000 ms | 6 |",
            ]
        );
        assert!(text.contains("16 clients") && text.contains("A processor, 2 cores"), "{text}");
        assert!(!text.contains("SIGSTOP") && !text.contains("Beware"), "{text}");
    }

    #[test]
    fn the_columns_of_what_goes_on_stand_below_their_heads() {
        let line = progress(&killed(12, System::Zookeeper, 580_000));
        assert_eq!(line.chars().count(), progress_head().chars().count(), "{line}");
    }

    #[test]
    fn runs_that_do_not_count_are_told() {
        let mut failovers = failovers(Vec::new());
        assert!(!markdown(&failovers).contains("again"));
        failovers.set_aside = 2;
        assert!(markdown(&failovers).ends_with("again, for the machine stood still: 2."));
    }

    #[test]
    fn the_file_has_a_sample_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("failover.json");
        let failovers = failovers(vec![killed(1, System::Paxosd, 1), killed(2, System::Paxosd, 2)]);
        write_json(&failovers, &file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert_eq!(serde_json::from_str::<Failovers>(&text).unwrap(), failovers);
    }
}
