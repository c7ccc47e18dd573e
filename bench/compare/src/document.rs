//! The document that the figures go into: what stands around them is written by hand, and kept.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Puts `part` between the two marks of `name` in the file `path`, which is begun where there is
/// none.
///
/// # Errors
/// When the file cannot be read or written, or has not one of each mark in their order; then it
/// stays as it is.
pub(crate) fn put(path: &Path, name: &str, part: &str) -> Result<()> {
    let (begin, end) = marks(name);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            format!("# Performance\n\n{begin}\n{end}\n")
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let text = with(&text, name, part).with_context(|| format!("change {}", path.display()))?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// # Errors
/// When [`put`] could not put anything there.
pub(crate) fn check(path: &Path, name: &str) -> Result<()> {
    match fs::read_to_string(path) {
        Ok(text) => with(&text, name, "").map(drop),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
    .with_context(|| format!("look at {}", path.display()))
}

fn marks(name: &str) -> (String, String) {
    (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"))
}

fn with(text: &str, name: &str, part: &str) -> Result<String> {
    let (begin, end) = marks(name);
    let parts = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        bail!("it has no line `{begin}` with a line `{end}` below it");
    };
    if [before, after].iter().any(|part| part.contains(&begin) || part.contains(&end)) {
        bail!("it has more than one pair of `{begin}` and `{end}`");
    }
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", part.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "figures";
    const BEGIN: &str = "<!-- figures: begin -->";
    const OTHERS: &str = "<!-- other: begin -->\nThis too.\n<!-- other: end -->";
    const END: &str = "<!-- figures: end -->";

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let text = format!("# By hand\n\n{BEGIN}\nold\n{END}\n\n{OTHERS}\n");
        let once = with(&text, NAME, "\nnew\n").unwrap();
        assert_eq!(once, format!("# By hand\n\n{BEGIN}\n\nnew\n\n{END}\n\n{OTHERS}\n"));
        assert_eq!(with(&once, NAME, "new").unwrap(), once);
    }

    #[test]
    fn a_document_whose_marks_are_not_one_pair_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("PERFORMANCE.md");
        for text in [
            "no marks".to_owned(),
            format!("{END} {BEGIN}"),
            BEGIN.to_owned(),
            format!("{BEGIN}{END}{BEGIN}{END}"),
        ] {
            assert!(with(&text, NAME, "new").is_err(), "{text}");
            fs::write(&path, &text).unwrap();
            assert!(check(&path, NAME).is_err(), "{text}");
        }
    }

    #[test]
    fn a_document_that_is_not_there_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("PERFORMANCE.md");
        check(&path, NAME).unwrap();
        put(&path, NAME, "figures").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# Performance\n") && text.contains("\nfigures\n"), "{text}");
        assert!(text.ends_with(&format!("{END}\n")));
    }
}
