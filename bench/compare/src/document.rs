//! The document that the figures go into: what stands around them is written by hand, and kept.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};

const BEGIN: &str = "<!-- compare: begin -->";
const END: &str = "<!-- compare: end -->";

/// A document that nobody wrote yet.
const EMPTY: &str = "# Performance\n\n## Beside etcd and ZooKeeper\n\n";

/// Puts `part` between the two marks in the file `path`, which is begun where there is none.
///
/// # Errors
/// When the file cannot be read or written, or has not one of each mark in their order; then it
/// stays as it is.
pub(crate) fn put(path: &Path, part: &str) -> Result<()> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => format!("{EMPTY}{BEGIN}\n{END}\n"),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let text = with(&text, part).with_context(|| format!("change {}", path.display()))?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn with(text: &str, part: &str) -> Result<String> {
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        bail!("it has no line `{BEGIN}` with a line `{END}` below it");
    };
    if [before, after].iter().any(|part| part.contains(BEGIN) || part.contains(END)) {
        bail!("it has more than one pair of `{BEGIN}` and `{END}`");
    }
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", part.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let text = format!("# By hand\n\n{BEGIN}\nold\n{END}\n\nThis too.\n");
        let once = with(&text, "\nnew\n").unwrap();
        assert_eq!(once, format!("# By hand\n\n{BEGIN}\n\nnew\n\n{END}\n\nThis too.\n"));
        assert_eq!(with(&once, "new").unwrap(), once);
    }

    #[test]
    fn a_document_whose_marks_are_not_one_pair_is_left_alone() {
        for text in [
            "no marks".to_owned(),
            format!("{END} {BEGIN}"),
            BEGIN.to_owned(),
            format!("{BEGIN}{END}{BEGIN}{END}"),
        ] {
            assert!(with(&text, "new").is_err(), "{text}");
        }
    }

    #[test]
    fn a_document_that_is_not_there_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("PERFORMANCE.md");
        put(&path, "figures").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# Performance\n") && text.contains("\nfigures\n"), "{text}");
        assert!(text.ends_with(&format!("{END}\n")));
    }
}
