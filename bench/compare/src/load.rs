//! The load: callers that ask, wait for the answer, and ask again, all on one thread, so that it
//! takes little from the machine that it measures.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::procfs::own_cpu;
use crate::tally::{Seen, Tally, Window};
use crate::wire::{Caller, Setback};

/// How long callers ask before it counts.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// This program gets its turn sooner whatever the load is. If it does not, then the machine did not
/// run, as a virtual one does not while its host copies it, and nothing on it was measured.
const STILL: Duration = Duration::from_millis(500);

/// How often the load looks whether it gets its turns.
const LOOK: Duration = Duration::from_millis(10);

/// How long a caller rests whose request failed, so that a system that is down is not hammered.
const REST: Duration = Duration::from_millis(10);

/// What a load came to.
#[derive(Debug)]
pub(crate) struct Borne {
    pub(crate) seen: Seen,
    /// Processor time of the system.
    pub(crate) cpu: Duration,
    /// Processor time of the load itself.
    pub(crate) load_cpu: Duration,
    /// The longest time in which the load itself got no turn, though it wanted one.
    pub(crate) stood_still: Duration,
}

impl Borne {
    /// Whether the machine ran all the time.
    pub(crate) fn is_sound(&self) -> bool {
        self.stood_still < STILL
    }

    /// How many requests were not granted.
    pub(crate) fn failures(&self) -> u64 {
        self.seen.failed.values().sum()
    }
}

/// How often one load is tried on a machine that stands still meanwhile.
pub(crate) const TRIES_MAX: u32 = 5;

/// What to say where it stands still too often.
pub(crate) const UNSOUND: &str = "the machine stands still too often to measure anything on it; \
                                  try again on one that others do not use, or later";

/// What all callers share.
struct Load {
    window: Window,
    /// The number of the next request.
    next: Rc<Cell<u64>>,
    tally: RefCell<Tally>,
}

/// Lets `callers` ask for `counted` after the warm-up; `next` is the number of the first request,
/// and afterwards of the first that was not made. `system_cpu` tells the system's processor time.
/// To be called within a [`tokio::task::LocalSet`].
pub(crate) async fn run(
    callers: Vec<Caller>,
    next: &Rc<Cell<u64>>,
    counted: Duration,
    system_cpu: impl Fn() -> Result<Duration>,
) -> Result<Borne> {
    let from = Instant::now() + WARM_UP;
    let window = Window { from, end: from + counted };
    let tally = RefCell::new(Tally::new(window));
    let load = Rc::new(Load { window, next: Rc::clone(next), tally });
    let stood_still = Rc::new(Cell::new(Duration::ZERO));
    // Dropped at the end, and the watch with it.
    let mut watches = JoinSet::new();
    watches.spawn_local(watch(Rc::clone(&stood_still)));
    let mut tasks = JoinSet::new();
    for caller in callers {
        tasks.spawn_local(call(Rc::clone(&load), caller));
    }
    sleep_until(window.from).await;
    let before = (system_cpu()?, own_cpu()?);
    sleep_until(window.end).await;
    let after = (system_cpu()?, own_cpu()?);
    while tasks.join_next().await.is_some() {}
    let load = Rc::into_inner(load).expect("every caller has ended");
    Ok(Borne {
        seen: load.tally.into_inner().close(),
        cpu: after.0.saturating_sub(before.0),
        load_cpu: after.1.saturating_sub(before.1),
        stood_still: stood_still.get(),
    })
}

/// Notes the longest time by which a timer was late: so long this process did not run. A system
/// under load cannot do that for long; a virtual machine that is paused can.
async fn watch(longest: Rc<Cell<Duration>>) {
    loop {
        let due = Instant::now() + LOOK;
        sleep_until(due).await;
        longest.set(longest.get().max(due.elapsed()));
    }
}

async fn call(load: Rc<Load>, mut caller: Caller) {
    loop {
        let since = Instant::now();
        if since >= load.window.end {
            // All that counted is counted.
            drop(timeout(PATIENCE, caller.leave()).await);
            return;
        }
        let number = load.next.replace(load.next.get() + 1);
        let outcome = match timeout(PATIENCE, caller.ask(number)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Setback::Lost("no answer in time")),
        };
        match outcome {
            Ok(()) => load.tally.borrow_mut().grant(since, Instant::now()),
            Err(setback) => {
                if matches!(setback, Setback::Lost(_)) {
                    caller.hang_up();
                }
                load.tally.borrow_mut().fail(setback.why());
                sleep(REST).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    #[tokio::test]
    async fn a_process_that_stood_still_is_noticed() {
        let pause = Duration::from_millis(80);
        let run = async {
            let counted = Duration::from_millis(100);
            let next = Rc::new(Cell::new(0));
            let standing_still = async {
                sleep_until(Instant::now() + WARM_UP).await;
                std::thread::sleep(pause);
            };
            let load = run(Vec::new(), &next, counted, || Ok(Duration::ZERO));
            let (borne, ()) = tokio::join!(load, standing_still);
            borne.unwrap()
        };
        let borne = LocalSet::new().run_until(run).await;
        assert!(borne.stood_still + LOOK >= pause, "{:?}", borne.stood_still);
        assert_eq!(borne.seen.granted, 0);
    }
}
