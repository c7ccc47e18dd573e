//! Records: what a journal remembers, each in a fixed little-endian layout.
//!
//! Every record opens with its kind and the version of its layout, one byte each; then follow its
//! fields in the order they are declared, and last, where there is one, the batch, to the end.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use uuid::Uuid;

use crate::types::{
    AcceptorId, Ballot, Batch, Epoch, Incarnation, Index, LearnerId, LogLimits, NodeId, ProposerId,
    Slot, StorageId,
};

/// One durable fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Opens a segment: what the segments before it amount to.
    Summary(Summary),
    /// The cluster was formed with this membership.
    Epoch {
        /// Who counts.
        epoch: Epoch,
        /// Whether every acceptor is known to hold it, so that it may be used.
        active: bool,
    },
    /// No ballot below this one will be accepted (Paxos Made Simple §2.2, P1a).
    Promise {
        /// The promised ballot.
        ballot: Ballot,
    },
    /// A value was accepted. It raises the promise to its ballot.
    Vote {
        /// The ballot it was accepted at.
        ballot: Ballot,
        /// Where in the log.
        slot: Slot,
        /// What was accepted.
        batch: Batch,
    },
    /// Votes through this slot may be forgotten.
    Trim {
        /// The last such slot.
        slot: Slot,
    },
    /// A learner delivered a slot.
    Entry {
        /// The slot.
        slot: Slot,
        /// The ballot a quorum chose it at.
        ballot: Ballot,
        /// The index of the first value it delivered, or would have delivered.
        first_index: Index,
        /// Positions in the batch of commands that applied no value: control commands, repeats and
        /// refused ones.
        skipped: Vec<u32>,
        /// When this learner delivered it, in milliseconds since 1970. For people only: learners
        /// differ in it.
        delivered_at_ms: u64,
        /// What was chosen.
        batch: Batch,
    },
}

/// What opens a segment, so that the segments before it may go.
///
/// It tells the state *after* the commit that opened the segment. The records behind it in that
/// commit may therefore be older than it; replay takes the higher of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Summary {
    /// Of an acceptor's journal.
    Acceptor {
        /// The directory it was written in.
        storage: StorageId,
        /// The highest promise.
        promised: Option<Ballot>,
        /// Votes through this slot were forgotten.
        trimmed_slot: Slot,
        /// The highest slot ever voted in.
        highest_voted: Slot,
        /// The membership, and whether it is active.
        epoch: Option<(Epoch, bool)>,
    },
    /// Of a learner's log.
    Learner {
        /// The directory it was written in.
        storage: StorageId,
        /// The membership.
        epoch: Option<Epoch>,
        /// Delivered through this slot.
        slot: Slot,
        /// The index of the last delivered value.
        index: Index,
    },
}

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They end too early.
    #[error("the record ends {0} bytes early")]
    Truncated(usize),
    /// A kind that this version does not know.
    #[error("unknown kind of record {0}")]
    Kind(u8),
    /// A layout that this version does not know.
    #[error("unknown version {version} of record kind {kind}")]
    Version {
        /// The record's kind.
        kind: u8,
        /// Its version.
        version: u8,
    },
    /// A byte that must be 0 or 1.
    #[error("{0} is neither 0 nor 1")]
    Flag(u8),
    /// A node id out of range.
    #[error("bad node id {0}")]
    Node(u8),
    /// The name of a cluster that is no text.
    #[error("the cluster's name is not UTF-8")]
    Cluster,
    /// More bytes than the layout has.
    #[error("{0} bytes follow the end of the record")]
    Trailing(usize),
}

impl From<TryGetError> for RecordError {
    fn from(error: TryGetError) -> Self {
        Self::Truncated(error.requested.saturating_sub(error.available))
    }
}

const VERSION: u8 = 1;

const ACCEPTOR_SUMMARY: u8 = 1;
const LEARNER_SUMMARY: u8 = 2;
const EPOCH: u8 = 3;
const PROMISE: u8 = 4;
const VOTE: u8 = 5;
const TRIM: u8 = 6;
const ENTRY: u8 = 7;

impl Record {
    /// Appends its encoding to `out`.
    ///
    /// # Panics
    /// When a list is longer than the limits of the configuration allow.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.kind());
        out.put_u8(VERSION);
        match self {
            Self::Summary(summary) => put_summary(out, summary),
            Self::Epoch { epoch, active } => {
                put_epoch(out, epoch);
                out.put_u8(u8::from(*active));
            }
            Self::Promise { ballot } => put_ballot(out, *ballot),
            Self::Vote { ballot, slot, batch } => {
                put_ballot(out, *ballot);
                out.put_u64_le(slot.get());
                out.put_slice(batch.bytes());
            }
            Self::Trim { slot } => out.put_u64_le(slot.get()),
            Self::Entry { slot, ballot, first_index, skipped, delivered_at_ms, batch } => {
                out.put_u64_le(slot.get());
                put_ballot(out, *ballot);
                out.put_u64_le(first_index.get());
                out.put_u64_le(*delivered_at_ms);
                let count = u32::try_from(skipped.len()).expect("limits bound a batch's commands");
                out.put_u32_le(count);
                for position in skipped {
                    out.put_u32_le(*position);
                }
                out.put_slice(batch.bytes());
            }
        }
    }

    /// Reads one record that fills `bytes`. Its batch shares their memory.
    ///
    /// # Errors
    /// When they are not exactly one record. The inside of a batch is not checked here.
    pub fn decode(mut bytes: Bytes) -> Result<Self, RecordError> {
        let kind = bytes.try_get_u8()?;
        let version = bytes.try_get_u8()?;
        if version != VERSION {
            return Err(RecordError::Version { kind, version });
        }
        let record = match kind {
            ACCEPTOR_SUMMARY | LEARNER_SUMMARY => Self::Summary(take_summary(kind, &mut bytes)?),
            EPOCH => Self::Epoch { epoch: take_epoch(&mut bytes)?, active: take_flag(&mut bytes)? },
            PROMISE => Self::Promise { ballot: take_ballot(&mut bytes)? },
            VOTE => Self::Vote {
                ballot: take_ballot(&mut bytes)?,
                slot: take_slot(&mut bytes)?,
                batch: Batch::from_bytes(std::mem::take(&mut bytes)),
            },
            TRIM => Self::Trim { slot: take_slot(&mut bytes)? },
            ENTRY => Self::Entry {
                slot: take_slot(&mut bytes)?,
                ballot: take_ballot(&mut bytes)?,
                first_index: take_index(&mut bytes)?,
                delivered_at_ms: bytes.try_get_u64_le()?,
                skipped: take_positions(&mut bytes)?,
                batch: Batch::from_bytes(std::mem::take(&mut bytes)),
            },
            other => return Err(RecordError::Kind(other)),
        };
        if bytes.is_empty() { Ok(record) } else { Err(RecordError::Trailing(bytes.len())) }
    }

    /// The promise that it makes or implies.
    #[must_use]
    pub const fn promises(&self) -> Option<Ballot> {
        match self {
            Self::Promise { ballot } | Self::Vote { ballot, .. } => Some(*ballot),
            Self::Summary(_) | Self::Epoch { .. } | Self::Trim { .. } | Self::Entry { .. } => None,
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Summary(Summary::Acceptor { .. }) => ACCEPTOR_SUMMARY,
            Self::Summary(Summary::Learner { .. }) => LEARNER_SUMMARY,
            Self::Epoch { .. } => EPOCH,
            Self::Promise { .. } => PROMISE,
            Self::Vote { .. } => VOTE,
            Self::Trim { .. } => TRIM,
            Self::Entry { .. } => ENTRY,
        }
    }
}

fn put_summary(out: &mut BytesMut, summary: &Summary) {
    match summary {
        Summary::Acceptor { storage, promised, trimmed_slot, highest_voted, epoch } => {
            out.put_slice(storage.0.as_bytes());
            out.put_u8(u8::from(promised.is_some()));
            if let Some(ballot) = promised {
                put_ballot(out, *ballot);
            }
            out.put_u64_le(trimmed_slot.get());
            out.put_u64_le(highest_voted.get());
            out.put_u8(u8::from(epoch.is_some()));
            if let Some((epoch, active)) = epoch {
                put_epoch(out, epoch);
                out.put_u8(u8::from(*active));
            }
        }
        Summary::Learner { storage, epoch, slot, index } => {
            out.put_slice(storage.0.as_bytes());
            out.put_u8(u8::from(epoch.is_some()));
            if let Some(epoch) = epoch {
                put_epoch(out, epoch);
            }
            out.put_u64_le(slot.get());
            out.put_u64_le(index.get());
        }
    }
}

fn take_summary(kind: u8, bytes: &mut Bytes) -> Result<Summary, RecordError> {
    let storage = take_storage(bytes)?;
    if kind == ACCEPTOR_SUMMARY {
        let promised = if take_flag(bytes)? { Some(take_ballot(bytes)?) } else { None };
        let (trimmed_slot, highest_voted) = (take_slot(bytes)?, take_slot(bytes)?);
        let epoch =
            if take_flag(bytes)? { Some((take_epoch(bytes)?, take_flag(bytes)?)) } else { None };
        return Ok(Summary::Acceptor { storage, promised, trimmed_slot, highest_voted, epoch });
    }
    let epoch = if take_flag(bytes)? { Some(take_epoch(bytes)?) } else { None };
    Ok(Summary::Learner { storage, epoch, slot: take_slot(bytes)?, index: take_index(bytes)? })
}

fn take_positions(bytes: &mut Bytes) -> Result<Vec<u32>, RecordError> {
    let count = usize::try_from(bytes.try_get_u32_le()?).unwrap_or(usize::MAX);
    // A false count cannot reserve more than the bytes that are there.
    let mut positions = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        positions.push(bytes.try_get_u32_le()?);
    }
    Ok(positions)
}

fn put_epoch(out: &mut BytesMut, epoch: &Epoch) {
    let length = u16::try_from(epoch.cluster.len()).expect("configuration bounds cluster names");
    out.put_u16_le(length);
    out.put_slice(epoch.cluster.as_bytes());
    out.put_u8(u8::try_from(epoch.acceptors.len()).expect("there are at most 99 node ids"));
    for (acceptor, storage) in &epoch.acceptors {
        out.put_u8(acceptor.node().get());
        out.put_slice(storage.0.as_bytes());
    }
    out.put_u8(u8::try_from(epoch.learners.len()).expect("there are at most 99 node ids"));
    for learner in &epoch.learners {
        out.put_u8(learner.node().get());
    }
    out.put_u64_le(epoch.limits.idempotency_window);
    out.put_u64_le(epoch.limits.session_window);
    out.put_u64_le(epoch.limits.sessions_max);
}

fn take_epoch(bytes: &mut Bytes) -> Result<Epoch, RecordError> {
    let length = usize::from(bytes.try_get_u16_le()?);
    if bytes.len() < length {
        return Err(RecordError::Truncated(length - bytes.len()));
    }
    let cluster =
        String::from_utf8(bytes.split_to(length).into()).map_err(|_| RecordError::Cluster)?;
    let mut acceptors = BTreeMap::new();
    for _ in 0..bytes.try_get_u8()? {
        acceptors.insert(AcceptorId(take_node(bytes)?), take_storage(bytes)?);
    }
    let mut learners = BTreeSet::new();
    for _ in 0..bytes.try_get_u8()? {
        learners.insert(LearnerId(take_node(bytes)?));
    }
    let limits = LogLimits {
        idempotency_window: bytes.try_get_u64_le()?,
        session_window: bytes.try_get_u64_le()?,
        sessions_max: bytes.try_get_u64_le()?,
    };
    Ok(Epoch { cluster, acceptors, learners, limits })
}

fn put_ballot(out: &mut BytesMut, ballot: Ballot) {
    out.put_u64_le(ballot.round);
    out.put_u8(ballot.proposer.node().get());
    out.put_u64_le(ballot.incarnation.0);
}

fn take_ballot(bytes: &mut Bytes) -> Result<Ballot, RecordError> {
    Ok(Ballot {
        round: bytes.try_get_u64_le()?,
        proposer: ProposerId(take_node(bytes)?),
        incarnation: Incarnation(bytes.try_get_u64_le()?),
    })
}

fn take_slot(bytes: &mut Bytes) -> Result<Slot, RecordError> {
    Ok(Slot::new(bytes.try_get_u64_le()?))
}

fn take_index(bytes: &mut Bytes) -> Result<Index, RecordError> {
    Ok(Index::new(bytes.try_get_u64_le()?))
}

fn take_storage(bytes: &mut Bytes) -> Result<StorageId, RecordError> {
    // A uuid's own order is big-endian, as its text reads.
    Ok(StorageId(Uuid::from_u128(bytes.try_get_u128()?)))
}

fn take_node(bytes: &mut Bytes) -> Result<NodeId, RecordError> {
    let id = bytes.try_get_u8()?;
    NodeId::new(u64::from(id)).map_err(|_| RecordError::Node(id))
}

fn take_flag(bytes: &mut Bytes) -> Result<bool, RecordError> {
    match bytes.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(RecordError::Flag(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_decodes_to_itself(record in record()) {
            prop_assert_eq!(Record::decode(encoded(&record)), Ok(record));
        }

        #[test]
        fn a_record_cut_short_or_prolonged_is_refused_or_has_another_batch(
            record in record(), cut in 0..64_usize, more in 1..8_usize,
        ) {
            let whole = encoded(&record);
            let short = whole.slice(..whole.len() - cut.min(whole.len()).max(1));
            prop_assert_ne!(Record::decode(short), Ok(record.clone()));
            let mut long = BytesMut::from(&whole[..]);
            long.resize(whole.len() + more, 0);
            prop_assert_ne!(Record::decode(long.freeze()), Ok(record));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..9_u8,
        ) {
            if let [first, version, ..] = &mut bytes[..] {
                (*first, *version) = (kind, VERSION);
            }
            if let Ok(record) = Record::decode(Bytes::from(bytes)) {
                prop_assert_eq!(Record::decode(encoded(&record)), Ok(record));
            }
        }
    }

    #[test]
    fn an_unknown_kind_or_version_is_named() {
        assert_eq!(Record::decode(Bytes::from_static(&[99, VERSION])), Err(RecordError::Kind(99)));
        let unknown = RecordError::Version { kind: TRIM, version: 9 };
        assert_eq!(Record::decode(Bytes::from_static(&[TRIM, 9])), Err(unknown));
    }

    #[test]
    fn a_batch_shares_the_memory_it_was_read_from() {
        let record = Record::Entry {
            slot: Slot::FIRST,
            ballot: Ballot::from_proposal_number(101).unwrap(),
            first_index: Index::FIRST,
            skipped: vec![1, 3],
            delivered_at_ms: 7,
            batch: Batch::from_bytes(Bytes::from_static(b"value")),
        };
        let whole = encoded(&record);
        let Ok(Record::Entry { batch, .. }) = Record::decode(whole.clone()) else {
            panic!("an entry")
        };
        assert_eq!(batch.bytes().as_ptr(), whole[whole.len() - 5..].as_ptr());
    }

    fn encoded(record: &Record) -> Bytes {
        let mut out = BytesMut::new();
        record.encode(&mut out);
        out.freeze()
    }

    fn node() -> impl Strategy<Value = NodeId> {
        (1..=u64::from(NodeId::MAX)).prop_map(|id| NodeId::new(id).unwrap())
    }

    fn ballot() -> impl Strategy<Value = Ballot> {
        (any::<u64>(), node(), any::<u64>()).prop_map(|(round, id, incarnation)| Ballot {
            round,
            proposer: ProposerId(id),
            incarnation: Incarnation(incarnation),
        })
    }

    fn slot() -> impl Strategy<Value = Slot> {
        any::<u64>().prop_map(Slot::new)
    }

    fn index() -> impl Strategy<Value = Index> {
        any::<u64>().prop_map(Index::new)
    }

    fn storage() -> impl Strategy<Value = StorageId> {
        any::<u128>().prop_map(|id| StorageId(Uuid::from_u128(id)))
    }

    fn batch() -> impl Strategy<Value = Batch> {
        prop::collection::vec(any::<u8>(), 0..50).prop_map(|b| Batch::from_bytes(Bytes::from(b)))
    }

    fn epoch() -> impl Strategy<Value = Epoch> {
        (
            ".{0,12}",
            prop::collection::btree_map(node().prop_map(AcceptorId), storage(), 0..5),
            prop::collection::btree_set(node().prop_map(LearnerId), 0..5),
            (any::<u64>(), any::<u64>(), any::<u64>()),
        )
            .prop_map(|(cluster, acceptors, learners, (keys, sessions, most))| Epoch {
                cluster,
                acceptors,
                learners,
                limits: LogLimits {
                    idempotency_window: keys,
                    session_window: sessions,
                    sessions_max: most,
                },
            })
    }

    fn record() -> impl Strategy<Value = Record> {
        let acceptor = (
            storage(),
            prop::option::of(ballot()),
            slot(),
            slot(),
            prop::option::of((epoch(), any::<bool>())),
        )
            .prop_map(|(storage, promised, trimmed_slot, highest_voted, epoch)| {
                Summary::Acceptor { storage, promised, trimmed_slot, highest_voted, epoch }
            });
        let learner = (storage(), prop::option::of(epoch()), slot(), index()).prop_map(
            |(storage, epoch, slot, index)| Summary::Learner { storage, epoch, slot, index },
        );
        prop_oneof![
            acceptor.prop_map(Record::Summary),
            learner.prop_map(Record::Summary),
            (epoch(), any::<bool>()).prop_map(|(epoch, active)| Record::Epoch { epoch, active }),
            ballot().prop_map(|ballot| Record::Promise { ballot }),
            (ballot(), slot(), batch()).prop_map(|(ballot, slot, batch)| Record::Vote {
                ballot,
                slot,
                batch
            }),
            slot().prop_map(|slot| Record::Trim { slot }),
            (
                (slot(), ballot(), index(), batch()),
                prop::collection::vec(any::<u32>(), 0..4),
                any::<u64>()
            )
                .prop_map(
                    |((slot, ballot, first_index, batch), skipped, delivered_at_ms)| {
                        Record::Entry { slot, ballot, first_index, skipped, delivered_at_ms, batch }
                    }
                ),
        ]
    }
}
