//! Whether the acceptors' disks really sync: what their own clocks say of it during the load.

use std::time::Duration;

use serde::Serialize;

use crate::cli::endpoint::host_of;
use crate::config::{Config, Env};
use crate::http::{Address, HttpClient};
use crate::types::Role;

const PATIENCE: Duration = Duration::from_secs(1);

/// The metric of a journal turn: write and sync.
const TURN: &str = "paxosd_fsync_duration_seconds";

/// No disk that keeps its word writes and syncs in less than this, on average.
const TOO_FAST_US: f64 = 15.0;

/// How many turns make an average that can be trusted.
const TURNS_MIN: f64 = 50.0;

/// The turns of one acceptor's journal since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Turns {
    seconds: f64,
    count: f64,
}

/// What the acceptors tell of their journals.
#[derive(Debug)]
pub(super) struct Disks {
    acceptors: Vec<Address>,
    before: Vec<Option<Turns>>,
}

/// The journal turns of one acceptor during a load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Synced {
    /// How many there were.
    pub(super) turns: f64,
    /// How long one took on average.
    pub(super) mean_us: f64,
}

impl Disks {
    /// The disks of the acceptors of `config`, as they are before a load.
    pub(super) async fn before(client: &HttpClient, config: &Config, env: &Env) -> Self {
        let acceptors: Vec<Address> = config
            .with_role(Role::Acceptor)
            .map(|node| Address::new(host_of(node, env), node.monitor_port))
            .collect();
        let before = ask(client, &acceptors).await;
        Self { acceptors, before }
    }

    /// What each acceptor's journal did since; one that was not reached, or restarted, is left out.
    pub(super) async fn since(self, client: &HttpClient) -> Vec<Synced> {
        let after = ask(client, &self.acceptors).await;
        let pairs = self.before.into_iter().zip(after);
        pairs.filter_map(|(before, after)| between(before?, after?)).collect()
    }
}

/// Whether a disk that did `synced` does not keep what it is given.
pub(super) fn is_too_fast(synced: &Synced) -> bool {
    synced.turns >= TURNS_MIN && synced.mean_us < TOO_FAST_US
}

fn between(before: Turns, after: Turns) -> Option<Synced> {
    let (turns, seconds) = (after.count - before.count, after.seconds - before.seconds);
    (turns >= 1.0).then(|| Synced { turns, mean_us: seconds * 1e6 / turns })
}

async fn ask(client: &HttpClient, acceptors: &[Address]) -> Vec<Option<Turns>> {
    let mut all = Vec::with_capacity(acceptors.len());
    for acceptor in acceptors {
        let reply = client.get(acceptor, "/metrics", PATIENCE).await.ok();
        all.push(reply.and_then(|reply| turns_of(&String::from_utf8_lossy(&reply.body))));
    }
    all
}

fn turns_of(metrics: &str) -> Option<Turns> {
    let number = |name: String| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|rest| rest.trim().parse().ok())
    };
    let (seconds, count) = (number(format!("{TURN}_sum "))?, number(format!("{TURN}_count "))?);
    Some(Turns { seconds, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::metrics::Metrics;

    #[test]
    fn the_turns_are_found_among_a_nodes_metrics() {
        let text = include_str!("../../../config/cluster.yaml").to_owned();
        let config = Config::parse("cluster.yaml".to_owned(), text, &Env::new()).unwrap();
        let acceptor = config.with_role(Role::Acceptor).next().unwrap();
        let metrics = Metrics::new(acceptor);
        metrics.journal_turn(Duration::from_micros(300), 1);
        metrics.journal_turn(Duration::from_micros(100), 1);
        let turns = turns_of(&metrics.text()).unwrap();
        assert!((turns.seconds - 0.0004).abs() < 1e-9, "{turns:?}");
        assert!((turns.count - 2.0).abs() < 1e-9, "{turns:?}");
        assert_eq!(turns_of("paxosd_fsync_duration_seconds_sum"), None);
    }

    #[test]
    fn a_disk_that_answers_before_it_could_have_written_is_told_from_one_that_syncs() {
        let before = Turns { seconds: 1.0, count: 100.0 };
        let real = between(before, Turns { seconds: 1.25, count: 1_100.0 }).unwrap();
        assert!((real.mean_us - 250.0).abs() < 1e-6 && !is_too_fast(&real));
        let none = between(before, Turns { seconds: 1.005, count: 1_100.0 }).unwrap();
        assert!(is_too_fast(&none));
        assert_eq!(between(before, Turns::default()), None, "it was started again");
    }
}
