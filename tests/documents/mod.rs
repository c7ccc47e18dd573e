//! What the tests of the documents share: the repository's files and the commands in Markdown.

use std::fs;
use std::path::{Path, PathBuf};

/// The path of `name` in the repository.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of the repository's file `name`.
pub(crate) fn read(name: &str) -> String {
    let path = path(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The commands in the ```` ```bash ```` blocks of `markdown`, a line each, in order and without
/// their comments.
pub(crate) fn commands(markdown: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut is_command = false;
    for line in markdown.lines().map(str::trim) {
        if line.starts_with("```") {
            is_command = line == "```bash";
        } else if is_command {
            let command = line.split_once(" # ").map_or(line, |(command, _)| command).trim_end();
            if !command.is_empty() && !command.starts_with('#') {
                commands.push(command.to_owned());
            }
        }
    }
    commands
}
