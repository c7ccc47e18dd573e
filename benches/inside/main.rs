//! What happens inside a node, timed part by part: the journal's turn, each role's step, the codec,
//! and gossip. Nothing here opens a socket; one group alone writes to a disk.
//!
//! `cargo bench` measures, `cargo bench -- learner` only what is called so, and `cargo test --bench
//! inside` runs each once, to see that it still can.

mod acceptor;
mod codec;
mod fixture;
mod gateway;
mod gossip;
mod journal;
mod leader;
mod learner;
mod memory;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    // Short, so that all of it takes less than a minute and is run often.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40)
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    journal::bench(&mut criterion);
    acceptor::bench(&mut criterion);
    leader::bench(&mut criterion);
    learner::bench(&mut criterion);
    gateway::bench(&mut criterion);
    codec::bench(&mut criterion);
    gossip::bench(&mut criterion);
    criterion.final_summary();
}
