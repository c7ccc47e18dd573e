//! What every measurement begins with: programs, a directory of its own, and a look at the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::machine::{self, Machine};
use crate::options::{Options, Product};
use crate::programs::{Programs, is_stale, own_folder};
use crate::systems::System;

/// What is there before the first load.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) systems: Vec<System>,
    pub(crate) programs: Programs,
    /// For this measurement alone.
    pub(crate) dir: PathBuf,
    /// YYYY-MM-DD.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<String, String>,
}

impl Setup {
    /// Looks for what those of `systems` need that `options` name, and says what is not as it
    /// should be.
    pub(crate) fn new(options: &Options, systems: &[System]) -> Result<Self> {
        let is_wanted =
            |system: &System| options.only.is_empty() || options.only.contains(&system.product());
        let systems: Vec<System> = systems.iter().copied().filter(is_wanted).collect();
        let mut products: Vec<Product> = systems.iter().map(|system| system.product()).collect();
        products.dedup();
        let programs = Programs::find(&products, options.paxosd.as_deref())?;
        let dir = place(options)?;
        let machine = Machine::look(&dir)?;
        let versions = programs.versions(&products)?;
        println!("logs and figures: {}", dir.display());
        let stale = options.paxosd.is_none().then(|| is_stale(&programs.paxosd)).flatten();
        for warning in machine.warnings().into_iter().chain(stale) {
            println!("warning: {warning}");
        }
        Ok(Self { systems, programs, dir, date: machine::today(), machine, versions })
    }
}

/// A directory of this run's own.
fn place(options: &Options) -> Result<PathBuf> {
    let base = match &options.dir {
        Some(dir) => dir.clone(),
        None => own_folder()?.join("../compare"),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let dir = base.join(format!("run-{}", since.as_secs()));
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    fs::canonicalize(&dir).with_context(|| format!("find {}", dir.display()))
}

/// Runs `measure` on this very thread, for the kernel ends the servers when the thread that made
/// them ends; and until a signal tells to stop, when what is dropped half-way kills the servers
/// that it had started.
pub(crate) fn carry_out(measure: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).context("listen for signals")?;
        let local = LocalSet::new();
        tokio::select! {
            measured = local.run_until(measure) => measured,
            _ = tokio::signal::ctrl_c() => bail!("interrupted; the servers are killed"),
            _ = terminated.recv() => bail!("terminated; the servers are killed"),
        }
    })
}
