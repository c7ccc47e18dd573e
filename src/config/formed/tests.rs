//! The file that formed a cluster, and one that differs from it everywhere.

use std::collections::BTreeMap;

use super::*;
use crate::config::Env;
use crate::types::{LearnerId, NodeId, StorageId};

const FILE: &str = "\
cluster: {name: paxos}
nodes:
  - {name: p1, id: 1, role: proposer, host: p1, api_port: 3001, monitor_port: 8000}
  - {name: a4, id: 4, role: acceptor, host: a4, api_port: 4001, monitor_port: 8000}
  - {name: a5, id: 5, role: acceptor, host: a5, api_port: 4001, monitor_port: 8000}
  - {name: l7, id: 7, role: learner, host: l7, api_port: 5001, monitor_port: 8000}
limits:
  session_window: 5
";

#[test]
fn the_file_that_formed_the_cluster_agrees() {
    assert_eq!(config().agrees_with(&epoch(&[4, 5], &[7], config().log_limits())), Ok(()));
}

#[test]
fn every_difference_is_told_with_its_place_and_what_to_write() {
    let limits = LogLimits { session_window: 9, ..config().log_limits() };
    let unlike = config().agrees_with(&epoch(&[4, 6, 7], &[1], limits)).unwrap_err();
    assert_eq!(
        unlike.to_string(),
        "c.yaml:2:1: nodes: the cluster was formed with acceptor 6, which votes and is \
         missing; list it again\n\
         c.yaml:3:5: nodes[0]: p1 (proposer, id 1): the cluster was formed with this id as \
         learner; write `role: learner`, or another id\n\
         c.yaml:5:5: nodes[2]: a5 (acceptor, id 5): does not vote, for the cluster was formed \
         without it; take it out\n\
         c.yaml:6:5: nodes[3]: l7 (learner, id 7): the cluster was formed with this id as \
         acceptor; write `role: acceptor`, or another id\n\
         c.yaml:8:3: limits.session_window: 5 has no effect: the cluster was formed with 9; \
         write 9 again"
    );
}

fn config() -> Config {
    Config::parse("c.yaml".to_owned(), FILE.to_owned(), &Env::default()).unwrap()
}

fn epoch(acceptors: &[u64], learners: &[u64], limits: LogLimits) -> Epoch {
    let node = |id: u64| NodeId::new(id).unwrap();
    let storage = |id: u64| StorageId(uuid::Uuid::from_u128(id.into()));
    let acceptors: BTreeMap<_, _> =
        acceptors.iter().map(|&id| (AcceptorId(node(id)), storage(id))).collect();
    let learners = learners.iter().map(|&id| LearnerId(node(id))).collect();
    Epoch { cluster: "paxos".to_owned(), acceptors, learners, limits }
}
