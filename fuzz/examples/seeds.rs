//! Writes the inputs from which fuzzing begins: `cargo run -p fuzz --example seeds`. Some are
//! valid, so that a fuzzer need not invent a configuration or a frame; the others are noise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use bytes::{Bytes, BytesMut};
use fuzz::TARGETS;
use paxosd::http::wire;
use paxosd::paxos::log::Outcome;
use paxosd::paxos::message::{
    Accepted, Envelope, Handback, Identity, JournalPressure, Message, Notice, Page, Question,
    Reading, Refusal, Submission, ToAcceptor, ToClient, ToLearner, ToProposer, ToWitness, Vote,
};
use paxosd::paxos::record::{Record, Summary};
use paxosd::types::{
    AcceptorId, Ballot, Batch, Command, Epoch, EpochDigest, IdempotencyKey, Incarnation, Index,
    LearnerId, LogLimits, Name, NodeId, Operation, ProposerId, Sequence, SessionId, Slot,
    StorageId,
};
use rand::RngExt;
use sim::chance::Chance;
use uuid::Uuid;

const CONFIG: &str = include_str!("../../config/cluster.yaml");
/// Noise for each target that reads its bytes as acts.
const NOISES: u64 = 16;

fn main() -> io::Result<()> {
    for (name, _) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        fs::create_dir_all(&folder)?;
        for (nth, input) in seeds(name).into_iter().enumerate() {
            fs::write(folder.join(format!("seed-{nth:02}")), input)?;
        }
    }
    Ok(())
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "config" => configs(),
        "http_body" => bodies(),
        "wire" => frames().into_iter().chain(records()).collect(),
        "cluster" => (0..NOISES).map(|seed| noise(seed, 1024)).collect(),
        _ => (0..NOISES).map(|seed| noise(seed, 400)).collect(),
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut chance = Chance::of_seed(seed);
    (0..length).map(|_| chance.random()).collect()
}

fn configs() -> Vec<Vec<u8>> {
    let small = "\
nodes:
  - {name: p1, id: 1, role: proposer, host: p1, api_port: 3001, monitor_port: 8000}
  - {name: a1, id: 2, role: acceptor, host: a1, api_port: 4001, monitor_port: 8000}
  - {name: l1, id: 3, role: learner, host: l1, api_port: 5001, monitor_port: 8000}
";
    let environments = [
        "PAXOSD__ELECTION__TIMEOUT_MS=500\nPAXOSD__LOG__LEVEL=debug\nPAXOSD_NAME=a1",
        "NODE_ID=77\nNODE_ROLE=client\nPORT=6077\nSEED_NODES=1:proposer:p1:3001,2:acceptor:[::1]:4",
        "PAXOSD__NODES=x\nPAXOSD__ELECTION=1\nPAXOSD__ELECTION__TIMEUOT_MS=1\nNODE_ID=999",
    ];
    let with = |env: &&str| format!("{small}\0{env}");
    let odd = [
        "nodes: &n []\nother: *n\n",
        "cluster: {name: 1.10}\nnodes: [{id: 1, id: 2}]\n",
        "!tag {nodes: ~}",
        "election: {timeout_ms: 1, heartbeat_ms: 60000}\nnodes:\n  - name: é\n",
    ];
    let texts = environments.iter().map(with).chain(odd.map(str::to_owned));
    texts.chain([small.to_owned(), CONFIG.to_owned()]).map(String::into_bytes).collect()
}

fn bodies() -> Vec<Vec<u8>> {
    let write = |body: &str| [b"\0\x2f\x05\0\0", body.as_bytes()].concat();
    let gossip = r#"{"sender_id":"1","sender_role":"proposer","nodes":{"2":{"id":2,
        "role":"acceptor","address":"a","port":1,"last_seen":1.5,"metadata":{"k":"v"},"version":3,
        "incarnation":4}},
        "leader_id":1,"cluster":"c","digest":{"2":[1,2,3,4]},
        "leader":{"proposal_number":101,"leader_id":1}}"#;
    let reply = r#"{"status":"ok","updates":1,"node_count":2,"delta":{},"digest":{"1":[0,0,0,0]}}"#;
    vec![
        write(r#"{"value": {"a": [1.10, "\u00e9", null]}}"#),
        write(r#"{"values": [1, "two", [3], {"four": 4}]}"#),
        write(r#"{"value": null}"#),
        write(r#"{"value": 1, "values": [1]}"#),
        write("[1]"),
        [b"\0\x2f\x05\x03\0key", &br#"{"value":"\ud800"}"#[..]].concat(),
        [b"\x01", gossip.as_bytes()].concat(),
        [b"\x01", reply.as_bytes()].concat(),
        b"\x02\x01\x10{\"value\": \"in pieces\"}\x1f and more of it, until it is too long for all"
            .to_vec(),
        b"\x02\x02text/xml\x03{}\x05[1,2]".to_vec(),
        b"\x03after=17&wait=false&timeout_ms=500&after=18&wait".to_vec(),
        b"\x04acceptor1:4001".to_vec(),
        b"\x04[::1]:80".to_vec(),
        b"\x04000102030405060708090a0b0c0d0e0f-12".to_vec(),
    ]
}

fn records() -> Vec<Vec<u8>> {
    let storage = StorageId(Uuid::from_u128(9));
    let (promised, trimmed_slot, highest_voted) = (Some(ballot()), Slot::new(3), Slot::new(7));
    let active = Some((epoch(), true));
    let records = [
        Record::Summary(Summary::Acceptor {
            storage,
            promised,
            trimmed_slot,
            highest_voted,
            epoch: active,
        }),
        Record::Summary(Summary::Learner {
            storage,
            epoch: Some(epoch()),
            slot: Slot::new(5),
            index: Index::new(6),
        }),
        Record::Epoch { epoch: epoch(), active: false },
        Record::Promise { ballot: ballot() },
        Record::Vote { ballot: ballot(), slot: Slot::new(4), batch: batch() },
        Record::Trim { slot: Slot::new(4) },
        Record::Entry {
            slot: Slot::new(4),
            ballot: ballot(),
            first_index: Index::new(2),
            skipped: vec![0, 2],
            delivered_at_ms: 1_700_000_000_000,
            batch: batch(),
        },
    ];
    let encoded = |record: Record| {
        let mut out = BytesMut::new();
        record.encode(&mut out);
        out.to_vec()
    };
    records.map(encoded).into_iter().chain([batch().bytes().to_vec()]).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let messages = to_acceptors().into_iter().chain(to_proposers()).chain(to_others());
    let envelope = |message| Envelope { from: node(1), epoch: Some(EpochDigest(99)), message };
    messages.map(|message| wire::encode(&envelope(message)).to_vec()).collect()
}

fn to_acceptors() -> Vec<Message> {
    let (ballot, slot) = (ballot(), Slot::new(4));
    vec![
        Message::Acceptor(ToAcceptor::Identify),
        Message::Acceptor(ToAcceptor::Form { epoch: epoch() }),
        Message::Acceptor(ToAcceptor::Prepare { ballot, from_slot: slot }),
        Message::Acceptor(ToAcceptor::Accept {
            ballot,
            slot,
            first_unchosen: slot,
            learner: Some(LearnerId(node(7))),
            batch: batch(),
        }),
        Message::Acceptor(ToAcceptor::Mark { nonce: 8 }),
        Message::Acceptor(ToAcceptor::Fetch { from_slot: slot }),
        Message::Acceptor(ToAcceptor::Durable {
            learner: LearnerId(node(7)),
            storage: StorageId(Uuid::from_u128(9)),
            slot,
        }),
        Message::Witness(ToWitness::Heartbeat { ballot }),
        Message::Witness(ToWitness::AskLed { nonce: 8 }),
        Message::Witness(ToWitness::Resign { ballot }),
    ]
}

fn to_proposers() -> Vec<Message> {
    let (ballot, slot, acceptor) = (ballot(), Slot::new(4), AcceptorId(node(4)));
    let pressure = JournalPressure { full: true, lagging: BTreeSet::from([LearnerId(node(7))]) };
    let command = write().to_bytes();
    let commands = vec![Submission { name: name(), command }];
    let messages = [
        ToProposer::Identity(identity()),
        ToProposer::Promise {
            acceptor,
            ballot,
            from_slot: slot,
            accepted: accepted(),
            next_slot: Some(slot),
            trimmed_slot: slot,
        },
        ToProposer::Vote(vote()),
        ToProposer::Nack { acceptor, ballot, slot: Some(slot), refusal: Refusal::Promised(ballot) },
        ToProposer::Led { acceptor, nonce: 8, led: true, promised: Some(ballot) },
        ToProposer::HeartbeatAck { acceptor, ballot, pressure },
        ToProposer::Heartbeat { ballot },
        ToProposer::Resign { ballot },
        ToProposer::Submit { session: name().session, number: 3, commands },
        ToProposer::Fill { from_slot: slot, through: slot },
        ToProposer::Delivered { learner: LearnerId(node(7)), slot },
    ];
    messages.map(Message::Proposer).into()
}

fn to_others() -> Vec<Message> {
    let (ballot, slot, acceptor) = (ballot(), Slot::new(4), AcceptorId(node(4)));
    let (learner, proposer, names) = (LearnerId(node(7)), ProposerId(node(2)), vec![name()]);
    let lagging = BTreeSet::from([learner]);
    let missing = BTreeSet::from([acceptor]);
    let outcome = Outcome::Applied { first: Index::new(1), last: Index::new(2) };
    let notices = vec![Notice { name: name(), outcome, slot, ballot }];
    let from = Some(Index::new(3));
    let reading = Reading { linearizable: true, after: Index::new(2), from, limit: 5 };
    let learners = [
        ToLearner::Vote(vote()),
        ToLearner::Proposed(Accepted { slot, ballot, batch: batch() }),
        ToLearner::Chosen(Accepted { slot, ballot, batch: batch() }),
        ToLearner::Heartbeat { ballot, first_unchosen: slot },
        ToLearner::Votes {
            acceptor,
            from_slot: slot,
            votes: accepted(),
            next_slot: None,
            trimmed_slot: slot,
        },
        ToLearner::Mark { acceptor, nonce: 8, slot },
        ToLearner::Identity(identity()),
        ToLearner::FetchEntries { learner, from_slot: slot },
        ToLearner::Entries { learner, entries: accepted(), delivered_slot: slot },
        ToLearner::Checkpoint { learner, index: Index::new(4), hash: 99 },
        ToLearner::Questions { gateway: node(9), questions: vec![Question { number: 6, reading }] },
    ];
    let body = Some(Bytes::from_static(b"{}"));
    let pages = vec![Page { number: 6, body }, Page { number: 7, body: None }];
    let clients = [
        ToClient::Notices { learner, notices },
        ToClient::Refused {
            proposer,
            number: 3,
            names: names.clone(),
            reason: Handback::NoQuorum { need: 2, have: 1, missing },
        },
        ToClient::Abandoned {
            proposer,
            number: 3,
            names,
            reason: Handback::JournalFull { lagging },
        },
        ToClient::Leading { ballot },
        ToClient::Pages { learner, pages },
    ];
    learners.map(Message::Learner).into_iter().chain(clients.map(Message::Client)).collect()
}

fn accepted() -> Vec<Accepted> {
    let one = |slot| Accepted { slot: Slot::new(slot), ballot: ballot(), batch: batch() };
    vec![one(4), one(5)]
}

fn vote() -> Vote {
    let acceptor = AcceptorId(node(4));
    Vote { acceptor, slot: Slot::new(4), ballot: ballot(), digest: batch().digest() }
}

fn identity() -> Identity {
    let storage = StorageId(Uuid::from_u128(9));
    Identity { acceptor: AcceptorId(node(4)), storage, epoch: Some(epoch()), active: true }
}

fn epoch() -> Epoch {
    Epoch {
        cluster: "paxos".to_owned(),
        acceptors: BTreeMap::from([(AcceptorId(node(4)), StorageId(Uuid::from_u128(9)))]),
        learners: BTreeSet::from([LearnerId(node(7)), LearnerId(node(8))]),
        limits: LogLimits { idempotency_window: 10, session_window: 20, sessions_max: 30 },
    }
}

fn ballot() -> Ballot {
    Ballot { round: 300, proposer: ProposerId(node(2)), incarnation: Incarnation(9) }
}

fn name() -> Name {
    Name { session: SessionId(Uuid::from_u128(7)), sequence: Sequence(3) }
}

fn write() -> Command {
    let key = Some(IdempotencyKey::of(b"key"));
    let values = vec![Bytes::from_static(b"1"), Bytes::from_static(b"\"two\"")];
    Command {
        name: name(),
        lowest_open: Sequence(2),
        origin: node(9),
        operation: Operation::Write { key, values },
    }
}

fn batch() -> Batch {
    let open = Command { operation: Operation::Open, ..write() };
    let cancel = Command { operation: Operation::Cancel { target: name() }, ..write() };
    Batch::of(&[open, write(), cancel])
}

fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("ids here are from 1 to 99")
}
