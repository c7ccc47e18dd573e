//! What a cluster of ten real processes promises to those who use it, one test a promise.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer, in its helpers too"
)]

mod api;
mod bad_input;
mod bench;
mod chaos;
mod cluster;
mod crashes;
mod http;
mod lines;
mod load;
mod ports;
mod quorum;
mod raw;
mod reload;
mod retries;
mod segment;
mod starts;
mod turns;
mod wiped;
mod writes;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The variable that repeats a test's chance.
const SEED: &str = "PAXOSD_E2E_SEED";

/// Chance for a test, which prints its seed so that it can be had again.
fn chance(test: &str) -> ChaCha8Rng {
    let seed = std::env::var(SEED).ok().map_or_else(
        || std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), test),
        |seed| seed.parse().expect("the seed is a number"),
    );
    eprintln!("to have it again: {SEED}={seed} cargo test --test e2e {test}");
    ChaCha8Rng::seed_from_u64(seed)
}
