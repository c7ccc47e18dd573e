//! Remembers where the values of a configuration came from, so that an error names the place.

use std::collections::BTreeMap;

use super::error::{ConfigError, Place};
use super::locate::{KeyPath, locate};

/// The file that was read, and what the environment put over it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Source {
    /// The file's path as it was given.
    pub(super) file: String,
    /// Its text.
    pub(super) text: String,
    /// The variables that set a key, by key.
    pub(super) variables: BTreeMap<KeyPath, String>,
}

impl Source {
    /// Where the value of `path` is to be corrected.
    pub(super) fn place(&self, path: &KeyPath) -> Place {
        if let Some(variable) = self.variables.get(path) {
            return Place::Variable(variable.clone());
        }
        let (line, column) = locate(&self.text, path);
        Place::Line { file: self.file.clone(), line, column }
    }

    /// That `path` is wrong, as `message` says.
    pub(super) fn error(&self, path: &KeyPath, message: String) -> ConfigError {
        ConfigError { place: self.place(path), key: path.to_string(), message }
    }
}
