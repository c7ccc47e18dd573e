//! What a fuzzer may do to paxosd, and what must hold whatever it does. Each target is a function
//! of bytes that panics when a property is broken; the programs in `fuzz_targets` hand it to
//! cargo-fuzz, and `tests/corpora.rs` runs it on a stable compiler over the corpus that is kept.
//!
//! - [`journal`]: a journal is written, its disk is harmed, and it is opened again.
//! - [`wire`]: frames of peers and the records and commands inside.
//! - [`http_body`]: bodies, headers and queries of callers.
//! - [`config`]: configuration files and environments.
//! - [`acceptor`]: requests to one acceptor over a disk that crashes.
//! - [`cluster`]: the whole cluster, the bytes being its schedule.

pub mod acceptor;
pub mod cluster;
pub mod config;
pub mod http_body;
mod input;
pub mod journal;
pub mod mutate;
pub mod wire;

/// A target: its name, which its corpus bears too, and itself.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("acceptor", acceptor::run),
    ("cluster", cluster::run),
    ("config", config::run),
    ("http_body", http_body::run),
    ("journal", journal::run),
    ("wire", wire::run),
];
