//! `paxosd run`: one node, from its configuration to its end.

use anyhow::Context;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::args::RunArgs;
use super::endpoint::config_file;
use super::exit::{Exit, Failure};
use crate::config::{Env, Origin};
use crate::node::{self, Reloads};

/// Runs the node until it is told to stop.
pub(super) fn run(args: &RunArgs, env: &Env) -> Result<(), Failure> {
    if let Some(parent) = args.parent {
        die_with(parent)?;
    }
    let file = config_file(args.config.as_deref(), env);
    let origin = Origin::new(file, env.clone(), args.name.clone());
    let config = origin.parse(origin.read()?)?;
    let node = origin.identify(&config)?;
    let log = node::telemetry::init(&config.log);
    let runtime = runtime().context("start the runtime")?;
    let outcome = runtime.block_on(node::run(config, node, Reloads { origin, log }));
    // A read that hangs on a disk that failed must not keep the process from its end.
    runtime.shutdown_background();
    Ok(outcome?)
}

/// The runtime. With one thread it is the plain one: it takes tasks in the order in which they
/// were woken, so a role runs after all that has just arrived for it, and does that in one turn.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    match workers() {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        workers => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
        }
    }
}

/// Threads for everything but the disk: half of the processors that this process may use. To wake a
/// second thread costs more than the little work that one message brings; and a machine runs other
/// nodes, and the kernel's share of the network and the disk.
fn workers() -> usize {
    const WORKERS_MAX: usize = 8;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).clamp(1, WORKERS_MAX)
}

/// Lets the kernel kill this process when the process `parent` ends, however that ends: there is
/// nobody left then to stop this one, and a crash is what it is built for.
fn die_with(parent: u32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("watch the parent process")?;
    // It may have ended before the kernel knew of our wish.
    if getppid().map(Pid::as_raw_pid).and_then(|pid| u32::try_from(pid).ok()) != Some(parent) {
        return Err(Failure::new(Exit::Error, format!("the parent process {parent} is gone")));
    }
    Ok(())
}
