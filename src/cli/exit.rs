//! How a verb ends: the exit code that a script reads, and the text that a person reads.

use std::fmt;
use std::io;
use std::process::ExitCode;

use bytes::Bytes;

use crate::config::ConfigErrors;
use crate::http::server::BindError;
use crate::storage::DiskError;

/// The exit codes, as `paxosd --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: something failed, or a node is unhealthy.
    Error,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: nobody could do it now, and nothing was changed; try again later.
    Unavailable,
    /// 4: it was refused, and will be again until something is changed.
    Refused,
    /// 5: it may have been done, or may yet be.
    Unknown,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Unavailable => 3,
            Self::Refused => 4,
            Self::Unknown => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    /// What a script is told.
    pub(super) exit: Exit,
    /// What happened, for people; may have several lines.
    pub(super) message: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
    /// The answer that says so, where a node gave one.
    pub(super) body: Option<Bytes>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, body: None }
    }

    /// An error of the machine: `act` failed because of `error`.
    pub(super) fn io(act: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(Exit::Error, format!("cannot {act}: {error}"))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Another hint, behind the one there is.
    pub(super) fn also_hint(self, hint: &str) -> Self {
        let hint = match &self.hint {
            Some(first) => format!("{first}\n  hint: {hint}"),
            None => hint.to_owned(),
        };
        self.hint(hint)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        // Each on a line of its own, as editors and other tools look for `file:line:column`.
        Self::new(Exit::Error, format!("the configuration cannot be used:\n{errors}"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let is_taken = matches!(error.downcast_ref(), Some(BindError::Taken { .. }))
            || matches!(error.downcast_ref(), Some(DiskError::InUse { .. }));
        let exit = if is_taken { Exit::Refused } else { Exit::Error };
        Self::new(exit, format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_prints_its_hint_on_a_line_of_its_own() {
        let failure = Failure::new(Exit::Refused, "the port is taken").hint("stop its owner");
        assert_eq!(failure.to_string(), "the port is taken\n  hint: stop its owner");
    }
}
