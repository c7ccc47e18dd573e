//! Model checking: every state that the roles of the core can reach within small bounds, one after
//! the other, judged.
//!
//! What runs is the core itself, [`Durable`](paxosd::paxos::durable::Durable) over a journal on a
//! simulated disk and [`Proposer`](paxosd::paxos::proposer::Proposer); only the network, the
//! crashes and the counting of votes are the model's. stateright does the searching.
//!
//! - `ground`: who there is, and the one moment at which everything happens.
//! - `acceptor`, `proposer`: each role with what the model remembers beside it.
//! - `catalogue`: local states, each found once.
//! - `lexicon`: messages, each numbered once.
//! - `cluster`: what can happen next, and what must always hold.

mod acceptor;
mod catalogue;
mod cluster;
mod ground;
mod lexicon;
mod proposer;

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use self::cluster::Cluster;
use self::ground::PROPOSERS_MAX;

/// How much a check tries. Acceptors are always three, each of which may crash at any moment, any
/// number of times, also while it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Ballots that each proposer may use, in all its lives together.
    pub ballots: [u64; PROPOSERS_MAX],
    /// Lives that each proposer has: it may die and be replaced once less.
    pub lives: [u64; PROPOSERS_MAX],
    /// Slots that a leader fills.
    pub slots: u64,
    /// Whether there is a learner that tells acceptors what they may forget and proposers what was
    /// delivered, and asks leaders to settle what it lacks.
    pub learner: bool,
    /// What is wrong with it.
    pub planted: Option<Planted>,
}

/// Something wrong, done by the surroundings of the core and not by the core, so that a check has
/// something to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// An acceptor comes back without anything since it was formed.
    Amnesia,
    /// A promise is counted as that of another acceptor too: a quorum of one.
    PromiseCountsTwice,
    /// A new process of a proposer takes the incarnation of the old one.
    SameIncarnation,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Within which bounds.
    pub bounds: Bounds,
    /// States of the cluster, each counted once, and once for all that differ only in which
    /// acceptor is which.
    pub states: usize,
    /// Steps from one of them to another that were tried and changed something.
    pub steps: usize,
    /// The longest way from the beginning that was gone.
    pub depth: usize,
    /// States of single roles.
    pub local_states: usize,
    /// Distinct steps of the core.
    pub core_steps: usize,
    /// How long it took.
    pub took: Duration,
    /// The rule that does not hold, and how it is broken.
    pub broken: Option<Counterexample>,
    /// What should be possible and was not seen.
    pub unseen: Vec<&'static str>,
}

/// How a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterexample {
    /// Which rule.
    pub rule: &'static str,
    /// What happens, one after the other.
    pub actions: Vec<String>,
}

const fn bounds(ballots: [u64; 3], lives: [u64; 3], slots: u64, learner: bool) -> Bounds {
    Bounds { ballots, lives, slots, learner, planted: None }
}

/// Checks of a moment.
pub const QUICK: &[Bounds] = &[
    bounds([1, 1, 0], [1, 1, 1], 1, false),
    bounds([1, 1, 0], [1, 1, 1], 1, true),
    bounds([1, 1, 0], [1, 1, 1], 2, false),
    bounds([2, 1, 0], [2, 1, 1], 1, false),
];

/// Checks of some minutes: two slots, with a learner that makes acceptors forget; more proposers, a
/// proposer that dies, more ballots.
pub const FULL: &[Bounds] = &[
    bounds([1, 1, 0], [1, 1, 1], 2, false),
    bounds([1, 1, 0], [1, 1, 1], 2, true),
    bounds([1, 1, 1], [1, 1, 1], 1, false),
    bounds([2, 1, 0], [2, 1, 1], 1, true),
    bounds([2, 1, 0], [2, 1, 1], 2, false),
    bounds([2, 2, 0], [1, 1, 1], 1, false),
];

/// Explores everything within `bounds`, or up to the first rule that is broken.
#[must_use]
pub fn check(bounds: Bounds) -> Outcome {
    if bounds.planted.is_some() {
        return check_ever_deeper(bounds);
    }
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = Cluster::new(bounds).checker().finish_when(HasDiscoveries::AnyFailures);
    summarise(bounds, began, &builder.threads(threads).spawn_dfs().join())
}

/// Finds a shortest way to break a rule: none was found in fewer steps.
fn check_ever_deeper(bounds: Bounds) -> Outcome {
    let began = Instant::now();
    let mut depth = 1;
    loop {
        let builder = Cluster::new(bounds).checker().finish_when(HasDiscoveries::AnyFailures);
        let checker = builder.target_max_depth(depth).spawn_bfs().join();
        let outcome = summarise(bounds, began, &checker);
        if outcome.broken.is_some() || outcome.depth < depth {
            return outcome;
        }
        depth += 1;
    }
}

fn summarise(bounds: Bounds, began: Instant, checker: &impl Checker<Cluster>) -> Outcome {
    let cluster = checker.model();
    let found = checker.discoveries();
    let is_rule = |expectation: &Expectation| *expectation == Expectation::Always;
    let (rules, sights): (Vec<_>, Vec<_>) =
        cluster.properties().into_iter().partition(|it| is_rule(&it.expectation));
    let broken = rules.iter().find_map(|rule| {
        let path = found.get(rule.name)?.clone().into_actions();
        let actions = path.iter().map(|action| cluster.format_action(action)).collect();
        Some(Counterexample { rule: rule.name, actions })
    });
    let (local_states, core_steps) = cluster.local();
    Outcome {
        bounds,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        local_states,
        core_steps,
        took: began.elapsed(),
        broken,
        unseen: sights.iter().map(|it| it.name).filter(|name| !found.contains_key(name)).collect(),
    }
}

impl Outcome {
    /// Whether every rule holds, and what should be possible was seen.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_none() && self.unseen.is_empty()
    }

    /// The heads of the columns of a table of outcomes.
    #[must_use]
    pub const fn heads() -> &'static str {
        "| ballots | lives | slots | learner | states | steps | depth | local states | \
         core steps | time | verdict |\n|---|---|---|---|---|---|---|---|---|---|---|"
    }
}

impl fmt::Display for Outcome {
    /// A row of the table, and what is broken.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bounds, states, steps, depth, local_states, core_steps, .. } = self;
        let Bounds { ballots, lives, slots, learner, .. } = bounds;
        let join = |numbers: &[u64; 3]| {
            let shown = numbers.iter().zip(ballots).filter(|(_, ballots)| **ballots > 0);
            shown.map(|(number, _)| number.to_string()).collect::<Vec<_>>().join(" + ")
        };
        let learner = if *learner { "yes" } else { "no" };
        let verdict = if self.holds() { "holds" } else { "broken" };
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "| {} | {} | {slots} | {learner} | {states} | {steps} | {depth} | {local_states} | \
             {core_steps} | {seconds:.1} s | {verdict} |",
            join(ballots),
            join(lives),
        )?;
        for name in &self.unseen {
            write!(f, "\nnever seen: {name}")?;
        }
        if let Some(Counterexample { rule, actions }) = &self.broken {
            write!(f, "\nbroken: {rule}")?;
            for (number, action) in (1..).zip(actions) {
                write!(f, "\n{number:>4}. {action}")?;
            }
        }
        Ok(())
    }
}
