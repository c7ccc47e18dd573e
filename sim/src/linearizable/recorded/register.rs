//! One register with compare-and-set, as Jepsen recorded it of etcd in 2014.
//!
//! ```text
//! INFO  jepsen.util - 2    :invoke  :cas    [3 0]
//! INFO  jepsen.util - 2    :ok      :cas    [3 0]
//! INFO  jepsen.util - 4    :info    :write  :timed-out
//! ```
//!
//! `:ok` is an answer, and `:fail` of a comparison too: the register held something else. `:fail`
//! of anything else says that it did not happen, `:info` that nothing is known.

use std::fmt;

use super::{Fault, Recording, lines};
use crate::linearizable::model::{End, Model};

/// A register that holds a number or nothing.
#[derive(Debug)]
pub struct Register;

/// What a register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content(pub Option<i64>);

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("nil"),
        }
    }
}

/// What is asked of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// What do you hold?
    Read,
    /// Hold this.
    Write(i64),
    /// If you hold the first, hold the second.
    CompareAndSet(i64, i64),
}

/// What a register answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// It holds this.
    Read(Content),
    /// It was written.
    Written,
    /// Whether it held what it was compared with.
    Compared(bool),
}

impl Model for Register {
    type State = Content;
    type Input = Input;
    type Output = Output;

    fn initial() -> Content {
        Content(None)
    }

    fn step(state: &Content, input: &Input, output: Option<&Output>) -> Option<Content> {
        let (after, answer) = match *input {
            Input::Read => (*state, Output::Read(*state)),
            Input::Write(number) => (Content(Some(number)), Output::Written),
            Input::CompareAndSet(old, new) if *state == Content(Some(old)) => {
                (Content(Some(new)), Output::Compared(true))
            }
            Input::CompareAndSet(..) => (*state, Output::Compared(false)),
        };
        output.is_none_or(|output| *output == answer).then_some(after)
    }

    fn only_looks(_: &Input, output: &Output) -> bool {
        match output {
            Output::Read(_) | Output::Compared(false) => true,
            Output::Written | Output::Compared(true) => false,
        }
    }
}

/// Reads a recording.
///
/// # Errors
///
/// The first line that is none of this format, or does not fit to those before.
pub fn parse(text: &str) -> Result<Recording<Register>, Fault> {
    let mut recording = Recording::default();
    for (number, line) in lines(text) {
        read_line(&mut recording, number, line)?;
    }
    Ok(recording)
}

fn read_line(recording: &mut Recording<Register>, number: usize, text: &str) -> Result<(), Fault> {
    const OBJECT: &str = "the register";
    let expected = |what| Fault::new(number, what, text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["INFO", "jepsen.util", "-", process, kind, function, value @ ..] = words.as_slice() else {
        return Err(expected("INFO jepsen.util - PROCESS :KIND :FUNCTION VALUE"));
    };
    if *process == ":nemesis" {
        return Ok(());
    }
    let process = process.parse().map_err(|_| expected("the number of a process"))?;
    let line = (number, text);
    if *kind == ":invoke" {
        let input = input(function, value)
            .ok_or_else(|| expected(":read nil, :write NUMBER or :cas [OLD NEW]"))?;
        return recording.call(line, process, OBJECT, input);
    }
    let operation = recording.answered(line, process, OBJECT)?;
    let is_answer = *function == function_of(operation.input);
    let end = end(number, kind, operation.input, value).filter(|_| is_answer);
    operation.end = end.ok_or_else(|| expected("an answer to what this process last invoked"))?;
    Ok(())
}

const fn function_of(input: Input) -> &'static str {
    match input {
        Input::Read => ":read",
        Input::Write(_) => ":write",
        Input::CompareAndSet(..) => ":cas",
    }
}

fn input(function: &str, value: &[&str]) -> Option<Input> {
    match (function, value) {
        (":read", ["nil"]) => Some(Input::Read),
        (":write", [number]) => Some(Input::Write(number.parse().ok()?)),
        (":cas", [old, new]) => {
            let old = old.strip_prefix('[')?.parse().ok()?;
            let new = new.strip_suffix(']')?.parse().ok()?;
            Some(Input::CompareAndSet(old, new))
        }
        _ => None,
    }
}

/// How an operation ended, by what `line` says of it.
fn end(line: usize, kind: &str, input: Input, value: &[&str]) -> Option<End<Output>> {
    let output = match (kind, input, value) {
        (":info", ..) => return Some(End::Unknown),
        (":ok", Input::Read, ["nil"]) => Output::Read(Content(None)),
        (":ok", Input::Read, [number]) => Output::Read(Content(Some(number.parse().ok()?))),
        (":ok", Input::Write(_), _) if is_same(input, value) => Output::Written,
        (":ok", Input::CompareAndSet(..), _) if is_same(input, value) => Output::Compared(true),
        (":fail", Input::CompareAndSet(..), [_, _]) if is_same(input, value) => {
            Output::Compared(false)
        }
        (":fail", _, [reason]) if reason.starts_with(':') => return Some(End::Denied { at: line }),
        _ => return None,
    };
    Some(End::Returned { at: line, output })
}

/// Whether an answer repeats what was asked for.
fn is_same(asked: Input, value: &[&str]) -> bool {
    input(function_of(asked), value) == Some(asked)
}
