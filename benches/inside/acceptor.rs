//! The acceptor's step: to accept one slot of many commands. An acceptor steps nowhere but in a
//! journal's turn, so the record is written too, to memory.

use std::cell::RefCell;

use criterion::{BatchSize, Criterion};
use paxosd::paxos::acceptor::{AcceptorConfig, Reply, Request};
use paxosd::paxos::durable::Durable;
use paxosd::paxos::journal::Storage;
use paxosd::paxos::message::ToAcceptor;
use paxosd::types::{Batch, EpochDigest, Slot, StorageId};

use crate::fixture::{
    CLUSTER, COMMANDS, Commands, LEADER, LEARNERS, acceptor, ballot, epoch_with, learner, node,
    storage_id, values,
};
use crate::memory::Memory;

/// Through how many slots an acceptor's memory grows before it trims: as a node has it.
const TRIM_SLOTS: u64 = paxosd::node::TRIM_SLOTS;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acceptor");
    group.throughput(values(COMMANDS));
    let batch = Batch::of(&Commands::default().next());
    let acceptor = RefCell::new(Acceptor::formed(storage_id(4), Memory::default()));
    group.bench_function("accept", |bencher| {
        bencher.iter_batched(
            || acceptor.borrow_mut().accepts(1, &batch),
            |requests| acceptor.borrow_mut().turn(requests),
            BatchSize::SmallInput,
        );
    });
    acceptor.borrow_mut().assert_that_it_votes(1, &batch);
    group.finish();
}

/// An acceptor that has joined the epoch, and is asked for slot after slot.
pub(crate) struct Acceptor<S> {
    /// Absent only within a turn.
    durable: Option<Durable<S>>,
    storage: StorageId,
    epoch: EpochDigest,
    asked: Slot,
}

impl<S: Storage> Acceptor<S> {
    pub(crate) fn formed(id: StorageId, storage: S) -> Self {
        let epoch = epoch_with(id);
        let config = AcceptorConfig {
            me: acceptor(4),
            cluster: CLUSTER.to_owned(),
            storage: id,
            page_bytes: 1 << 20,
            accept_window_slots: 10_000,
            trim_slots: TRIM_SLOTS,
        };
        let (durable, _) = Durable::open(config, storage).expect("an empty journal opens");
        let mut acceptor =
            Self { durable: Some(durable), storage: id, epoch: epoch.digest(), asked: Slot::ZERO };
        let form = acceptor.request(ToAcceptor::Form { epoch });
        let replies = acceptor.turn(vec![form]);
        assert!(matches!(replies[..], [((), Reply::Identity(_))]), "it joins: {replies:?}");
        acceptor
    }

    /// The accepts of the next `count` slots. What was accepted before is trimmed now and then.
    pub(crate) fn accepts(&mut self, count: u64, batch: &Batch) -> Vec<((), Request)> {
        self.trim();
        let accept = |_| {
            self.asked = self.asked.next();
            self.request(ToAcceptor::Accept {
                ballot: ballot(),
                slot: self.asked,
                first_unchosen: self.asked,
                learner: None,
                batch: batch.clone(),
            })
        };
        (0..count).map(accept).collect()
    }

    pub(crate) fn turn(&mut self, requests: Vec<((), Request)>) -> Vec<((), Reply)> {
        let durable = self.durable.take().expect("a turn that failed was the last one");
        let (durable, replies) = durable.turn(requests).expect("the storage works");
        self.durable = Some(durable);
        replies
    }

    pub(crate) fn assert_that_it_votes(&mut self, count: u64, batch: &Batch) {
        let accepts = self.accepts(count, batch);
        let replies = self.turn(accepts);
        assert_eq!(Ok(count), u64::try_from(replies.len()), "each accept is answered");
        let is_vote = |reply: &((), Reply)| matches!(reply.1, Reply::Vote { .. });
        assert!(replies.iter().all(is_vote), "each answer is a vote");
        assert_eq!(self.highest_voted(), self.asked, "no slot was left out");
    }

    fn trim(&mut self) {
        let through = self.highest_voted();
        let trimmed = self.durable.as_ref().map(|it| it.acceptor().trimmed_slot());
        if through.beyond(trimmed.unwrap_or(Slot::ZERO)) < TRIM_SLOTS {
            return;
        }
        let storage = self.storage;
        let report = |id| ToAcceptor::Durable { learner: learner(id), storage, slot: through };
        let reports = LEARNERS.map(|id| self.request(report(id)));
        self.turn(reports.into());
    }

    fn highest_voted(&self) -> Slot {
        self.durable.as_ref().map_or(Slot::ZERO, |it| it.acceptor().highest_voted())
    }

    fn request(&self, message: ToAcceptor) -> ((), Request) {
        ((), Request { from: node(LEADER), epoch: Some(self.epoch), message })
    }
}
