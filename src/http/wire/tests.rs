//! Tests of the frames.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use crate::paxos::log::{Outcome, Settled};
use crate::paxos::message::{
    Accepted, Handback, Identity, JournalPressure, Notice, Page, Question, Reading, Refusal,
    Submission, ToAcceptor, ToClient, ToLearner, ToProposer, ToWitness, Vote,
};
use crate::types::{
    AcceptorId, Ballot, Batch, BatchDigest, Epoch, Incarnation, Index, LearnerId, LogLimits, Name,
    NodeId, ProposerId, Sequence, SessionId, Slot, StorageId,
};

use super::*;

/// Every kind there is. A number that left this list is never given to another message.
const KINDS: [(u8, &str); 37] = [
    (0x11, "Acceptor(Identify"),
    (0x12, "Acceptor(Form"),
    (0x13, "Acceptor(Prepare"),
    (0x14, "Acceptor(Accept"),
    (0x15, "Acceptor(Mark"),
    (0x16, "Acceptor(Fetch"),
    (0x17, "Acceptor(Durable"),
    (0x21, "Witness(Heartbeat"),
    (0x22, "Witness(AskLed"),
    (0x23, "Witness(Resign"),
    (0x31, "Proposer(Identity"),
    (0x32, "Proposer(Promise"),
    (0x33, "Proposer(Vote"),
    (0x34, "Proposer(Nack"),
    (0x35, "Proposer(Led"),
    (0x36, "Proposer(HeartbeatAck"),
    (0x37, "Proposer(Heartbeat"),
    (0x38, "Proposer(Resign"),
    (0x39, "Proposer(Submit"),
    (0x3a, "Proposer(Fill"),
    (0x3b, "Proposer(Delivered"),
    (0x41, "Learner(Vote"),
    (0x42, "Learner(Proposed"),
    (0x43, "Learner(Heartbeat"),
    (0x44, "Learner(Votes"),
    (0x45, "Learner(Mark"),
    (0x46, "Learner(Identity"),
    (0x47, "Learner(FetchEntries"),
    (0x48, "Learner(Entries"),
    (0x49, "Learner(Checkpoint"),
    (0x4a, "Learner(Questions"),
    (0x4b, "Learner(Chosen"),
    (0x51, "Client(Notices"),
    (0x52, "Client(Refused"),
    (0x53, "Client(Abandoned"),
    (0x54, "Client(Leading"),
    (0x55, "Client(Pages"),
];

/// The arm of a message, as `Debug` spells it: its receiver and its name.
fn arm(message: &Message) -> String {
    let text = format!("{message:?}");
    let inner = text.find('(').map_or(text.len(), |open| open + 1);
    let name = |c: char| !c.is_ascii_alphanumeric();
    text[inner..].find(name).map_or(text.clone(), |end| text[..inner + end].to_owned())
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(envelope in envelope()) {
        let frame = encode(&envelope);
        prop_assert_eq!(decode(frame), Ok(envelope));
    }

    #[test]
    fn the_kind_of_a_message_is_the_one_listed(envelope in envelope()) {
        let kind = encode(&envelope)[1];
        let listed = KINDS.iter().find(|(_, name)| *name == arm(&envelope.message));
        prop_assert_eq!(listed.map(|(number, _)| *number), Some(kind));
    }

    #[test]
    fn a_truncated_frame_is_never_taken_for_the_whole(
        envelope in envelope(),
        cut in any::<prop::sample::Index>(),
    ) {
        let frame = encode(&envelope);
        let cut = cut.index(frame.len());
        let decoded = decode(frame.slice(..cut));
        // Whoever has all of the payload cannot tell where it should have ended: the link's
        // length field does.
        match (decoded, carries_one_value(&envelope.message)) {
            (Ok(other), true) => prop_assert_ne!(other, envelope),
            (decoded, _) => prop_assert!(matches!(decoded, Err(WireError::Truncated(_)))),
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic(
        bytes in vec(any::<u8>(), 0..200),
        kind in prop::sample::select(KINDS.map(|(number, _)| number).to_vec()),
        length in 0..100_u8,
    ) {
        let outcome = decode(Bytes::from(bytes.clone()));
        if bytes.first() != Some(&FORMAT_VERSION) {
            prop_assert!(outcome.is_err());
        }
        let mut frame = vec![FORMAT_VERSION, kind, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0, 0];
        frame.extend(bytes);
        if let Ok(envelope) = decode(Bytes::from(frame)) {
            // What was understood can be said again.
            prop_assert_eq!(decode(encode(&envelope)), Ok(envelope));
        }
    }

    #[test]
    fn a_damaged_frame_does_not_panic(
        envelope in envelope(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut frame = encode(&envelope).to_vec();
        let at = at.index(frame.len());
        frame[at] = byte;
        if let Ok(envelope) = decode(Bytes::from(frame)) {
            prop_assert_eq!(decode(encode(&envelope)), Ok(envelope));
        }
    }
}

#[test]
fn no_kind_but_the_listed_ones_is_read() {
    let read: Vec<u8> = (0..=u8::MAX)
        .filter(|kind| {
            let frame = [FORMAT_VERSION, *kind, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            decode(Bytes::copy_from_slice(&frame)) != Err(WireError::Kind(*kind))
        })
        .collect();
    assert_eq!(read, KINDS.map(|(number, _)| number));
    let names: BTreeSet<&str> = KINDS.iter().map(|(_, name)| *name).collect();
    assert_eq!(names.len(), KINDS.len());
}

#[test]
fn the_layout_of_a_frame_is_the_documented_one() {
    let frame = encode(&Envelope { epoch: Some(EpochDigest(0x0102)), ..accept(b"value") });
    assert_eq!(frame[..16], [1, 0x14, 7, 1, 2, 1, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0]);
    // Field 1, 14 bytes: round 300, proposer 2, incarnation 9; then fields 2 and 3, 5 and 4.
    let ballot = [0x0a, 14, 0x08, 0xac, 2, 0x10, 2, 0x19, 9, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(frame[16..32], ballot);
    assert_eq!(frame[32..36], [0x10, 5, 0x18, 4]);
    assert_eq!(frame[36..], *b"value");
}

#[test]
fn values_share_the_memory_of_their_frame() {
    let frame = encode(&accept(b"value"));
    let Ok(Envelope { message: Message::Acceptor(ToAcceptor::Accept { batch, .. }), .. }) =
        decode(frame.clone())
    else {
        panic!("an accept")
    };
    assert_eq!(batch.bytes().as_ptr(), frame[frame.len() - 5..].as_ptr());

    let name = Name { session: SessionId(Uuid::from_u128(1)), sequence: Sequence(1) };
    let submission = |text| Submission { name, command: Bytes::from_static(text) };
    let frame = encode(&from_seven(Message::Proposer(ToProposer::Submit {
        session: name.session,
        number: 1,
        commands: vec![submission(b"first"), submission(b"second")],
    })));
    let Ok(Envelope { message: Message::Proposer(ToProposer::Submit { commands, .. }), .. }) =
        decode(frame.clone())
    else {
        panic!("a submit")
    };
    assert_eq!(commands[0].command.as_ptr(), frame[frame.len() - 11..].as_ptr());
    assert_eq!(commands[1].command.as_ptr(), frame[frame.len() - 6..].as_ptr());
}

#[test]
fn another_format_is_refused_by_its_number() {
    assert_eq!(decode(Bytes::from_static(&[2])), Err(WireError::Version(2)));
}

#[test]
fn an_unknown_flag_is_refused() {
    let mut frame = encode(&accept(b"value")).to_vec();
    frame[3] = 2;
    assert_eq!(decode(Bytes::from(frame)), Err(WireError::Flags(2)));
}

#[test]
fn a_sender_that_cannot_be_is_refused() {
    for id in [0, 100] {
        let mut frame = encode(&accept(b"value")).to_vec();
        frame[2] = id;
        let error = NodeIdError(u64::from(id));
        assert_eq!(decode(Bytes::from(frame)), Err(WireError::Node(error)));
    }
}

#[test]
fn a_message_without_its_ballot_is_refused() {
    let frame = [FORMAT_VERSION, kind::ACCEPT, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(decode(Bytes::copy_from_slice(&frame)), Err(WireError::Missing("ballot")));
}

#[test]
fn a_malformed_body_is_refused_with_its_kind() {
    let frame = [FORMAT_VERSION, kind::MARK, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xff];
    let decoded = decode(Bytes::copy_from_slice(&frame));
    assert!(matches!(decoded, Err(WireError::Body { kind: kind::MARK, .. })), "{decoded:?}");
}

#[test]
fn bytes_behind_a_message_without_values_are_refused() {
    let mut frame = encode(&mark()).to_vec();
    frame.extend(b"xy");
    assert_eq!(decode(Bytes::from(frame)), Err(WireError::Trailing(2)));
}

#[test]
fn a_field_of_a_later_version_is_skipped() {
    let mut frame = encode(&mark()).to_vec();
    // Field 15, a varint.
    frame.extend([0x78, 1]);
    frame[12] += 2;
    assert_eq!(decode(Bytes::from(frame)), Ok(mark()));
}

fn from_seven(message: Message) -> Envelope {
    Envelope { from: NodeId::new(7).unwrap(), epoch: None, message }
}

fn mark() -> Envelope {
    from_seven(Message::Acceptor(ToAcceptor::Mark { nonce: 3 }))
}

fn accept(value: &'static [u8]) -> Envelope {
    from_seven(Message::Acceptor(ToAcceptor::Accept {
        ballot: Ballot {
            round: 300,
            proposer: ProposerId(NodeId::new(2).unwrap()),
            incarnation: Incarnation(9),
        },
        slot: Slot::new(5),
        first_unchosen: Slot::new(4),
        learner: None,
        batch: Batch::from_bytes(Bytes::from_static(value)),
    }))
}

fn carries_one_value(message: &Message) -> bool {
    matches!(
        message,
        Message::Acceptor(ToAcceptor::Accept { .. })
            | Message::Learner(ToLearner::Proposed(_) | ToLearner::Chosen(_))
    )
}

fn node_id() -> impl Strategy<Value = NodeId> {
    (1..=u64::from(NodeId::MAX)).prop_map(|id| NodeId::new(id).unwrap())
}

fn acceptor() -> impl Strategy<Value = AcceptorId> {
    node_id().prop_map(AcceptorId)
}

fn learner() -> impl Strategy<Value = LearnerId> {
    node_id().prop_map(LearnerId)
}

fn proposer() -> impl Strategy<Value = ProposerId> {
    node_id().prop_map(ProposerId)
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (any::<u64>(), proposer(), any::<u64>()).prop_map(|(round, proposer, incarnation)| Ballot {
        round,
        proposer,
        incarnation: Incarnation(incarnation),
    })
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![0..10_u64, any::<u64>()].prop_map(Slot::new)
}

fn index() -> impl Strategy<Value = Index> {
    any::<u64>().prop_map(Index::new)
}

fn storage() -> impl Strategy<Value = StorageId> {
    any::<u128>().prop_map(|id| StorageId(Uuid::from_u128(id)))
}

fn session() -> impl Strategy<Value = SessionId> {
    any::<u128>().prop_map(|id| SessionId(Uuid::from_u128(id)))
}

fn name() -> impl Strategy<Value = Name> {
    (session(), any::<u64>())
        .prop_map(|(session, sequence)| Name { session, sequence: Sequence(sequence) })
}

fn value() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..50).prop_map(Bytes::from)
}

fn batch() -> impl Strategy<Value = Batch> {
    value().prop_map(Batch::from_bytes)
}

fn question() -> impl Strategy<Value = Question> {
    (any::<u64>(), any::<bool>(), index(), option::of(index()), any::<u32>()).prop_map(
        |(number, linearizable, after, from, limit)| Question {
            number,
            reading: Reading { linearizable, after, from, limit },
        },
    )
}

fn page() -> impl Strategy<Value = Page> {
    (any::<u64>(), option::of(value())).prop_map(|(number, body)| Page { number, body })
}

fn accepted() -> impl Strategy<Value = Accepted> {
    (slot(), ballot(), batch()).prop_map(|(slot, ballot, batch)| Accepted { slot, ballot, batch })
}

fn vote() -> impl Strategy<Value = Vote> {
    (acceptor(), slot(), ballot(), any::<u64>()).prop_map(|(acceptor, slot, ballot, digest)| Vote {
        acceptor,
        slot,
        ballot,
        digest: BatchDigest(digest),
    })
}

fn epoch() -> impl Strategy<Value = Epoch> {
    let limits = any::<(u64, u64, u64)>().prop_map(|(keys, sessions, most)| LogLimits {
        idempotency_window: keys,
        session_window: sessions,
        sessions_max: most,
    });
    (".{0,12}", btree_map(acceptor(), storage(), 0..5), btree_set(learner(), 0..5), limits)
        .prop_map(|(cluster, acceptors, learners, limits)| Epoch {
            cluster,
            acceptors,
            learners,
            limits,
        })
}

fn identity() -> impl Strategy<Value = Identity> {
    (acceptor(), storage(), option::of(epoch()), any::<bool>()).prop_map(
        |(acceptor, storage, epoch, active)| Identity { acceptor, storage, epoch, active },
    )
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        ballot().prop_map(Refusal::Promised),
        slot().prop_map(Refusal::Trimmed),
        slot().prop_map(Refusal::BeyondWindow),
        Just(Refusal::OtherValue),
        Just(Refusal::NotPromised),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Opened),
        (index(), index()).prop_map(|(first, last)| Outcome::Applied { first, last }),
        (index(), index()).prop_map(|(first, last)| Outcome::Repeated { first, last }),
        Just(Outcome::KeyReused),
        Just(Outcome::Cancelled),
        Just(Outcome::Refused),
        (index(), index())
            .prop_map(|(first, last)| Outcome::Settled(Settled::Applied { first, last })),
        Just(Outcome::Settled(Settled::NotApplied)),
        Just(Outcome::Settled(Settled::Forgotten)),
    ]
}

fn handback() -> impl Strategy<Value = Handback> {
    prop_oneof![
        option::of(proposer()).prop_map(|leader| Handback::NotLeader { leader }),
        (any::<usize>(), any::<usize>(), btree_set(acceptor(), 0..5))
            .prop_map(|(need, have, missing)| Handback::NoQuorum { need, have, missing }),
        Just(Handback::Busy),
        btree_set(learner(), 0..5).prop_map(|lagging| Handback::JournalFull { lagging }),
    ]
}

fn to_acceptor() -> impl Strategy<Value = ToAcceptor> {
    prop_oneof![
        Just(ToAcceptor::Identify),
        epoch().prop_map(|epoch| ToAcceptor::Form { epoch }),
        (ballot(), slot())
            .prop_map(|(ballot, from_slot)| ToAcceptor::Prepare { ballot, from_slot }),
        (ballot(), slot(), slot(), option::of(learner()), batch()).prop_map(
            |(ballot, slot, first_unchosen, learner, batch)| {
                ToAcceptor::Accept { ballot, slot, first_unchosen, learner, batch }
            }
        ),
        any::<u64>().prop_map(|nonce| ToAcceptor::Mark { nonce }),
        slot().prop_map(|from_slot| ToAcceptor::Fetch { from_slot }),
        (learner(), storage(), slot()).prop_map(|(learner, storage, slot)| ToAcceptor::Durable {
            learner,
            storage,
            slot
        }),
    ]
}

fn to_witness() -> impl Strategy<Value = ToWitness> {
    prop_oneof![
        ballot().prop_map(|ballot| ToWitness::Heartbeat { ballot }),
        any::<u64>().prop_map(|nonce| ToWitness::AskLed { nonce }),
        ballot().prop_map(|ballot| ToWitness::Resign { ballot }),
    ]
}

fn promise() -> impl Strategy<Value = ToProposer> {
    (acceptor(), ballot(), slot(), vec(accepted(), 0..4), option::of(slot()), slot()).prop_map(
        |(acceptor, ballot, from_slot, accepted, next_slot, trimmed_slot)| ToProposer::Promise {
            acceptor,
            ballot,
            from_slot,
            accepted,
            next_slot,
            trimmed_slot,
        },
    )
}

fn heartbeat_ack() -> impl Strategy<Value = ToProposer> {
    (acceptor(), ballot(), any::<bool>(), btree_set(learner(), 0..5)).prop_map(
        |(acceptor, ballot, full, lagging)| ToProposer::HeartbeatAck {
            acceptor,
            ballot,
            pressure: JournalPressure { full, lagging },
        },
    )
}

fn submit() -> impl Strategy<Value = ToProposer> {
    let submission = (name(), value()).prop_map(|(name, command)| Submission { name, command });
    (session(), any::<u64>(), vec(submission, 0..4))
        .prop_map(|(session, number, commands)| ToProposer::Submit { session, number, commands })
}

fn to_proposer() -> impl Strategy<Value = ToProposer> {
    prop_oneof![
        identity().prop_map(ToProposer::Identity),
        promise(),
        vote().prop_map(ToProposer::Vote),
        (acceptor(), ballot(), option::of(slot()), refusal()).prop_map(
            |(acceptor, ballot, slot, refusal)| ToProposer::Nack {
                acceptor,
                ballot,
                slot,
                refusal
            }
        ),
        (acceptor(), any::<u64>(), any::<bool>(), option::of(ballot())).prop_map(
            |(acceptor, nonce, led, promised)| ToProposer::Led { acceptor, nonce, led, promised }
        ),
        heartbeat_ack(),
        ballot().prop_map(|ballot| ToProposer::Heartbeat { ballot }),
        ballot().prop_map(|ballot| ToProposer::Resign { ballot }),
        submit(),
        (slot(), slot()).prop_map(|(from_slot, through)| ToProposer::Fill { from_slot, through }),
        (learner(), slot()).prop_map(|(learner, slot)| ToProposer::Delivered { learner, slot }),
    ]
}

fn votes() -> impl Strategy<Value = ToLearner> {
    (acceptor(), slot(), vec(accepted(), 0..4), option::of(slot()), slot()).prop_map(
        |(acceptor, from_slot, votes, next_slot, trimmed_slot)| ToLearner::Votes {
            acceptor,
            from_slot,
            votes,
            next_slot,
            trimmed_slot,
        },
    )
}

fn to_learner() -> impl Strategy<Value = ToLearner> {
    prop_oneof![
        vote().prop_map(ToLearner::Vote),
        accepted().prop_map(ToLearner::Proposed),
        accepted().prop_map(ToLearner::Chosen),
        (ballot(), slot())
            .prop_map(|(ballot, first_unchosen)| ToLearner::Heartbeat { ballot, first_unchosen }),
        votes(),
        (acceptor(), any::<u64>(), slot()).prop_map(|(acceptor, nonce, slot)| ToLearner::Mark {
            acceptor,
            nonce,
            slot
        }),
        identity().prop_map(ToLearner::Identity),
        (learner(), slot())
            .prop_map(|(learner, from_slot)| ToLearner::FetchEntries { learner, from_slot }),
        (learner(), vec(accepted(), 0..4), slot()).prop_map(
            |(learner, entries, delivered_slot)| ToLearner::Entries {
                learner,
                entries,
                delivered_slot
            }
        ),
        (learner(), index(), any::<u128>())
            .prop_map(|(learner, index, hash)| ToLearner::Checkpoint { learner, index, hash }),
        (node_id(), vec(question(), 0..5))
            .prop_map(|(gateway, questions)| ToLearner::Questions { gateway, questions }),
    ]
}

fn to_client() -> impl Strategy<Value = ToClient> {
    let notice = (name(), outcome(), slot(), ballot())
        .prop_map(|(name, outcome, slot, ballot)| Notice { name, outcome, slot, ballot });
    let returned = || (proposer(), any::<u64>(), vec(name(), 0..4), handback());
    prop_oneof![
        (learner(), vec(notice, 0..4))
            .prop_map(|(learner, notices)| ToClient::Notices { learner, notices }),
        returned().prop_map(|(proposer, number, names, reason)| ToClient::Refused {
            proposer,
            number,
            names,
            reason
        }),
        returned().prop_map(|(proposer, number, names, reason)| ToClient::Abandoned {
            proposer,
            number,
            names,
            reason
        }),
        ballot().prop_map(|ballot| ToClient::Leading { ballot }),
        (learner(), vec(page(), 0..5))
            .prop_map(|(learner, pages)| ToClient::Pages { learner, pages }),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let message = prop_oneof![
        to_acceptor().prop_map(Message::Acceptor),
        to_witness().prop_map(Message::Witness),
        to_proposer().prop_map(Message::Proposer),
        to_learner().prop_map(Message::Learner),
        to_client().prop_map(Message::Client),
    ];
    (node_id(), option::of(any::<u64>().prop_map(EpochDigest)), message)
        .prop_map(|(from, epoch, message)| Envelope { from, epoch, message })
}
