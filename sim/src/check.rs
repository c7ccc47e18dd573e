//! `cargo sim check`: says of each file whether its history is linearizable, and if it is not, by
//! which shortest prefix that is seen.
#![expect(clippy::print_stderr, reason = "a file that cannot be read is no verdict")]

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sim::linearizable::{Explanation, Report, check_file};

/// What a line of a history is cut to.
const LINE_CHARS_MAX: usize = 160;
/// The same for what explains it, which names what an object holds.
const REASON_CHARS_MAX: usize = 1_000;

/// A history could not be read.
const UNREADABLE: u8 = 2;

/// Judges all files: success when every one is linearizable, 1 when one is not, 2 when one could
/// not be read.
pub(crate) fn run(files: &[PathBuf]) -> ExitCode {
    let mut worst = 0;
    for file in files {
        worst = worst.max(check(file));
    }
    ExitCode::from(worst)
}

fn check(file: &Path) -> u8 {
    let began = Instant::now();
    match check_file(file) {
        Ok(report) => tell(file, &report, began.elapsed()),
        Err(error) => {
            let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
            eprintln!("{}", cut(&format!("{error}{cause}"), REASON_CHARS_MAX));
            UNREADABLE
        }
    }
}

/// Writes what is said of `file`, all at once; who stops reading early has read enough.
fn tell(file: &Path, report: &Report, took: Duration) -> u8 {
    let word = if report.violation.is_some() { "violation" } else { "linearizable" };
    let (file, operations) = (file.display(), report.operations);
    let millis = took.as_secs_f64() * 1_000.0;
    let mut lines = vec![format!("{word:12}  {file}: {operations} operations in {millis:.1} ms")];
    if let Some(violation) = &report.violation {
        lines.extend(explanation(violation, report.lines));
    }
    drop(io::stdout().write_all((lines.join("\n") + "\n").as_bytes()));
    u8::from(report.violation.is_some())
}

fn explanation(violation: &Explanation, lines: usize) -> impl Iterator<Item = String> {
    let Explanation { prefix_lines, reason, shown, hidden } = violation;
    let prefix = format!("lines 1 to {prefix_lines} of {lines}");
    let head = format!("  the shortest prefix that cannot be explained is {prefix}:");
    let reason = format!("  {}", cut(reason, REASON_CHARS_MAX));
    let hidden = (*hidden > 0).then(|| format!("  {:>7}  ({hidden} lines before these)", "…"));
    let shown =
        shown.iter().map(|(number, line)| format!("  {number:>7}  {}", cut(line, LINE_CHARS_MAX)));
    [head, reason].into_iter().chain(hidden).chain(shown)
}

/// `text` without its middle, if it is longer than `chars_max`.
fn cut(text: &str, chars_max: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= chars_max {
        return text.to_owned();
    }
    let (head, tail) =
        (letters.iter().take(chars_max / 2), letters.iter().rev().take(chars_max / 2));
    let tail: Vec<&char> = tail.collect();
    head.chain([&'…']).chain(tail.into_iter().rev()).collect()
}
