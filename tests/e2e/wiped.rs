//! Directories that are lost, files that rot, and journals that are trimmed.

use std::os::unix::fs::FileExt;

use serde_json::json;

use super::cluster::Cluster;
use super::load::Load;
use super::segment::written;

const LEARNERS: [&str; 2] = ["learner1", "learner2"];

#[test]
fn a_learner_without_its_directory_fetches_everything_again() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 8);
    load.wait_for(&cluster, 200);
    cluster.kill9("learner2");
    cluster.wipe("learner2");
    load.wait_for(&cluster, 50);
    cluster.start_node("learner2");
    load.wait_for(&cluster, 50);
    let books = load.finish();
    books.check(&cluster.agreed_values(&LEARNERS));
    // And it keeps what it fetched.
    cluster.kill9("learner2");
    cluster.start_node("learner2");
    cluster.wait_healthy("learner2");
    books.check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn readers_and_writers_go_on_while_a_learner_is_far_behind() {
    // With a few slots more it counts no votes for the newest ones.
    let mut cluster = Cluster::start_with(|config| config.learner.window_slots = 8);
    // More than it fetches without a pause.
    for number in 0..40 {
        let value = format!("{number}{}", "x".repeat((1 << 20) - 16));
        let answer = cluster.client(1).send(&value).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json);
    }
    let load = Load::start(&cluster, "value", 8);
    load.wait_for(&cluster, 50);
    cluster.kill9("learner2");
    cluster.wipe("learner2");
    let goal = cluster.number("learner1", "delivered_index").unwrap();
    cluster.start_node("learner2");
    cluster.poll("learner2 has caught up", || {
        for client in [1, 2] {
            let read = cluster.client(client).get("/read?limit=1").unwrap();
            assert_eq!(read.status, 200, "{}", read.json);
        }
        cluster.number("learner2", "delivered_index").filter(|index| *index >= goal)
    });
    load.wait_for(&cluster, 50);
    load.finish().check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn an_acceptor_without_its_directory_does_not_vote_and_says_so() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, 50);
    cluster.kill9("acceptor3");
    cluster.wipe("acceptor3");
    cluster.start_node("acceptor3");
    let health = cluster.poll("acceptor3 is unhealthy", || {
        cluster.health("acceptor3").filter(|(status, _)| *status == 503)
    });
    assert_eq!(health.1["status"], "unhealthy");
    assert!(health.1.to_string().contains("does not vote"), "{}", health.1);
    let state = cluster.view_logs("acceptor3").unwrap();
    assert_eq!(state["voting"], false);
    assert!(state["not_voting_because"].as_str().unwrap().contains("does not vote"), "{state}");
    assert!(cluster.log("acceptor3").contains("does not vote"));
    // The other two go on.
    load.wait_for(&cluster, 100);
    load.finish().check(&cluster.agreed_values(&LEARNERS));
    // But it is no substitute for one of them: its promises are gone.
    cluster.kill9("acceptor2");
    let body = json!({ "value": "needs two votes" });
    cluster.poll("the lack of a quorum is told", || {
        let answer = cluster.client(1).post("/send?timeout_ms=500", &body).unwrap();
        assert_ne!(answer.status, 200, "{}", answer.json);
        (answer.status == 503).then_some(())
    });
    assert_eq!(cluster.view_logs("acceptor3").unwrap()["voting"], false);
    cluster.start_node("acceptor2");
    cluster.poll("two votes suffice", || {
        (cluster.client(1).send("has two votes").unwrap().status == 200).then_some(())
    });
}

/// Flips one bit in the midst of what the first segment of `name` holds.
fn rot(cluster: &Cluster, name: &str) {
    let dir = cluster.data_dir().join(name).join("segments");
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "seg"));
    files.sort();
    let bytes = std::fs::read(&files[0]).unwrap();
    // The few zeros between two batches mean nothing, and are not missed.
    let middle = (written(&bytes) / 2..bytes.len()).find(|at| bytes[*at] != 0).unwrap();
    let file = std::fs::File::options().write(true).open(&files[0]).unwrap();
    file.write_all_at(&[bytes[middle] ^ 4], u64::try_from(middle).unwrap()).unwrap();
}

#[test]
fn an_acceptor_whose_journal_has_rotted_does_not_vote_and_says_where() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, 100);
    cluster.kill9("acceptor2");
    rot(&cluster, "acceptor2");
    cluster.start_node("acceptor2");
    let (_, health) = cluster.poll("acceptor2 is unhealthy", || {
        cluster.health("acceptor2").filter(|(status, _)| *status == 503)
    });
    assert!(health.to_string().contains("does not vote"), "{health}");
    let state = cluster.view_logs("acceptor2").unwrap();
    assert_eq!(state["voting"], false);
    assert!(state["not_voting_because"].to_string().contains("segment"), "{state}");
    load.wait_for(&cluster, 50);
    load.finish().check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn a_learner_whose_log_has_rotted_says_how_to_heal_it() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, "value", 4);
    load.wait_for(&cluster, 100);
    cluster.kill9("learner1");
    rot(&cluster, "learner1");
    cluster.start_node("learner1");
    let status = cluster.wait_ended("learner1");
    assert_eq!(status.code(), Some(1));
    let log = cluster.log("learner1");
    assert!(log.contains("delete this node's directory"), "{log}");
    load.wait_for(&cluster, 50);
    cluster.wipe("learner1");
    cluster.start_node("learner1");
    cluster.wait_healthy("learner1");
    load.finish().check(&cluster.agreed_values(&LEARNERS));
}

#[test]
fn journals_are_trimmed_and_a_wiped_learner_learns_from_the_other() {
    const MAX_BYTES: u64 = 2 << 20;
    let mut cluster = Cluster::start_with(|config| {
        config.limits.value_bytes = 64 << 10;
        config.limits.request_bytes = 256 << 10;
        config.limits.request_values = 100;
        config.limits.frame_bytes_max = 512 << 10;
        config.proposer.batch_bytes_max = 64 << 10;
        config.acceptor.promise_page_bytes = 256 << 10;
        config.acceptor.turn_bytes_max = 512 << 10;
        config.journal.segment_bytes = 512 << 10;
        config.journal.max_bytes = MAX_BYTES;
        config.learner.checkpoint_slots = 100;
    });
    // Some times what a journal may hold, in slots as large as they may be.
    let filler = "x".repeat(2000);
    let mut sent = 0_usize;
    while sent < 4000 {
        let values: Vec<String> = (sent..sent + 25).map(|it| format!("{it} {filler}")).collect();
        let answer = cluster.client(1).post("/send", &json!({ "values": values })).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json);
        sent += values.len();
    }
    let trimmed = |cluster: &Cluster, acceptor: &str| {
        let state = cluster.view_logs(acceptor).unwrap();
        assert!(state["journal_bytes"].as_u64().unwrap() <= MAX_BYTES, "{state}");
        state["trimmed_slot"].as_u64().unwrap()
    };
    for acceptor in ["acceptor1", "acceptor2", "acceptor3"] {
        let what = format!("{acceptor} has trimmed most");
        cluster.poll(&what, || (trimmed(&cluster, acceptor) > 100).then_some(()));
    }
    cluster.kill9("learner1");
    cluster.wipe("learner1");
    cluster.start_node("learner1");
    cluster.wait_healthy("learner1");
    assert_eq!(cluster.agreed_values(&LEARNERS).len(), sent);
    // An acceptor still knows, after a start, what it forgot.
    let before = trimmed(&cluster, "acceptor1");
    cluster.kill9("acceptor1");
    cluster.start_node("acceptor1");
    cluster.wait_healthy("acceptor1");
    assert!(trimmed(&cluster, "acceptor1") >= before);
    assert_eq!(cluster.client(2).send("and on").unwrap().status, 200);
}

#[test]
fn a_journal_that_fills_while_a_learner_is_gone_is_told_and_empties_by_itself() {
    let mut cluster = Cluster::start_with(|config| {
        config.limits.value_bytes = 64 << 10;
        config.limits.request_bytes = 128 << 10;
        config.limits.request_values = 100;
        config.limits.frame_bytes_max = 256 << 10;
        config.proposer.batch_bytes_max = 64 << 10;
        config.acceptor.promise_page_bytes = 128 << 10;
        config.acceptor.turn_bytes_max = 256 << 10;
        config.journal.segment_bytes = 256 << 10;
        config.journal.max_bytes = 1 << 20;
    });
    cluster.kill9("learner2");
    let value = "x".repeat(50_000);
    let mut written = 0;
    let full = cluster.poll("the journals are full", || {
        let body = json!({ "value": value });
        let answer = cluster.client(1).post("/send?timeout_ms=1000", &body).unwrap();
        written += usize::from(answer.status == 200);
        let is_full = answer.json["error"] == "The acceptors' journals are full";
        is_full.then_some(answer.json)
    });
    assert!(full["detail"].as_str().unwrap().contains("learner2"), "{full}");
    assert_eq!(full["outcome"], "not_applied");
    assert!(!full["detail"].as_str().unwrap().contains("learner1"), "{full}");
    cluster.start_node("learner2");
    cluster.poll("writes go on", || {
        let answer = cluster.client(2).send("on").unwrap();
        written += usize::from(answer.status == 200);
        (answer.status == 200).then_some(())
    });
    assert_eq!(cluster.agreed_values(&LEARNERS).len(), written);
}
