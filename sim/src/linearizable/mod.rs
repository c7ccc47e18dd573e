//! Judges of histories: whether what callers saw could have come from one object that does one
//! thing at a time, each between its call and its answer (Herlihy and Wing, *Linearizability: a
//! correctness condition for concurrent objects*, 1990).
//!
//! There are two. [`contradiction`] searches for an order, for any [`Model`]; it is for short
//! histories, since the search can take exponential time. [`judge`] is for long histories of
//! paxosd, whose answers tell the order: it only has to be checked.
//!
//! - `model`: what an object promises, and the operations on it.
//! - `search`, `shortest`: the search for an order, and for the shortest prefix without one.
//! - [`recorded`]: two formats of other systems.
//! - [`history`]: our own format. `calls`: the same, taken apart. `indexed`: its judge.
//! - [`list`]: our own histories for the search.
//! - `file`: any of these in a file.

mod calls;
mod file;
pub mod history;
mod indexed;
pub mod list;
mod model;
pub mod recorded;
mod search;
mod shortest;
#[cfg(test)]
mod tests;

pub use calls::Query;
pub use file::{Explanation, ReadError, Report, check_file, check_text};
pub use history::{CallId, Event, History};
pub use indexed::{Broken, judge};
pub use model::{Ahead, End, Model, Operation, OperationOf};
pub use recorded::Fault;
pub use shortest::{Contradiction, contradiction};
