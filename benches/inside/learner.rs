//! The learner's part of a slot: its value and its votes come, it is delivered, and its gateways
//! are told.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use paxosd::paxos::learner::{Effect, Input, Learner, LearnerConfig, LearnerSettings};
use paxosd::paxos::log::Log;
use paxosd::paxos::message::{Accepted, Outbound, ToClient, ToLearner, Vote};
use paxosd::types::{Batch, Instant, ProposerId, Slot};

use crate::fixture::{
    ACCEPTORS, CLUSTER, COMMANDS, Commands, GATEWAYS, LEADER, LEARNERS, LIMITS, acceptor,
    acceptors, ballot, epoch, learner, node, openings, storage_id, values,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("learner");
    group.throughput(values(COMMANDS));
    let learner = RefCell::new(Subject::formed());
    group.bench_function("votes to delivered", |bencher| {
        bencher.iter_batched(
            || {
                let mut learner = learner.borrow_mut();
                learner.finish_slot();
                learner.next_slot()
            },
            |inputs| learner.borrow_mut().take(inputs),
            BatchSize::PerIteration,
        );
    });
    learner.borrow_mut().finish_slot();
    group.finish();
}

struct Subject {
    learner: Learner,
    out: Vec<Effect>,
    commands: Commands,
    /// Slots whose value and votes it was given.
    slots: u64,
}

impl Subject {
    fn formed() -> Self {
        let config = LearnerConfig {
            me: learner(LEARNERS[0]),
            cluster: CLUSTER.to_owned(),
            storage: storage_id(LEARNERS[0]),
            acceptors: acceptors(),
            first_nonce: 1,
            // As shipped.
            settings: LearnerSettings {
                window_slots: 4_096,
                gap: Duration::from_millis(20),
                fill_after: Duration::from_millis(300),
                resend: Duration::from_millis(150),
                report: Duration::from_millis(100),
                checkpoint_indices: 10_000,
                prompt_bytes: 32 << 20,
                kept_bytes_max: 128 << 20,
            },
        };
        let log = Log::new(LIMITS);
        let subject = Learner::new(config, Instant::default(), Some((epoch(), log)));
        let mut subject =
            Self { learner: subject, out: Vec::new(), commands: Commands::default(), slots: 0 };
        let learners = [learner(LEARNERS[1])].into();
        let proposers = [ProposerId(node(LEADER))].into();
        subject.learner.step(
            Instant::default(),
            Input::Peers { learners, proposers },
            &mut subject.out,
        );
        let inputs = subject.slot(openings());
        subject.take(inputs);
        subject
    }

    /// Makes sure that the last slot was delivered and told.
    fn finish_slot(&mut self) {
        let status = self.learner.status();
        assert_eq!(status.delivered_slot, Slot::new(self.slots));
        assert_eq!(status.delivered_index.get(), (self.slots - 1) * COMMANDS, "each applied once");
        let told = self.out.drain(..).filter_map(|effect| match effect {
            Effect::Send(Outbound::Client(_, ToClient::Notices { notices, .. })) => {
                Some(notices.len())
            }
            Effect::Send(_)
            | Effect::Event(_)
            | Effect::Epoch(_)
            | Effect::Deliver(_)
            | Effect::Ready { .. }
            | Effect::SendEntries { .. }
            | Effect::Diverged { .. } => None,
        });
        let told: Vec<usize> = told.collect();
        assert_eq!(told.len(), GATEWAYS.len(), "each gateway is told once");
    }

    /// The value of the next slot, and the votes for it.
    fn next_slot(&mut self) -> [Input; 4] {
        let batch = Batch::of(&self.commands.next());
        self.slot(batch)
    }

    /// The value of the next slot, from the leader, and all votes for it.
    fn slot(&mut self, batch: Batch) -> [Input; 4] {
        self.slots += 1;
        let (slot, ballot, digest) = (Slot::new(self.slots), ballot(), batch.digest());
        let [first, second, third] = ACCEPTORS
            .map(|id| ToLearner::Vote(Vote { acceptor: acceptor(id), slot, ballot, digest }));
        let proposed = ToLearner::Proposed(Accepted { slot, ballot, batch });
        let epoch = self.learner.epoch();
        let from = node(LEADER);
        [proposed, first, second, third].map(|message| Input::Received { from, epoch, message })
    }

    fn take(&mut self, inputs: [Input; 4]) {
        for input in inputs {
            self.learner.step(Instant::default(), input, &mut self.out);
        }
        self.learner.flush(Instant::default(), &mut self.out);
        black_box(&self.out);
    }
}
