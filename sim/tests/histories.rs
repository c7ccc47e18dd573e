//! Histories that others recorded, of systems that were right and of some that were not: the judges
//! must know which.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sim::linearizable::check_file;

/// Any file must be judged in this time, in a debug build too.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn every_recorded_history_gets_its_known_verdict() {
    let Some(folder) = folder() else { return };
    let verdicts = fs::read_to_string(folder.join("verdicts.csv")).unwrap();
    let mut judged = 0;
    for line in verdicts.lines().filter(|line| !line.is_empty()) {
        let (file, verdict) = line.split_once(',').unwrap();
        let began = Instant::now();
        let report = check_file(&folder.join(file)).unwrap();
        let took = began.elapsed();
        let said = if report.violation.is_some() { "violation" } else { "linearizable" };
        assert_eq!(said, verdict, "{file}: {report:?}");
        assert!(took < PATIENCE, "{file} took {took:?}");
        judged += 1;
    }
    assert!(judged > 0, "verdicts.csv names no file");
    eprintln!("{judged} recorded histories judged");
}

#[test]
fn a_shortest_prefix_breaks_and_all_before_its_last_line_does_not() {
    let Some(folder) = folder() else { return };
    let verdicts = fs::read_to_string(folder.join("verdicts.csv")).unwrap();
    for file in verdicts.lines().filter_map(|line| line.strip_suffix(",violation")) {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let judge = |lines: usize| {
            let prefix: String = text.split_inclusive('\n').take(lines).collect();
            sim::linearizable::check_text(&prefix).unwrap().violation
        };
        let whole = judge(usize::MAX).expect("a recorded violation");
        let prefix = judge(whole.prefix_lines).expect("the prefix breaks");
        assert_eq!(prefix.prefix_lines, whole.prefix_lines, "{file}");
        assert_eq!(judge(whole.prefix_lines - 1), None, "{file}");
    }
}

/// Where the histories are, if they are; they are nobody's to copy into this repository.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    if folder.join("verdicts.csv").is_file() {
        return Some(folder);
    }
    eprintln!("skipped: there are no recorded histories at {}", folder.display());
    None
}
