//! `paxosd bench` on real nodes: what it reports is what happened.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::cluster::Cluster;

#[test]
fn a_load_of_so_many_writes_leaves_so_many_values_and_says_so() {
    let cluster = Cluster::start();
    let load = ["write", "--requests", "300", "--clients", "8", "--values", "3"];
    let report = report(&cluster, &load);
    let writes = &report["writes"];
    assert_eq!((&writes["granted"], &writes["failed"]), (&json!(300), &json!({})), "{report}");
    assert_eq!(cluster.agreed_values(&["learner1", "learner2"]).len(), 900);
    let latency = |name: &str| writes["latency_us"][name].as_u64().unwrap();
    let ascending = ["p50", "p90", "p99", "p999", "max"].map(latency);
    assert!(ascending.is_sorted() && ascending[0] > 0, "{report}");
    let turns = |acceptor: &Value| acceptor["turns"].as_f64().unwrap();
    let acceptors = report["acceptors"].as_array().unwrap();
    assert!(acceptors.len() == 3 && acceptors.iter().all(|it| turns(it) > 0.0), "{report}");
}

#[test]
fn an_open_loop_keeps_its_rate_and_its_mix() {
    let cluster = Cluster::start();
    let load = ["mixed", "--requests", "100", "--rate", "200", "--reads-percent", "25"];
    let report = report(&cluster, &load);
    assert_eq!(report["writes"]["granted"], 75, "{report}");
    assert_eq!(report["reads"]["granted"], 25, "{report}");
    // The last request is due after 99 intervals of 5 ms.
    assert!(report["seconds"].as_f64().unwrap() >= 0.495, "{report}");
}

#[test]
fn a_load_that_nobody_takes_ends_as_unavailable_and_says_why() {
    let output = bench(&["write", "--requests", "3", "--clients", "1", "--url", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(3));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("no request was granted: 3x cannot connect"), "{complaint}");
}

fn report(cluster: &Cluster, load: &[&str]) -> Value {
    let file = cluster.config_file();
    let common = ["--output", "json", "--config", file.to_str().unwrap()];
    let output = bench(&[load, &common].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paxosd"));
    command.arg("bench").args(arguments).env_remove("PAXOSD_CONFIG").output().unwrap()
}
