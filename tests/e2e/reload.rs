//! A configuration that changes while the nodes run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use paxosd::config::{Config, NodeConfig};
use paxosd::types::{NodeId, Role};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::cluster::{Cluster, write_config};
use super::load::Load;

const LEARNERS: [&str; 2] = ["learner1", "learner2"];

/// The newest event of a kind that a node tells, from the number `since` on.
fn event(cluster: &Cluster, name: &str, kind: &str, since: u64) -> Option<Value> {
    let path = format!("/view-logs?since={since}&limit=10000");
    let events = cluster.node_caller(name).get(&path).ok()?.json["events"].take();
    let events: Vec<Value> = serde_json::from_value(events).unwrap();
    events.into_iter().rfind(|event| event["kind"] == kind)
}

/// Waits until a node tells of such an event; its text.
fn told(cluster: &Cluster, name: &str, kind: &str, since: u64) -> String {
    let event = cluster.poll(&format!("{name} tells {kind}"), || event(cluster, name, kind, since));
    event["text"].as_str().unwrap().to_owned()
}

/// The number of the newest event of a node.
fn newest(cluster: &Cluster, name: &str) -> u64 {
    let state = cluster.node_caller(name).get("/view-logs?limit=1").unwrap().json;
    state["events"][0]["seq"].as_u64().unwrap()
}

/// The value of a metric, by its name with labels.
fn metric(cluster: &Cluster, name: &str, metric: &str) -> Option<f64> {
    let text = cluster.node_caller(name).text("/metrics").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn reloads(cluster: &Cluster, name: &str, result: &str) -> u64 {
    let counter = format!("paxosd_config_reloads_total{{result=\"{result}\"}}");
    let count = metric(cluster, name, &counter).unwrap();
    format!("{count}").parse().unwrap()
}

/// Waits until a node has taken so many changed files.
fn wait_for_reloads(cluster: &Cluster, name: &str, count: u64) {
    cluster.poll(&format!("{name} follows file {count}"), || {
        (reloads(cluster, name, "applied") == count).then_some(())
    });
}

/// The digest of the file that a node runs with.
fn digest(cluster: &Cluster, name: &str) -> String {
    let text = cluster.node_caller(name).text("/metrics").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("paxosd_config_info{"));
    let line = lines.next().unwrap().to_owned();
    assert_eq!(lines.next(), None);
    line
}

/// The file with something changed, as its text.
fn changed(cluster: &Cluster, change: impl FnOnce(&mut Config)) -> String {
    let mut config = cluster.config.clone();
    change(&mut config);
    let aside = cluster.data_dir().join("aside.yaml");
    write_config(&config, &aside);
    fs::read_to_string(aside).unwrap()
}

/// Lists another node, with id 11, of the role of the node `like`.
fn list(config: &mut Config, name: &str, like: &str, (api_port, monitor_port): (u16, u16)) {
    let node = config.named(like).unwrap().clone();
    let (name, id) = (name.to_owned(), NodeId::new(11).unwrap());
    config.nodes.push(NodeConfig { name, id, api_port, monitor_port, ..node });
}

/// Writes the file over itself.
fn rewrite(cluster: &Cluster, change: impl FnOnce(&mut Config)) {
    fs::write(cluster.config_file(), changed(cluster, change)).unwrap();
}

#[test]
fn a_level_a_limit_and_a_timeout_change_while_everything_runs() {
    // Patient enough that a busy machine deposes nobody: what is left to do so is the change.
    let mut cluster = Cluster::start_with(|config| {
        config.election.heartbeat_ms = 500;
        config.election.timeout_ms = 4_000;
    });
    let load = Load::start(&cluster, "value", 1);
    load.wait_for(&cluster, 20);
    let large = json!({ "value": "x".repeat(3_000) });
    assert_eq!(cluster.client(1).post("/send", &large).unwrap().status, 200);
    let before = digest(&cluster, "client1");
    assert_eq!(before, digest(&cluster, "acceptor3"));
    let leader = cluster.leader();
    rewrite(&cluster, |config| {
        config.log.level = paxosd::config::LogLevel::Debug;
        config.limits.value_bytes = 2_000;
        config.election.heartbeat_ms = 100;
        config.election.timeout_ms = 2_000;
        config.learner.page_values_max = 5;
        config.api.protocol_calls = true;
    });
    for name in cluster.names() {
        wait_for_reloads(&cluster, &name, 1);
        assert_eq!(metric(&cluster, &name, "paxosd_config_pending_restart"), Some(0.0));
    }
    for name in ["proposer1", "acceptor1", "learner1", "client1"] {
        let text = told(&cluster, name, "config-applied", 0);
        for part in ["log.level: info -> debug", "limits.value_bytes: 1048576 -> 2000"] {
            assert!(text.contains(part), "{name}: {text}");
        }
    }
    // The border of 413 has moved, at clients and at proposers.
    for name in ["client1", "client2", "proposer1"] {
        let path = if name == "proposer1" { "/propose" } else { "/send" };
        let refused = cluster.node_caller(name).post(path, &large).unwrap();
        assert_eq!(refused.status, 413, "{}", refused.json);
        assert!(refused.json.to_string().contains("2000"), "{}", refused.json);
    }
    let page = cluster.node_caller("learner1").get("/get-values?limit=6").unwrap();
    assert_eq!(page.status, 400, "{}", page.json);
    let prepare = json!({ "proposer_id": 1, "proposal_number": 1 });
    let asked = cluster.node_caller("acceptor1").post("/prepare", &prepare).unwrap();
    assert_eq!(asked.status, 200, "{}", asked.json);
    // Lines of the new level are written, and no leader was lost over the shorter timeout.
    cluster.poll("the log speaks at the new level", || {
        cluster.log("proposer1").contains("DEBUG").then_some(())
    });
    assert_eq!(cluster.leader(), leader);
    assert_ne!(digest(&cluster, "client1"), before);
    // And back, renamed over the file as an editor does it.
    let aside = cluster.data_dir().join("back.yaml");
    fs::write(&aside, changed(&cluster, |_| {})).unwrap();
    fs::rename(&aside, cluster.config_file()).unwrap();
    let sent = cluster.poll("the old limit is back", || {
        let sent = cluster.client(1).post("/send", &large).unwrap();
        (sent.status == 200).then_some(sent)
    });
    assert!(sent.json["index"].is_u64());
    for name in cluster.names() {
        wait_for_reloads(&cluster, &name, 2);
    }
    assert_eq!(digest(&cluster, "client1"), before);
    // The leader is told to go, so that an election happens under the settings of the second file.
    assert!(cluster.terminate(&leader).success());
    cluster.leader();
    load.wait_for(&cluster, 20);
    assert_eq!(load.finish().others().len(), 0);
}

/// A directory as Kubernetes mounts a `ConfigMap`: the file is a link into `..data`, which is a
/// link to a directory of this version.
struct ConfigMap {
    dir: PathBuf,
    version: u32,
}

impl ConfigMap {
    fn mount(cluster: &Cluster, text: &str) -> Self {
        let mut map = Self { dir: cluster.data_dir().join("etc"), version: 0 };
        fs::create_dir(&map.dir).unwrap();
        map.swap(text);
        symlink("..data/cluster.yaml", map.file()).unwrap();
        map
    }

    fn file(&self) -> PathBuf {
        self.dir.join("cluster.yaml")
    }

    /// Another version: a new directory, then the link renamed over the old one.
    fn swap(&mut self, text: &str) {
        self.version += 1;
        let version = format!("..version{}", self.version);
        fs::create_dir(self.dir.join(&version)).unwrap();
        fs::write(self.dir.join(&version).join("cluster.yaml"), text).unwrap();
        let link = self.dir.join("..data_tmp");
        symlink(&version, &link).unwrap();
        fs::rename(&link, self.dir.join("..data")).unwrap();
        let old = self.dir.join(format!("..version{}", self.version - 1));
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
}

#[test]
fn a_config_map_that_is_swapped_is_followed_and_one_with_other_acceptors_is_not() {
    let mut cluster = Cluster::prepare(|_| {});
    let mut map = ConfigMap::mount(&cluster, &changed(&cluster, |_| {}));
    for name in cluster.names() {
        cluster.own_files.insert(name.clone(), map.file());
        cluster.start_node(&name);
    }
    cluster.wait_serving();
    map.swap(&changed(&cluster, |config| config.limits.value_bytes = 10));
    for name in cluster.names() {
        told(&cluster, &name, "config-applied", 0);
    }
    assert_eq!(cluster.client(1).send("more than ten bytes").unwrap().status, 413);
    // Another acceptor, and a limit beside it that must not be taken either.
    let ports = (cluster.free_port(), cluster.free_port());
    let with_another = changed(&cluster, |config| {
        list(config, "acceptor4", "acceptor3", ports);
        config.limits.value_bytes = 20;
    });
    map.swap(&with_another);
    for name in cluster.names() {
        let text = told(&cluster, &name, "config-refused", 0);
        assert!(text.contains("acceptor4 (acceptor, id 11) is new"), "{text}");
        let line = 1 + with_another.lines().position(|it| it.contains("acceptor4")).unwrap();
        assert!(text.contains(&format!("cluster.yaml:{line}:")), "{line}: {text}");
        assert!(cluster.log(&name).contains("WARN"), "{name}");
        assert_eq!(reloads(&cluster, &name, "refused"), 1);
        assert_eq!(metric(&cluster, &name, "paxosd_config_refused"), Some(1.0));
        assert_eq!(cluster.health(&name).unwrap().0, 200);
    }
    assert_eq!(cluster.client(1).send("more than ten bytes").unwrap().status, 413);
    assert_eq!(cluster.client(1).send("ten").unwrap().status, 200);
    // One acceptor less is refused too, and the way back is open.
    map.swap(&changed(&cluster, |config| config.nodes.retain(|node| node.name != "acceptor2")));
    for name in ["proposer1", "acceptor1"] {
        cluster.poll(&format!("{name} refuses it"), || {
            let event = event(&cluster, name, "config-refused", 0)?;
            event["text"].as_str()?.contains("acceptor2 (acceptor, id 5) is missing").then_some(())
        });
    }
    let since = newest(&cluster, "client1");
    map.swap(&changed(&cluster, |config| config.limits.value_bytes = 100));
    told(&cluster, "client1", "config-applied", since);
    assert_eq!(metric(&cluster, "client1", "paxosd_config_refused"), Some(0.0));
    assert_eq!(cluster.client(1).send("more than ten bytes").unwrap().status, 200);
    assert_eq!(cluster.agreed_values(&LEARNERS), ["ten", "more than ten bytes"]);
}

#[test]
fn a_node_that_starts_with_other_acceptors_or_another_memory_goes_by_what_was_formed_and_says_so() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.client(1).send("before").unwrap().status, 200);
    let ports = (cluster.free_port(), cluster.free_port());
    let unlike = changed(&cluster, |config| {
        list(config, "acceptor4", "acceptor3", ports);
        config.limits.session_window = 5;
    });
    let names = ["proposer1", "acceptor1", "learner1"];
    for name in names {
        assert!(event(&cluster, name, "config-ignored", 0).is_none(), "{name}");
        assert!(cluster.terminate(name).success(), "{name}");
    }
    fs::write(cluster.config_file(), &unlike).unwrap();
    let line = 1 + unlike.lines().position(|it| it.contains("acceptor4")).unwrap();
    for name in names {
        cluster.start_node(name);
        cluster.wait_healthy(name);
        let text = told(&cluster, name, "config-ignored", 0);
        assert!(text.contains("limits.session_window: 5 has no effect"), "{name}: {text}");
        let log = cluster.log(name);
        assert!(log.contains(&format!("cluster.yaml:{line}:")), "{name}: {log}");
        assert!(log.contains("acceptor4 (acceptor, id 11): does not vote"), "{name}: {log}");
    }
    assert_eq!(cluster.client(1).send("after").unwrap().status, 200);
    assert_eq!(cluster.agreed_values(&LEARNERS), ["before", "after"]);
}

#[test]
fn an_invalid_file_is_refused_with_its_line_and_the_node_goes_on() {
    let cluster = Cluster::start();
    let sound = fs::read_to_string(cluster.config_file()).unwrap();
    let wrong = sound.replace("level: info", "level: loud");
    assert_ne!(wrong, sound);
    let line = 1 + wrong.lines().position(|line| line.contains("loud")).unwrap();
    fs::write(cluster.config_file(), &wrong).unwrap();
    for name in cluster.names() {
        let text = told(&cluster, &name, "config-invalid", 0);
        // As `paxosd check` says it.
        let said =
            format!("cluster.yaml:{line}:3: log.level: `loud` will not do; write one of off");
        assert!(text.contains(&said), "{text}");
        assert_eq!(reloads(&cluster, &name, "invalid"), 1);
        assert_eq!(cluster.health(&name).unwrap().0, 200);
    }
    // SIGHUP reads it at once, and says the same again.
    let since = newest(&cluster, "client2");
    cluster.signal("client2", Signal::HUP);
    told(&cluster, "client2", "config-invalid", since);
    assert_eq!(reloads(&cluster, "client2", "invalid"), 2);
    // A file that is gone is no configuration; nothing ends over it.
    fs::remove_file(cluster.config_file()).unwrap();
    let text = cluster.poll("the file is missed", || {
        let event = event(&cluster, "client1", "config-invalid", 0)?;
        let text = event["text"].as_str()?.to_owned();
        text.contains("cannot be read").then_some(text)
    });
    assert!(text.contains("cluster.yaml: cannot be read"), "{text}");
    fs::write(cluster.config_file(), sound).unwrap();
    for name in cluster.names() {
        cluster.poll(&format!("{name} has its file back"), || {
            (metric(&cluster, &name, "paxosd_config_refused") == Some(0.0)).then_some(())
        });
        let text = told(&cluster, &name, "config-applied", 0);
        assert_eq!(text, "the file changes nothing for the running node");
    }
    assert_eq!(cluster.client(1).send("all the while").unwrap().status, 200);
}

#[test]
fn a_client_that_is_listed_later_is_found_by_all_and_one_that_is_listed_no_more_is_forgotten() {
    let mut cluster = Cluster::start();
    let ports = (cluster.free_port(), cluster.free_port());
    let mut listed = cluster.config.clone();
    list(&mut listed, "client3", "client2", ports);
    write_config(&listed, &cluster.config_file());
    for name in cluster.names() {
        cluster.poll(&format!("{name} knows of client3"), || {
            let nodes = cluster.node_caller(&name).get("/gossip/nodes").ok()?.json;
            (nodes["nodes"]["11"]["port"] == ports.0).then_some(())
        });
    }
    cluster.config = listed;
    cluster.start_node("client3");
    cluster.wait_healthy("client3");
    let sent = cluster.poll("client3 serves", || {
        cluster.node_caller("client3").send("by the third").ok().filter(|it| it.status == 200)
    });
    assert_eq!(sent.json["index"], 1);
    for name in cluster.names() {
        cluster.poll(&format!("{name} hears client3"), || {
            let nodes = cluster.node_caller(&name).get("/gossip/nodes").ok()?.json;
            (nodes["nodes"]["11"]["state"] == "alive").then_some(())
        });
    }
    // Taken out of the file after its end, it is gone at once; a learner that still runs is not.
    assert!(cluster.terminate("client3").success());
    for name in ["client1", "acceptor1"] {
        cluster.poll(&format!("{name} thinks client3 dead"), || {
            let nodes = cluster.node_caller(name).get("/gossip/nodes").ok()?.json;
            (nodes["nodes"]["11"]["state"] == "dead").then_some(())
        });
    }
    rewrite(&cluster, |config| {
        config.nodes.retain(|node| !["client3", "learner2"].contains(&node.name.as_str()));
    });
    for name in ["client1", "acceptor1"] {
        cluster.poll(&format!("{name} forgets client3"), || {
            let nodes = cluster.node_caller(name).get("/gossip/nodes").ok()?.json;
            assert!(nodes["nodes"]["8"].is_object(), "{nodes}");
            nodes["nodes"]["11"].is_null().then_some(())
        });
    }
    // Learner 2 itself has no place in the file any more: it refuses, and goes on as it was.
    let text = told(&cluster, "learner2", "config-refused", 0);
    assert!(text.contains("lists no node `learner2`"), "{text}");
    assert_eq!(cluster.agreed_values(&LEARNERS), ["by the third"]);
}

#[test]
fn an_acceptor_that_moves_is_reached_at_its_new_address_when_it_starts_again() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.client(1).send("before").unwrap().status, 200);
    let (api_port, monitor_port) = (cluster.free_port(), cluster.free_port());
    let old_port = cluster.node("acceptor2").api_port;
    let mut moved = cluster.config.clone();
    let acceptor = moved.nodes.iter_mut().find(|node| node.name == "acceptor2").unwrap();
    (acceptor.api_port, acceptor.monitor_port) = (api_port, monitor_port);
    moved.log.format = paxosd::config::LogFormat::Json;
    write_config(&moved, &cluster.config_file());
    for name in cluster.names().into_iter().filter(|name| name != "acceptor2") {
        let text = told(&cluster, &name, "config-applied", 0);
        let said = format!("acceptor2.api_port: {old_port} -> {api_port}");
        assert!(text.contains(&said), "{text}");
        let text = told(&cluster, &name, "config-waits", 0);
        assert_eq!(text, "takes effect at the next start: log.format: text -> json");
        assert_eq!(metric(&cluster, &name, "paxosd_config_pending_restart"), Some(1.0));
    }
    // It itself listens where it did, says that it waits, and votes on.
    let text = told(&cluster, "acceptor2", "config-waits", 0);
    assert!(text.contains(&format!("acceptor2.api_port: {old_port} -> {api_port}")), "{text}");
    assert_eq!(metric(&cluster, "acceptor2", "paxosd_config_pending_restart"), Some(3.0));
    assert_eq!(cluster.client(1).send("meanwhile").unwrap().status, 200);
    assert!(cluster.terminate("acceptor2").success());
    cluster.config = moved;
    cluster.start_node("acceptor2");
    cluster.wait_healthy("acceptor2");
    // With another one gone, nothing is chosen without it.
    cluster.kill9("acceptor1");
    let sent = cluster.poll("it votes at its new address", || {
        cluster.client(2).send("after").ok().filter(|sent| sent.status == 200)
    });
    assert!(sent.json["index"].as_u64().unwrap() >= 3);
    let values = cluster.agreed_values(&LEARNERS);
    assert_eq!(values[..2], ["before", "meanwhile"]);
    assert_eq!(values.last().unwrap(), "after");
    assert!(cluster.log("acceptor2").lines().last().unwrap().starts_with('{'));
    assert_eq!(cluster.names_of(Role::Acceptor).len(), 3);
}
