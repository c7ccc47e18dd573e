//! What is wrong with a configuration: where it stands, which key, and what to write instead.

use std::fmt;

/// Where a value came from, and so where it is to be corrected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File {
        /// Its path as it was given.
        file: String,
    },
    /// A position in the file.
    Line {
        /// Its path as it was given.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// The command line.
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file } => f.write_str(file),
            Self::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// One broken rule. It prints as `config/cluster.yaml:14:9: nodes[3].id: 100 is over 99; write an
/// id from 1 to 99`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {}{message}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
pub struct ConfigError {
    /// Where to correct it.
    pub place: Place,
    /// The key, as `nodes[3].id`; empty where no single key is at fault.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Every broken rule that was found, in the order of the file; never empty. It prints one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Ok` when nothing was found.
    pub(super) fn none_of(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by_key(|error| match error.place {
            Place::File { .. } => (0, 0),
            Place::Line { line, column, .. } => (line, column),
            Place::Variable(_) | Place::CommandLine => (usize::MAX, 0),
        });
        Err(Self(errors))
    }

    /// Them, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// `; did you mean …?` where one of `known` is close to `word`, else the list of them.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    // A third of the letters wrong is still a slip, and so are two swapped; more is another word.
    let letters = word.chars().count();
    let limit = if letters < 4 { 1 } else { (letters / 3).max(2) };
    let slips = |candidate: &str| {
        // An ending forgotten, as a unit is, is one slip.
        let begun = letters > 2 && candidate.starts_with(word);
        if begun { 1 } else { distance(word, candidate) }
    };
    let closest = known
        .clone()
        .into_iter()
        .map(|candidate| (slips(candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min();
    if let Some((_, candidate)) = closest {
        format!("; did you mean `{candidate}`?")
    } else {
        let list: Vec<&str> = known.into_iter().collect();
        format!("; there are {}", list.join(", "))
    }
}

/// Letters to insert, delete or replace to make `right` of `left` (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (at, wanted) in left.chars().enumerate() {
        let mut diagonal = at;
        let mut before = at + 1;
        let mut next = vec![before];
        for (found, above) in right.chars().zip(row.iter().skip(1)) {
            before = (above + 1).min(before + 1).min(diagonal + usize::from(wanted != found));
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_slips() {
        for (left, right, slips) in
            [("", "", 0), ("abc", "abc", 0), ("hearbeat", "heartbeat", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), slips, "{left} {right}");
            assert_eq!(distance(right, left), slips, "{right} {left}");
        }
    }

    #[test]
    fn a_slip_is_answered_with_the_word_and_nonsense_with_the_list() {
        let known = ["heartbeat_ms", "timeout_ms"];
        assert_eq!(did_you_mean("hearbeat_ms", known), "; did you mean `heartbeat_ms`?");
        assert_eq!(did_you_mean("timeout", known), "; did you mean `timeout_ms`?");
        assert_eq!(did_you_mean("colour", known), "; there are heartbeat_ms, timeout_ms");
    }
}
