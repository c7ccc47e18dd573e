//! kill -9, one role after the other, under load: nothing acknowledged is lost, nothing is doubled.

use std::time::Instant;

use paxosd::config::Config;
use paxosd::types::Role;
use rand::seq::SliceRandom;
use serde_json::Value;

use super::chance;
use super::cluster::Cluster;
use super::load::{Fate, Load};

const LEARNERS: [&str; 2] = ["learner1", "learner2"];

/// Keeps the leader of a cluster on a busy machine: for tests that tell who leads.
fn patient(config: &mut Config) {
    config.election.timeout_ms = 1500;
}

/// What an acceptor must never forget.
fn memory(cluster: &Cluster, acceptor: &str) -> [Value; 4] {
    let state = cluster.poll(&format!("{acceptor} shows its state"), || {
        cluster.view_logs(acceptor).filter(|state| state["voting"] == true)
    });
    ["highest_promised_number", "durable_slot", "trimmed_slot", "accepted_proposal"]
        .map(|field| state[field].clone())
}

#[test]
fn an_acceptor_that_is_killed_forgets_nothing() {
    let mut cluster = Cluster::start_with(patient);
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, 50);
    let before = memory(&cluster, "acceptor2");
    cluster.kill9("acceptor2");
    load.wait_for(&cluster, 100);
    cluster.start_node("acceptor2");
    cluster.wait_healthy("acceptor2");
    let after = memory(&cluster, "acceptor2");
    for field in 0..3 {
        assert!(after[field].as_u64() >= before[field].as_u64(), "{before:?} -> {after:?}");
    }
    // Now the other two are one too few without it.
    cluster.kill9("acceptor1");
    load.wait_for(&cluster, 100);
    cluster.start_node("acceptor1");
    load.wait_for(&cluster, 50);
    let books = load.finish();
    books.check(&cluster.agreed_values(&LEARNERS));
    // With nothing going on, it comes back exactly as it was.
    let leader = cluster.leader();
    let before = cluster.poll("acceptor3 rests", || {
        let state = memory(&cluster, "acceptor3");
        (state == memory(&cluster, "acceptor3")).then_some(state)
    });
    cluster.kill9("acceptor3");
    cluster.start_node("acceptor3");
    assert_eq!(memory(&cluster, "acceptor3"), before);
    assert_eq!(cluster.leader(), leader, "a lost acceptor is no reason to elect");
}

#[test]
fn a_leader_that_is_killed_is_replaced_and_no_value_is_lost_or_doubled() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 8);
    for _ in 0..3 {
        load.wait_for(&cluster, 50);
        let old = cluster.leader();
        let killed_at = Instant::now();
        cluster.kill9(&old);
        let new = cluster.leader();
        let elected = killed_at.elapsed();
        load.wait_for(&cluster, 8);
        let written = killed_at.elapsed();
        eprintln!(
            "{old} killed, {new} seen to lead after {} ms, 8 writes done after {} ms",
            elected.as_millis(),
            written.as_millis()
        );
        assert_ne!(old, new);
        cluster.start_node(&old);
        cluster.wait_healthy(&old);
    }
    let books = load.finish();
    assert_eq!(books.others().len(), 0, "a client retries by itself: {:?}", books.others());
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn a_leader_that_froze_finds_itself_replaced() {
    let cluster = Cluster::start_with(patient);
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, 50);
    let old = cluster.leader();
    cluster.pause(&old);
    let proposers = cluster.names_of(Role::Proposer);
    let others: Vec<&String> = proposers.iter().filter(|name| **name != old).collect();
    let new = cluster.poll("another leads", || {
        others
            .iter()
            .copied()
            .find(|name| cluster.view_logs(name).is_some_and(|state| state["is_leader"] == true))
    });
    load.wait_for(&cluster, 50);
    cluster.resume(&old);
    cluster.poll("the old leader follows", || {
        cluster.view_logs(&old).filter(|state| state["is_leader"] == false)
    });
    load.wait_for(&cluster, 50);
    assert_eq!(cluster.leader(), *new, "one that comes back deposes nobody");
    let books = load.finish();
    assert_eq!(books.others().len(), 0, "a client retries by itself: {:?}", books.others());
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn learners_that_are_killed_one_after_the_other_catch_up() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    for learner in LEARNERS {
        load.wait_for(&cluster, 50);
        cluster.kill9(learner);
        load.wait_for(&cluster, 100);
        cluster.start_node(learner);
        cluster.wait_healthy(learner);
    }
    load.wait_for(&cluster, 50);
    let books = load.finish();
    assert_eq!(books.others().len(), 0, "{:?}", books.others());
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn reads_and_writes_go_round_a_learner_that_froze() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    for learner in LEARNERS {
        load.wait_for(&cluster, 20);
        cluster.pause(learner);
        load.wait_for(&cluster, 50);
        for client in [1, 2] {
            // Its patience ends long after the other learner could have answered.
            let asked_at = Instant::now();
            let read = cluster.client(client).get("/read?limit=10&timeout_ms=50000").unwrap();
            assert_eq!(read.status, 200, "{}", read.json);
            assert_ne!(read.headers["paxos-served-by"], *learner);
            let took = asked_at.elapsed().as_millis();
            eprintln!("{learner} stands still: a read through client{client} took {took} ms");
        }
        cluster.resume(learner);
    }
    let books = load.finish();
    assert_eq!(books.others().len(), 0, "{:?}", books.others());
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn an_acceptor_that_froze_costs_nothing_but_its_vote() {
    let cluster = Cluster::start_with(patient);
    let leader = cluster.leader();
    let load = Load::start(&cluster, "value", 4);
    for acceptor in ["acceptor1", "acceptor2", "acceptor3"] {
        load.wait_for(&cluster, 20);
        cluster.pause(acceptor);
        load.wait_for(&cluster, 100);
        cluster.resume(acceptor);
    }
    let books = load.finish();
    assert_eq!(books.others().len(), 0, "{:?}", books.others());
    assert_eq!(cluster.leader(), leader, "no reason to elect");
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn a_client_that_is_killed_leaves_no_doubt_behind() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, 50);
    cluster.kill9("client1");
    load.wait_for(&cluster, 50);
    cluster.start_node("client1");
    cluster.wait_healthy("client1");
    load.wait_for(&cluster, 50);
    let books = load.finish();
    let unsure = books.0.iter().filter(|sent| matches!(sent.fate, Fate::Unknown(_))).count();
    eprintln!("{unsure} of {} writes are in doubt", books.0.len());
    let values = cluster.agreed_values(&LEARNERS);
    books.check(&values);
    // It tells of its values from before.
    let kept = cluster.poll("client1 has its responses back", || {
        let answer = cluster.client(1).get("/get-responses").ok()?;
        let responses = answer.json["responses"].as_array()?.clone();
        // Writer 0 writes there, and this was acknowledged long before the kill.
        let is_back = responses.iter().any(|response| response["value"] == "value-0-0");
        is_back.then_some(responses)
    });
    for response in kept {
        let index = usize::try_from(response["index"].as_u64().unwrap()).unwrap();
        assert_eq!(response["value"], values[index - 1]);
    }
}

#[test]
fn all_ten_killed_at_once_come_back_in_any_order() {
    let mut cluster = Cluster::start();
    let mut chance = chance("all_ten_killed_at_once_come_back_in_any_order");
    let load = Load::start(&cluster, "before", 8);
    load.wait_for(&cluster, 100);
    cluster.kill9_all();
    let before = load.finish();
    let mut names = cluster.names();
    names.shuffle(&mut chance);
    eprintln!("order of the restart: {names:?}");
    for name in &names {
        cluster.start_node(name);
    }
    cluster.wait_serving();
    let load = Load::start(&cluster, "after", 4);
    load.wait_for(&cluster, 50);
    let after = load.finish();
    assert_eq!(after.others().len(), 0, "{:?}", after.others());
    let values = cluster.agreed_values(&LEARNERS);
    before.check(&values);
    after.check(&values);
    assert!(values.len() >= before.acknowledged() + after.acknowledged());
}
