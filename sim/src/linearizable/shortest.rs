//! The shortest prefix of a history that no order explains.
//!
//! Whatever explains a history explains its prefixes, so there is one prefix where it breaks, and
//! bisection finds it. The search helps: it has explained all before the furthest return that it
//! came to, and mostly that return is the one.

use super::model::{Model, Operation, OperationOf};
use super::search::{search, states_before};

/// The shortest prefix that cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction<State> {
    /// The position of its last event, by which the outcome of an operation became known.
    pub at: usize,
    /// What the object could hold at that event, or some of it; nothing of this explains the
    /// outcome. None where the event takes back what an earlier one needs.
    pub states: Vec<State>,
}

/// Judges the operations of one object by the events through position `through`: what ended later
/// has not ended yet. Returns nothing when there is an order of them, each between its call and its
/// return, that `M` allows.
#[must_use]
pub fn contradiction<M: Model>(
    operations: &[OperationOf<M>],
    through: usize,
) -> Option<Contradiction<M::State>> {
    let mut ends: Vec<usize> = operations.iter().filter_map(Operation::ended_at).collect();
    ends.retain(|at| *at <= through);
    ends.sort_unstable();
    let place = |at: usize| ends.partition_point(|end| *end < at);

    let furthest = search::<M>(operations, through)?;
    // The prefixes that end before the first of these events are explained; the one through the
    // last of them is not.
    let (mut explained, mut broken) = (place(furthest), ends.len().saturating_sub(1));
    let mut probe = explained;
    while explained < broken {
        let at = ends.get(probe).copied().unwrap_or(through);
        match search::<M>(operations, at) {
            Some(furthest) => {
                (explained, broken) = (explained.max(place(furthest)), probe);
            }
            None => explained = probe + 1,
        }
        probe = usize::midpoint(explained, broken);
    }
    let at = ends.get(broken).copied().unwrap_or(through);
    Some(Contradiction { at, states: states_before::<M>(operations, at) })
}
