//! Shrinks a failing run: leaves out of its plan whatever the broken rule does not need.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002) over the faults, the unruly messages, the
//! operations and the nodes: whatever breaks the same rule with less becomes the new best. Since
//! each thing draws from a generator of its own, what remains mostly happens as before.

use std::collections::BTreeSet;

use crate::oracle::Violation;
use crate::plan::{Kept, Plan, Sizes};
use crate::report::Report;

/// A run that was shrunk.
#[derive(Debug)]
pub struct Minimised {
    /// What is left; it breaks the same rule.
    pub plan: Plan,
    /// How it ran.
    pub report: Report,
    /// Events of the run before.
    pub events_before: u64,
    /// What chance had decided before: faults, operations and unruly messages.
    pub counts_before: [usize; 3],
    /// How many runs that took.
    pub runs: u64,
}

/// Shrinks the run of `plan` in at most `runs_max` runs; none where it breaks no rule. The reports
/// of `run` must tell their schedule.
pub fn minimise(plan: &Plan, runs_max: u64, run: impl FnMut(&Plan) -> Report) -> Option<Minimised> {
    let mut run = run;
    let report = run(plan);
    let violation = report.violation.clone()?;
    let events_before = report.counters.events;
    let counts_before = counts(&report);
    let mut search = Search { run, violation, runs: 1, runs_max, best: plan.clone(), report };
    while search.pass() {}
    let Search { best, report, runs, .. } = search;
    Some(Minimised { plan: best, report, events_before, counts_before, runs })
}

/// How much chance decided: faults, operations and unruly messages.
pub(crate) fn counts(report: &Report) -> [usize; 3] {
    let schedule = &report.schedule;
    [schedule.faults.len(), schedule.operations.len(), schedule.messages.len()]
}

struct Search<F> {
    run: F,
    violation: Violation,
    runs: u64,
    runs_max: u64,
    best: Plan,
    report: Report,
}

impl<F: FnMut(&Plan) -> Report> Search<F> {
    /// Tries everything once; whether something could be left out. The cheapest cuts come first.
    fn pass(&mut self) -> bool {
        let before = self.best.clone();
        self.shrink_set(
            |report| &report.schedule.messages,
            |plan, messages| plan.messages = messages,
        );
        self.shrink_set(|report| &report.schedule.faults, |plan, faults| plan.faults = faults);
        self.shrink_sizes();
        self.shrink_set(
            |report| &report.schedule.operations,
            |plan, operations| plan.operations = operations,
        );
        self.shrink_chaos();
        self.best != before && self.runs < self.runs_max
    }

    /// Runs a candidate and keeps it when it breaks the same rule.
    fn attempt(&mut self, candidate: Plan) -> bool {
        self.attempt_if(candidate, |_, _| true)
    }

    fn attempt_if(&mut self, candidate: Plan, is_better: fn(&Report, &Report) -> bool) -> bool {
        if candidate == self.best {
            return true;
        }
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let report = (self.run)(&candidate);
        let is_same = report.violation.as_ref().is_some_and(|it| is_same(it, &self.violation));
        let is_kept = is_same && is_better(&report, &self.report);
        if is_kept {
            self.best = candidate;
            self.report = report;
        }
        is_kept
    }

    /// All at once, then halves, quarters, and so on down to single items.
    fn shrink_set<T: Ord + Clone>(
        &mut self,
        decided: impl Fn(&Report) -> &Vec<T>,
        put: impl Fn(&mut Plan, Kept<T>),
    ) {
        let mut items = decided(&self.report).clone();
        let with = |best: &Plan, items: &[T]| {
            let mut candidate = best.clone();
            put(&mut candidate, Kept::Only(items.iter().cloned().collect()));
            candidate
        };
        if items.is_empty() || self.attempt(with(&self.best, &[])) {
            return;
        }
        let mut length = items.len().div_ceil(2);
        while length > 0 && self.runs < self.runs_max {
            let mut from = 0;
            while from < items.len() && items.len() > 1 {
                let until = (from + length).min(items.len());
                let rest = [items.get(..from), items.get(until..)].map(Option::unwrap_or_default);
                let rest = rest.concat();
                if self.attempt(with(&self.best, &rest)) {
                    // What can no longer happen need not be tried.
                    let happened: BTreeSet<&T> = decided(&self.report).iter().collect();
                    items = rest.into_iter().filter(|item| happened.contains(item)).collect();
                } else {
                    from = until;
                }
            }
            length /= 2;
        }
        self.attempt(with(&self.best, &items));
    }

    fn shrink_sizes(&mut self) {
        let sizes = self.report.sizes;
        let fewer = |number: Option<u64>, least: u64| least..number.unwrap_or(least);
        self.first_of(fewer(sizes.clients, 1), |sizes, n| sizes.clients = Some(n));
        self.first_of(fewer(sizes.learners, 1), |sizes, n| sizes.learners = Some(n));
        self.first_of(fewer(sizes.proposers, 1), |sizes, n| sizes.proposers = Some(n));
        self.first_of(fewer(sizes.acceptors, 3), |sizes, n| sizes.acceptors = Some(n));
    }

    /// The smallest number that still breaks the rule.
    fn first_of(&mut self, numbers: std::ops::Range<u64>, put: impl Fn(&mut Sizes, u64)) {
        for number in numbers {
            let mut candidate = self.best.clone();
            put(&mut candidate.sizes, number);
            if self.attempt(candidate) {
                return;
            }
        }
    }

    /// Shorter faults make what comes after them come sooner.
    fn shrink_chaos(&mut self) {
        let mut chaos_ms = self.report.chaos_ms / 2;
        while chaos_ms > 0 {
            let candidate = Plan { chaos_ms: Some(chaos_ms), ..self.best.clone() };
            let has_less = |new: &Report, old: &Report| new.counters.events < old.counters.events;
            if !self.attempt_if(candidate, has_less) {
                return;
            }
            chaos_ms /= 2;
        }
    }
}

/// Whether both break one rule; of broken assertions it must be the same one.
fn is_same(one: &Violation, other: &Violation) -> bool {
    let place = |violation: &Violation| {
        let (_, place) = violation.detail.rsplit_once(", at ").unwrap_or_default();
        place.to_owned()
    };
    one.rule == other.rule && (!one.is_assertion() || place(one) == place(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Counters;
    use crate::trace::Schedule;

    /// A run that breaks its rule exactly where faults 3 and 17 strike, operation 40 is begun and
    /// there are at least four acceptors.
    fn run(plan: &Plan) -> Report {
        let kept = |kept: &Kept<u64>, all: std::ops::RangeInclusive<u64>| -> Vec<u64> {
            all.filter(|item| kept.keeps(item)).collect()
        };
        let schedule = Schedule {
            faults: kept(&plan.faults, 1..=30),
            operations: kept(&plan.operations, 1..=200),
            messages: Vec::new(),
        };
        let acceptors = plan.sizes.acceptors.unwrap_or(7);
        let breaks = schedule.faults.contains(&3)
            && schedule.faults.contains(&17)
            && schedule.operations.contains(&40)
            && acceptors >= 4;
        let rule = if breaks { "one value per slot" } else { "no gap is delivered" };
        let events = u64::try_from(schedule.operations.len()).unwrap();
        Report {
            plan: plan.clone(),
            sizes: Sizes {
                proposers: Some(plan.sizes.proposers.unwrap_or(5)),
                acceptors: Some(acceptors),
                learners: Some(plan.sizes.learners.unwrap_or(2)),
                clients: Some(plan.sizes.clients.unwrap_or(3)),
            },
            chaos_ms: 1_000,
            violation: Some(Violation { rule, detail: String::new() }),
            subject: crate::Subject::default(),
            counters: Counters { events, ..Counters::default() },
            hash: 0,
            lines: Vec::new(),
            moments: Vec::new(),
            schedule,
        }
    }

    #[test]
    fn only_what_the_rule_needs_is_left() {
        let least = minimise(&Plan::of(9), 10_000, run).unwrap();
        let expected = "9/proposers=1/acceptors=4/learners=1/clients=1/faults=3,17/operations=40";
        assert_eq!(least.plan.to_string(), expected);
        assert_eq!(least.report.violation.unwrap().rule, "one value per slot");
        assert_eq!(least.counts_before, [30, 200, 0]);
        assert!(least.runs < 200, "took {} runs", least.runs);
    }

    #[test]
    fn the_budget_bounds_the_runs_and_another_rule_is_no_success() {
        let mut runs = 0;
        let least = minimise(&Plan::of(9), 12, |plan| {
            runs += 1;
            run(plan)
        })
        .unwrap();
        assert_eq!((runs, least.runs), (12, 12));
        assert_eq!(least.report.violation.unwrap().rule, "one value per slot");
    }

    #[test]
    fn what_holds_is_not_shrunk() {
        let holds = |plan: &Plan| Report { violation: None, ..run(plan) };
        assert!(minimise(&Plan::of(9), 10, holds).is_none());
    }

    #[test]
    fn broken_assertions_are_told_apart_by_their_place() {
        let broken =
            |place: &str| Violation::assertion(format!("some words, at src/paxos/{place}"));
        assert!(is_same(&broken("log.rs:7:9"), &broken("log.rs:7:9")));
        assert!(!is_same(&broken("log.rs:7:9"), &broken("log.rs:8:9")));
    }
}
