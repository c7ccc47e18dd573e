//! The museum of planted bugs: each is planted alone, and seeds are run until one breaks a rule.
//! What survives shows where the simulator is too weak.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use paxosd::types::{Bug, plant};

use crate::oracle::Violation;
use crate::plan::Plan;
use crate::runner;
use crate::story::{self, Story};

/// Which seeds a bug may live through.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// The first.
    pub from: u64,
    /// How many at most.
    pub most: u64,
}

/// What became of one bug.
#[derive(Debug)]
pub struct Exhibit {
    /// The bug.
    pub bug: Bug,
    /// How it was killed; absent when it survived every seed.
    pub kill: Option<Kill>,
}

/// The end of a bug.
#[derive(Debug)]
pub struct Kill {
    /// The first seed that broke a rule.
    pub seed: u64,
    /// How many seeds it took.
    pub seeds: u64,
    /// The rule.
    pub violation: Violation,
    /// What the same seed breaks without the bug, which must be nothing.
    pub otherwise: Option<Violation>,
}

impl Kill {
    /// Whether the bug and nothing else broke the rule.
    #[must_use]
    pub fn is_its_own(&self) -> bool {
        self.otherwise.is_none()
    }
}

/// This build of the core has no planted bugs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this build has no planted bugs: run `cargo museum`")]
pub struct NotPlanted;

/// Plants each of `bugs` in turn, on every core, and hears of each end at once. The exhibits come
/// in the order of `bugs`.
///
/// # Errors
/// When the core was built without planted bugs.
pub fn visit(
    bugs: &[Bug],
    seeds: Seeds,
    mut on_exhibit: impl FnMut(&Exhibit),
) -> Result<Vec<Exhibit>, NotPlanted> {
    if !plant(None) {
        return Err(NotPlanted);
    }
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (sender, receiver) = mpsc::channel();
    let mut exhibits = Vec::new();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(hunt(bug, seeds)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for exhibit in receiver {
            on_exhibit(&exhibit);
            exhibits.push(exhibit);
        }
    });
    exhibits.sort_by_key(|exhibit| bugs.iter().position(|&bug| bug == exhibit.bug));
    Ok(exhibits)
}

/// Everything that happens in `seed` with `bug` in the core, line by line.
///
/// # Errors
/// When the core was built without planted bugs.
pub fn tell(bug: Bug, seed: u64) -> Result<Vec<String>, NotPlanted> {
    if !plant(Some(bug)) {
        return Err(NotPlanted);
    }
    Ok(runner::run(seed, true).lines)
}

/// The story of `seed` with `bug` in the core, shrunk.
///
/// # Errors
/// When the core was built without planted bugs.
pub fn story(bug: Bug, seed: u64) -> Result<Story, NotPlanted> {
    if !plant(Some(bug)) {
        return Err(NotPlanted);
    }
    Ok(story::tell(&Plan::of(seed), true))
}

/// Runs seeds with the bug until one breaks a rule, and that one again without it.
fn hunt(bug: Bug, seeds: Seeds) -> Exhibit {
    let mut kill = None;
    for nth in 0..seeds.most {
        let seed = seeds.from.wrapping_add(nth);
        if let Some(violation) = judge(Some(bug), seed) {
            kill = Some(Kill { seed, seeds: nth + 1, violation, otherwise: judge(None, seed) });
            break;
        }
    }
    Exhibit { bug, kill }
}

/// The rule that `seed` breaks; a build that cannot plant was refused before.
fn judge(bug: Option<Bug>, seed: u64) -> Option<Violation> {
    assert!(plant(bug), "this build can plant");
    runner::run(seed, false).violation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_planted_bugs_says_so() {
        let seeds = Seeds { from: 0, most: 1 };
        assert_eq!(visit(Bug::ALL, seeds, |_| {}).err(), Some(NotPlanted));
        assert_eq!(tell(Bug::ForgetPromise, 0), Err(NotPlanted));
    }
}
