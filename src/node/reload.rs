//! Notices that the configuration file changed, and takes of it what a running node can take.
//!
//! It looks at the text every second, and at SIGHUP at once. The kernel could tell (inotify), but
//! not reliably: nothing is told of a change on another machine's disk, a mounted directory or a
//! network file system, and what is told differs between a file written in place, one renamed over
//! it, and the symbolic link that Kubernetes swaps. The text itself says it, wherever it lies.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tracing::{info, warn};

use super::telemetry::LogControl;
use super::{Shared, gossip};
use crate::config::{Config, ConfigErrors, Followed, Origin};

/// What a node needs to follow its file.
#[derive(Debug)]
pub struct Reloads {
    /// Where the configuration came from.
    pub origin: Origin,
    /// Where a changed level of the log goes.
    pub log: LogControl,
}

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// A change counts when the file stays so for this long: an editor may still be writing, and half a
/// file can be valid, with defaults for all that is missing yet.
const SETTLE: Duration = Duration::from_millis(200);

/// What is found where the file should be.
type Found = Result<String, ConfigErrors>;

struct Watcher {
    shared: Arc<Shared>,
    reloads: Reloads,
    hangup: Signal,
    /// What was judged last, taken or not.
    judged: Found,
}

/// Starts the task. `hangup` is SIGHUP.
pub(super) fn start(shared: &Arc<Shared>, reloads: Reloads, hangup: Signal) {
    shared.metrics.config_runs(shared.config().digest());
    let judged = Ok(shared.config().text().to_owned());
    let watcher = Watcher { shared: shared.clone(), reloads, hangup, judged };
    let stop = shared.stop.clone();
    shared.tracker.spawn(async move {
        stop.run_until_cancelled(watcher.run()).await;
    });
}

impl Watcher {
    async fn run(mut self) {
        let _guard = self.shared.failed.on_panic("watcher of the configuration");
        loop {
            tokio::select! {
                biased;
                Some(()) = self.hangup.recv() => {
                    info!("SIGHUP: the configuration is read again");
                    if let Some(found) = self.read().await {
                        self.judge(found);
                    }
                }
                () = tokio::time::sleep(LOOK) => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let Some(found) = self.read().await else { return };
        if found == self.judged {
            return;
        }
        tokio::time::sleep(SETTLE).await;
        if self.read().await.as_ref() == Some(&found) {
            self.judge(found);
        }
    }

    /// The file as it is now; `None` when the runtime ends.
    async fn read(&self) -> Option<Found> {
        let origin = self.reloads.origin.clone();
        tokio::task::spawn_blocking(move || origin.read()).await.ok()
    }

    fn judge(&mut self, found: Found) {
        self.judged.clone_from(&found);
        match found.and_then(|text| self.reloads.origin.parse(text)) {
            Ok(new) => self.follow(&new),
            Err(errors) => self.refuse("invalid", &lines(&errors)),
        }
    }

    fn follow(&self, new: &Config) {
        let running = self.shared.config();
        let followed = self
            .reloads
            .origin
            .identify(new)
            .and_then(|its| running.follow(new, &self.shared.me, &its));
        match followed {
            Err(errors) => self.refuse("refused", &lines(&errors)),
            // The one rule about hosts that the file's check does not know.
            Ok(followed) => match gossip::seeds(&followed.config) {
                Err(error) => self.refuse("invalid", &error.to_string()),
                Ok(_) => self.apply(followed),
            },
        }
    }

    fn refuse(&self, result: &'static str, why: &str) {
        self.shared.metrics.config_refused(result);
        let text = format!("the changed configuration is {result}, the node goes on as it was: ");
        self.warn(if result == "invalid" { INVALID } else { REFUSED }, text + why);
    }

    fn apply(&self, followed: Followed) {
        let Followed { config, taken, waiting, conflict } = followed;
        self.shared.metrics.config_applied(config.digest(), waiting.len());
        let (shared, log) = (&self.shared, &self.reloads.log);
        if config.log.level != shared.config().log.level && !log.set_level(config.log.level) {
            self.warn(WAITS, "log.level waits: RUST_LOG goes before it".to_owned());
        }
        shared.ring.resize(config.events.ring, config.events.slots_per_s_max);
        // Whoever owns a state that depends on it hears of it here.
        shared.settings.send_replace(Arc::new(config));
        if let Some(conflict) = conflict {
            let why = lines(&conflict);
            let text = "with what waits for the next start, what could change now breaks a rule";
            self.warn(WAITS, format!("{text}, and waits too: {why}"));
        }
        if !waiting.is_empty() {
            self.warn(WAITS, format!("takes effect at the next start: {}", waiting.join("; ")));
        }
        let text = match (taken.is_empty(), waiting.is_empty()) {
            (false, _) => format!("takes effect now: {}", taken.join("; ")),
            (true, true) => "the file changes nothing for the running node".to_owned(),
            (true, false) => return,
        };
        info!(kind = APPLIED, "{text}");
        shared.ring.note(APPLIED, None, text);
    }

    fn warn(&self, kind: &'static str, text: String) {
        warn!(kind, "{text}");
        self.shared.ring.note(kind, None, text);
    }
}

/// Kinds of events.
const APPLIED: &str = "config-applied";
const WAITS: &str = "config-waits";
const REFUSED: &str = "config-refused";
const INVALID: &str = "config-invalid";

/// All errors in one line.
fn lines(errors: &ConfigErrors) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
