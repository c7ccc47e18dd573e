//! The leader's two halves of a slot: commands come and accepts go, votes come and it is chosen.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use paxosd::paxos::message::{
    Identity, Outbound, Submission, ToAcceptor, ToProposer, ToWitness, Vote,
};
use paxosd::paxos::proposer::{
    Effect, Input, Peers, Proposer, ProposerConfig, ProposerSettings, ProposerStatus,
};
use paxosd::types::{AcceptorId, Command, Incarnation, Instant, ProposerId, SessionId, Slot};
use uuid::Uuid;

use crate::fixture::{
    ACCEPTORS, CLUSTER, COMMANDS, Commands, GATEWAYS, LEADER, LEARNERS, LIMITS, REPORT_SLOTS,
    acceptors, at, epoch, learner, learners, node, values,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("leader");
    group.throughput(values(COMMANDS));
    let leader = RefCell::new(Leader::elected());
    group.bench_function("commands to accepts", |bencher| {
        bencher.iter_batched(
            || {
                let mut leader = leader.borrow_mut();
                leader.finish_slot();
                leader.commands()
            },
            |submit| leader.borrow_mut().take([submit]),
            BatchSize::PerIteration,
        );
    });
    leader.borrow_mut().finish_slot();
    group.bench_function("votes to chosen", |bencher| {
        bencher.iter_batched(
            || {
                let mut leader = leader.borrow_mut();
                leader.finish_slot();
                let submit = leader.commands();
                leader.take([submit]);
                leader.votes()
            },
            |votes| leader.borrow_mut().take(votes),
            BatchSize::PerIteration,
        );
    });
    leader.borrow_mut().finish_slot();
    group.finish();
}

struct Leader {
    proposer: Proposer,
    now: Instant,
    out: Vec<Effect>,
    commands: Commands,
    /// Messages of commands so far, each of which fills a slot.
    submitted: u64,
}

impl Leader {
    fn elected() -> Self {
        let mut leader = Self {
            proposer: Proposer::new(config(), Instant::default(), [7; 32]),
            now: Instant::default(),
            out: Vec::new(),
            commands: Commands::default(),
            submitted: 0,
        };
        let peers = Peers {
            proposers: BTreeSet::new(),
            learners: learners(),
            gateways: GATEWAYS.map(node).into(),
        };
        leader.step(Input::Peers(peers));
        for id in ACCEPTORS {
            leader.step(Input::LinkUp(node(id)));
        }
        while !leader.status().is_leader {
            leader.now = leader.proposer.deadline().expect("who does not lead yet waits");
            leader.proposer.tick(leader.now, &mut leader.out);
            leader.answer_all();
            assert!(leader.now < at(Duration::from_secs(60)), "nothing speaks against it");
        }
        leader.out.clear();
        leader
    }

    /// Makes sure that the last slot was proposed to all, and is chosen.
    fn finish_slot(&mut self) {
        if self.status().in_flight > 0 {
            let votes = self.votes();
            self.out.clear();
            self.take(votes);
        }
        assert_eq!(self.status().first_unchosen, Slot::new(self.submitted + 1));
        self.out.clear();
        if self.submitted.is_multiple_of(REPORT_SLOTS) {
            let (learner, slot) = (learner(LEARNERS[0]), Slot::new(self.submitted));
            self.tell(ToProposer::Delivered { learner, slot });
        }
    }

    /// The commands of one more slot.
    fn commands(&mut self) -> Input {
        self.submitted += 1;
        let submission =
            |command: Command| Submission { name: command.name, command: command.to_bytes() };
        let commands = self.commands.next().into_iter().map(submission).collect();
        let session = SessionId(Uuid::from_u128(1 << 32));
        self.input(ToProposer::Submit { session, number: self.submitted, commands })
    }

    fn take(&mut self, inputs: impl IntoIterator<Item = Input>) {
        for input in inputs {
            self.proposer.step(self.now, input, &mut self.out);
        }
        self.proposer.flush(self.now, &mut self.out);
        black_box(&self.out);
    }

    /// The votes for what was just proposed.
    fn votes(&self) -> [Input; 3] {
        let votes: Vec<Input> = self.out.iter().filter_map(|it| self.vote_for(it)).collect();
        votes.try_into().expect("each acceptor is asked")
    }

    fn vote_for(&self, effect: &Effect) -> Option<Input> {
        let Effect::Send(Outbound::Acceptor(
            acceptor,
            ToAcceptor::Accept { ballot, slot, batch, .. },
        )) = effect
        else {
            return None;
        };
        let count = batch.commands().flatten().count();
        assert_eq!(Ok(COMMANDS), u64::try_from(count), "one slot carries them all");
        let vote =
            Vote { acceptor: *acceptor, slot: *slot, ballot: *ballot, digest: batch.digest() };
        Some(self.input(ToProposer::Vote(vote)))
    }

    /// Answers whatever it asks on its way to leading, for all acceptors.
    fn answer_all(&mut self) {
        while !self.out.is_empty() {
            for effect in std::mem::take(&mut self.out) {
                if let Some(answer) = answer(&effect) {
                    self.tell(answer);
                }
            }
        }
    }

    fn tell(&mut self, message: ToProposer) {
        let input = self.input(message);
        self.step(input);
    }

    fn step(&mut self, input: Input) {
        self.proposer.step(self.now, input, &mut self.out);
    }

    fn input(&self, message: ToProposer) -> Input {
        Input::Received { from: node(GATEWAYS[0]), epoch: self.proposer.epoch(), message }
    }

    fn status(&self) -> ProposerStatus {
        self.proposer.status(self.now)
    }
}

/// What an acceptor without votes says.
fn answer(effect: &Effect) -> Option<ToProposer> {
    match *effect {
        Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Identify)) => {
            Some(ToProposer::Identity(identity(acceptor)))
        }
        Effect::Send(Outbound::Acceptor(acceptor, ToAcceptor::Prepare { ballot, from_slot })) => {
            Some(ToProposer::Promise {
                acceptor,
                ballot,
                from_slot,
                accepted: Vec::new(),
                next_slot: None,
                trimmed_slot: Slot::ZERO,
            })
        }
        Effect::Send(Outbound::Witness(acceptor, ToWitness::AskLed { nonce })) => {
            Some(ToProposer::Led { acceptor, nonce, led: false, promised: None })
        }
        Effect::Send(_) | Effect::Event(_) | Effect::Left => None,
    }
}

fn identity(acceptor: AcceptorId) -> Identity {
    let epoch = epoch();
    let storage = epoch.acceptors.get(&acceptor).copied().expect("it is one of the three");
    Identity { acceptor, storage, epoch: Some(epoch), active: true }
}

fn config() -> ProposerConfig {
    ProposerConfig {
        me: ProposerId(node(LEADER)),
        incarnation: Incarnation(1),
        cluster: CLUSTER.to_owned(),
        acceptors: acceptors(),
        learners: learners(),
        limits: LIMITS,
        clock_ms_at_zero: 1_700_000_000_000,
        // As shipped.
        settings: ProposerSettings {
            heartbeat: Duration::from_millis(50),
            timeout: Duration::from_millis(300),
            resend: Duration::from_millis(300),
            drain: Duration::from_secs(2),
            window_slots: 8,
            spare_delay: Duration::ZERO,
            batch_bytes_min: 1,
            batch_bytes_max: 1 << 20,
            batch_commands_max: 4_096,
            queue_commands_max: 65_536,
            queue_bytes_max: 64 << 20,
            fill_slots_max: 10_000,
        },
    }
}
