//! The gateway's two halves of a write: callers' values become a message to the leader, and the
//! learner's notices become answers.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use paxosd::paxos::client::{Answer, Client, ClientConfig, ClientSettings, Effect, Input};
use paxosd::paxos::log::Outcome;
use paxosd::paxos::message::{Notice, Outbound, ToClient, ToProposer};
use paxosd::types::{Index, Instant, Name, ProposerId, Slot};

use crate::fixture::{
    COMMANDS, GATEWAYS, LEADER, LEARNERS, at, ballot, epoch, learner, node, value, values,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gateway");
    group.throughput(values(COMMANDS));
    let gateway = RefCell::new(Gateway::open());
    group.bench_function("values to commands", |bencher| {
        bencher.iter_batched(
            || {
                gateway.borrow_mut().answer_all();
                (0..COMMANDS).map(|_| vec![value()]).collect()
            },
            |values: Vec<Vec<Bytes>>| gateway.borrow_mut().submit(values),
            BatchSize::PerIteration,
        );
    });
    gateway.borrow_mut().answer_all();
    group.bench_function("notices to answers", |bencher| {
        bencher.iter_batched(
            || {
                let mut gateway = gateway.borrow_mut();
                gateway.answer_all();
                gateway.submit((0..COMMANDS).map(|_| vec![value()]));
                gateway.notices()
            },
            |notices| gateway.borrow_mut().take(notices),
            BatchSize::PerIteration,
        );
    });
    gateway.borrow_mut().answer_all();
    group.finish();
}

struct Gateway {
    client: Client,
    out: Vec<Effect>,
    slot: Slot,
    index: Index,
    /// Whether the last values were answered.
    is_answered: bool,
}

impl Gateway {
    /// A gateway that knows the leader and whose session is open.
    fn open() -> Self {
        let config = ClientConfig {
            me: node(GATEWAYS[0]),
            // As shipped.
            settings: ClientSettings {
                retry: Duration::from_millis(250),
                in_flight_max: 20_000,
                message_bytes_max: 1 << 20,
            },
        };
        let client = Client::new(config, Instant::default(), [7; 32]);
        let (slot, index) = (Slot::ZERO, Index::ZERO);
        let mut gateway = Self { client, out: Vec::new(), slot, index, is_answered: true };
        gateway.step(Input::Proposers([ProposerId(node(LEADER))].into()));
        gateway.step(Input::LinkUp(node(LEADER)));
        gateway.take(received(LEADER, ToClient::Leading { ballot: ballot() }));
        let [name] = gateway.submitted()[..] else { panic!("it asks for a session") };
        gateway.slot = gateway.slot.next();
        gateway.out.clear();
        let notice =
            Notice { name, outcome: Outcome::Opened, slot: gateway.slot, ballot: ballot() };
        gateway.take(notices(vec![notice]));
        gateway.out.clear();
        assert!(gateway.client.status().ready, "its session is open");
        gateway
    }

    fn submit(&mut self, values: impl IntoIterator<Item = Vec<Bytes>>) {
        let deadline = at(Duration::from_secs(5));
        for values in values {
            let name = self.client.submit(Instant::default(), values, None, deadline);
            black_box(name.expect("few are in flight"));
        }
        self.client.flush(Instant::default(), &mut self.out);
        self.is_answered = false;
        black_box(&self.out);
    }

    /// What the learner says once that which was sent last is delivered.
    fn notices(&mut self) -> Input {
        let names = self.submitted();
        assert_eq!(Ok(COMMANDS), u64::try_from(names.len()), "all of them are sent");
        self.out.clear();
        self.slot = self.slot.next();
        let notice = |name| {
            self.index = self.index.next();
            let outcome = Outcome::Applied { first: self.index, last: self.index };
            Notice { name, outcome, slot: self.slot, ballot: ballot() }
        };
        notices(names.into_iter().map(notice).collect())
    }

    fn take(&mut self, input: Input) {
        self.step(input);
        self.client.flush(Instant::default(), &mut self.out);
        self.is_answered = true;
        black_box(&self.out);
    }

    /// Makes sure that every caller so far has an answer, and that the last ones are good.
    fn answer_all(&mut self) {
        if !self.is_answered {
            let notices = self.notices();
            self.take(notices);
        }
        assert_eq!(self.client.status().in_flight, 0, "all are answered");
        if self.out.is_empty() {
            return;
        }
        let is_good =
            |it: &&Effect| matches!(it, Effect::Done { answer: Answer::Applied { .. }, .. });
        let good = self.out.iter().filter(is_good).count();
        assert_eq!(Ok(COMMANDS), u64::try_from(good), "each is told where its value stands");
        self.out.clear();
    }

    /// The names in the messages to the leader that wait.
    fn submitted(&self) -> Vec<Name> {
        let messages = self.out.iter().filter_map(|effect| match effect {
            Effect::Send(Outbound::Proposer(_, ToProposer::Submit { commands, .. })) => {
                Some(commands)
            }
            Effect::Send(_) | Effect::Event(_) | Effect::Done { .. } => None,
        });
        messages.flatten().map(|submission| submission.name).collect()
    }

    fn step(&mut self, input: Input) {
        self.client.step(Instant::default(), input, &mut self.out);
    }
}

fn notices(notices: Vec<Notice>) -> Input {
    received(LEARNERS[0], ToClient::Notices { learner: learner(LEARNERS[0]), notices })
}

fn received(from: u64, message: ToClient) -> Input {
    Input::Received { from: node(from), epoch: Some(epoch().digest()), message }
}
