//! The kinds of frames: a number for each message, never reused for another.

/// The bits of a kind that name the receiver's role.
pub(super) const RECEIVER: u8 = 0xf0;

pub(super) const ACCEPTOR: u8 = 0x10;
pub(super) const IDENTIFY: u8 = 0x11;
pub(super) const FORM: u8 = 0x12;
pub(super) const PREPARE: u8 = 0x13;
pub(super) const ACCEPT: u8 = 0x14;
pub(super) const MARK: u8 = 0x15;
pub(super) const FETCH: u8 = 0x16;
pub(super) const DURABLE: u8 = 0x17;

pub(super) const WITNESS: u8 = 0x20;
pub(super) const WITNESS_HEARTBEAT: u8 = 0x21;
pub(super) const ASK_LED: u8 = 0x22;
pub(super) const WITNESS_RESIGN: u8 = 0x23;

pub(super) const PROPOSER: u8 = 0x30;
pub(super) const PROPOSER_IDENTITY: u8 = 0x31;
pub(super) const PROMISE: u8 = 0x32;
pub(super) const PROPOSER_VOTE: u8 = 0x33;
pub(super) const NACK: u8 = 0x34;
pub(super) const LED: u8 = 0x35;
pub(super) const HEARTBEAT_ACK: u8 = 0x36;
pub(super) const PROPOSER_HEARTBEAT: u8 = 0x37;
pub(super) const PROPOSER_RESIGN: u8 = 0x38;
pub(super) const SUBMIT: u8 = 0x39;
pub(super) const FILL: u8 = 0x3a;
pub(super) const DELIVERED: u8 = 0x3b;

pub(super) const LEARNER: u8 = 0x40;
pub(super) const LEARNER_VOTE: u8 = 0x41;
pub(super) const PROPOSED: u8 = 0x42;
pub(super) const LEARNER_HEARTBEAT: u8 = 0x43;
pub(super) const VOTES: u8 = 0x44;
pub(super) const MARKED: u8 = 0x45;
pub(super) const LEARNER_IDENTITY: u8 = 0x46;
pub(super) const FETCH_ENTRIES: u8 = 0x47;
pub(super) const ENTRIES: u8 = 0x48;
pub(super) const CHECKPOINT: u8 = 0x49;
pub(super) const QUESTIONS: u8 = 0x4a;
pub(super) const CHOSEN: u8 = 0x4b;

pub(super) const CLIENT: u8 = 0x50;
pub(super) const NOTICES: u8 = 0x51;
pub(super) const REFUSED: u8 = 0x52;
pub(super) const ABANDONED: u8 = 0x53;
pub(super) const LEADING: u8 = 0x54;
pub(super) const PAGES: u8 = 0x55;
