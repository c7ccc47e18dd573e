//! The log on standard error.

use std::fmt;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::{Error, Handle};

use crate::config::{Log, LogFormat, LogLevel};

/// Puts another filter in the place of the one that was set up.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), Error> + Send + Sync>;

/// Changes the level of the log.
pub struct LogControl {
    /// Absent where `RUST_LOG` says what is written, or another log was set up before.
    set: Option<SetFilter>,
}

impl LogControl {
    /// Writes what is at least as severe as `level` from now on. Tells whether it does: where
    /// `RUST_LOG` is set, that goes before.
    #[must_use]
    pub fn set_level(&self, level: LogLevel) -> bool {
        self.set.as_ref().is_some_and(|set| set(EnvFilter::new(level.as_str())).is_ok())
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").field("is_free", &self.set.is_some()).finish()
    }
}

/// Sets up the log as configured; `RUST_LOG` overrides the level with directives of its own.
#[must_use]
pub fn init(log: &Log) -> LogControl {
    let directives = EnvFilter::try_from_default_env().ok();
    let is_free = directives.is_none();
    let filter = directives.unwrap_or_else(|| EnvFilter::new(log.level.as_str()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A file or a pipe is for reading later: colours there are noise.
        .with_ansi(std::io::stderr().is_terminal())
        // A line that cannot be written, on a full disk or into a pipe that nobody reads any more,
        // is lost. To complain of it on the very stream that failed would be a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let (set, done) = match log.format {
        LogFormat::Text => {
            let builder = builder.with_target(false).with_filter_reloading();
            (setter(builder.reload_handle()), builder.try_init())
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            (setter(builder.reload_handle()), builder.try_init())
        }
    };
    if let Err(error) = &done {
        tracing::debug!(%error, "the log was set up before");
    }
    LogControl { set: (is_free && done.is_ok()).then_some(set) }
}

fn setter<S: 'static>(handle: Handle<EnvFilter, S>) -> SetFilter {
    Box::new(move |filter| handle.reload(filter))
}
