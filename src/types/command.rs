//! Commands: what callers want done, each under one name for ever, and their batches.

use std::fmt;
use std::str::FromStr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::NodeId;

/// A session of a gateway, which the learners remember: the life of the gateway, drawn at its
/// start, and in the last 32 bits how many sessions of that life were given up before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub Uuid);

/// The bits of a session that tell it from the others of its life.
const OPENING_BITS: u128 = 0xffff_ffff;

impl SessionId {
    /// The first session of a life that is drawn from `bytes`.
    #[must_use]
    pub fn first_of(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid()).life()
    }

    /// A session of no gateway, for a value that a person writes by hand: `digest` tells it apart.
    #[must_use]
    pub fn by_hand(digest: u128) -> Self {
        Self(uuid::Builder::from_custom_bytes(digest.to_be_bytes()).into_uuid()).life()
    }

    /// Whether it is of no gateway.
    #[must_use]
    pub fn is_by_hand(self) -> bool {
        self.0.get_version() == Some(uuid::Version::Custom)
    }

    /// The first session of the same life, which stands for all of them where a caller is told.
    #[must_use]
    pub fn life(self) -> Self {
        Self(Uuid::from_u128(self.0.as_u128() & !OPENING_BITS))
    }

    /// The session that follows when this one is given up. The last of a life has none.
    ///
    /// # Panics
    /// After 2^32 sessions of one life.
    #[must_use]
    pub fn successor(self) -> Self {
        assert!(self != self.last(), "a gateway has opened 2^32 sessions");
        Self(Uuid::from_u128(self.0.as_u128() + 1))
    }

    /// The last session that this life could have.
    #[must_use]
    pub fn last(self) -> Self {
        Self(Uuid::from_u128(self.0.as_u128() | OPENING_BITS))
    }
}

/// The position of a command within its session: 1, 2, 3, …; 0 opens the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// The name of a command, carried by every retry. Callers are told [`Name::told`] as `request_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Who names it.
    pub session: SessionId,
    /// Its number within the session.
    pub sequence: Sequence,
}

impl Name {
    /// The name that its caller is told: the same in whatever session of its gateway's life the
    /// command is sent, since that may change after the caller was told.
    #[must_use]
    pub fn told(self) -> Self {
        Self { session: self.session.life(), ..self }
    }
}

/// A text that is no `request_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request id is 32 hexadecimal digits, a dash and a number")]
pub struct ParseNameError;

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.session.0.simple(), self.sequence.0)
    }
}

impl FromStr for Name {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let (session, sequence) = text.split_once('-').ok_or(ParseNameError)?;
        if session.len() != 32 || sequence.starts_with('+') {
            return Err(ParseNameError);
        }
        let session = Uuid::try_parse(session).map_err(|_| ParseNameError)?;
        let sequence = sequence.parse().map_err(|_| ParseNameError)?;
        Ok(Self { session: SessionId(session), sequence: Sequence(sequence) })
    }
}

/// A caller's `Idempotency-Key`, kept as its 128-bit hash: what the learners remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(pub u128);

impl IdempotencyKey {
    /// The key that a caller wrote.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(xxh3_128(text))
    }
}

/// The digest of all the values of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueDigest(pub u128);

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Opens its session; commands of a session never opened are refused.
    Open,
    /// Appends values: contiguous indices, all or none.
    Write {
        /// At most one effect under one key.
        key: Option<IdempotencyKey>,
        /// Each a JSON text.
        values: Vec<Bytes>,
    },
    /// Makes sure that `target` has been applied before this, or never will be.
    Cancel {
        /// The command in doubt, perhaps of another session.
        target: Name,
    },
}

/// A named operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name, the same in every retry.
    pub name: Name,
    /// The lowest sequence of its session that still awaits an outcome; what lies below may be
    /// forgotten.
    pub lowest_open: Sequence,
    /// The node that wants to be told the outcome.
    pub origin: NodeId,
    /// What to do.
    pub operation: Operation,
}

/// Bytes that are no command or batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("the encoding ends {0} bytes early")]
    Truncated(usize),
    /// An operation that this version does not know.
    #[error("unknown operation {0}")]
    Operation(u8),
    /// A node id out of range.
    #[error("bad node id {0}")]
    Node(u8),
    /// More bytes than the encoding says.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
}

const OPEN: u8 = 1;
const WRITE: u8 = 2;
const WRITE_WITH_KEY: u8 = 3;
const CANCEL: u8 = 4;

impl Command {
    /// Appends its encoding to `out`: fixed-width little-endian fields, then the values.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(64 + self.value_bytes());
        put_name(out, self.name);
        out.put_u64_le(self.lowest_open.0);
        out.put_u8(self.origin.get());
        match &self.operation {
            Operation::Open => out.put_u8(OPEN),
            Operation::Write { key, values } => {
                match key {
                    None => out.put_u8(WRITE),
                    Some(key) => {
                        out.put_u8(WRITE_WITH_KEY);
                        out.put_u128_le(key.0);
                    }
                }
                put_length(out, values.len());
                for value in values {
                    put_length(out, value.len());
                    out.put_slice(value);
                }
            }
            Operation::Cancel { target } => {
                out.put_u8(CANCEL);
                put_name(out, *target);
            }
        }
    }

    /// Its encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }

    /// Reads one command that fills `bytes`. Its values share their memory.
    ///
    /// # Errors
    /// When they are not exactly one command.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        let name = take_name(&mut bytes)?;
        let lowest_open = Sequence(take_u64(&mut bytes)?);
        let origin = take_u8(&mut bytes)?;
        let origin = NodeId::new(u64::from(origin)).map_err(|_| DecodeError::Node(origin))?;
        let operation = match take_u8(&mut bytes)? {
            OPEN => Operation::Open,
            WRITE => Operation::Write { key: None, values: take_values(&mut bytes)? },
            WRITE_WITH_KEY => {
                need(&bytes, 16)?;
                let key = Some(IdempotencyKey(bytes.get_u128_le()));
                Operation::Write { key, values: take_values(&mut bytes)? }
            }
            CANCEL => Operation::Cancel { target: take_name(&mut bytes)? },
            other => return Err(DecodeError::Operation(other)),
        };
        if !bytes.is_empty() {
            return Err(DecodeError::Trailing(bytes.len()));
        }
        Ok(Self { name, lowest_open, origin, operation })
    }

    /// Bytes of its values, together.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        match &self.operation {
            Operation::Write { values, .. } => values.iter().map(|value| value.len() + 4).sum(),
            Operation::Open | Operation::Cancel { .. } => 0,
        }
    }
}

impl Operation {
    /// The digest of the values of a write, each with its length.
    #[must_use]
    pub fn value_digest(values: &[Bytes]) -> ValueDigest {
        let mut hash = Xxh3::new();
        for value in values {
            hash.update(&value.len().to_le_bytes());
            hash.update(value);
        }
        ValueDigest(hash.digest128())
    }
}

/// The digest of a batch: a vote names it, and only a batch of that digest is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchDigest(pub u64);

/// What one slot carries: commands in order, kept encoded. The empty batch is a no-op.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Batch(Bytes);

impl Batch {
    /// The batch that does nothing; it fills a slot where nothing was accepted.
    #[must_use]
    pub const fn noop() -> Self {
        Self(Bytes::new())
    }

    /// The batch encoded in `bytes`. What is inside is checked by [`Batch::commands`].
    #[must_use]
    pub const fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// A batch of these commands.
    #[must_use]
    pub fn of(commands: &[Command]) -> Self {
        let mut builder = BatchBuilder::default();
        for command in commands {
            builder.push(&command.to_bytes());
        }
        builder.finish()
    }

    /// Its encoding.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of its encoding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty, and so a no-op.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_noop()
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> BatchDigest {
        BatchDigest(xxhash_rust::xxh3::xxh3_64(&self.0))
    }

    /// Its commands in order. An item is an error where the bytes are no command; the iterator then
    /// ends.
    pub fn commands(&self) -> impl Iterator<Item = Result<Command, DecodeError>> + use<> {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let command = take_length(&mut rest)
                .and_then(|length| take_bytes(&mut rest, length))
                .and_then(Command::decode);
            if command.is_err() {
                rest.clear();
            }
            Some(command)
        })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_noop() { f.write_str("Noop") } else { write!(f, "Batch({} bytes)", self.len()) }
    }
}

/// Collects encoded commands into a batch; each is copied once.
#[derive(Debug, Default)]
pub struct BatchBuilder(BytesMut);

impl BatchBuilder {
    /// Appends one encoded command.
    pub fn push(&mut self, command: &[u8]) {
        self.0.reserve(4 + command.len());
        put_length(&mut self.0, command.len());
        self.0.put_slice(command);
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was pushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The batch.
    #[must_use]
    pub fn finish(self) -> Batch {
        Batch(self.0.freeze())
    }
}

fn put_name(out: &mut BytesMut, name: Name) {
    out.put_slice(name.session.0.as_bytes());
    out.put_u64_le(name.sequence.0);
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_u32_le(u32::try_from(length).expect("limits keep every batch far below 4 GiB"));
}

fn need(bytes: &Bytes, count: usize) -> Result<(), DecodeError> {
    match count.checked_sub(bytes.len()) {
        None | Some(0) => Ok(()),
        Some(missing) => Err(DecodeError::Truncated(missing)),
    }
}

fn take_u8(bytes: &mut Bytes) -> Result<u8, DecodeError> {
    need(bytes, 1)?;
    Ok(bytes.get_u8())
}

fn take_u64(bytes: &mut Bytes) -> Result<u64, DecodeError> {
    need(bytes, 8)?;
    Ok(bytes.get_u64_le())
}

fn take_length(bytes: &mut Bytes) -> Result<usize, DecodeError> {
    need(bytes, 4)?;
    Ok(usize::try_from(bytes.get_u32_le()).unwrap_or(usize::MAX))
}

fn take_bytes(bytes: &mut Bytes, count: usize) -> Result<Bytes, DecodeError> {
    need(bytes, count)?;
    Ok(bytes.split_to(count))
}

fn take_name(bytes: &mut Bytes) -> Result<Name, DecodeError> {
    need(bytes, 24)?;
    let session = SessionId(Uuid::from_u128(bytes.get_u128()));
    Ok(Name { session, sequence: Sequence(bytes.get_u64_le()) })
}

fn take_values(bytes: &mut Bytes) -> Result<Vec<Bytes>, DecodeError> {
    let count = take_length(bytes)?;
    // Each value costs at least its length field, so a false count cannot reserve much.
    let mut values = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let length = take_length(bytes)?;
        values.push(take_bytes(bytes, length)?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(sequence: u64, key: Option<u128>, values: Vec<Vec<u8>>) -> Command {
        Command {
            name: Name { session: SessionId(Uuid::from_u128(7)), sequence: Sequence(sequence) },
            lowest_open: Sequence(1),
            origin: NodeId::new(9).unwrap(),
            operation: Operation::Write {
                key: key.map(IdempotencyKey),
                values: values.into_iter().map(Bytes::from).collect(),
            },
        }
    }

    proptest! {
        #[test]
        fn a_batch_decodes_to_the_commands_it_was_made_of(
            sequences in prop::collection::vec(any::<u64>(), 0..8),
            key in any::<Option<u128>>(),
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..5),
        ) {
            let mut commands: Vec<Command> =
                sequences.into_iter().map(|s| write(s, key, values.clone())).collect();
            commands.push(Command { operation: Operation::Open, ..write(0, None, vec![]) });
            let target = commands[0].name;
            let operation = Operation::Cancel { target };
            commands.push(Command { operation, ..write(1, None, vec![]) });
            let decoded: Result<Vec<_>, _> = Batch::of(&commands).commands().collect();
            prop_assert_eq!(decoded, Ok(commands));
        }

        #[test]
        fn bytes_that_are_no_batch_are_refused_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _read: Vec<_> = Batch::from_bytes(Bytes::from(bytes)).commands().collect();
        }
    }

    #[test]
    fn a_request_id_reads_back() {
        let name = write(12, None, vec![]).name;
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!("7-1".parse::<Name>(), Err(ParseNameError));
        assert_eq!(format!("{}-+1", name.session.0.simple()).parse::<Name>(), Err(ParseNameError));
    }
}
