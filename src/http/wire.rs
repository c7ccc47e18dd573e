//! Frames: a message of the protocol as the bytes of one frame of a peer link, and back.
//!
//! Numbers are little endian. A frame is a header, a body and a payload:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | the format, [`FORMAT_VERSION`] |
//! | 1 | the kind: one number for each message; its upper half names the receiver's role |
//! | 2 | the id of the sending node |
//! | 3 | flags: bit 0 says that an epoch is present; the others are 0 |
//! | 4 to 11 | the digest of the epoch that the sender counts by, or 0 |
//! | 12 to 15 | the length of the body |
//! | 16 … | the body: everything but values, in the encoding of Protocol Buffers |
//! | … | the payload: the values, raw, one after the other, to the end of the frame |
//!
//! The body skips fields that it does not know, so fields can be added without a new format. Values
//! stay out of it so that they are copied once when they are written and never when they are read:
//! what is decoded shares the memory of its frame. A message that carries one value has all of the
//! payload; for a list the body says how long each value is.

mod body;
mod kind;
mod reader;
mod writer;

use bytes::{Buf, Bytes, TryGetError};

use crate::paxos::message::{Envelope, Message};
use crate::types::{EpochDigest, NodeIdError};

use self::body::node;
use self::reader::Reader;
use self::writer::Writer;

/// The format of the frames that this node writes, and the only one it reads.
pub const FORMAT_VERSION: u8 = 1;

/// Bytes before the body.
const HEADER_BYTES: usize = 16;

/// The flag of a frame whose sender counts by an epoch.
const EPOCH_PRESENT: u8 = 1;

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The frame is in a format that this node does not read.
    #[error("the frame has format {0}, not {FORMAT_VERSION}")]
    Version(u8),
    /// A message that this version does not know.
    #[error("unknown kind of message {0:#04x}")]
    Kind(u8),
    /// Flags that this version does not know.
    #[error("unknown flags {0:#010b}")]
    Flags(u8),
    /// The frame ends too early.
    #[error("the frame ends {0} bytes early")]
    Truncated(usize),
    /// More bytes than the message has.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    /// The sender, or a node that the message names, cannot be.
    #[error(transparent)]
    Node(#[from] NodeIdError),
    /// The body lacks a field without which the message has no meaning.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A number that this machine cannot count to.
    #[error("the number {0} is too large")]
    Number(u64),
    /// The body is not in the encoding of Protocol Buffers.
    #[error("the body of a message of kind {kind:#04x} is malformed: {error}")]
    Body {
        /// The kind of the message.
        kind: u8,
        /// What is wrong with its body.
        error: prost::DecodeError,
    },
}

impl From<TryGetError> for WireError {
    fn from(error: TryGetError) -> Self {
        Self::Truncated(error.requested.saturating_sub(error.available))
    }
}

/// The frame of a message. It is allocated once, at its exact size, and each value is copied into
/// it once.
///
/// # Panics
/// When a value or the body reaches 4 GiB, which the limits of the configuration forbid.
#[must_use]
pub fn encode(envelope: &Envelope) -> Bytes {
    let writer = Writer { envelope };
    match &envelope.message {
        Message::Acceptor(message) => writer.for_acceptor(message),
        Message::Witness(message) => writer.for_witness(message),
        Message::Proposer(message) => writer.for_proposer(message),
        Message::Learner(message) => writer.for_learner(message),
        Message::Client(message) => writer.for_client(message),
    }
}

/// The message that fills a frame. Its values share the frame's memory and keep all of it alive.
///
/// # Errors
/// When the frame is not exactly one message of this format. The inside of a value is not checked
/// here.
pub fn decode(mut frame: Bytes) -> Result<Envelope, WireError> {
    let version = frame.try_get_u8()?;
    if version != FORMAT_VERSION {
        return Err(WireError::Version(version));
    }
    let kind = frame.try_get_u8()?;
    let from = node(u32::from(frame.try_get_u8()?))?;
    let flags = frame.try_get_u8()?;
    if flags & !EPOCH_PRESENT != 0 {
        return Err(WireError::Flags(flags));
    }
    let digest = EpochDigest(frame.try_get_u64_le()?);
    let epoch = (flags & EPOCH_PRESENT != 0).then_some(digest);
    let body_length = frame.try_get_u32_le()?;
    let body = take(&mut frame, body_length)?;
    let mut reader = Reader { kind, body, payload: frame };
    let message = match kind & kind::RECEIVER {
        kind::ACCEPTOR => Message::Acceptor(reader.for_acceptor()?),
        kind::WITNESS => Message::Witness(reader.for_witness()?),
        kind::PROPOSER => Message::Proposer(reader.for_proposer()?),
        kind::LEARNER => Message::Learner(reader.for_learner()?),
        kind::CLIENT => Message::Client(reader.for_client()?),
        _ => return Err(WireError::Kind(kind)),
    };
    match reader.payload.len() {
        0 => Ok(Envelope { from, epoch, message }),
        rest => Err(WireError::Trailing(rest)),
    }
}

/// The next `count` bytes.
fn take(bytes: &mut Bytes, count: u32) -> Result<Bytes, WireError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    match count.checked_sub(bytes.len()) {
        None | Some(0) => Ok(bytes.split_to(count)),
        Some(missing) => Err(WireError::Truncated(missing)),
    }
}

#[cfg(test)]
mod tests;
