//! The codec: messages to frames of a peer link, and back.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use paxosd::http::wire::{decode, encode};
use paxosd::paxos::log::Outcome;
use paxosd::paxos::message::{
    Envelope, Message, Notice, Submission, ToAcceptor, ToClient, ToProposer, Vote,
};
use paxosd::types::{Batch, Command, Index, SessionId, Slot};
use uuid::Uuid;

use crate::fixture::{
    ACCEPTORS, Commands, LEADER, LEARNERS, acceptor, ballot, epoch, learner, node,
};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for (name, message) in [
        ("accept of 20 commands", accept()),
        ("vote", vote()),
        ("20 commands", submit()),
        ("20 notices", notices()),
    ] {
        let envelope = Envelope { from: node(LEADER), epoch: Some(epoch().digest()), message };
        let frame = encode(&envelope);
        assert_eq!(decode(frame.clone()), Ok(envelope.clone()), "{name} comes back as it was");
        group.throughput(Throughput::Bytes(u64::try_from(frame.len()).unwrap_or_default()));
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter_with_large_drop(|| encode(black_box(&envelope)));
        });
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter_batched(|| frame.clone(), decode, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn accept() -> Message {
    let (ballot, slot) = (ballot(), Slot::new(1_000_000));
    let batch = Batch::of(&Commands::default().next());
    Message::Acceptor(ToAcceptor::Accept {
        ballot,
        slot,
        first_unchosen: slot,
        learner: None,
        batch,
    })
}

fn vote() -> Message {
    let digest = Batch::of(&Commands::default().next()).digest();
    let (acceptor, slot) = (acceptor(ACCEPTORS[0]), Slot::new(1_000_000));
    Message::Proposer(ToProposer::Vote(Vote { acceptor, slot, ballot: ballot(), digest }))
}

fn submit() -> Message {
    let session = SessionId(Uuid::from_u128(1 << 32));
    let commands = Commands::default().next().into_iter();
    let commands =
        commands.map(|it| Submission { name: it.name, command: it.to_bytes() }).collect();
    Message::Proposer(ToProposer::Submit { session, number: 1_000_000, commands })
}

fn notices() -> Message {
    let notice = |(index, command): (u64, Command)| {
        let index = Index::new(index);
        let outcome = Outcome::Applied { first: index, last: index };
        Notice { name: command.name, outcome, slot: Slot::new(1_000_000), ballot: ballot() }
    };
    let notices = (20_000_000..).zip(Commands::default().next()).map(notice).collect();
    Message::Client(ToClient::Notices { learner: learner(LEARNERS[0]), notices })
}
