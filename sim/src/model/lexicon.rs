//! Everything that was ever said, numbered, so that a state names messages by number.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use paxosd::paxos::acceptor::Reply;
use paxosd::paxos::message::{ToAcceptor, Vote};
use paxosd::types::{Batch, BatchDigest};

/// A request to the acceptors, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RequestId {
    /// The place of the proposer that sends it.
    pub(super) sender: usize,
    number: u32,
}

/// An acceptor's reply, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ReplyId(u32);

/// A set of things numbered below 128: of votes, each told without its voter, or of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Set(u128);

#[derive(Debug, Default)]
struct Words {
    requests: Vec<ToAcceptor>,
    replies: Vec<Reply>,
    /// Votes, without their voter.
    votes: Vec<Vote>,
    values: Vec<Batch>,
    /// The value of each length, see [`Lexicon::value`].
    lengths: BTreeMap<usize, BatchDigest>,
}

/// The words of one check.
#[derive(Debug, Default)]
pub(super) struct Lexicon(Mutex<Words>);

impl Lexicon {
    /// The number of `message`, which the proposer at `sender` sends to every acceptor.
    pub(super) fn request(&self, sender: usize, message: ToAcceptor) -> RequestId {
        RequestId { sender, number: number_of(&mut self.words().requests, message) }
    }

    /// What a request says.
    pub(super) fn spell_request(&self, request: RequestId) -> ToAcceptor {
        spell(&self.words().requests, request.number)
    }

    /// The number of `reply`.
    pub(super) fn reply(&self, reply: Reply) -> ReplyId {
        ReplyId(number_of(&mut self.words().replies, reply))
    }

    /// What a reply says.
    pub(super) fn spell_reply(&self, reply: ReplyId) -> Reply {
        spell(&self.words().replies, reply.0)
    }

    /// The set of this one vote, of whomever.
    pub(super) fn vote(&self, vote: Vote) -> Set {
        let mut words = self.words();
        let known = words.votes.iter().position(|known| {
            (known.slot, known.ballot, known.digest) == (vote.slot, vote.ballot, vote.digest)
        });
        let number = known.unwrap_or_else(|| {
            words.votes.push(vote);
            words.votes.len() - 1
        });
        Set::of(number)
    }

    /// The votes in `set`, each alone and in the name of the first who cast it.
    pub(super) fn spell_votes(&self, set: Set) -> Vec<(Set, Vote)> {
        let words = self.words();
        let spelled = |number| Some((Set::of(number), *words.votes.get(number)?));
        set.numbers().filter_map(spelled).collect()
    }

    /// The set of this one value.
    ///
    /// # Panics
    /// When another value has its length: the core shows a batch by its length, so faces tell
    /// values apart by it.
    pub(super) fn value(&self, batch: &Batch) -> Set {
        let mut words = self.words();
        let digest = *words.lengths.entry(batch.len()).or_insert(batch.digest());
        assert!(digest == batch.digest(), "values of a check differ in their length");
        let number = number_of(&mut words.values, batch.clone());
        Set::of(usize::try_from(number).expect("a number of 32 bits fits"))
    }

    /// The values in `set`.
    pub(super) fn spell_values(&self, set: Set) -> Vec<Batch> {
        let words = self.words();
        set.numbers().filter_map(|number| words.values.get(number).cloned()).collect()
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.0.lock().expect("no step of the core panics")
    }
}

impl Set {
    fn of(number: usize) -> Self {
        assert!(number < 128, "the bounds of a check allow for 128 votes and values");
        Self(1 << number)
    }

    /// What is in either.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is in it.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn numbers(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let number = usize::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)?;
            rest &= rest - 1;
            Some(number)
        })
    }
}

fn number_of<T: PartialEq>(words: &mut Vec<T>, word: T) -> u32 {
    let known = words.iter().position(|known| *known == word);
    let number = known.unwrap_or_else(|| {
        words.push(word);
        words.len() - 1
    });
    u32::try_from(number).expect("memory ends long before the numbers do")
}

fn spell<T: Clone>(words: &[T], number: u32) -> T {
    let at = usize::try_from(number).expect("a number of 32 bits fits");
    words.get(at).cloned().expect("only what was said has a number")
}
