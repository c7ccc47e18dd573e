//! Starts, stops, and nodes that join.

use std::time::Instant;

use paxosd::types::Role;
use rand::seq::SliceRandom;
use serde_json::json;

use super::chance;
use super::cluster::Cluster;
use super::load::Load;

const LEARNERS: [&str; 2] = ["learner1", "learner2"];

#[test]
fn ten_processes_commit_their_first_write_soon_after_their_start() {
    let mut cluster = Cluster::prepare(|_| {});
    let started = Instant::now();
    for name in cluster.names() {
        cluster.start_node(&name);
    }
    let answer = cluster.poll("the first write is committed", || {
        cluster.client(1).send("first").ok().filter(|answer| answer.status == 200)
    });
    eprintln!("from nothing to the first committed write: {} ms", started.elapsed().as_millis());
    assert_eq!(answer.json["index"], 1);
}

#[test]
fn a_cold_start_succeeds_in_any_order() {
    let mut chance = chance("a_cold_start_succeeds_in_any_order");
    let mut cluster = Cluster::prepare(|_| {});
    let mut names = cluster.names();
    names.shuffle(&mut chance);
    eprintln!("order of the start: {names:?}");
    for name in &names {
        cluster.start_node(name);
    }
    cluster.wait_serving();
    assert_eq!(cluster.client(1).send("one").unwrap().status, 200);
    assert_eq!(cluster.client(2).send("two").unwrap().status, 200);
    assert_eq!(cluster.agreed_values(&LEARNERS), ["one", "two"]);
}

#[test]
fn a_cluster_is_formed_once_every_acceptor_is_there() {
    let mut cluster = Cluster::prepare(|_| {});
    for name in cluster.names() {
        if name != "acceptor2" {
            cluster.start_node(&name);
        }
    }
    let body = json!({ "value": "too early" });
    let refused = cluster.poll("the missing acceptor is named", || {
        let answer = cluster.client(1).post("/send?timeout_ms=500", &body).ok()?;
        assert_eq!(answer.status, 503, "{}", answer.json);
        answer.json.to_string().contains("acceptor2").then_some(answer.json)
    });
    eprintln!("{refused}");
    assert_eq!(refused["outcome"], "not_applied");
    cluster.start_node("acceptor2");
    cluster.wait_serving();
    assert_eq!(cluster.client(1).send("in time").unwrap().status, 200);
    assert_eq!(cluster.agreed_values(&LEARNERS), ["in time"]);
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_and_no_request_fails() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 8);
    for _ in 0..3 {
        load.wait_for(&cluster, 50);
        let old = cluster.leader();
        let told_at = Instant::now();
        let status = cluster.terminate(&old);
        assert!(status.success(), "{old}: {status}");
        let new = cluster.leader();
        eprintln!("{old} stopped, {new} leads, within {} ms", told_at.elapsed().as_millis());
        load.wait_for(&cluster, 20);
        cluster.start_node(&old);
        cluster.wait_healthy(&old);
    }
    let books = load.finish();
    assert_eq!(books.others().len(), 0, "{:?}", books.others());
    let slowest = books.0.iter().map(|sent| sent.took).max().unwrap();
    eprintln!(
        "{} writes, the slowest took {} ms; the longest gap between two lasted {} ms",
        books.0.len(),
        slowest.as_millis(),
        books.longest_gap().as_millis()
    );
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn every_node_stops_in_good_order_when_told_and_loses_nothing() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, 100);
    let books = load.finish();
    for name in cluster.names() {
        let status = cluster.terminate(&name);
        assert!(status.success(), "{name}: {status}");
        // It says so where it had to cut something short.
        let log = cluster.log(&name);
        assert!(log.contains("stopped") && !log.contains("in time"), "{name}: {log}");
    }
    for name in cluster.names() {
        cluster.start_node(&name);
    }
    cluster.wait_serving();
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn every_node_in_turn_is_restarted_in_good_order_under_load() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    for name in cluster.names() {
        load.wait_for(&cluster, 10);
        let status = cluster.terminate(&name);
        assert!(status.success(), "{name}: {status}");
        load.wait_for(&cluster, 10);
        cluster.start_node(&name);
        cluster.wait_healthy(&name);
    }
    load.wait_for(&cluster, 20);
    let books = load.finish();
    for sent in books.others() {
        // Only who asks a client that is stopping can be turned away.
        let why = format!("{:?}", sent.fate);
        assert!(why.contains("cannot reach") || why.contains("did not answer"), "{sent:?}");
    }
    eprintln!("{} writes, {} turned away by a client", books.0.len(), books.others().len());
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn nodes_outside_the_file_join_by_gossip_and_serve() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, 50);
    let learner = cluster.join(11, Role::Learner, "learner1");
    let client = cluster.join(12, Role::Client, "acceptor1");
    let proposer = cluster.join(13, Role::Proposer, "client1");
    for name in [&learner, &client, &proposer] {
        cluster.wait_healthy(name);
    }
    let books = load.finish();
    let at_the_new = cluster.node_caller(&client);
    let answer = at_the_new.send("through a new client").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    let values = cluster.agreed_values(&["learner1", "learner2", &learner]);
    assert_eq!(values.last().unwrap(), "through a new client");
    books.check(&values);
    // All know all thirteen.
    for name in cluster.names() {
        cluster.poll(&format!("{name} knows all thirteen"), || {
            let nodes = cluster.node_caller(&name).get("/gossip/nodes").ok()?;
            (nodes.json["total"] == 13).then_some(())
        });
    }
    // The new proposer leads where no other is left.
    for name in cluster.names_of(Role::Proposer) {
        cluster.kill9(&name);
    }
    for sender in [cluster.client(2), at_the_new] {
        let answer = cluster.poll("the new proposer leads", || {
            sender.send("led by a new proposer").ok().filter(|answer| answer.status == 200)
        });
        assert_eq!(answer.json["proposer_id"], 13, "{}", answer.json);
    }
    // A reader at the new learner is served like any other.
    let last = cluster.values(&learner);
    assert_eq!(last.last().unwrap(), "led by a new proposer");
}
