//! One node's process: started, signalled, and waited for by a task of its own.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::place::Place;

/// Signals that wait to be sent.
const SIGNALS_MAX: usize = 8;

/// Variables beside `PAXOSD_*` that tell a node who it is. Those of our own caller must not speak
/// for ten nodes.
const IDENTITY: [&str; 4] = ["NODE_ID", "NODE_ROLE", "PORT", "SEED_NODES"];

/// A node that runs, or ran. Clones mean the same process.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) pid: u32,
    signals: mpsc::Sender<Signal>,
    end: watch::Receiver<Option<ExitStatus>>,
}

/// A node that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) status: ExitStatus,
}

impl Child {
    /// Starts the node `name` of the cluster at `place`. Its end is told to `ended`.
    ///
    /// # Errors
    /// When its log cannot be opened, or there is no room for another process.
    pub(super) fn start(
        name: &str,
        place: &Place,
        ended: mpsc::Sender<Ended>,
        tasks: &TaskTracker,
    ) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(place.log_file(name))?;
        let mut command = Command::new(program()?);
        command
            .arg("run")
            .arg("--config")
            .arg(place.config_file())
            .args(["--name", name, "--parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C is for us, who know in which order to stop.
            .process_group(0)
            .kill_on_drop(true);
        for (variable, _) in std::env::vars_os() {
            let ours = variable.to_str().is_some_and(|variable| {
                variable.starts_with("PAXOSD_") || IDENTITY.contains(&variable)
            });
            if ours {
                command.env_remove(variable);
            }
        }
        let mut process = command.spawn()?;
        let pid = process.id().ok_or_else(|| io::Error::other("it ended before it began"))?;
        fs::write(place.pid_file(name), format!("{pid}\n"))?;
        let (signals, mut to_send) = mpsc::channel(SIGNALS_MAX);
        let (tell, end) = watch::channel(None);
        let child = Self { name: name.to_owned(), pid, signals, end };
        let name = child.name.clone();
        tasks.spawn(async move {
            let status = loop {
                tokio::select! {
                    status = process.wait() => break status,
                    Some(signal) = to_send.recv() => send(signal, process.id()),
                }
            };
            // A child of ours can always be waited for.
            if let Ok(status) = status {
                tell.send_replace(Some(status));
                // Nobody listens any more when all is being stopped.
                drop(ended.send(Ended { name, pid, status }).await);
            }
        });
        Ok(child)
    }

    /// Whether it has not ended, as far as we know.
    pub(super) fn runs(&self) -> bool {
        self.end.borrow().is_none()
    }

    /// Sends it `signal`. One that has ended does not mind.
    pub(super) fn signal(&self, signal: Signal) {
        self.signals.try_send(signal).ok();
    }

    /// Waits for its end.
    pub(super) async fn end(&self) -> Option<ExitStatus> {
        let mut end = self.end.clone();
        end.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }
}

/// Sends `signal` to the process `pid`, which has not been waited for, so the number is still its.
fn send(signal: Signal, pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A process that has ended just now cannot be signalled, and need not be.
        kill_process(pid, signal).ok();
    }
}

/// This very program, also when its file was replaced since, as a build does.
fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
}
