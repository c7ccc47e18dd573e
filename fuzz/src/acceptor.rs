//! One acceptor over a disk that crashes, tears and fails: the bytes are requests, turns and
//! crashes. Whatever it has answered it keeps, and it never answers two things that contradict each
//! other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use paxosd::paxos::acceptor::{Acceptor, AcceptorConfig, Reply, Request};
use paxosd::paxos::durable::Durable;
use paxosd::paxos::message::{Accepted, Refusal, ToAcceptor};
use paxosd::paxos::record::Summary;
use paxosd::types::{
    AcceptorId, Ballot, Batch, BatchDigest, Epoch, Incarnation, LearnerId, LogLimits, NodeId,
    ProposerId, Slot, StorageId,
};
use sim::chance::Chance;
use sim::disk::{Disk, SimStorage};
use uuid::Uuid;

use crate::input::Input;

const CLUSTER: &str = "fuzzed";
const SEGMENT_BYTES: usize = 1024;
const PAGE_BYTES: usize = 200;
const WINDOW: u64 = 8;
const TRIM: u64 = 3;
const ME: u64 = 4;
const LEARNERS: [u64; 2] = [7, 8];
/// Turns of one input at most.
const TURNS_MAX: usize = 256;

/// Drives an acceptor by `bytes`.
///
/// # Panics
/// When it breaks its word, or does not start again.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let disk = Rc::new(RefCell::new(Disk::new(directory(), SEGMENT_BYTES)));
    let mut lab = Lab { durable: Some(open(&disk)), disk, word: Word::default() };
    for _ in 0..TURNS_MAX {
        if input.is_empty() {
            break;
        }
        let count = input.below(5);
        let requests: Vec<Request> = (0..count).map(|_| request(&mut input)).collect();
        match input.byte() % 8 {
            0 => lab.turn_and_crash(requests, input.bytes(16)),
            1 => lab.turn_that_fails(requests, input.bytes(16)),
            2 => {
                lab.turn(requests);
                lab.crash(input.bytes(16));
            }
            _ => lab.turn(requests),
        }
    }
    lab.crash(&[]);
}

/// What the acceptor has answered, and so must keep.
#[derive(Debug, Default)]
struct Word {
    promised: Option<Ballot>,
    votes: BTreeMap<(Slot, Ballot), BatchDigest>,
    /// The vote of the highest ballot in each slot.
    newest: BTreeMap<Slot, (Ballot, BatchDigest)>,
    mark: Slot,
    trimmed: Slot,
    /// Through which slot each learner said last that it has everything.
    reported: BTreeMap<LearnerId, Slot>,
}

/// The acceptor, its disk, and what it has said.
#[derive(Debug)]
struct Lab {
    durable: Option<Durable<SimStorage>>,
    disk: Rc<RefCell<Disk>>,
    word: Word,
}

impl Lab {
    /// A turn whose answers leave.
    fn turn(&mut self, requests: Vec<Request>) {
        let durable = self.durable.take().expect("it was started again");
        let asked = requests.into_iter().map(|request| (request.clone(), request));
        let (durable, replies) = durable.turn(asked).expect("the disk works");
        self.disk.borrow_mut().settle();
        for (request, reply) in replies {
            self.word.hear(&request, &reply, durable.acceptor());
        }
        self.durable = Some(durable);
    }

    /// A turn that a crash interrupts: nobody was answered, and the disk may be torn.
    fn turn_and_crash(&mut self, requests: Vec<Request>, tear: &[u8]) {
        let durable = self.durable.take().expect("it was started again");
        drop(durable.turn(requests.into_iter().map(|request| ((), request))));
        self.crash(tear);
    }

    /// A turn whose sync fails: there are no answers, and no second attempt.
    fn turn_that_fails(&mut self, requests: Vec<Request>, tear: &[u8]) {
        let durable = self.durable.take().expect("it was started again");
        self.disk.borrow_mut().is_failing = true;
        if let Ok((durable, replies)) =
            durable.turn(requests.into_iter().map(|it| (it.clone(), it)))
        {
            // Nothing had to be written.
            for (request, reply) in replies {
                self.word.hear(&request, &reply, durable.acceptor());
            }
        }
        self.crash(tear);
    }

    fn crash(&mut self, tear: &[u8]) {
        self.durable = None;
        self.disk.borrow_mut().crash(&mut Chance::of_bytes(tear));
        let durable = open(&self.disk);
        self.word.recall(durable.acceptor());
        self.durable = Some(durable);
    }
}

impl Word {
    /// A new life remembers all that an earlier one answered.
    fn recall(&self, acceptor: &Acceptor) {
        assert!(acceptor.promised() >= self.promised, "a promise is never forgotten");
        assert!(acceptor.highest_voted() >= self.mark, "a vote is never forgotten");
        assert!(acceptor.trimmed_slot() >= self.trimmed, "what was trimmed stays trimmed");
    }

    fn hear(&mut self, request: &Request, reply: &Reply, acceptor: &Acceptor) {
        // What was said under another epoch was not taken, nor what was said before a crash.
        if let (ToAcceptor::Durable { learner, slot, .. }, Reply::Noted { .. }) =
            (&request.message, reply)
        {
            self.reported.insert(*learner, *slot);
        }
        match (&request.message, reply) {
            (ToAcceptor::Prepare { ballot, from_slot }, Reply::Promise { .. }) => {
                self.hear_promise(*ballot, *from_slot, reply);
            }
            (ToAcceptor::Accept { ballot, slot, batch, .. }, Reply::Vote { vote, .. }) => {
                assert_eq!((vote.slot, vote.ballot), (*slot, *ballot), "it votes as it was asked");
                assert_eq!(vote.digest, batch.digest(), "it votes for what was proposed");
                self.hear_vote(*slot, *ballot, vote.digest);
            }
            (_, Reply::Nack { ballot, slot, refusal }) => {
                self.hear_nack(*ballot, *slot, *refusal, acceptor);
            }
            (ToAcceptor::Mark { nonce }, Reply::Mark { nonce: theirs, slot }) => {
                assert_eq!(nonce, theirs, "an answer is to its question");
                assert!(*slot >= self.mark, "a mark is no lower than any vote");
            }
            (
                ToAcceptor::Fetch { from_slot },
                Reply::Votes { votes, next_slot, trimmed_slot, .. },
            ) => {
                self.check_page(*from_slot, *next_slot, votes, *trimmed_slot);
            }
            (ToAcceptor::Durable { .. }, Reply::Noted { trimmed: Some(through) }) => {
                self.hear_trim(*through, acceptor);
            }
            (ToAcceptor::Durable { .. }, Reply::Noted { trimmed: None })
            | (ToAcceptor::Identify | ToAcceptor::Form { .. }, Reply::Identity(_))
            | (_, Reply::OtherEpoch) => {}
            (message, reply) => panic!("{reply:?} is no answer to {message:?}"),
        }
        self.recall(acceptor);
    }

    fn hear_promise(&mut self, ballot: Ballot, from: Slot, reply: &Reply) {
        let Reply::Promise { ballot: theirs, from_slot, accepted, next_slot, trimmed_slot } = reply
        else {
            return;
        };
        assert_eq!((*theirs, *from_slot), (ballot, from), "an answer is to its question");
        assert!(Some(ballot) >= self.promised, "a promise is never below an earlier one");
        self.promised = Some(ballot);
        self.check_page(from, *next_slot, accepted, *trimmed_slot);
    }

    fn hear_vote(&mut self, slot: Slot, ballot: Ballot, digest: BatchDigest) {
        assert!(Some(ballot) >= self.promised, "nothing below a promise is accepted");
        assert!(slot > self.trimmed, "nothing that was trimmed is accepted");
        let first = *self.votes.entry((slot, ballot)).or_insert(digest);
        assert_eq!(first, digest, "one slot and ballot never carry two values");
        self.promised = Some(ballot);
        self.newest.insert(slot, (ballot, digest));
        self.mark = self.mark.max(slot);
    }

    fn hear_trim(&mut self, through: Slot, acceptor: &Acceptor) {
        assert!(through > self.trimmed, "a trim goes further");
        let Summary::Acceptor { epoch: Some((epoch, _)), .. } = acceptor.summary() else {
            panic!("an acceptor in no epoch has trimmed");
        };
        let has_all = |id: &&LearnerId| self.reported.get(*id).is_some_and(|at| *at >= through);
        let holders = epoch.learners.iter().filter(has_all).count();
        assert!(holders >= epoch.learner_majority(), "most learners have what is trimmed");
        self.trimmed = through;
    }

    fn hear_nack(&self, ballot: Ballot, slot: Option<Slot>, why: Refusal, acceptor: &Acceptor) {
        match why {
            Refusal::Promised(promised) => {
                assert!(promised > ballot, "a refusal names a higher ballot");
                assert!(Some(promised) <= acceptor.promised(), "it names a promise that was made");
            }
            Refusal::Trimmed(through) => assert!(slot.is_some_and(|slot| slot <= through)),
            Refusal::BeyondWindow(limit) => assert!(slot.is_some_and(|slot| slot > limit)),
            Refusal::OtherValue => {
                let known = slot.and_then(|slot| self.votes.get(&(slot, ballot)));
                let is_untold = known.is_none() && acceptor.promised() >= Some(ballot);
                assert!(known.is_some() || is_untold, "there is such a vote");
            }
            Refusal::NotPromised => assert!(ballot.is_manual(), "only a person must ask first"),
        }
    }

    /// A page shows every vote that was told, or one of a higher ballot.
    fn check_page(&self, from: Slot, next: Option<Slot>, page: &[Accepted], trimmed: Slot) {
        assert!(trimmed >= self.trimmed, "what was trimmed stays trimmed");
        let is_in_page = |slot: &Slot| *slot >= from && next.is_none_or(|next| *slot < next);
        for pair in page.windows(2) {
            assert!(pair.first().map(|it| it.slot) < pair.last().map(|it| it.slot), "in order");
        }
        assert!(page.iter().all(|it| is_in_page(&it.slot) && it.slot > trimmed), "of its page");
        assert!(next.is_none() || !page.is_empty(), "a page goes on");
        for (slot, (ballot, digest)) in &self.newest {
            if *slot <= trimmed || !is_in_page(slot) {
                continue;
            }
            let shown = page.iter().find(|it| it.slot == *slot);
            let shown = shown.unwrap_or_else(|| panic!("the vote in slot {slot} is not shown"));
            assert!(shown.ballot >= *ballot, "the vote of the highest ballot is shown");
            let is_same = shown.ballot != *ballot || shown.batch.digest() == *digest;
            assert!(is_same, "a vote is shown with its value");
        }
    }
}

fn open(disk: &Rc<RefCell<Disk>>) -> Durable<SimStorage> {
    let config = AcceptorConfig {
        me: AcceptorId(node(ME)),
        cluster: CLUSTER.to_owned(),
        storage: directory(),
        page_bytes: PAGE_BYTES,
        accept_window_slots: WINDOW,
        trim_slots: TRIM,
    };
    disk.borrow_mut().is_failing = false;
    let opened = Durable::open(config, SimStorage(Rc::clone(disk)));
    let (durable, _) = opened.unwrap_or_else(|error| panic!("it starts after a crash: {error}"));
    disk.borrow_mut().settle();
    durable
}

fn request(input: &mut Input<'_>) -> Request {
    let message = match input.byte() % 16 {
        0 => ToAcceptor::Identify,
        1 | 2 => ToAcceptor::Form { epoch: epoch(input.byte()) },
        3..=5 => ToAcceptor::Prepare { ballot: ballot(input), from_slot: slot(input) },
        6 => ToAcceptor::Mark { nonce: u64::from(input.byte()) },
        7 => ToAcceptor::Fetch { from_slot: slot(input) },
        8 | 9 => {
            let learner = if input.byte().is_multiple_of(2) { LEARNERS[0] } else { LEARNERS[1] };
            let learner = LearnerId(node(learner));
            ToAcceptor::Durable { learner, storage: directory(), slot: slot(input) }
        }
        _ => ToAcceptor::Accept {
            ballot: ballot(input),
            slot: slot(input),
            first_unchosen: slot(input),
            learner: None,
            batch: batch(input),
        },
    };
    // Most callers count by the epoch that most forms name.
    let other = input.byte();
    let epoch = (other != 1).then(|| epoch(if other == 2 { 1 } else { 255 }).digest());
    Request { from: node(1), epoch, message }
}

fn ballot(input: &mut Input<'_>) -> Ballot {
    let proposer = ProposerId(node(input.upto(2)));
    let round = input.upto(16);
    // One in four is written by hand.
    Ballot { round, proposer, incarnation: Incarnation(u64::from(input.byte() % 4)) }
}

fn slot(input: &mut Input<'_>) -> Slot {
    Slot::new(input.upto(24))
}

fn batch(input: &mut Input<'_>) -> Batch {
    let count = input.below(400);
    Batch::from_bytes(Bytes::from(vec![input.byte(); count]))
}

/// The epoch of this cluster, or, by the lowest numbers, another that is none of this acceptor's or
/// has other learners.
fn epoch(which: u8) -> Epoch {
    let learners = |ids: &[u64]| ids.iter().map(|id| LearnerId(node(*id))).collect();
    let mine = Epoch {
        cluster: CLUSTER.to_owned(),
        acceptors: BTreeMap::from([(AcceptorId(node(ME)), directory())]),
        learners: learners(&LEARNERS),
        limits: LogLimits { idempotency_window: 10, session_window: 10, sessions_max: 10 },
    };
    match which {
        0 => Epoch { cluster: "other".to_owned(), ..mine },
        1 => Epoch { learners: BTreeSet::from([LearnerId(node(LEARNERS[0]))]), ..mine },
        2 => Epoch { acceptors: BTreeMap::new(), ..mine },
        _ => mine,
    }
}

fn directory() -> StorageId {
    StorageId(Uuid::from_u128(u128::from(ME)))
}

fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("ids of the bench are from 1 to 99")
}
