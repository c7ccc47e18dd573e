//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Loads paxosd, etcd and ZooKeeper in turn on this machine, and sets their figures side by side.
#[derive(Debug, Parser)]
#[command(name = "cargo compare")]
pub(crate) struct Options {
    /// Measures only these.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) only: Vec<Product>,
    /// Measures only these cells: write, read, stale, learner, bulk, or one as write-64.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub(crate) cells: Vec<String>,
    /// How often each is measured; they take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long a cell is measured, after a second of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// Where the servers keep what they keep; without it, compare in cargo's target directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The program under test; without it, what scripts/optimize.sh has built.
    #[arg(long, value_name = "PATH")]
    pub(crate) paxosd: Option<PathBuf>,
    /// Measures instead for how long callers wait when the leader is killed, stopped and ended, so
    /// many times each.
    #[arg(
        long,
        value_name = "RUNS",
        value_parser = clap::value_parser!(u32).range(1..),
        conflicts_with_all = ["cells", "rounds", "seconds", "from"]
    )]
    pub(crate) failover: Option<u32>,
    /// Measures instead what paxosd does at its beginning and with so many values: latencies,
    /// memory, disk, restarts, and a learner that starts from nothing.
    #[arg(
        long,
        value_name = "VALUES",
        value_parser = clap::value_parser!(u64).range(2_000_000..),
        conflicts_with_all = ["only", "cells", "rounds", "failover", "from"]
    )]
    pub(crate) grown: Option<u64>,
    /// Measures nothing, and renders this file of results again.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "cells", "rounds", "seconds"])]
    pub(crate) from: Option<PathBuf>,
    /// Puts the results into docs/: PERFORMANCE.md, its chart, and every figure as JSON.
    #[arg(long)]
    pub(crate) write: bool,
}

/// What can be chosen: a program, not a way to talk to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Product {
    Paxosd,
    Etcd,
    Zookeeper,
}
