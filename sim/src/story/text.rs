//! Small helps for texts that grow.

use std::fmt::{self, Write as _};

/// Adds words to a text.
pub(crate) fn add(text: &mut String, words: fmt::Arguments<'_>) {
    text.write_fmt(words).expect("memory takes whatever is written");
}

/// `text` as it may stand in a page.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `text` as a sentence begins.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    first + letters.as_str()
}
