//! The processes of a system: started, looked after, and ended with this program.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::procfs;

/// How long a server may take to end in good order.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// How long the children of one that was killed may take to end.
const CHILDREN_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at them.
const LOOK: Duration = Duration::from_millis(20);

/// The lowest port that is tried. Those from which the kernel chooses for callers lie higher.
const PORT_MIN: u16 = 20_000;
const PORT_MAX: u16 = 32_000;

/// A server that was started.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    log: PathBuf,
    pid: u32,
    child: Child,
}

impl Server {
    /// Starts `program`, which writes to the file `log`.
    ///
    /// It is a process group of its own, for Ctrl-C is for us; and setpriv makes the kernel kill it
    /// when this program ends, however that ends. It gets no variable of ours that could change
    /// how it works.
    pub(crate) fn start<A: AsRef<OsStr>>(
        name: &str,
        log: PathBuf,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let errors = output.try_clone().context("share a log")?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("start {name} by setpriv"))?;
        let pid = child.id().with_context(|| format!("{name} ended before it began"))?;
        Ok(Self { name: name.to_owned(), log, pid, child })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What to add to a complaint: where to read more.
    pub(crate) fn hint(&self) -> String {
        format!("{}: {}", self.name, self.log.display())
    }

    /// # Errors
    /// When it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let status = self.child.try_wait().with_context(|| format!("look at {}", self.name))?;
        if let Some(status) = status {
            bail!("{} has ended: {status}; its log is {}", self.name, self.log.display());
        }
        Ok(())
    }

    /// Stops it in good order, or else kills it; returns when it, and the `children` that it may
    /// have, have ended.
    pub(crate) async fn stop(mut self, children: &[u32]) -> Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.child.id().is_some()) {
            // One that has ended just now need not be told.
            kill_process(pid, Signal::TERM).ok();
        }
        if timeout(STOP_PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("kill {}", self.name))?;
        }
        let all_ended = async {
            while children.iter().any(|pid| procfs::runs(*pid)) {
                sleep(LOOK).await;
            }
        };
        timeout(CHILDREN_PATIENCE, all_ended)
            .await
            .with_context(|| format!("wait for the nodes of {}", self.name))
    }
}

/// So many ports of this machine that nobody has just now.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    // All are held until the last is found, so that none is found twice.
    let held = (PORT_MIN..PORT_MAX).filter_map(|port| TcpListener::bind(local(port)).ok());
    let held: Vec<TcpListener> = held.take(count).collect();
    if held.len() < count {
        bail!("there are no {count} free ports between {PORT_MIN} and {PORT_MAX}");
    }
    let port = |listener: &TcpListener| Ok(listener.local_addr().context("ask for a port")?.port());
    held.iter().map(port).collect()
}

/// A port of this machine.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different_and_can_be_taken() {
        let ports = free_ports(20).unwrap();
        let distinct: std::collections::BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), 20);
        let held = TcpListener::bind(local(ports[0])).unwrap();
        assert!(!free_ports(5).unwrap().contains(&ports[0]));
        drop(held);
    }

    #[tokio::test]
    async fn a_server_that_ended_is_named_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let program = Path::new("/bin/sh");
        let mut server =
            Server::start("it", log.clone(), program, ["-c", "echo why; exit 3"]).unwrap();
        server.child.wait().await.unwrap();
        let error = server.check().unwrap_err().to_string();
        assert!(error.contains("it has ended") && error.contains("log"), "{error}");
        assert_eq!(std::fs::read_to_string(log).unwrap(), "why\n");
    }
}
