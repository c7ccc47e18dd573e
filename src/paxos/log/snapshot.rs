//! The log's state as a message, for the checkpoint on disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use crate::types::{IdempotencyKey, Index, NodeId, Sequence, SessionId, Slot, ValueDigest};

use super::{KeyUse, Outcome, Session, Settled, Touch};

/// Everything that the next delivery depends on; see [`super::Log::snapshot`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Snapshot {
    #[prost(uint64, tag = "1")]
    pub(super) slot: u64,
    #[prost(uint64, tag = "2")]
    pub(super) index: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) hash: Bytes,
    #[prost(message, repeated, tag = "4")]
    pub(super) sessions: Vec<SessionBytes>,
    #[prost(message, repeated, tag = "5")]
    pub(super) keys: Vec<KeyBytes>,
    #[prost(uint64, tag = "6")]
    pub(super) touches: u64,
}

impl Snapshot {
    /// Everything through this slot was delivered when it was taken.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot::new(self.slot)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SessionBytes {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(uint32, tag = "2")]
    origin: u32,
    #[prost(uint64, tag = "3")]
    opened: u64,
    #[prost(uint64, tag = "4")]
    touched_index: u64,
    #[prost(uint64, tag = "5")]
    lowest_open: u64,
    #[prost(message, repeated, tag = "6")]
    settled: Vec<SettledBytes>,
    #[prost(uint64, tag = "7")]
    touched_number: u64,
    #[prost(bool, tag = "8")]
    is_used: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct SettledBytes {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint64, tag = "3")]
    first: u64,
    #[prost(uint64, tag = "4")]
    last: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyBytes {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    digest: Bytes,
    #[prost(uint64, tag = "3")]
    first: u64,
    #[prost(uint64, tag = "4")]
    last: u64,
}

const APPLIED: u32 = 1;
const REPEATED: u32 = 2;
const KEY_REUSED: u32 = 3;
const CANCELLED: u32 = 4;
const REFUSED: u32 = 5;
const OPENED: u32 = 6;
const SETTLED_APPLIED: u32 = 7;
const SETTLED_NOT_APPLIED: u32 = 8;
const SETTLED_FORGOTTEN: u32 = 9;

pub(super) fn session(id: SessionId, session: &Session) -> SessionBytes {
    SessionBytes {
        id: Bytes::copy_from_slice(id.0.as_bytes()),
        origin: u32::from(session.origin.get()),
        opened: session.opened.get(),
        touched_index: session.touched.index.get(),
        touched_number: session.touched.number,
        is_used: session.is_used,
        lowest_open: session.lowest_open.0,
        settled: session.settled.iter().map(|(sequence, it)| settled(*sequence, *it)).collect(),
    }
}

fn settled(sequence: Sequence, outcome: Outcome) -> SettledBytes {
    let (kind, first, last) = match outcome {
        Outcome::Applied { first, last } => (APPLIED, first, last),
        Outcome::Repeated { first, last } => (REPEATED, first, last),
        Outcome::KeyReused => (KEY_REUSED, Index::ZERO, Index::ZERO),
        Outcome::Cancelled => (CANCELLED, Index::ZERO, Index::ZERO),
        Outcome::Refused => (REFUSED, Index::ZERO, Index::ZERO),
        Outcome::Opened => (OPENED, Index::ZERO, Index::ZERO),
        Outcome::Settled(Settled::Applied { first, last }) => (SETTLED_APPLIED, first, last),
        Outcome::Settled(Settled::NotApplied) => (SETTLED_NOT_APPLIED, Index::ZERO, Index::ZERO),
        Outcome::Settled(Settled::Forgotten) => (SETTLED_FORGOTTEN, Index::ZERO, Index::ZERO),
    };
    SettledBytes { sequence: sequence.0, kind, first: first.get(), last: last.get() }
}

pub(super) fn read_session(bytes: SessionBytes) -> Option<(SessionId, Session)> {
    let mut settled = BTreeMap::new();
    for it in bytes.settled {
        settled.insert(Sequence(it.sequence), read_settled(it)?);
    }
    let session = Session {
        origin: NodeId::new(u64::from(bytes.origin)).ok()?,
        opened: Slot::new(bytes.opened),
        touched: Touch { number: bytes.touched_number, index: Index::new(bytes.touched_index) },
        is_used: bytes.is_used,
        lowest_open: Sequence(bytes.lowest_open),
        settled,
    };
    Some((SessionId(Uuid::from_slice(&bytes.id).ok()?), session))
}

fn read_settled(bytes: SettledBytes) -> Option<Outcome> {
    let (first, last) = (Index::new(bytes.first), Index::new(bytes.last));
    Some(match bytes.kind {
        APPLIED => Outcome::Applied { first, last },
        REPEATED => Outcome::Repeated { first, last },
        KEY_REUSED => Outcome::KeyReused,
        CANCELLED => Outcome::Cancelled,
        REFUSED => Outcome::Refused,
        OPENED => Outcome::Opened,
        SETTLED_APPLIED => Outcome::Settled(Settled::Applied { first, last }),
        SETTLED_NOT_APPLIED => Outcome::Settled(Settled::NotApplied),
        SETTLED_FORGOTTEN => Outcome::Settled(Settled::Forgotten),
        _ => return None,
    })
}

pub(super) fn key(key: IdempotencyKey, used: &KeyUse) -> KeyBytes {
    KeyBytes {
        key: Bytes::copy_from_slice(&key.0.to_le_bytes()),
        digest: Bytes::copy_from_slice(&used.digest.0.to_le_bytes()),
        first: used.first.get(),
        last: used.last.get(),
    }
}

pub(super) fn read_key(bytes: &KeyBytes) -> Option<(IdempotencyKey, KeyUse)> {
    let key = IdempotencyKey(u128::from_le_bytes(bytes.key.as_ref().try_into().ok()?));
    let digest = ValueDigest(u128::from_le_bytes(bytes.digest.as_ref().try_into().ok()?));
    let (first, last) = (Index::new(bytes.first), Index::new(bytes.last));
    Some((key, KeyUse { digest, first, last }))
}
