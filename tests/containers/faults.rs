//! Faults of a real network, and containers that are killed: writes go on where a quorum is left,
//! stop with a clear answer where none is, and return by themselves.

use std::time::Instant;

use paxosd::types::Role;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::docker::{Engine, say};
use super::load::Load;

/// Writes after which a cluster counts as at work.
const SOME: usize = 50;

#[test]
fn an_acceptor_off_the_network_is_not_missed_and_votes_again_at_another_address() {
    let Some(engine) = Engine::find() else { return };
    let mut cluster = Cluster::start(engine);
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, SOME);
    cluster.disconnect("acceptor1");
    load.wait_for(&cluster, SOME);
    cluster.connect_elsewhere("acceptor1");
    cluster.wait_healthy("acceptor1");
    // From here on nothing is chosen without the one that was away.
    cluster.disconnect("acceptor2");
    load.wait_for(&cluster, SOME);
    cluster.connect_elsewhere("acceptor2");
    cluster.wait_serving();
    finish(&cluster, load);
}

#[test]
fn a_leader_parted_from_the_rest_is_replaced_and_follows_when_it_is_back() {
    let Some(engine) = Engine::find() else { return };
    let cluster = Cluster::start(engine);
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, SOME);
    let old = cluster.leader();
    let (alone, rest) = split(&cluster.names(), &[&old]);
    let parted_at = Instant::now();
    cluster.part(&[alone, rest]);
    let mut others = cluster.names_of(Role::Proposer);
    others.retain(|name| *name != old);
    let new = cluster.leader_among(&others);
    say(&format!("{old} parted, {new} leads, within {} ms", parted_at.elapsed().as_millis()));
    load.wait_for(&cluster, SOME);
    cluster.poll("who leads no quorum knows it", || {
        (cluster.view_logs(&old)?["is_leader"] == false).then_some(())
    });
    cluster.unite();
    cluster.wait_serving();
    load.wait_for(&cluster, SOME);
    finish(&cluster, load);
}

#[test]
fn a_partition_into_three_stops_writes_clearly_and_they_return_by_themselves() {
    let Some(engine) = Engine::find() else { return };
    let cluster = Cluster::start(engine);
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, SOME);
    let group = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    cluster.part(&[
        group(&["proposer1", "acceptor1", "learner1", "client1"]),
        group(&["proposer2", "acceptor2", "learner2", "client2"]),
        group(&["proposer3", "acceptor3"]),
    ]);
    let refused = [
        expect_refusal(&cluster, 1, &["acceptor2", "acceptor3"]),
        expect_refusal(&cluster, 2, &["acceptor1", "acceptor3"]),
    ];
    cluster.unite();
    cluster.wait_serving();
    load.wait_for(&cluster, SOME);
    let values = finish(&cluster, load);
    for value in refused {
        assert!(!values.contains(&value), "{value} was called certainly not applied");
    }
}

#[test]
fn killed_containers_come_back_with_all_they_had() {
    let Some(engine) = Engine::find() else { return };
    let cluster = Cluster::start(engine);
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, SOME);
    for victim in [cluster.leader(), "acceptor2".to_owned(), "learner1".to_owned()] {
        cluster.kill9(std::slice::from_ref(&victim));
        load.wait_for(&cluster, SOME);
        cluster.start_node(&victim);
        cluster.wait_healthy(&victim);
    }
    cluster.kill9(&cluster.names());
    cluster.start_nodes(&cluster.names());
    cluster.wait_serving();
    load.wait_for(&cluster, SOME);
    finish(&cluster, load);
}

#[test]
fn nodes_that_start_at_another_address_are_found_there() {
    let Some(engine) = Engine::find() else { return };
    let mut cluster = Cluster::start(engine);
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, SOME);
    let leader = cluster.leader();
    let moved = [leader.as_str(), "acceptor1", "learner1"];
    for name in moved {
        cluster.kill9(&[name.to_owned()]);
        cluster.disconnect(name);
        cluster.connect_elsewhere(name);
        cluster.start_node(name);
        cluster.wait_healthy(name);
    }
    // Only those who moved are left to do the work.
    let mut others = cluster.names_of(Role::Proposer);
    others.retain(|name| *name != leader);
    others.extend(["acceptor2".to_owned(), "learner2".to_owned()]);
    cluster.kill9(&others);
    load.wait_for(&cluster, SOME);
    assert_eq!(cluster.leader(), leader);
    cluster.start_nodes(&others);
    cluster.wait_serving();
    finish(&cluster, load);
}

/// Ends the writers, and holds what everybody reads against what they were answered.
fn finish(cluster: &Cluster, load: Load) -> Vec<Value> {
    let books = load.finish();
    let values = cluster.agreed_values();
    books.check(&values);
    say(&format!(
        "{} writes acknowledged and there, {} refused or unknown; the longest gap lasted {} ms",
        books.acknowledged(),
        books.others().len(),
        books.longest_gap().as_millis()
    ));
    values
}

/// Writes through client `client` until it is refused because `missing` are. Whatever else it is
/// answered says whether the write may have been applied. Returns the value that certainly was not.
fn expect_refusal(cluster: &Cluster, client: u8, missing: &[&str]) -> Value {
    let mut number = 0;
    let what = format!("client{client} is refused for want of {missing:?}");
    let (value, answer) = cluster.poll(&what, || {
        number += 1;
        let value = json!(format!("refused {client} {number}"));
        let path = "/send?timeout_ms=1000";
        let answer = cluster.client(client).post(path, &json!({ "value": value })).unwrap();
        let said = &answer.json;
        if answer.status == 504 {
            assert_eq!(said["outcome"], "unknown", "{said}");
            return None;
        }
        assert_eq!(answer.status, 503, "{said}");
        assert_eq!(said["outcome"], "not_applied", "{said}");
        assert!(answer.headers.contains_key("retry-after"), "{said}");
        (said["quorum"]["missing"] == json!(missing)).then_some((value, answer.json))
    });
    assert_eq!(answer["quorum"]["need"], 2, "{answer}");
    say(&format!("client{client} without a quorum: {answer}"));
    value
}

/// `names`, those first that are `chosen`.
fn split(names: &[String], chosen: &[&str]) -> (Vec<String>, Vec<String>) {
    names.iter().cloned().partition(|name| chosen.contains(&name.as_str()))
}
