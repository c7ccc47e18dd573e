//! Many keys with put, append and get, as the tests of porcupine record them.
//!
//! ```text
//! {:process 0, :type :invoke, :f :append, :key "5", :value "x 0 5 y"}
//! {:process 0, :type :ok, :f :append, :key "5", :value "x 0 5 y"}
//! ```
//!
//! Each key is an object of its own; one that was never written holds the empty text. `:ok` is an
//! answer, `:fail` says that it did not happen, `:info` that nothing is known.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use super::{Fault, Recording, lines};
use crate::linearizable::model::{Ahead, End, Model};

/// The text of one key.
#[derive(Debug)]
pub struct Text;

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// A text.
    Text(Rc<str>),
    /// A text that is put over before anybody finds it, whatever it is.
    Unseen,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            Self::Unseen => f.write_str("another text"),
        }
    }
}

/// What is asked of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Hold this.
    Put(String),
    /// Hold this behind what you hold.
    Append(String),
    /// What do you hold?
    Get,
}

/// What a key answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// It was written.
    Written,
    /// It holds this.
    Found(String),
}

impl Model for Text {
    type State = Content;
    type Input = Input;
    type Output = Output;

    fn initial() -> Content {
        Content::Text("".into())
    }

    fn step(state: &Content, input: &Input, output: Option<&Output>) -> Option<Content> {
        match (input, output) {
            (Input::Put(text), None | Some(Output::Written)) => {
                Some(Content::Text(text.as_str().into()))
            }
            (Input::Append(more), None | Some(Output::Written)) => Some(match state {
                Content::Text(text) => Content::Text(format!("{text}{more}").into()),
                Content::Unseen => Content::Unseen,
            }),
            (Input::Get, None) => Some(state.clone()),
            (Input::Get, Some(Output::Found(found))) => {
                let is_held = matches!(state, Content::Text(text) if **text == **found);
                is_held.then(|| state.clone())
            }
            (Input::Put(_) | Input::Append(_), Some(Output::Found(_)))
            | (Input::Get, Some(Output::Written)) => None,
        }
    }

    fn only_looks(input: &Input, _: &Output) -> bool {
        *input == Input::Get
    }

    /// A text grows until another is put. So the next text that is found must begin with what is
    /// held now or is put by then, and what no text begins with will never be seen again.
    fn outlook<'a>(
        state: Content,
        ahead: impl Iterator<Item = Ahead<'a, Self>>,
    ) -> Option<Content> {
        let Content::Text(held) = &state else { return Some(state) };
        let mut puts = Vec::new();
        let mut is_next = true;
        for event in ahead {
            match event {
                Ahead::Call(Input::Put(text)) => puts.push(text),
                Ahead::Answer(_, Output::Found(text)) if text.starts_with(&**held) => {
                    return Some(state);
                }
                Ahead::Answer(_, Output::Found(text)) => {
                    if is_next && !puts.iter().any(|start| text.starts_with(*start)) {
                        return None;
                    }
                    is_next = false;
                }
                Ahead::Call(_) | Ahead::Answer(_, Output::Written) => {}
            }
        }
        Some(if is_next { state } else { Content::Unseen })
    }
}

/// Reads a recording.
///
/// # Errors
///
/// The first line that is none of this format, or does not fit to those before.
pub fn parse(text: &str) -> Result<Recording<Text>, Fault> {
    let mut recording = Recording::default();
    for (number, line) in lines(text) {
        read_line(&mut recording, number, line)?;
    }
    Ok(recording)
}

fn read_line(recording: &mut Recording<Text>, number: usize, text: &str) -> Result<(), Fault> {
    let expected = |what| Fault::new(number, what, text);
    let fields = fields(text).ok_or_else(|| expected("{:FIELD VALUE, …}"))?;
    let field = |name, what| fields.get(name).ok_or_else(|| expected(what));
    let Scalar::Bare(process) = field("process", "a :process")? else {
        return Err(expected("the number of a process"));
    };
    let process = process.parse().map_err(|_| expected("the number of a process"))?;
    let Scalar::Text(key) = field("key", "a :key")? else {
        return Err(expected("a text as :key"));
    };
    let object = format!("key {key:?}");
    let kind = field("type", "a :type")?;
    let function = field("f", "a function :f")?;
    let value = field("value", "a :value")?;
    let line = (number, text);
    if *kind == Scalar::Bare(":invoke") {
        let input = input(function, value).ok_or_else(|| expected("put, append or get"))?;
        return recording.call(line, process, &object, input);
    }
    let operation = recording.answered(line, process, &object)?;
    let end = match *kind {
        Scalar::Bare(":ok") => output(function, value, &operation.input)
            .map(|it| End::Returned { at: number, output: it }),
        Scalar::Bare(":fail") => Some(End::Denied { at: number }),
        Scalar::Bare(":info") => Some(End::Unknown),
        Scalar::Bare(_) | Scalar::Text(_) => None,
    };
    operation.end = end.ok_or_else(|| expected("an answer to what this process last invoked"))?;
    Ok(())
}

fn input(function: &Scalar<'_>, value: &Scalar<'_>) -> Option<Input> {
    match (function, value) {
        (Scalar::Bare(":put"), Scalar::Text(text)) => Some(Input::Put(text.clone())),
        (Scalar::Bare(":append"), Scalar::Text(text)) => Some(Input::Append(text.clone())),
        (Scalar::Bare(":get"), _) => Some(Input::Get),
        _ => None,
    }
}

/// What `input` was answered, if this answers it.
fn output(function: &Scalar<'_>, value: &Scalar<'_>, asked: &Input) -> Option<Output> {
    if input(function, value).as_ref() != Some(asked) {
        return None;
    }
    match (asked, value) {
        (Input::Put(_) | Input::Append(_), _) => Some(Output::Written),
        (Input::Get, Scalar::Text(text)) => Some(Output::Found(text.clone())),
        (Input::Get, Scalar::Bare(_)) => None,
    }
}

/// A value in a line: a text in quotes, or anything that stands bare.
#[derive(Debug, PartialEq, Eq)]
enum Scalar<'a> {
    Bare(&'a str),
    Text(String),
}

/// The fields of `{:name value, …}`; nothing if it is not of this form.
fn fields(text: &str) -> Option<BTreeMap<&str, Scalar<'_>>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut fields = BTreeMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix(':')?.split_once(' ')?;
        let (value, after) = scalar(after.trim_start())?;
        fields.insert(name, value);
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(fields)
}

/// The value that opens `text`, and what follows it.
fn scalar(text: &str) -> Option<(Scalar<'_>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return Some((Scalar::Bare(word), rest));
    };
    let mut content = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((Scalar::Text(content), quoted.get(at + 1..)?)),
            '\\' => content.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => content.push(other),
        }
    }
    None
}
