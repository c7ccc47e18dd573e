//! Frames of peers, and what is inside of them. Bytes are a message or a refusal; a message, a
//! record and a batch that were understood can be said again, and mean the same.

use bytes::{Bytes, BytesMut};
use paxosd::http::wire::{decode, encode};
use paxosd::paxos::message::{Accepted, Envelope, Message, ToAcceptor, ToLearner, ToProposer};
use paxosd::paxos::record::Record;
use paxosd::types::{Batch, Command};

/// Reads `bytes` as a frame, as a record of a journal, and as a batch.
///
/// # Panics
/// When what was read cannot be written and read again as the same.
pub fn run(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    check_frame(&bytes);
    check_record(&bytes);
    check_batch(&Batch::from_bytes(bytes.clone()));
    if let Ok(command) = Command::decode(bytes.clone()) {
        assert_eq!(command.to_bytes(), bytes, "a command has one encoding");
    }
}

fn check_frame(frame: &Bytes) {
    let Ok(envelope) = decode(frame.clone()) else { return };
    let again = encode(&envelope);
    assert_eq!(decode(again.clone()).as_ref(), Ok(&envelope), "a message can be said again");
    assert_eq!(encode(&envelope), again, "a message has one frame");
    for batch in batches(&envelope) {
        check_batch(batch);
    }
    for cut in [0, 1, again.len() / 2, again.len() - 1] {
        let short = decode(again.slice(..cut));
        assert_ne!(short.as_ref(), Ok(&envelope), "a part is not taken for the whole");
    }
}

fn check_record(bytes: &Bytes) {
    let Ok(record) = Record::decode(bytes.clone()) else { return };
    let mut again = BytesMut::new();
    record.encode(&mut again);
    let again = again.freeze();
    assert_eq!(Record::decode(again.clone()).as_ref(), Ok(&record), "a record can be said again");
    // A list that names one node twice is shorter when it is written again.
    assert!(again.len() <= bytes.len(), "a record does not grow when it is written again");
}

fn check_batch(batch: &Batch) {
    let commands: Result<Vec<Command>, _> = batch.commands().collect();
    let Ok(commands) = commands else { return };
    assert_eq!(&Batch::of(&commands), batch, "a batch has one encoding");
    let values: usize = commands.iter().map(Command::value_bytes).sum();
    assert!(values <= batch.len(), "values are a part of their batch");
}

/// The batches that a message carries.
fn batches(envelope: &Envelope) -> Vec<&Batch> {
    match &envelope.message {
        Message::Acceptor(ToAcceptor::Accept { batch, .. })
        | Message::Learner(
            ToLearner::Proposed(Accepted { batch, .. }) | ToLearner::Chosen(Accepted { batch, .. }),
        ) => vec![batch],
        Message::Proposer(ToProposer::Promise { accepted: list, .. })
        | Message::Learner(
            ToLearner::Votes { votes: list, .. } | ToLearner::Entries { entries: list, .. },
        ) => list.iter().map(|accepted| &accepted.batch).collect(),
        Message::Acceptor(_)
        | Message::Witness(_)
        | Message::Proposer(_)
        | Message::Learner(_)
        | Message::Client(_) => Vec::new(),
    }
}
