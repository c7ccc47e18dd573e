//! The other roof of the house: the whole cluster, every role of the core as the daemon runs it, in
//! one thread on a virtual clock, network and disk, driven by one seed, judged after every event.
//!
//! - [`chance`]: a generator of its own for each thing that may turn out one way or another.
//! - `options`: what a seed draws: sizes, tuning, faults.
//! - [`plan`]: a seed, and what of its run is left out.
//! - `network`, [`disk`]: what may lose, delay, double, tear.
//! - `host`: each role with its surroundings, stepped in turns.
//! - `roles`: how nodes of each role come to life.
//! - `gossip`: how nodes come to know of one another.
//! - `world`: the queue of events, and the nodes through their lives.
//! - `faults`, `workload`: what goes wrong, and what callers want meanwhile.
//! - `oracle`: the rules.
//! - [`linearizable`]: judges of histories, of the simulator's own cluster or any other.
//! - [`runner`]: many seeds, on all cores.
//! - [`minimise`]: the least that breaks the same rule.
//! - [`story`]: a run as a page to read.
//! - [`museum`]: planted bugs, and how many seeds it takes to notice each.
//! - [`model`]: beside all this, the core in every state within small bounds.

pub mod chance;
pub mod disk;
mod faults;
mod gossip;
mod host;
pub mod linearizable;
pub mod minimise;
pub mod model;
pub mod museum;
mod network;
mod options;
mod oracle;
pub mod plan;
mod report;
mod roles;
pub mod runner;
pub mod story;
mod trace;
mod workload;
mod world;

pub use network::{Fate, MessageId, Route};
pub use oracle::{Subject, Violation};
pub use report::{Counters, Report};
pub use trace::{Keeps, Kind, Moment, Schedule, What};
