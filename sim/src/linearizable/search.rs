//! The search for an order that explains a history, after Wing and Gong, *Testing and verifying
//! concurrent objects*, 1993, with the memory of Lowe, *Testing for linearizability*, 2017.
//!
//! The events of the history stand in a chain. The search takes an operation whose call stands
//! before the first return in the chain, and lifts it out, call and return. When that first return
//! is all that is left to look at, its operation had to come earlier: the search takes back its
//! last choice. A configuration, which operations were taken and what the object then holds, is
//! looked at once.
//!
//! A model may tell that what is held now can never become what the next answer shows; then nothing
//! behind is tried. Operations without a known outcome need not be taken. So the search is over as
//! soon as no return is left, and takes such an operation only when that changes something.
#![expect(clippy::indexing_slicing, reason = "every number of an entry is made in this file")]

use std::collections::HashSet;

use super::model::{Ahead, End, Model, OperationOf};

/// Of the states that explain nothing, so many are kept, to be told.
const STATES_KEPT_MAX: usize = 6;

/// The search for them looks at so many entries.
const LOOKS_MAX: usize = 200_000;

/// Looks for an order of the events through position `through`: what is answered later is not known
/// yet. Returns nothing if there is one, else the position of the furthest return that it reached:
/// all before that has an order.
pub(super) fn search<M: Model>(operations: &[OperationOf<M>], through: usize) -> Option<usize> {
    let mut search = Search::<M>::new(operations, through, None);
    while search.returns_left > 0 {
        if !search.advance() {
            return Some(search.furthest);
        }
    }
    None
}

/// Some of what the object can hold when everything before the event at position `at` has happened,
/// and that does not explain what this event answers.
pub(super) fn states_before<M: Model>(operations: &[OperationOf<M>], at: usize) -> Vec<M::State> {
    let mut search = Search::<M>::new(operations, at, Some(at));
    for _ in 0..LOOKS_MAX {
        if search.returns_left == 0 || !search.advance() {
            break;
        }
    }
    search.states
}

/// An event in the chain.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Call(usize),
    /// Of the operation, at the position.
    Return(usize, usize),
}

/// What is known of an operation within the prefix.
#[derive(Debug)]
struct Part<'a, M: Model> {
    operation: &'a OperationOf<M>,
    output: Option<&'a M::Output>,
    only_looks: bool,
    /// The entry of its call.
    call: usize,
    /// The entry of its return, if its outcome is known.
    ret: Option<usize>,
    /// An earlier operation with the same input, neither of them with a known outcome. Which of the
    /// two took effect cannot be told, so the earlier one always goes first.
    twin: Option<usize>,
}

/// An operation that was taken, and what the object held before.
#[derive(Debug)]
struct Choice<State> {
    part: usize,
    before: State,
}

/// A search under way.
struct Search<'a, M: Model> {
    parts: Vec<Part<'a, M>>,
    entries: Vec<Entry>,
    chain: Chain,
    /// The entry to look at.
    cursor: usize,
    state: M::State,
    taken: Vec<u64>,
    choices: Vec<Choice<M::State>>,
    seen: HashSet<(Vec<u64>, M::State)>,
    returns_left: usize,
    /// The furthest return that was reached.
    furthest: usize,
    /// The return that is to be explained to a reader, and what was held when it was reached.
    culprit: Option<usize>,
    states: Vec<M::State>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(operations: &'a [OperationOf<M>], through: usize, culprit: Option<usize>) -> Self {
        let mut parts = parts::<M>(operations, through);
        let entries = entries(&parts);
        let mut returns_left = 0;
        for (number, entry) in entries.iter().enumerate() {
            match *entry {
                Entry::Call(part) => parts[part].call = number,
                Entry::Return(part, _) => {
                    parts[part].ret = Some(number);
                    returns_left += 1;
                }
            }
        }
        let chain = Chain::of(entries.len());
        Self {
            cursor: chain.first(),
            taken: vec![0; parts.len().div_ceil(BITS)],
            parts,
            entries,
            chain,
            state: M::initial(),
            choices: Vec::new(),
            seen: HashSet::new(),
            returns_left,
            furthest: 0,
            culprit,
            states: Vec::new(),
        }
    }

    /// Looks at one entry. Returns whether there is anything left to try.
    fn advance(&mut self) -> bool {
        match self.entries[self.cursor] {
            Entry::Call(part) => {
                self.cursor =
                    if self.take(part) { self.chain.first() } else { self.chain.next(self.cursor) };
                true
            }
            Entry::Return(_, at) => {
                self.remember(at);
                self.take_back()
            }
        }
    }

    /// Takes the operation now, if it fits and leads to something new.
    fn take(&mut self, number: usize) -> bool {
        let part = &self.parts[number];
        let Some(after) = M::step(&self.state, &part.operation.input, part.output) else {
            return false;
        };
        if part.ret.is_none() {
            let is_twin_first = part.twin.is_some_and(|twin| !is_set(&self.taken, twin));
            if is_twin_first || after == self.state {
                return false;
            }
        }
        let outlook =
            if part.only_looks { Some(after) } else { M::outlook(after, self.ahead(number)) };
        let Some(after) = outlook else { return false };
        flip(&mut self.taken, number);
        if !self.seen.insert((self.taken.clone(), after.clone())) {
            flip(&mut self.taken, number);
            return false;
        }
        self.chain.lift(part.call);
        if let Some(ret) = part.ret {
            self.chain.lift(ret);
            self.returns_left -= 1;
        }
        let before = std::mem::replace(&mut self.state, after);
        self.choices.push(Choice { part: number, before });
        true
    }

    /// Takes back the last choice that could have been another, and goes on behind it.
    fn take_back(&mut self) -> bool {
        while let Some(Choice { part: number, before }) = self.choices.pop() {
            let part = &self.parts[number];
            if let Some(ret) = part.ret {
                self.chain.put_back(ret);
                self.returns_left += 1;
            }
            self.chain.put_back(part.call);
            flip(&mut self.taken, number);
            self.state = before;
            if !part.only_looks {
                self.cursor = self.chain.next(part.call);
                return true;
            }
        }
        false
    }

    /// What lies ahead when `taken` is taken too, but for what the culprit is answered.
    fn ahead(&self, taken: usize) -> impl Iterator<Item = Ahead<'a, M>> {
        let culprit = self.culprit;
        self.chain.iter().filter_map(move |entry| match self.entries[entry] {
            Entry::Call(number) => {
                (number != taken).then(|| Ahead::Call(&self.parts[number].operation.input))
            }
            Entry::Return(number, at) if number != taken && Some(at) != culprit => {
                let Part { operation, output, .. } = &self.parts[number];
                output.map(|output| Ahead::Answer(&operation.input, output))
            }
            Entry::Return(..) => None,
        })
    }

    fn remember(&mut self, at: usize) {
        self.furthest = self.furthest.max(at);
        let is_new = self.culprit == Some(at) && !self.states.contains(&self.state);
        if is_new && self.states.len() < STATES_KEPT_MAX {
            self.states.push(self.state.clone());
        }
    }
}

/// The calls of `parts`, and the returns of those whose outcome is known, in order.
fn entries<M: Model>(parts: &[Part<'_, M>]) -> Vec<Entry> {
    let mut events: Vec<(usize, Entry)> = Vec::new();
    for (number, Part { operation, output, .. }) in parts.iter().enumerate() {
        events.push((operation.called_at, Entry::Call(number)));
        if let (Some(at), Some(_)) = (operation.ended_at(), output) {
            events.push((at, Entry::Return(number, at)));
        }
    }
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, entry)| entry).collect()
}

/// The operations invoked by then, in this order, but for those that are known not to have
/// happened. Their entries are not numbered yet.
fn parts<M: Model>(operations: &[OperationOf<M>], through: usize) -> Vec<Part<'_, M>> {
    let mut called: Vec<_> = operations.iter().filter(|it| it.called_at <= through).collect();
    called.sort_by_key(|operation| operation.called_at);
    let mut parts: Vec<Part<'_, M>> = Vec::new();
    for operation in called {
        let output = match &operation.end {
            End::Denied { at } if *at <= through => continue,
            End::Returned { at, output } if *at <= through => Some(output),
            End::Denied { .. } | End::Returned { .. } | End::Unknown => None,
        };
        let input = &operation.input;
        let only_looks = output.is_some_and(|output| M::only_looks(input, output));
        let is_twin = |part: &Part<'_, M>| part.output.is_none() && part.operation.input == *input;
        let twin = if output.is_none() { parts.iter().rposition(is_twin) } else { None };
        parts.push(Part { operation, output, only_looks, call: 0, ret: None, twin });
    }
    parts
}

/// Entries in a row, out of which some are lifted for a while.
#[derive(Debug)]
struct Chain {
    /// For each entry the one after it; in the last place, the first of all.
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Chain {
    /// The entries 0 to `len` - 1, in this order.
    fn of(len: usize) -> Self {
        let ring = len + 1;
        Self {
            next: (0..ring).map(|entry| (entry + 1) % ring).collect(),
            previous: (0..ring).map(|entry| (entry + len) % ring).collect(),
        }
    }

    fn first(&self) -> usize {
        self.next[self.next.len() - 1]
    }

    fn next(&self, entry: usize) -> usize {
        self.next[entry]
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let ring = self.next.len() - 1;
        std::iter::successors(Some(self.first()), |entry| Some(self.next[*entry]))
            .take_while(move |entry| *entry != ring)
    }

    fn lift(&mut self, entry: usize) {
        let (previous, next) = (self.previous[entry], self.next[entry]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    /// Puts back what was lifted last.
    fn put_back(&mut self, entry: usize) {
        let (previous, next) = (self.previous[entry], self.next[entry]);
        self.next[previous] = entry;
        self.previous[next] = entry;
    }
}

const BITS: usize = 64;

fn is_set(bits: &[u64], number: usize) -> bool {
    bits[number / BITS] >> (number % BITS) & 1 == 1
}

fn flip(bits: &mut [u64], number: usize) {
    bits[number / BITS] ^= 1 << (number % BITS);
}
