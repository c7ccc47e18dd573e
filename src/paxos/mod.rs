//! The pure core: what the roles decide, without a clock, a socket or a file.
//!
//! Who sends what; [`message`] says what each means, docs/PROTOCOL.md in which order they come:
//!
//! ```text
//!            Submit               Prepare, Accept, Identify, Form
//!  gateway ─────────► proposer ───────────────────────────────────► acceptor
//!     ▲    ◄─────────    │  ▲   ◄───────────────────────────────────  │  ▲
//!     │     Refused,     │  │    Promise, Vote, Nack, Identity         │  │
//!     │     Abandoned,   │  │                                          │  │
//!     │     Leading      │  │    Heartbeat, AskLed, Resign             │  │
//!     │                  │  ├────────────────────────────► witness     │  │
//!     │                  │  │    HeartbeatAck, Led                     │  │
//!     │        Proposed, │  │ Fill,                              Vote, │  │ Mark, Fetch,
//!     │        Heartbeat │  │ Delivered           Mark, Votes, Identity│  │ Durable, Identify
//!     │                  ▼  │                                          ▼  │
//!     │  Notices      ┌───────────────────────────────────────────────────────┐
//!     └────────────── │ learner      FetchEntries, Entries, Checkpoint ◄────► │ learner
//!                     └───────────────────────────────────────────────────────┘
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod acceptor;
pub mod client;
pub mod durable;
pub mod event;
#[cfg(test)]
mod fixture;
pub mod journal;
pub mod learner;
pub mod log;
pub mod message;
pub mod proposer;
pub mod record;
pub mod store;
pub mod witness;
