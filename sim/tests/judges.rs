//! The judge of long histories and the general search, on the same histories of a small system that
//! is right, or wrong in one way: they must agree, and see every way.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer, in its helpers too"
)]

use paxosd::types::Index;
use proptest::prelude::*;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sim::linearizable::list::{self, List};
use sim::linearizable::{CallId, Event, History, Query, contradiction, judge};

/// Calls of one history: few, since the search tries orders.
const CALLS: u64 = 9;

/// What is wrong with a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Nothing,
    /// A read is answered from the past.
    ReadsThePast,
    /// A value goes before others that are there.
    Overtakes,
    /// A write is answered and not applied.
    Loses,
    /// A write is applied again.
    Repeats,
    /// A write is answered with another index.
    Miscounts,
    /// A write is applied, and its caller is told that it was not.
    DeniesWrongly,
    /// The values of a write are torn apart.
    Tears,
    /// A value that nobody sent is there.
    Invents,
    /// A page has another value.
    Misreads,
    /// A read ends amid a write.
    SeesHalf,
}

const FLAWS: [Flaw; 10] = [
    Flaw::ReadsThePast,
    Flaw::Overtakes,
    Flaw::Loses,
    Flaw::Repeats,
    Flaw::Miscounts,
    Flaw::DeniesWrongly,
    Flaw::Tears,
    Flaw::Invents,
    Flaw::Misreads,
    Flaw::SeesHalf,
];

#[test]
fn every_flaw_is_seen() {
    for flaw in FLAWS {
        let seen = (0..400).filter(|seed| !holds(&history(*seed, flaw))).count();
        assert!(seen >= 20, "{flaw:?} was seen in {seen} of 400 histories");
    }
}

#[test]
fn a_right_system_is_never_accused() {
    for seed in 0..400 {
        let history = history(seed, Flaw::Nothing);
        assert_eq!(judge(&history), Ok(None), "seed {seed}: {history:#?}");
    }
}

proptest! {
    #[test]
    fn both_judges_agree(seed in any::<u64>(), flaw in prop::sample::select(&FLAWS[..])) {
        for flaw in [Flaw::Nothing, flaw] {
            let history = history(seed, flaw);
            let operations = list::operations(&history).unwrap();
            let found = contradiction::<List>(&operations, usize::MAX);
            prop_assert_eq!(holds(&history), found.is_none(), "{:#?}\n{:?}", history, found);
        }
    }
}

fn holds(history: &History) -> bool {
    judge(history).unwrap().is_none()
}

/// A history of a system with this flaw.
fn history(seed: u64, flaw: Flaw) -> History {
    let mut toy = Toy {
        rng: ChaCha8Rng::seed_from_u64(seed),
        flaw,
        log: Vec::new(),
        ends: vec![Index::ZERO],
        history: History::default(),
        calls: Vec::new(),
        next: 0,
    };
    while toy.next < CALLS || toy.calls.iter().any(|call| !call.is_over) {
        toy.turn();
    }
    toy.finish()
}

/// A call on its way.
#[derive(Debug, Clone)]
struct Call {
    id: CallId,
    asked: Asked,
    /// What it will be answered, once it has taken effect.
    answer: Option<Event>,
    /// Its caller was answered, or gave up.
    is_over: bool,
}

#[derive(Debug, Clone)]
enum Asked {
    Write { key: Option<String>, values: Vec<String> },
    Read { query: Query, stale: bool },
}

/// A system of one list.
struct Toy {
    rng: ChaCha8Rng,
    flaw: Flaw,
    log: Vec<String>,
    /// Where reads may end.
    ends: Vec<Index>,
    history: History,
    calls: Vec<Call>,
    next: u64,
}

impl Toy {
    fn turn(&mut self) {
        match self.rng.random_range(0..5) {
            0 if self.next < CALLS => self.call(),
            1 | 2 => self.take_effect(),
            3 => self.answer(),
            _ => {
                if self.rng.random_bool(0.1) {
                    self.give_up();
                }
            }
        }
    }

    fn call(&mut self) {
        self.next += 1;
        let id = CallId(self.next);
        let asked = if self.rng.random_bool(0.4) { self.read() } else { self.write() };
        self.history.push(match asked.clone() {
            Asked::Write { key, values } => Event::Write { id, key, values },
            Asked::Read { query: Query { from, limit }, stale } => {
                Event::Read { id, from, limit, stale }
            }
        });
        self.calls.push(Call { id, asked, answer: None, is_over: false });
    }

    fn read(&mut self) -> Asked {
        let from = self.rng.random_bool(0.5).then(|| Index::new(self.rng.random_range(0..5)));
        let query = Query { from, limit: self.rng.random_range(1..10) };
        Asked::Read { query, stale: self.rng.random_bool(0.2) }
    }

    /// A new write, or another attempt at one with a key.
    fn write(&mut self) -> Asked {
        let has_key = |call: &&Call| matches!(&call.asked, Asked::Write { key: Some(_), .. });
        let keyed: Vec<&Call> = self.calls.iter().filter(has_key).collect();
        if self.rng.random_bool(0.3)
            && let Some(call) = keyed.choose(&mut self.rng)
        {
            return call.asked.clone();
        }
        let key = self.rng.random_bool(0.4).then(|| format!("key {}", self.next));
        let count = if self.rng.random_bool(0.7) { 1 } else { 2 };
        Asked::Write { key, values: (0..count).map(|nth| format!("{}.{nth}", self.next)).collect() }
    }

    /// Something that was called happens; also for those who gave up.
    fn take_effect(&mut self) {
        let waiting: Vec<usize> =
            (0..self.calls.len()).filter(|nth| self.calls[*nth].answer.is_none()).collect();
        let Some(&nth) = waiting.choose(&mut self.rng) else { return };
        let Call { id, asked, .. } = self.calls[nth].clone();
        let errs = self.rng.random_bool(0.4);
        let flaw = if errs { self.flaw } else { Flaw::Nothing };
        self.calls[nth].answer = Some(match asked {
            Asked::Write { values, .. } => self.apply(id, &values, flaw),
            Asked::Read { query, stale } => self.serve(id, query, stale, flaw),
        });
    }

    fn apply(&mut self, id: CallId, values: &[String], flaw: Flaw) -> Event {
        if self.rng.random_bool(0.1) {
            return Event::NotApplied { id };
        }
        let known = self.log.iter().position(|it| *it == values[0]);
        let mut position = known.unwrap_or(self.log.len());
        if known.is_none() && flaw == Flaw::Overtakes {
            position = self.rng.random_range(0..=position);
        }
        if known.is_none() && flaw != Flaw::Loses || flaw == Flaw::Repeats {
            let at = if flaw == Flaw::Repeats { self.log.len() } else { position };
            self.log.splice(at..at, values.iter().cloned());
        }
        match flaw {
            Flaw::Tears => drop(self.log.pop()),
            Flaw::Invents => self.log.push(format!("nobody's {}", self.log.len())),
            Flaw::Miscounts => position += 1,
            Flaw::DeniesWrongly => return Event::NotApplied { id },
            Flaw::Nothing
            | Flaw::ReadsThePast
            | Flaw::Overtakes
            | Flaw::Loses
            | Flaw::Repeats
            | Flaw::Misreads
            | Flaw::SeesHalf => {}
        }
        self.ends.push(index(self.log.len()));
        let first_index = index(position).next();
        let count = u64::try_from(values.len()).unwrap();
        Event::Applied { id, first_index, last_index: first_index.plus(count).previous() }
    }

    fn serve(&mut self, id: CallId, query: Query, stale: bool, flaw: Flaw) -> Event {
        let is_past = stale || flaw == Flaw::ReadsThePast;
        let newest = self.ends.len() - 1;
        let nth = if is_past { self.rng.random_range(0..=newest) } else { newest };
        let mut delivered_index = self.ends[nth];
        if flaw == Flaw::SeesHalf {
            delivered_index = delivered_index.previous();
        }
        let (first_index, until) = query.page(delivered_index);
        let indices = (1..).map(Index::new).zip(&self.log);
        let page = indices.filter(|(index, _)| (first_index..until).contains(index));
        let mut values: Vec<String> = page.map(|(_, value)| value.clone()).collect();
        if flaw == Flaw::Misreads
            && let Some(value) = values.choose_mut(&mut self.rng)
        {
            value.push('?');
        }
        Event::Served { id, first_index, values, delivered_index }
    }

    fn answer(&mut self) {
        let done = |call: &&mut Call| call.answer.is_some() && !call.is_over;
        let mut done: Vec<&mut Call> = self.calls.iter_mut().filter(done).collect();
        if let Some(call) = done.choose_mut(&mut self.rng) {
            call.is_over = true;
            self.history.push(call.answer.clone().unwrap());
        }
    }

    fn give_up(&mut self) {
        let mut open: Vec<&mut Call> = self.calls.iter_mut().filter(|call| !call.is_over).collect();
        if let Some(call) = open.choose_mut(&mut self.rng) {
            call.is_over = true;
            if self.rng.random_bool(0.5) {
                self.history.push(Event::Unknown { id: call.id });
            }
        }
    }

    /// One learner tells all it has; another, before, what it had then.
    fn finish(mut self) -> History {
        let first_index = Index::FIRST;
        let log = |learner, values| Event::Log { learner, first_index, values };
        if self.rng.random_bool(0.5) {
            self.history.push(log(7, self.log.clone()));
            self.take_effect();
        }
        self.history.push(log(8, self.log));
        self.history
    }
}

fn index(length: usize) -> Index {
    Index::new(u64::try_from(length).unwrap())
}
