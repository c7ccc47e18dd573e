//! What an object promises when it is used by one caller at a time, and one use of it as a history
//! tells it.

use std::fmt;
use std::hash::Hash;

/// A sequential object: the judge's idea of what each operation does when nothing else happens.
pub trait Model {
    /// What the object holds.
    type State: Clone + Eq + Hash + fmt::Display;
    /// What a caller asks for. Two operations with equal inputs do the same to any state.
    type Input: Eq + fmt::Debug;
    /// What a caller is answered.
    type Output: fmt::Debug;

    /// What the object holds before anything was done.
    fn initial() -> Self::State;

    /// What the object holds after `input`, if it can have answered `output` in `state`. Without an
    /// output the answer is not known and any will do.
    ///
    /// Where an output is possible, it must lead to the same state as none.
    fn step(
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Whether an operation with this answer leaves every state as it was. The search may then take
    /// it as soon as it fits, and never has to take that back.
    fn only_looks(input: &Self::Input, output: &Self::Output) -> bool;

    /// What of `state` matters for the events ahead; nothing if it can never lead to the answers
    /// among them. States that differ only in what nobody will see should become one here: that
    /// spares the search most of its way. To return `state` as it is, is never wrong.
    fn outlook<'a>(
        state: Self::State,
        _ahead: impl Iterator<Item = Ahead<'a, Self>>,
    ) -> Option<Self::State>
    where
        Self: Sized + 'a,
    {
        Some(state)
    }
}

/// An event that lies ahead.
#[derive(Debug)]
pub enum Ahead<'a, M: Model> {
    /// An operation is invoked, or was, and has not taken effect; its outcome may be unknown.
    Call(&'a M::Input),
    /// An operation is answered that has not taken effect yet.
    Answer(&'a M::Input, &'a M::Output),
}

/// One operation of a history. Its places are positions in that history: of two events, the one
/// with the lower position happened first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<Input, Output> {
    /// What was asked for.
    pub input: Input,
    /// Where it was invoked.
    pub called_at: usize,
    /// How it ended.
    pub end: End<Output>,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<Output> {
    /// It was answered.
    Returned {
        /// Where.
        at: usize,
        /// What.
        output: Output,
    },
    /// It was answered that it did not happen and never will.
    Denied {
        /// Where.
        at: usize,
    },
    /// Its outcome is not known: it took effect at any time after it was invoked, will yet, or
    /// never.
    Unknown,
}

impl<Input, Output> Operation<Input, Output> {
    /// Where its outcome became known.
    #[must_use]
    pub const fn ended_at(&self) -> Option<usize> {
        match self.end {
            End::Returned { at, .. } | End::Denied { at } => Some(at),
            End::Unknown => None,
        }
    }
}

/// An operation on an object of `M`.
pub type OperationOf<M> = Operation<<M as Model>::Input, <M as Model>::Output>;
