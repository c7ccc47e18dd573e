//! `cargo sim`: runs seeds, tells which broke a rule, and how to see it again. `cargo sim check`:
//! judges recorded histories. `cargo sim model`: explores every state within small bounds.
#![expect(clippy::print_stdout, reason = "a command line tells on standard output")]

mod check;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sim::model::{self, Outcome};
use sim::plan::Plan;
use sim::runner::{self, Summary};
use sim::{Keeps, story};

/// Simulates the whole cluster from seeds and judges every event.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Runs this one seed.
    #[arg(long, group = "one", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Runs what is left of a seed, as `--minimize` printed it.
    #[arg(long, group = "one", conflicts_with_all = ["seed", "seeds", "from"])]
    plan: Option<Plan>,
    /// Runs the schedule that the bytes of this file are, as the fuzzer leaves it.
    #[arg(long, group = "one", value_name = "FILE", conflicts_with_all = ["seeds", "from"])]
    schedule: Option<PathBuf>,
    /// Tells everything that happens in that run.
    #[arg(long, requires = "one")]
    trace: bool,
    /// Shrinks that run to the least that breaks the same rule.
    #[arg(long, requires = "one")]
    minimize: bool,
    /// Draws that run, shrunk if it is to be, into this file.
    #[arg(long, requires = "one", value_name = "FILE")]
    html: Option<PathBuf>,
    /// Runs so many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Draws the first of them, so that every run tries others.
    #[arg(long, conflicts_with_all = ["seed", "plan", "schedule", "from"])]
    fresh: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says of recorded histories whether they are linearizable.
    Check {
        /// Histories of paxosd, Jepsen's of a register, or porcupine's of many keys.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Explores every state of the core within small bounds.
    Model {
        /// The bounds that every push is checked in: moments in place of minutes.
        #[arg(long)]
        quick: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.verb {
        Some(Verb::Check { files }) => return check::run(files),
        Some(Verb::Model { quick }) => return exit(explore(*quick)),
        None => {}
    }
    match plan(&arguments) {
        Ok(Some(plan)) => exit(run_one(&plan, &arguments)),
        Ok(None) => {
            let from = if arguments.fresh { fresh() } else { arguments.from };
            exit(run_many(from, arguments.seeds))
        }
        Err(words) => {
            println!("{words}");
            ExitCode::FAILURE
        }
    }
}

/// A seed that hardly anybody has run before; short, to be copied by hand.
fn fresh() -> u64 {
    let drawn = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    drawn % 1_000_000_000_000
}

/// The one run that is asked for.
fn plan(arguments: &Arguments) -> Result<Option<Plan>, String> {
    if let Some(file) = &arguments.schedule {
        let bytes = std::fs::read(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        return Ok(Some(Plan::of_schedule(&bytes)));
    }
    Ok(arguments.plan.clone().or_else(|| arguments.seed.map(Plan::of)))
}

fn exit(holds: bool) -> ExitCode {
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn explore(quick: bool) -> bool {
    println!("{}", Outcome::heads());
    let mut holds = true;
    for bounds in if quick { model::QUICK } else { model::FULL } {
        let outcome = model::check(*bounds);
        println!("{outcome}");
        holds &= outcome.holds();
    }
    holds
}

fn run_one(plan: &Plan, arguments: &Arguments) -> bool {
    if !arguments.minimize && arguments.html.is_none() {
        return tell_one(plan, arguments.trace);
    }
    let told = story::tell(plan, arguments.minimize);
    print!("{}", told.text);
    let holds = tell_one(&told.plan, arguments.trace);
    let Some(file) = &arguments.html else { return holds };
    match std::fs::write(file, told.html) {
        Ok(()) => println!("the story is in {}", file.display()),
        Err(error) => {
            println!("cannot write {}: {error}", file.display());
            return false;
        }
    }
    holds
}

fn tell_one(plan: &Plan, trace: bool) -> bool {
    let seed = plan.seed;
    let report = runner::run_plan(plan, if trace { Keeps::Lines } else { Keeps::Hash });
    for line in &report.lines {
        println!("{line}");
    }
    let counters = &report.counters;
    println!(
        "seed {seed}: {} events, {} leader changes, {} slots, {} writes, {} reads, faults {:?}, \
         trace hash {:016x}",
        counters.events,
        counters.leader_changes,
        counters.slots,
        counters.writes,
        counters.reads,
        counters.faults,
        report.hash,
    );
    match &report.violation {
        Some(violation) => println!("seed {seed} breaks: {violation}"),
        None => println!("seed {seed} holds"),
    }
    report.violation.is_none()
}

fn run_many(from: u64, seeds: u64) -> bool {
    println!("{seeds} seeds from {from} on");
    let summary = runner::run_many(from, seeds, |seed, violation| {
        println!(
            "seed {seed} breaks: {violation}\n  \
             see it: cargo sim --seed {seed} --minimize --html seed-{seed}.html"
        );
    });
    tell(&summary);
    summary.failures.is_empty()
}

fn tell(summary: &Summary) {
    let millis = u64::try_from(summary.took.as_millis()).unwrap_or(u64::MAX).max(1);
    println!(
        "{} seeds, {} broken, in {:.1} s: {} seeds/s, {} events/s; median of a seed: {} events, {} \
         leader changes",
        summary.seeds,
        summary.failures.len(),
        summary.took.as_secs_f64(),
        summary.seeds * 1_000 / millis,
        summary.events.saturating_mul(1_000) / millis,
        summary.events_median,
        summary.leader_changes_median,
    );
    println!(
        "{} slots, {} writes, {} reads; faults: {:?}",
        summary.total.slots, summary.total.writes, summary.total.reads, summary.total.faults,
    );
}
