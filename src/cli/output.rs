//! What the verbs print: lines, aligned tables, and colour where a person looks on.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};

use super::exit::{Exit, Failure};
use crate::config::Env;
use crate::http::Reply;

/// Spaces between two columns.
const GAP: &str = "  ";

/// Writes `text` and a line end to standard output. A reader who has gone, as `head` goes, has
/// seen enough.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes `bytes` to standard output as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    bytes_if_read(bytes).map(drop)
}

/// Writes `bytes` to standard output, and tells whether somebody still reads there.
pub(super) fn bytes_if_read(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(Failure::new(Exit::Error, format!("cannot write to standard output: {error}")))
        }
    }
}

/// `text` with nothing in it that would drive a terminal or turn its line around: such letters
/// become \u escapes, which JSON takes for the same letters.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let drives = |letter: char| {
        let turns = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        letter.is_control() || turns
    };
    if !text.contains(drives) {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| match letter {
        letter if drives(letter) => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// JSON text as one line that is safe to print. It means the same.
pub(super) fn json_line(text: &str) -> String {
    // Inside of JSON's strings these are written as escapes, so here they are only white space.
    let line = text.replace(['\n', '\r', '\t'], " ");
    printable(&line).into_owned()
}

/// Writes the body of `answer`, be it a grant or a refusal, and a line end where it has none.
pub(super) fn raw(answer: Result<Reply, Failure>) -> Result<(), Failure> {
    let (body, failure) = match answer {
        Ok(reply) => (Some(reply.body), None),
        Err(failure) => (failure.body.clone(), Some(failure)),
    };
    if let Some(body) = body {
        bytes(&body)?;
        if !body.ends_with(b"\n") {
            bytes(b"\n")?;
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Writes `text` to standard error, in the name of the program. Where that fails, nobody listens.
pub(super) fn complain(text: &str) {
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(printable).collect();
    drop(writeln!(io::stderr().lock(), "paxosd: {}", lines.join("\n")));
}

/// Whether standard output takes colours: a terminal whose user did not set `NO_COLOR`.
pub(super) fn takes_colour(env: &Env) -> bool {
    io::stdout().is_terminal() && env.get("NO_COLOR").is_none_or(String::is_empty)
}

/// How a text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// As it should be.
    Good,
    /// Worth a look.
    Uneasy,
    /// Broken.
    Bad,
}

impl Tone {
    /// `text` in this tone, on a terminal that shows colours.
    pub(super) fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Strong => "1",
            Self::Good => "32",
            Self::Uneasy => "33",
            Self::Bad => "31",
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A text in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    /// The number, or a dash where there is none.
    pub(super) fn number(number: Option<u64>) -> Self {
        Self::from(number.map_or_else(|| "-".to_owned(), |number| number.to_string()))
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows of cells under headings, each column as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[Cell; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.map(|heading| Cell::new(heading, Tone::Strong))] }
    }

    pub(super) fn row(&mut self, cells: [Cell; COLUMNS]) {
        self.rows.push(cells);
    }

    /// The table as lines without trailing spaces.
    pub(super) fn render(&self, colour: bool) -> String {
        let mut widths = [0; COLUMNS];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let lines: Vec<String> =
            self.rows.iter().map(|row| laid_out(row, &widths, colour)).collect();
        lines.join("\n")
    }
}

fn laid_out(row: &[Cell], widths: &[usize], colour: bool) -> String {
    let mut line = String::new();
    let mut spaces = 0;
    for (cell, width) in row.iter().zip(widths) {
        // Spaces stand outside of the colour, and only before a cell that follows.
        line.extend(std::iter::repeat_n(' ', spaces));
        line.push_str(&cell.tone.paint(&cell.text, colour));
        spaces = width - cell.text.chars().count() + GAP.len();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "ID", "STATE"]);
        table.row(["proposer1".into(), Cell::number(Some(1)), Cell::new("leader", Tone::Good)]);
        table.row(["é".into(), Cell::number(None), "down".into()]);
        assert_eq!(
            table.render(false),
            "NAME       ID  STATE\n\
             proposer1  1   leader\n\
             é          -   down"
        );
    }

    #[test]
    fn a_text_of_somebody_else_does_not_drive_the_terminal() {
        for (text, shown) in [
            ("größer ✓ 語", "größer ✓ 語"),
            ("\x1b[2J\u{7}", "\\u001b[2J\\u0007"),
            ("\u{9b}31m\u{7f}", "\\u009b31m\\u007f"),
            ("a\u{202e}b\nc", "a\\u202eb\\u000ac"),
        ] {
            assert_eq!(printable(text), shown);
        }
        let json = "{\"a\":\n\t\"\u{9b}\u{7f}\"}";
        let line = json_line(json);
        assert_eq!(line, "{\"a\":  \"\\u009b\\u007f\"}");
        let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(&line), value(json));
    }

    #[test]
    fn colour_changes_no_width() {
        let mut table = Table::new(["A", "B"]);
        table.row([Cell::new("x", Tone::Bad), "y".into()]);
        assert_eq!(table.render(true), "\x1b[1mA\x1b[0m  \x1b[1mB\x1b[0m\n\x1b[31mx\x1b[0m  y");
    }
}
