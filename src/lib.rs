//! paxosd: a Multi-Paxos consensus service.
//!
//! The map of the house, from the ground up; a module names only modules above it in this list, or
//! its own folder:
//!
//! - [`types`]: the words of the protocol as types.
//! - [`paxos`]: the roles and the journal, pure.
//! - [`gossip`]: who is there and who seems to lead: hints, never truth; pure.
//! - [`config`]: the file, the environment over it, and which node this is.
//! - [`storage`]: directories, segment files and checkpoints on a disk.
//! - [`http`]: the edge: routes, bodies, problems, the server, the client and the peer links.
//! - [`node`]: the wiring: one actor a role, gossip, links, handlers, from start to stop.
//! - [`cli`]: the roof: the command line, and a whole cluster on one machine.

pub mod cli;
pub mod config;
pub mod gossip;
pub mod http;
pub mod node;
pub mod paxos;
pub mod storage;
pub mod types;
