//! Starts and stops of containers: in any order, with and without their volume, and two on one.

use std::thread;
use std::time::{Duration, Instant};

use paxosd::types::Role;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use super::chance;
use super::cluster::{Cluster, log};
use super::docker::{Engine, docker, say};
use super::load::Load;

/// Cold starts of the ten.
const COLD_STARTS: usize = 10;

/// Of these, the first ones are with empty volumes: the cluster is formed anew.
const FORMATIONS: usize = 3;

/// Between two starts, in milliseconds.
const BETWEEN_MS: std::ops::Range<u64> = 0..200;

/// How long a node that stops may take, and `docker stop` waits.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn an_acceptor_scaled_to_nothing_and_back_to_one_loses_nothing() {
    let Some(engine) = Engine::find() else { return };
    let cluster = Cluster::start(engine);
    cluster.write(1, "with three");
    assert_eq!(cluster.stop("acceptor1"), "0");
    cluster.write(1, "with two");
    cluster.start_node("acceptor1");
    cluster.wait_healthy("acceptor1");
    // Its vote is needed now, and with it what it kept.
    assert_eq!(cluster.stop("acceptor2"), "0");
    cluster.write(2, "with the one that was away");
    let expected = json!(["with three", "with two", "with the one that was away"]);
    assert_eq!(Value::from(cluster.agreed_values()), expected);
}

#[test]
fn a_second_container_on_the_volume_of_the_first_refuses_and_says_who_has_it() {
    let Some(engine) = Engine::find() else { return };
    let mut cluster = Cluster::start(engine);
    for name in ["acceptor1", "learner1"] {
        let twin = cluster.run_twin(name);
        let code = docker(&["wait", &twin]);
        let said = log(&twin);
        say(&format!("a second {name}: {said}"));
        assert_eq!(code, "4", "refused: {said}");
        let holder = format!("(process 1 on {})", cluster.container(name));
        let path = format!("another paxosd uses the directory /var/lib/paxosd/{name} {holder}");
        assert!(said.contains(&path), "{said} does not say: {path}");
    }
    // The first ones do not mind.
    cluster.write(1, "as before");
    assert_eq!(Value::from(cluster.agreed_values()), json!(["as before"]));
}

#[test]
fn a_leader_whose_container_is_stopped_hands_over_and_no_request_fails() {
    let Some(engine) = Engine::find() else { return };
    let cluster = Cluster::start(engine);
    let load = Load::start(&cluster, "value", 4);
    for _ in 0..3 {
        load.wait_for(&cluster, 50);
        let old = cluster.leader();
        let told_at = Instant::now();
        assert_eq!(cluster.stop(&old), "0");
        let took = told_at.elapsed();
        assert!(took < STOPS_WITHIN, "{old} was killed after {took:?}");
        let new = cluster.leader();
        say(&format!("docker stop of {old} took {} ms; {new} leads", took.as_millis()));
        load.wait_for(&cluster, 50);
        cluster.start_node(&old);
        cluster.wait_healthy(&old);
    }
    let books = load.finish();
    assert_eq!(books.others().len(), 0, "{:?}", books.others());
    say(&format!(
        "three leaders stopped, {} writes, none failed; the write gap was at most {} ms",
        books.acknowledged(),
        books.longest_gap().as_millis()
    ));
    books.check(&cluster.agreed_values());
}

#[test]
fn a_cold_start_leads_to_a_leader_in_any_order() {
    let Some(engine) = Engine::find() else { return };
    let mut chance = chance("a_cold_start_leads_to_a_leader_in_any_order");
    let mut cluster = Cluster::prepare(engine);
    let mut written = Vec::new();
    for round in 0..COLD_STARTS {
        if round > 0 && round < FORMATIONS {
            cluster.empty_volumes();
            written.clear();
        }
        cluster.deadline = Instant::now() + Duration::from_secs(60);
        let mut names = cluster.names();
        names.shuffle(&mut chance);
        let said_before = cluster.log(&names[0]).len();
        let started = Instant::now();
        for name in &names {
            // Docker knows no name of a container that does not run.
            cluster.start_node(name);
            thread::sleep(Duration::from_millis(chance.random_range(BETWEEN_MS)));
        }
        let all_started = started.elapsed();
        let leader = cluster.leader_among(&cluster.names_of(Role::Proposer));
        let led = started.elapsed();
        for client in [1, 2] {
            let value = format!("round {round} through client {client}");
            cluster.write(client, &value);
            written.push(value);
        }
        assert_eq!(cluster.agreed_values(), written);
        let first = &cluster.log(&names[0])[said_before..];
        assert!(first.contains("failed to lookup address"), "{}: {first}", names[0]);
        say(&format!(
            "cold start {} of {COLD_STARTS}: {leader} leads {} ms after the last of {names:?}",
            round + 1,
            led.saturating_sub(all_started).as_millis()
        ));
        cluster.kill9(&names);
    }
}
