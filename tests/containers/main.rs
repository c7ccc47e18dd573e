//! What ten containers promise on a Docker network of their own, one test a promise.
//!
//! They need Linux, root, Docker, debootstrap, iptables and nsenter. Without Docker or the images
//! of `base.sh` they say so and pass; where `PAXOSD_DOCKER_REQUIRED` is set they fail, and where
//! `PAXOSD_DOCKER_SKIP` is set they are skipped. Each removes what it made; what a run left behind
//! that was itself killed has the label `paxosd-test`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the answer, in its helpers too"
)]

mod cluster;
mod compose;
mod docker;
mod faults;
#[expect(dead_code, reason = "the end-to-end tests use more of it")]
#[path = "../e2e/http.rs"]
mod http;
mod image;
#[expect(dead_code, reason = "the end-to-end tests use more of it")]
#[path = "../e2e/load.rs"]
mod load;
mod network;
mod starts;
#[path = "../e2e/turns.rs"]
mod turns;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The variable that repeats a test's chance.
const SEED: &str = "PAXOSD_CONTAINERS_SEED";

/// Chance for a test, which tells its seed so that it can be had again.
fn chance(test: &str) -> ChaCha8Rng {
    let seed = std::env::var(SEED).ok().map_or_else(
        || std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), test),
        |seed| seed.parse().expect("the seed is a number"),
    );
    docker::say(&format!("to have it again: {SEED}={seed} cargo test --test containers {test}"));
    ChaCha8Rng::seed_from_u64(seed)
}
