//! Bad input from callers, peers and disks: a clear error each, nothing lost, and the others go on.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::raw;
use super::segment::written;

/// Settings under which segments are small, so that little data fills them.
const SEGMENT_BYTES: u64 = 2 << 20;

/// The only segment of an acceptor that has voted a few times.
fn segment(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.data_dir().join(name).join("segments/00000000000000000001.seg")
}

/// Changes the bytes of a segment that are in use.
fn hurt(path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).unwrap();
    let written = written(&bytes);
    change(&mut bytes[..written]);
    fs::write(path, bytes).unwrap();
}

/// The newest event of `kind`.
fn event(cluster: &Cluster, name: &str, kind: &str) -> Option<Value> {
    let state = cluster.view_logs(name)?;
    state["events"].as_array()?.iter().rev().find(|event| event["kind"] == kind).cloned()
}

/// Ten values through client 1, which must be delivered.
fn send_ten(cluster: &Cluster, what: &str) {
    for number in 0..10 {
        let answer = cluster.client(1).send(&format!("{what} {number}")).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json);
    }
}

#[test]
fn a_torn_tail_is_cut_and_its_acceptor_votes_again() {
    let mut cluster = Cluster::start();
    send_ten(&cluster, "before");
    cluster.wait_for_spares();
    assert!(cluster.terminate("acceptor1").success());
    hurt(&segment(&cluster, "acceptor1"), |used| {
        let end = used.len();
        used[end - 3..].fill(0);
    });
    cluster.start_node("acceptor1");
    cluster.wait_healthy("acceptor1");
    let torn = event(&cluster, "acceptor1", "torn-tail").expect("the cut is told of");
    let text = torn["text"].as_str().unwrap();
    assert!(text.contains("segment 1 offset "), "{text}");
    assert!(cluster.log("acceptor1").contains("cut a torn tail at segment 1 offset "));
    // Its vote counts again: without another acceptor there is a quorum only with it.
    cluster.kill9("acceptor2");
    send_ten(&cluster, "after");
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]).len(), 20);
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused_with_its_place_and_that_acceptor_does_not_vote() {
    let mut cluster = Cluster::start();
    send_ten(&cluster, "before");
    cluster.wait_for_spares();
    assert!(cluster.terminate("acceptor1").success());
    // A byte of the first value: what pads a batch to its end is nobody's.
    let first = |used: &[u8]| used.windows(6).position(|bytes| bytes == b"before").unwrap();
    hurt(&segment(&cluster, "acceptor1"), |used| used[first(used)] ^= 4);
    let before = fs::read(segment(&cluster, "acceptor1")).unwrap();
    cluster.start_node("acceptor1");
    let (status, health) = cluster.poll("the damaged node answers", || cluster.health("acceptor1"));
    assert_eq!((status, &health["status"]), (503, &json!("unhealthy")));
    let why = health["checks"][0]["detail"].as_str().unwrap();
    for part in ["does not vote", "damaged at segment 1 offset ", "checksum"] {
        assert!(why.contains(part), "{why}");
    }
    let node = cluster.node("acceptor1");
    assert_eq!(raw::get(node.monitor_port, "/readyz").status, 503);
    assert_eq!(raw::get(node.monitor_port, "/livez").status, 200, "a new start mends nothing");
    let state = cluster.view_logs("acceptor1").unwrap();
    assert_eq!((&state["voting"], &state["not_voting_because"]), (&json!(false), &json!(why)));
    assert!(event(&cluster, "acceptor1", "damaged").is_some(), "{state}");
    assert!(cluster.log("acceptor1").contains("damaged at segment 1 offset "));
    send_ten(&cluster, "after");
    let leader = cluster.leader();
    cluster.poll("the leader misses it", || {
        let state = cluster.view_logs(&leader)?;
        (state["missing_acceptors"] == json!(["acceptor1"])).then_some(())
    });
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]).len(), 20);
    // With a second one gone there is no quorum, because this one's vote does not count.
    cluster.kill9("acceptor2");
    let refused =
        cluster.client(1).post("/send?timeout_ms=1000", &json!({ "value": "x" })).unwrap();
    assert!([503, 504].contains(&refused.status), "{}", refused.json);
    assert!(cluster.terminate("acceptor1").success());
    assert_eq!(fs::read(segment(&cluster, "acceptor1")).unwrap(), before, "nothing is repaired");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason_and_changes_nothing() {
    let cluster = Cluster::start();
    send_ten(&cluster, "before");
    let port = cluster.node("client1").api_port;
    let malformed = raw::post(port, "/send", "{\"value\":\n  oops}").problem(400, "Malformed JSON");
    assert_eq!((&malformed["line"], &malformed["column"]), (&json!(2), &json!(3)));
    assert_eq!(malformed["outcome"], "not_applied");
    for body in ["[1]", "\"value\"", "7", r#"{"values":"x"}"#] {
        raw::post(port, "/send", body).problem(400, "Unexpected JSON");
    }
    let client = cluster.node("client2").api_port;
    let notice = r#"{"learner_id":"x","proposal_number":1,"value":1,"learned_at":"now"}"#;
    raw::post(client, "/notify", notice).problem(400, "Unexpected JSON");
    let proposer = cluster.node("proposer1").api_port;
    raw::post(proposer, "/propose", r#"{"value":1,"request_id":5}"#)
        .problem(400, "Unexpected JSON");
    raw::post(proposer, "/heartbeat", r#"{"leader_id":[]}"#).problem(400, "Unexpected JSON");
    raw::post(port, "/send", "{}").problem(400, "Value required");
    raw::post(port, "/send?timeout_ms=soon", r#"{"value":1}"#).problem(400, "Bad query");
    raw::get(port, "/nowhere").problem(404, "Not found");
    let wrong = raw::get(port, "/send");
    wrong.problem(405, "Method not allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
    let form = ["content-type: application/x-www-form-urlencoded"];
    let form = raw::call(port, "POST", "/send", &form, br#"{"value":1}"#);
    form.problem(415, "Unsupported media type");
    assert!(
        !raw::exchange(port, b"\x16\x03\x01 this is no HTTP\r\n\r\n").starts_with(b"HTTP/1.1 2")
    );
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]).len(), 10);
}

#[test]
fn what_is_too_large_is_refused_with_the_limit_and_the_size() {
    let cluster = Cluster::start();
    for name in ["client1", "proposer1"] {
        let path = if name == "client1" { "/send" } else { "/propose" };
        let port = cluster.node(name).api_port;
        let body = format!(r#"{{"value":"{}"}}"#, "x".repeat(2 << 20));
        let refused = raw::post(port, path, &body).problem(413, "Payload too large");
        assert_eq!(refused["limit"], "limits.value_bytes");
        assert_eq!(refused["limit_bytes"], 1 << 20);
        assert_eq!(refused["size_bytes"], (2 << 20) + 2);
        assert_eq!(refused["outcome"], "not_applied");
        let body = vec![b' '; (8 << 20) + 1];
        let refused = raw::call(port, "POST", path, &["content-type: application/json"], &body);
        assert_eq!(refused.problem(413, "Payload too large")["limit"], "limits.request_bytes");
        let many = json!({ "values": vec![1; 10_001] }).to_string();
        let refused = raw::post(port, path, &many).problem(413, "Payload too large");
        assert_eq!(refused["limit"], "limits.request_values");
    }
    let largest = "x".repeat((1 << 20) - 2);
    let taken = cluster.client(1).send(&largest).unwrap();
    assert_eq!((taken.status, &taken.json["index"]), (200, &json!(1)), "{}", taken.json);
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]), [largest]);
}

#[test]
fn a_peer_that_speaks_garbage_loses_its_link_and_nobody_else_does() {
    let cluster = Cluster::start();
    send_ten(&cluster, "before");
    for name in ["acceptor1", "learner1", "proposer1", "client1"] {
        let node = cluster.node(name);
        let name_of_cluster = cluster.cluster_name();
        let upgrade = |cluster: &str, from: u8, role: &str| {
            format!(
                "GET /peer HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: paxosd/1\r\n\
                 paxos-cluster: {cluster}\r\npaxos-node: {from}\r\npaxos-role: {role}\r\n\
                 paxos-incarnation: 7\r\npaxos-version: 1\r\n\r\n"
            )
        };
        let mut garbage = upgrade(name_of_cluster, 99, "learner").into_bytes();
        garbage.extend_from_slice(&[3, 0, 0, 0, 0xff, 0xfe, 0xfd]);
        let answer = raw::exchange(node.api_port, &garbage);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // A refusal leaves the connection to the next request.
        let stranger = upgrade("another", 99, "learner")
            .replace("connection: upgrade", "connection: upgrade, close");
        let answer = raw::exchange(node.api_port, stranger.as_bytes());
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("another"), "{answer}");
        assert!(cluster.log(name).contains("inbound link is cut"), "{name} tells of it");
        raw::get(node.api_port, "/peer").problem(426, "Upgrade required");
        cluster.wait_healthy(name);
    }
    send_ten(&cluster, "after");
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]).len(), 20);
}

#[test]
fn a_false_acceptor_in_gossip_counts_for_nothing() {
    let mut cluster = Cluster::start();
    send_ten(&cluster, "before");
    let leader = cluster.leader();
    let lie = json!({
        "sender_id": 44,
        "sender_role": "acceptor",
        "leader_id": 44,
        "timestamp": 99_999_999_999.5,
        "nodes": {
            "44": {
                "id": 44, "role": "acceptor", "address": "127.0.0.1", "port": 1,
                "last_seen": 99_999_999_999_u64, "metadata": {}, "version": 9_999_999
            },
            "4": {
                "id": 4, "role": "acceptor", "address": "192.0.2.1", "port": 1,
                "last_seen": 99_999_999_999_u64, "metadata": {}, "version": 9_999_999
            }
        }
    });
    for name in cluster.names() {
        let told = cluster.node_caller(&name).post("/gossip", &lie).unwrap();
        assert_eq!(told.status, 200, "{}", told.json);
    }
    let impostor = json!({ "sender_id": 4, "sender_role": "learner", "nodes": {} });
    let refused = cluster.node_caller("client1").post("/gossip", &impostor).unwrap();
    assert_eq!((refused.status, &refused.json["status"]), (409, &json!("error")));
    let wrong = cluster.node_caller("client1").post("/gossip", &json!({ "sender_id": "x" }));
    assert_eq!(wrong.unwrap().status, 400);
    send_ten(&cluster, "after");
    assert_eq!(cluster.view_logs(&leader).unwrap()["acceptors_count"], 3);
    assert_ne!(cluster.view_logs("learner1").unwrap()["current_leader"], 44);
    // Two of the three are a quorum, and one with the false one is none.
    cluster.kill9("acceptor2");
    send_ten(&cluster, "with two");
    cluster.kill9("acceptor3");
    let refused =
        cluster.client(1).post("/send?timeout_ms=1000", &json!({ "value": "x" })).unwrap();
    assert!([503, 504].contains(&refused.status), "{}", refused.json);
    cluster.start_node("acceptor3");
    cluster.wait_healthy("acceptor3");
    cluster.leader();
    let values = cluster.agreed_values(&["learner1", "learner2"]);
    assert!((30..=31).contains(&values.len()), "{}", values.len());
}

#[test]
fn a_port_that_is_taken_ends_the_process_with_its_number() {
    let mut cluster = Cluster::start();
    assert!(cluster.terminate("learner2").success());
    let node = cluster.node("learner2").clone();
    for port in [node.api_port, node.monitor_port] {
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        cluster.start_node("learner2");
        assert_eq!(cluster.wait_end("learner2").code(), Some(4));
        let log = cluster.log("learner2");
        let last = log.lines().last().unwrap();
        assert!(last.contains(&format!("127.0.0.1:{port}: the port is taken")), "{last}");
    }
    send_ten(&cluster, "meanwhile");
    cluster.start_node("learner2");
    cluster.wait_healthy("learner2");
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]).len(), 10);
}

#[test]
fn a_directory_serves_one_process_and_only_the_node_it_belongs_to() {
    let mut cluster = Cluster::start();
    send_ten(&cluster, "before");
    // The same node again, on ports of its own.
    let text = fs::read_to_string(cluster.config_file()).unwrap();
    let node = cluster.node("acceptor1").clone();
    let free = |_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [api, monitor] = [0, 1].map(free);
    let moved = text
        .replace(&format!("api_port: {}\n", node.api_port), &format!("api_port: {api}\n"))
        .replace(
            &format!("monitor_port: {}\n", node.monitor_port),
            &format!("monitor_port: {monitor}\n"),
        );
    assert_ne!(moved, text);
    let second = cluster.data_dir().join("second.yaml");
    fs::write(&second, &moved).unwrap();
    let run = |name: &str| {
        Command::new(env!("CARGO_BIN_EXE_paxosd"))
            .args(["run", "--name", name, "--config"])
            .arg(&second)
            .output()
            .unwrap()
    };
    let refused = run("acceptor1");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{text}");
    assert!(text.contains("another paxosd uses the directory"), "{text}");
    assert!(text.contains(cluster.data_dir().join("acceptor1").to_str().unwrap()), "{text}");
    // Another node's directory, and one of another cluster.
    assert!(cluster.terminate("acceptor1").success());
    let home = cluster.data_dir().join("acceptor1");
    let aside = cluster.data_dir().join("aside");
    fs::rename(&home, &aside).unwrap();
    assert!(cluster.terminate("learner2").success());
    fs::rename(cluster.data_dir().join("learner2"), &home).unwrap();
    let refused = run("acceptor1");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("belongs to learner 8") && text.contains("acceptor 4"), "{text}");
    fs::rename(&home, cluster.data_dir().join("learner2")).unwrap();
    fs::rename(&aside, &home).unwrap();
    fs::write(&second, moved.replace(cluster.cluster_name(), "another")).unwrap();
    fs::create_dir_all(cluster.data_dir()).unwrap();
    let renamed = fs::read_to_string(&second).unwrap();
    let data_dir = cluster.data_dir().to_str().unwrap().replace(cluster.cluster_name(), "another");
    fs::write(&second, renamed.replace(&data_dir, cluster.data_dir().to_str().unwrap())).unwrap();
    let refused = run("acceptor1");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("of cluster `another`"), "{text}");
    send_ten(&cluster, "meanwhile");
    for name in ["acceptor1", "learner2"] {
        cluster.start_node(name);
        cluster.wait_healthy(name);
    }
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]).len(), 20);
}

#[test]
fn a_full_disk_ends_its_acceptor_with_the_path_and_nothing_is_lost() {
    let mut cluster = Cluster::prepare(|config| {
        config.limits.value_bytes = 256 << 10;
        config.limits.request_bytes = 1 << 20;
        config.limits.frame_bytes_max = 2 << 20;
        config.acceptor.turn_bytes_max = 1 << 20;
        config.journal.segment_bytes = SEGMENT_BYTES;
        config.journal.max_bytes = 32 * SEGMENT_BYTES;
    });
    let home = cluster.data_dir().join("acceptor1");
    fs::create_dir(&home).unwrap();
    let Some(disk) = SmallDisk::mount(&home) else {
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    };
    for name in cluster.names() {
        cluster.start_node(&name);
    }
    cluster.wait_serving();
    let value = "x".repeat(100 << 10);
    for number in 0..100 {
        let answer = cluster.client(1).send(&format!("{number} {value}")).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.json);
    }
    let end = cluster.wait_end("acceptor1");
    assert_eq!(end.code(), Some(1));
    let log = cluster.log("acceptor1");
    let last = log.lines().last().unwrap();
    assert!(last.contains("the disk is full") && last.contains(home.to_str().unwrap()), "{last}");
    send_ten(&cluster, "without it");
    // It does not start either while there is no room, and says the same.
    disk.enlarge();
    cluster.start_node("acceptor1");
    cluster.wait_healthy("acceptor1");
    // Its vote counts again.
    cluster.kill9("acceptor2");
    send_ten(&cluster, "with it");
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]).len(), 120);
    cluster.kill9("acceptor1");
    drop(disk);
}

/// A file system with little room, mounted until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=5m", "tmpfs"]).arg(at);
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self(at.to_owned()))
    }

    fn enlarge(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,size=64m"]).arg(&self.0);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a process that is being killed may still hold it.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}
