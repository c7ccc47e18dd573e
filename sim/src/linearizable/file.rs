//! A recorded history in a file, of whichever format, and what the judges say of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::history::History;
use super::model::{End, Model, OperationOf};
use super::recorded::{Fault, Recording, key_value, register};
use super::{Contradiction, contradiction, judge};

/// Lines of a broken history that are shown, at most: those nearest to the break.
const SHOWN_LINES_MAX: usize = 40;

/// Why a file could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no history.
    #[error(
        "{}:{}: expected {}, found {}",
        path.display(), fault.line, fault.expected, fault.found
    )]
    NoHistory {
        /// The file.
        path: PathBuf,
        /// Where, and what stands there.
        fault: Fault,
    },
}

/// What is said of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many operations it has.
    pub operations: usize,
    /// How many lines it has.
    pub lines: usize,
    /// Why it is not linearizable, if it is not.
    pub violation: Option<Explanation>,
}

/// Why a history is not linearizable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The shortest prefix that cannot be explained: so many lines.
    pub prefix_lines: usize,
    /// Why it cannot.
    pub reason: String,
    /// Of these lines, those that concern the object or the rule that is broken, by number; the
    /// last one is the last of the prefix.
    pub shown: Vec<(usize, String)>,
    /// How many more of them, before these, are not shown.
    pub hidden: usize,
}

/// Judges the history in a file.
///
/// # Errors
///
/// [`ReadError`], if it cannot be read or holds none.
pub fn check_file(path: &Path) -> Result<Report, ReadError> {
    let read = |source| ReadError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(read)?;
    check_text(&text).map_err(|fault| ReadError::NoHistory { path: path.to_owned(), fault })
}

/// Judges the history in `text`, whose format its first line tells.
///
/// # Errors
///
/// The first line that does not belong into a history of that format.
pub fn check_text(text: &str) -> Result<Report, Fault> {
    let first = (1..).zip(text.lines()).find(|(_, line)| !line.trim().is_empty());
    let (number, line) = first.unwrap_or((1, ""));
    let head = line.trim_start();
    if head.starts_with("INFO") {
        return Ok(judge_recording(text, &register::parse(text)?));
    }
    if head.starts_with("{:") {
        return Ok(judge_recording(text, &key_value::parse(text)?));
    }
    if head.starts_with("{\"") {
        return judge_history(text, &History::parse(text)?);
    }
    let formats =
        "a line of Jepsen (INFO …), of porcupine ({:process …) or of paxosd ({\"event\" …)";
    let found = if line.is_empty() { "nothing" } else { line };
    Err(Fault::new(number, formats, found))
}

fn judge_recording<M: Model>(text: &str, recording: &Recording<M>) -> Report {
    let lines = text.lines().count();
    let operations = recording.objects().map(|(_, operations)| operations.len()).sum();
    let mut through = lines;
    let mut violation = None;
    for (name, operations) in recording.objects() {
        if let Some(found) = contradiction::<M>(operations, through) {
            // What breaks the others only later needs no telling.
            through = found.at.saturating_sub(1);
            violation = Some((name, operations, found));
        }
    }
    let violation =
        violation.map(|(name, operations, found)| explain::<M>(text, name, operations, &found));
    Report { operations, lines, violation }
}

fn explain<M: Model>(
    text: &str,
    name: &str,
    operations: &[OperationOf<M>],
    found: &Contradiction<M::State>,
) -> Explanation {
    let mut shown: Vec<usize> = operations
        .iter()
        .flat_map(|it| [Some(it.called_at), it.ended_at()])
        .flatten()
        .filter(|line| *line <= found.at)
        .collect();
    shown.sort_unstable();
    let states: Vec<String> = found.states.iter().map(ToString::to_string).collect();
    let last = operations.iter().find(|it| it.ended_at() == Some(found.at));
    let reason = match last.map(|operation| &operation.end) {
        Some(End::Denied { .. }) => {
            format!(
                "line {} says that this never happened, but something before needs it",
                found.at
            )
        }
        _ => format!(
            "in no order of what came before can line {} be: {name} would hold {}",
            found.at,
            states.join(" or ")
        ),
    };
    let hidden = shown.len().saturating_sub(SHOWN_LINES_MAX);
    let shown = shown.split_off(hidden);
    Explanation { prefix_lines: found.at, reason, shown: lines(text, &shown), hidden }
}

fn judge_history(text: &str, history: &History) -> Result<Report, Fault> {
    let operations = history.events().iter().filter(|event| event.begins()).count();
    let violation = judge(history)?.map(|broken| {
        let shown: Vec<usize> =
            broken.evidence.iter().chain([&broken.place]).map(|place| place + 1).collect();
        Explanation {
            prefix_lines: broken.place + 1,
            reason: broken.to_string(),
            shown: lines(text, &shown),
            hidden: 0,
        }
    });
    Ok(Report { operations, lines: history.events().len(), violation })
}

/// The lines with these numbers, in this order.
fn lines(text: &str, numbers: &[usize]) -> Vec<(usize, String)> {
    let all: Vec<&str> = text.lines().collect();
    let line = |number: &usize| Some((*number, (*all.get(number - 1)?).to_owned()));
    numbers.iter().filter_map(line).collect()
}
