//! Local states, each found once: the events that lead to it, and how it looks.
//!
//! The roles of the core are plain functions, so a local state *is* its history: it is had again by
//! doing the same events once more, on a new role. So the core needs no copying of roles that must
//! never be copied, and each distinct step of the core is taken once, however many states of the
//! whole cluster it is a part of.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::ground::{ORDERS, Order};

/// A kind of local state: a role of the core, and what the model remembers beside it.
pub(super) trait Kind {
    /// The role, alive.
    type Machine;
    /// What can happen to it.
    type Event: Copy + Eq + Hash + Debug;
    /// What it answers.
    type Answer: Copy;
    /// What the model needs to see of it.
    type View: Clone;

    /// The role at `place` among its like, at the beginning.
    fn birth(&self, place: usize) -> Self::Machine;

    /// Lets `event` happen.
    fn step(&self, machine: &mut Self::Machine, event: Self::Event) -> Self::Answer;

    /// The place that the role at `place` has once the acceptors have changed theirs.
    fn moved(&self, place: usize, order: Order) -> usize;

    /// The event as it is once the acceptors have changed places.
    fn renamed(&self, event: Self::Event, order: Order) -> Self::Event;

    /// Its face, which shows everything that what happens later can depend on: two machines with
    /// one face are one state. And what the model needs to see.
    fn look(&self, machine: &Self::Machine) -> (String, Self::View);
}

/// A local state, by the order in which they were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Local(u32);

/// How a local state was first come by.
#[derive(Debug, Clone, Copy)]
enum Origin<E> {
    Birth(usize),
    Step(Local, E),
}

struct Known<K: Kind> {
    origin: Origin<K::Event>,
    view: K::View,
    /// What it is once the acceptors have changed places, in each of the orders.
    orbit: OnceLock<[Local; ORDERS.len()]>,
}

struct Shelves<K: Kind> {
    known: Vec<Known<K>>,
    by_face: HashMap<String, Local>,
    steps: HashMap<(Local, K::Event), (Local, K::Answer)>,
}

/// All local states of a kind that were found, and the steps between them.
pub(super) struct Catalogue<K: Kind> {
    kind: K,
    shelves: RwLock<Shelves<K>>,
}

impl<K: Kind> Catalogue<K> {
    pub(super) fn new(kind: K) -> Self {
        let shelves = Shelves { known: Vec::new(), by_face: HashMap::new(), steps: HashMap::new() };
        Self { kind, shelves: RwLock::new(shelves) }
    }

    /// The first state of the role at `place`.
    pub(super) fn birth(&self, place: usize) -> Local {
        let machine = self.kind.birth(place);
        self.find(&machine, Origin::Birth(place))
    }

    /// What `event` makes of `from`, and what the role answers.
    pub(super) fn step(&self, from: Local, event: K::Event) -> (Local, K::Answer) {
        if let Some(&taken) = self.read().steps.get(&(from, event)) {
            return taken;
        }
        let mut machine = self.relive(from);
        let answer = self.kind.step(&mut machine, event);
        let to = self.find(&machine, Origin::Step(from, event));
        self.write().steps.insert((from, event), (to, answer));
        (to, answer)
    }

    /// What the model needs to see of `local`.
    pub(super) fn view(&self, local: Local) -> K::View {
        self.read().known(local).view.clone()
    }

    /// What `local` is once the acceptors have changed places, in each of the orders: the end of
    /// the same history, told with other names.
    pub(super) fn orbit(&self, local: Local) -> [Local; ORDERS.len()] {
        let (origin, known) = {
            let shelves = self.read();
            let known = shelves.known(local);
            (known.origin, known.orbit.get().copied())
        };
        if let Some(orbit) = known {
            return orbit;
        }
        let orbit = match origin {
            Origin::Birth(place) => ORDERS.map(|order| self.birth(self.kind.moved(place, order))),
            Origin::Step(from, event) => {
                let mut befores = self.orbit(from).into_iter();
                ORDERS.map(|order| {
                    let before = befores.next().expect("an orbit has a state for each order");
                    self.step(before, self.kind.renamed(event, order)).0
                })
            }
        };
        *self.read().known(local).orbit.get_or_init(|| orbit)
    }

    /// How many local states were found, and how many steps were taken.
    pub(super) fn len(&self) -> (usize, usize) {
        let shelves = self.read();
        (shelves.known.len(), shelves.steps.len())
    }

    /// The role as it is in `local`: born, and led through the events of its history.
    fn relive(&self, local: Local) -> K::Machine {
        let mut events = Vec::new();
        let mut at = local;
        let place = loop {
            match self.read().known(at).origin {
                Origin::Birth(place) => break place,
                Origin::Step(from, event) => {
                    events.push(event);
                    at = from;
                }
            }
        };
        let mut machine = self.kind.birth(place);
        for &event in events.iter().rev() {
            self.kind.step(&mut machine, event);
        }
        machine
    }

    fn find(&self, machine: &K::Machine, origin: Origin<K::Event>) -> Local {
        let (face, view) = self.kind.look(machine);
        let mut shelves = self.write();
        if let Some(&local) = shelves.by_face.get(&face) {
            return local;
        }
        let local = u32::try_from(shelves.known.len()).map(Local);
        let local = local.expect("memory ends long before the numbers do");
        shelves.known.push(Known { origin, view, orbit: OnceLock::new() });
        shelves.by_face.insert(face, local);
        local
    }

    fn read(&self) -> RwLockReadGuard<'_, Shelves<K>> {
        self.shelves.read().expect("no step of the core panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelves<K>> {
        self.shelves.write().expect("no step of the core panics")
    }
}

impl<K: Kind> Shelves<K> {
    fn known(&self, local: Local) -> &Known<K> {
        let at = usize::try_from(local.0).expect("a number of 32 bits fits");
        self.known.get(at).expect("a local state has a number only once it is known")
    }
}
