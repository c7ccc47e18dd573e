//! An acceptor of a check: the core's, over a disk, with a memory of what it said.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use paxosd::paxos::acceptor::{Acceptor, Reply, Request};
use paxosd::paxos::durable::Durable;
use paxosd::paxos::message::{Accepted, ToAcceptor, Vote};
use paxosd::types::{Ballot, NodeId, Slot};

use super::catalogue::Kind;
use super::ground::{self, Order};
use super::lexicon::{Lexicon, ReplyId, RequestId, Set};
use crate::chance::{Chance, Of};
use crate::disk::{Disk, SimStorage};

/// More than any check writes, so that a journal stays in its first segment.
const SEGMENT_BYTES: usize = 1 << 15;

/// What can happen to an acceptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// A request arrives, is made durable, and is answered.
    Request(RequestId),
    /// A request arrives, and the sync of its record fails: the process ends, its disk torn, and
    /// comes back.
    Torn(RequestId),
    /// The process ends between two requests, and comes back.
    Crash,
    /// The learner has everything through this slot on disk.
    Durable(Slot),
}

/// The kind.
pub(super) struct Acceptors {
    pub(super) lexicon: Arc<Lexicon>,
    /// Planted: it comes back without anything since it was formed.
    pub(super) forgets: bool,
}

/// An acceptor, alive.
pub(super) struct Machine {
    place: usize,
    disk: Rc<RefCell<Disk>>,
    durable: Option<Durable<SimStorage>>,
    /// The highest ballot that it told of, or came back with after a crash.
    said: Option<Ballot>,
    /// Every vote it ever had on disk.
    cast: Set,
}

/// A promise or a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) id: ReplyId,
    pub(super) is_refusal: bool,
}

/// What the model sees of an acceptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// Every vote it ever had on disk.
    pub(super) cast: Set,
    /// Its promise is not below any ballot that it told of, or came back with.
    pub(super) keeps_word: bool,
    /// After a crash it would be what it is.
    pub(super) outlives_crash: bool,
}

impl Kind for Acceptors {
    type Machine = Machine;
    type Event = Event;
    type Answer = Option<Answer>;
    type View = View;

    fn birth(&self, place: usize) -> Machine {
        let disk = Disk::new(ground::directory(place), SEGMENT_BYTES);
        let disk = Rc::new(RefCell::new(disk));
        let durable = Some(open(place, &disk));
        let mut machine = Machine { place, disk, durable, said: None, cast: Set::default() };
        let form = ToAcceptor::Form { epoch: ground::epoch() };
        machine.turn(ground::proposer(0).node(), form).expect("an acceptor answers who it is");
        machine
    }

    fn step(&self, machine: &mut Machine, event: Event) -> Option<Answer> {
        match event {
            Event::Request(request) => {
                let message = self.lexicon.spell_request(request);
                let reply = machine.turn(ground::proposer(request.sender).node(), message)?;
                self.hear(machine, reply)
            }
            Event::Torn(request) => {
                let message = self.lexicon.spell_request(request);
                machine.disk.borrow_mut().is_failing = true;
                // Nothing is heard of it: where there was nothing to write, the answer is lost.
                drop(machine.turn(ground::proposer(request.sender).node(), message));
                self.restart(machine);
                None
            }
            Event::Crash => {
                self.restart(machine);
                None
            }
            Event::Durable(slot) => {
                let (learner, storage) = (ground::learner(), ground::learner_directory());
                let report = ToAcceptor::Durable { learner, storage, slot };
                drop(machine.turn(learner.node(), report));
                None
            }
        }
    }

    fn moved(&self, place: usize, order: Order) -> usize {
        ground::moved(place, order)
    }

    fn renamed(&self, event: Event, _: Order) -> Event {
        event
    }

    /// What an acceptor does next depends on its own fields; what it does after a crash, on what
    /// its journal gives back, which is a fold over records: of two journals that give back the
    /// same acceptor, the same further records make the same. Where records lie on the disk decides
    /// nothing as long as one segment holds them.
    fn look(&self, machine: &Machine) -> (String, View) {
        let acceptor = machine.acceptor();
        let (alive, restarted) = (format!("{acceptor:?}"), machine.restarted());
        let view = View {
            cast: machine.cast,
            keeps_word: acceptor.promised() >= machine.said,
            outlives_crash: durable_part(&alive) == durable_part(&restarted),
        };
        let Machine { said, cast, .. } = machine;
        (format!("{alive} {restarted} {said:?} {cast:?}"), view)
    }
}

impl Acceptors {
    /// Notes what leaves the acceptor. A vote stays here until a leader hears of a quorum at once.
    fn hear(&self, machine: &mut Machine, reply: Reply) -> Option<Answer> {
        match reply {
            Reply::Promise { ballot, .. } => {
                machine.said = machine.said.max(Some(ballot));
                Some(Answer { id: self.lexicon.reply(reply), is_refusal: false })
            }
            Reply::Vote { vote, .. } => {
                assert!(vote.acceptor == ground::acceptor(machine.place), "it votes for itself");
                machine.said = machine.said.max(Some(vote.ballot));
                machine.cast = machine.cast.or(self.lexicon.vote(vote));
                None
            }
            Reply::Nack { .. } => Some(Answer { id: self.lexicon.reply(reply), is_refusal: true }),
            Reply::Identity(_)
            | Reply::Mark { .. }
            | Reply::Votes { .. }
            | Reply::Noted { .. }
            | Reply::OtherEpoch => unreachable!("requests are prepares and accepts of one epoch"),
        }
    }

    fn restart(&self, machine: &mut Machine) {
        if self.forgets {
            let Machine { place, said, cast, .. } = *machine;
            *machine = Machine { said, cast, ..self.birth(place) };
            return;
        }
        machine.durable = None;
        // What it tears, if something was unsynced, is the same in every life.
        machine.disk.borrow_mut().crash(&mut Chance::new(0, Of::Options));
        machine.durable = Some(open(machine.place, &machine.disk));
        // A record that outlived the crash of its own turn counts, although nobody was told.
        machine.said = machine.said.max(machine.acceptor().promised());
        let fetch = ToAcceptor::Fetch { from_slot: Slot::FIRST };
        if let Some(Reply::Votes { votes, .. }) = machine.turn(ground::learner().node(), fetch) {
            for Accepted { slot, ballot, batch } in votes {
                let acceptor = ground::acceptor(machine.place);
                let vote = Vote { acceptor, slot, ballot, digest: batch.digest() };
                machine.cast = machine.cast.or(self.lexicon.vote(vote));
            }
        }
    }
}

impl Machine {
    /// One turn with one request; none when the disk fails, which ends the process.
    fn turn(&mut self, from: NodeId, message: ToAcceptor) -> Option<Reply> {
        let durable = self.durable.take()?;
        let epoch = Some(ground::epoch().digest());
        let request = Request { from, epoch, message };
        let (durable, replies) = durable.turn([((), request)]).ok()?;
        self.disk.borrow_mut().settle();
        self.durable = Some(durable);
        replies.into_iter().next().map(|((), reply)| reply)
    }

    fn acceptor(&self) -> &Acceptor {
        self.durable.as_ref().expect("between two events it is up").acceptor()
    }

    /// What a copy of its disk gives back.
    fn restarted(&self) -> String {
        let disk = Rc::new(RefCell::new(self.disk.borrow().clone()));
        format!("{:?}", open(self.place, &disk).acceptor())
    }
}

/// What an acceptor shows of itself before what it was told by learners, who tell it again.
fn durable_part(shown: &str) -> &str {
    shown.split_once(", durable: ").expect("an acceptor shows all its fields").0
}

fn open(place: usize, disk: &Rc<RefCell<Disk>>) -> Durable<SimStorage> {
    let storage = SimStorage(Rc::clone(disk));
    let opened = Durable::open(ground::acceptor_config(place), storage);
    opened.expect("a crash damages no journal").0
}
