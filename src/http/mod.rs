//! The edge to the network: HTTP/1.1 for people, and long-lived links for peers. It knows no role:
//! it is handed a service to call and a place to deliver to.
//!
//! - [`Router`] finds an endpoint by method and path, [`Query`] reads its options, [`body`] reads
//!   under limits and answers, [`lines`] takes a streamed one apart, [`Problem`] is every refusal.
//! - [`server`] listens; [`HttpClient`] calls; [`sse`] streams events.
//! - [`link`] carries frames between nodes; [`wire`] turns messages into frames and back.

pub mod address;
pub mod body;
pub mod client;
pub mod lines;
pub mod link;
pub mod problem;
pub mod query;
pub mod routes;
pub mod server;
pub mod sse;
pub mod wire;

pub use address::Address;
pub use body::{Body, BodyLimit};
pub use client::{ClientError, ClientLimits, HttpClient, Reply};
pub use problem::{Outcome, Problem, QuorumState};
pub use query::Query;
pub use routes::{Found, Missed, Router};
pub use server::{ServerLimits, Service, bind, serve};

#[cfg(test)]
mod fixture;
