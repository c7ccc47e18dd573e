//! Runs seeds: one for a reader, or very many on all cores.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::oracle::Violation;
use crate::plan::Plan;
use crate::report::{Counters, Report};
use crate::trace::Keeps;
use crate::world::World;

/// What many seeds amount to.
#[derive(Debug)]
pub struct Summary {
    /// Seeds run.
    pub seeds: u64,
    /// The seeds that broke a rule, ascending.
    pub failures: Vec<(u64, Violation)>,
    /// Wall time.
    pub took: Duration,
    /// Events of all seeds.
    pub events: u64,
    /// Median events of a seed.
    pub events_median: u64,
    /// Median leader changes of a seed.
    pub leader_changes_median: u64,
    /// Everything counted, together.
    pub total: Counters,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// A broken assertion of the core is a violation like any other, with its place and words. Outside
/// of a run a panic is told as ever.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_RUNNING.get() {
                told(info);
                return;
            }
            let place = info.location().map_or_else(String::new, ToString::to_string);
            let payload = info.payload();
            let words = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("no words");
            PANIC.with_borrow_mut(|panic| *panic = Some(format!("{words}, at {place}")));
        }));
    });
}

/// Runs one seed; with `keeps_lines` the report tells everything that happened.
#[must_use]
pub fn run(seed: u64, keeps_lines: bool) -> Report {
    run_plan(&Plan::of(seed), if keeps_lines { Keeps::Lines } else { Keeps::Hash })
}

/// Runs what a plan leaves of its seed. The same plan gives the same run, whatever is kept of it.
#[must_use]
pub fn run_plan(plan: &Plan, keeps: Keeps) -> Report {
    catch_panics();
    let mut world = World::new(plan, keeps);
    IS_RUNNING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    IS_RUNNING.set(false);
    let mut report = world.into_report();
    if outcome.is_err() {
        let detail = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
        report.violation = Some(Violation::assertion(detail));
    }
    report
}

/// Runs the seeds from `base` on, on every core. `on_failure` hears of each violation at once.
pub fn run_many(base: u64, seeds: u64, mut on_failure: impl FnMut(u64, &Violation)) -> Summary {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (sender, receiver) = mpsc::channel();
    let mut reports = Vec::new();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= seeds || sender.send(run(base.wrapping_add(nth), false)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for report in receiver {
            if let Some(violation) = &report.violation {
                on_failure(report.plan.seed, violation);
            }
            reports.push(report);
        }
    });
    summarise(reports, began.elapsed())
}

fn summarise(reports: Vec<Report>, took: Duration) -> Summary {
    let seeds = u64::try_from(reports.len()).unwrap_or(u64::MAX);
    let events_median = median(reports.iter().map(|it| it.counters.events).collect());
    let leader_changes_median =
        median(reports.iter().map(|it| it.counters.leader_changes).collect());
    let mut total = Counters::default();
    let mut failures = Vec::new();
    for report in reports {
        let counters = report.counters;
        total.events += counters.events;
        total.leader_changes += counters.leader_changes;
        total.writes += counters.writes;
        total.reads += counters.reads;
        total.slots += counters.slots;
        for (kind, count) in counters.faults {
            *total.faults.entry(kind).or_default() += count;
        }
        failures.extend(report.violation.map(|violation| (report.plan.seed, violation)));
    }
    failures.sort_by_key(|(seed, _)| *seed);
    let events = total.events;
    Summary { seeds, failures, took, events, events_median, leader_changes_median, total }
}

fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}
