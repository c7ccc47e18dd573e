//! `paxosd send --lines`: a value a line, many of them in one request.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{INPUT_BYTES_MAX, Sender, as_json, as_text};
use crate::cli::args::Format;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::http::Reply;

/// Values of one request at most. Where lines part depends on nothing but the lines, so that those
/// that are sent again under the same key are the same requests.
const VALUES_MAX: usize = 1000;

/// Bytes of its values at most, but for one that is longer.
const BYTES_MAX: usize = 256 << 10;

/// The body of a request.
#[derive(Serialize)]
struct Commands<'v> {
    values: &'v [Box<RawValue>],
}

/// Lines that are written all or none.
struct Batch {
    first_line: u64,
    last_line: u64,
    values: Vec<Box<RawValue>>,
}

/// Takes an input apart.
struct Batches {
    input: Box<dyn BufRead>,
    is_json: bool,
    /// Lines read.
    line: u64,
    /// The line that did not fit into the last batch.
    ahead: Option<(u64, Box<RawValue>)>,
}

/// What of an answer counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sent {
    first_index: Option<u64>,
    last_index: Option<u64>,
}

/// What has been written.
#[derive(Debug, Default)]
struct Tally {
    values: usize,
    last_line: u64,
    first_index: Option<u64>,
    last_index: Option<u64>,
}

/// Writes the lines of the file, and says how many they were and where they stand.
pub(super) async fn send_lines(
    sender: &Sender,
    file: &str,
    is_json: bool,
    format: Format,
) -> Result<(), Failure> {
    let mut batches = Batches { input: open(file)?, is_json, line: 0, ahead: None };
    let mut tally = Tally::default();
    while let Some(batch) = batches.next().map_err(|failure| tally.explain(failure, &sender.key))? {
        let Batch { first_line, last_line, values } = &batch;
        let key = format!("{}/{first_line}", sender.key);
        let reply = sender.post(&Commands { values }, &key).await.map_err(|mut failure| {
            failure.message = format!("lines {first_line} to {last_line}: {}", failure.message);
            tally.explain(failure, &sender.key)
        });
        if let Ok(reply) = &reply {
            tally.add(&batch, reply);
        }
        match format {
            Format::Json => output::raw(reply)?,
            Format::Text => drop(reply?),
        }
    }
    match format {
        Format::Json => Ok(()),
        Format::Text => output::line(&tally.confirmation()),
    }
}

fn open(name: &str) -> Result<Box<dyn BufRead>, Failure> {
    if name == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(name).map_err(|error| {
        Failure::io(format_args!("open {name}"), &error)
            .hint("with --lines, VALUE names a file; `-` is standard input")
    })?;
    Ok(Box::new(BufReader::new(file)))
}

impl Batches {
    fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let (mut first_line, mut last_line, mut bytes) = (0, 0, 0);
        let mut values = Vec::new();
        while let Some((line, value)) = self.value()? {
            let is_full = values.len() == VALUES_MAX || bytes + value.get().len() > BYTES_MAX;
            if is_full && !values.is_empty() {
                self.ahead = Some((line, value));
                break;
            }
            if values.is_empty() {
                first_line = line;
            }
            last_line = line;
            bytes += value.get().len();
            values.push(value);
        }
        Ok((!values.is_empty()).then_some(Batch { first_line, last_line, values }))
    }

    /// The next line that is not empty, by its number from 1.
    fn value(&mut self) -> Result<Option<(u64, Box<RawValue>)>, Failure> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        while let Some(text) = self.text()? {
            if !text.is_empty() {
                let value = as_json(text, self.is_json).map_err(|mut failure| {
                    failure.message = format!("line {}: {}", self.line, failure.message);
                    failure
                })?;
                return Ok(Some((self.line, value)));
            }
        }
        Ok(None)
    }

    /// The next line, without what ends it.
    fn text(&mut self) -> Result<Option<String>, Failure> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(INPUT_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
        let read = read.map_err(|error| Failure::io("read the lines", &error))?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
        as_text(format_args!("line {}: it", self.line), bytes).map(Some)
    }
}

impl Tally {
    fn add(&mut self, batch: &Batch, reply: &Reply) {
        let sent: Sent = serde_json::from_slice(&reply.body).unwrap_or_default();
        self.values += batch.values.len();
        self.last_line = batch.last_line;
        self.first_index = self.first_index.or(sent.first_index);
        self.last_index = sent.last_index.or(self.last_index);
    }

    fn confirmation(&self) -> String {
        let range = self.first_index.zip(self.last_index);
        let range = range.map(|(first, last)| format!(", index {first} to {last}"));
        format!("ok: {} values{}", self.values, range.unwrap_or_default())
    }

    /// `failure`, with what stands already, and how to go on.
    fn explain(&self, mut failure: Failure, key: &str) -> Failure {
        if self.values > 0 {
            let message = format!("lines 1 to {} are written", self.last_line);
            failure.message = format!("{}\n{message}", failure.message);
        }
        if self.values > 0 || failure.exit == Exit::Unknown {
            return failure.also_hint(&format!(
                "send all of them again with --key {key}: what is written is not written again"
            ));
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &str, is_json: bool) -> Result<Vec<(u64, u64, Vec<String>)>, Failure> {
        let input = Box::new(io::Cursor::new(text.to_owned()));
        let mut batches = Batches { input, is_json, line: 0, ahead: None };
        let mut all = Vec::new();
        while let Some(Batch { first_line, last_line, values }) = batches.next()? {
            let values = values.iter().map(|value| value.get().to_owned()).collect();
            all.push((first_line, last_line, values));
        }
        Ok(all)
    }

    #[test]
    fn lines_are_values_and_empty_ones_none() {
        let all = batches("one\n\n\"two\"\r\nthree", false).unwrap();
        let values = [r#""one""#, r#""\"two\"""#, r#""three""#].map(str::to_owned);
        assert_eq!(all, [(1, 4, values.to_vec())]);
        assert_eq!(batches("7\n[1, 2]\n", true).unwrap()[0].2, ["7", "[1, 2]"]);
        assert_eq!(batches("\n\n", false).unwrap(), []);
    }

    #[test]
    fn a_request_has_so_many_values_and_so_many_bytes() {
        let many = "x\n".repeat(2 * VALUES_MAX + 1);
        let ends: Vec<_> = batches(&many, false).unwrap().iter().map(|it| (it.0, it.1)).collect();
        assert_eq!(ends, [(1, 1000), (1001, 2000), (2001, 2001)]);
        let long = format!("a\n{}\nb\n", "y".repeat(BYTES_MAX));
        let ends: Vec<_> = batches(&long, false).unwrap().iter().map(|it| (it.0, it.1)).collect();
        assert_eq!(ends, [(1, 1), (2, 2), (3, 3)]);
    }

    #[test]
    fn a_line_that_is_no_value_is_named() {
        let failure = batches("1\n{\"a\":\n", true).unwrap_err();
        assert!(failure.message.starts_with("line 2: the value is not JSON"), "{failure}");
        let mut bytes = Batches {
            input: Box::new(io::Cursor::new(b"ok\nn\xFF\n".to_vec())),
            is_json: false,
            line: 0,
            ahead: None,
        };
        let failure = bytes.next().err().unwrap();
        assert_eq!(failure.message, "line 2: it is not UTF-8 at byte 1");
    }
}
