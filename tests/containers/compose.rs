//! compose.yaml: that it says what the configuration says, and that what it starts serves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use paxosd::config::{Config, Env};
use paxosd::types::Role;
use serde_json::{Value, json};
use serde_yaml::Value as Yaml;
use tempfile::TempDir;

use super::cluster::{config_directory, new_tag};
use super::docker::{Engine, docker, run};
use super::http::{Caller, Http};
use super::turns::Turn;

/// How long ten containers may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_node_has_a_service_with_its_name_its_ports_and_its_volume() {
    let config = Config::load(&config_directory().join("cluster.yaml"), &Env::new()).unwrap();
    let here = config.for_dev().unwrap();
    let compose = shipped();
    let services = compose["services"].as_mapping().unwrap();
    assert_eq!(services.len(), config.nodes.len());
    for (node, here) in config.nodes.iter().zip(&here.nodes) {
        let (name, service) = (&node.name, &services[node.name.as_str()]);
        assert_eq!(service["environment"]["PAXOSD_NAME"], name.as_str(), "{name}");
        let published = |outside: u16, inside: u16| format!("127.0.0.1:{outside}:{inside}");
        let ports = texts(&service["ports"]);
        assert_eq!(ports[0], published(here.api_port, node.api_port), "{name}");
        assert_eq!(ports[1], published(here.monitor_port, node.monitor_port), "{name}");
        assert_eq!(ports.len(), 2, "{name}");
        let mut volumes = vec!["./config:/etc/paxosd:ro".to_owned()];
        if matches!(node.role, Role::Acceptor | Role::Learner) {
            volumes.push(format!("{name}:/var/lib/paxosd"));
            assert!(compose["volumes"].get(name.as_str()).is_some(), "{name} has no volume");
        }
        assert_eq!(texts(&service["volumes"]), volumes, "{name}");
        // What is common is one mapping that all of them take over.
        assert_eq!(service["<<"], compose["x-node"], "{name}");
    }
    let common = &compose["x-node"];
    assert_eq!(common["read_only"], true);
    assert_eq!(texts(&common["cap_drop"]), ["ALL"]);
    assert_eq!(texts(&common["security_opt"]), ["no-new-privileges:true"]);
}

#[test]
fn what_compose_starts_serves_and_has_its_data_after_stop_and_start() {
    let Some(engine) = Engine::find() else { return };
    let _turn = Turn::take();
    let project = Project::up(&engine.image);
    let sent = project.exec("client1", &["send", "--timeout-ms", "20000", "by compose"]);
    assert!(sent.contains("index 1"), "{sent}");
    project.compose(&["stop"]);
    for container in project.containers() {
        let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container]);
        assert_eq!(code, "0", "{container}");
    }
    project.compose(&["start"]);
    project.wait_serving();
    let read = project.exec("client2", &["read", "--timeout-ms", "20000"]);
    assert_eq!(read, "\"by compose\"");
}

/// The ten of compose.yaml under a name of their own and without ports on this machine, where
/// another cluster may have them. Removed with this.
struct Project {
    name: String,
    file: TempDir,
    image: String,
    http: Http,
    compose: Vec<&'static str>,
}

impl Project {
    fn up(image: &str) -> Self {
        let plugin = run(Command::new("docker").args(["compose", "version"])).is_ok();
        let compose = if plugin { vec!["docker", "compose"] } else { vec!["docker-compose"] };
        let file = TempDir::new().unwrap();
        let (name, http) = (new_tag(), Http::new());
        let project = Self { name, file, image: image.to_owned(), http, compose };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose.yaml");
        let text = project.run(&shipped, &["config"]);
        let mut resolved: Yaml = serde_yaml::from_str(&text).unwrap();
        for (_, service) in resolved["services"].as_mapping_mut().unwrap() {
            let ports = service.as_mapping_mut().unwrap().remove("ports");
            assert!(ports.is_some(), "every service has ports");
        }
        fs::write(project.path(), serde_yaml::to_string(&resolved).unwrap()).unwrap();
        project.compose(&["up", "--detach"]);
        project.wait_serving();
        project
    }

    fn path(&self) -> std::path::PathBuf {
        self.file.path().join("compose.yaml")
    }

    fn compose(&self, arguments: &[&str]) -> String {
        self.run(&self.path(), arguments)
    }

    fn run(&self, file: &Path, arguments: &[&str]) -> String {
        self.command(file, arguments).unwrap_or_else(|why| panic!("{why}"))
    }

    fn command(&self, file: &Path, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.compose[0]);
        command.args(&self.compose[1..]).env("PAXOS_IMAGE", &self.image);
        command.args(["--project-name", &self.name, "--file"]).arg(file).args(arguments);
        run(command)
    }

    /// The containers, as they are found without knowing how this Compose calls them.
    fn containers(&self) -> BTreeSet<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let found = docker(&["ps", "--all", "--quiet", "--filter", &project]);
        let found: BTreeSet<String> = found.lines().map(ToOwned::to_owned).collect();
        assert_eq!(found.len(), 10);
        found
    }

    /// Runs paxosd in the container of the service `name`.
    fn exec(&self, name: &str, arguments: &[&str]) -> String {
        self.compose(&[&["exec", "-T", name, "/usr/local/bin/paxosd"], arguments].concat())
    }

    /// A caller of the client `name`.
    fn gateway(&self, name: &str) -> Caller {
        let container = self.compose(&["ps", "--quiet", name]);
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = docker(&["inspect", "--format", format, &container]);
        let port = if name == "client1" { 6001 } else { 6002 };
        self.http.at(&address, port)
    }

    /// Waits until a client answers that a proposer leads.
    fn wait_serving(&self) {
        let until = Instant::now() + PATIENCE;
        for name in ["client1", "client2"] {
            let gateway = self.gateway(name);
            let serves = || {
                let state = gateway.get("/view-logs").map_or(Value::Null, |answer| answer.json);
                state["current_leader"].is_u64()
            };
            while !serves() {
                assert!(Instant::now() < until, "{name} knows no leader");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        assert_eq!(
            self.gateway("client1").get("/health").unwrap().json["status"],
            json!("healthy")
        );
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let path = self.path();
        if std::thread::panicking() {
            eprintln!("{:?}", self.command(&path, &["logs", "--tail", "10"]));
        }
        if let Err(why) = self.command(&path, &["down", "--volumes", "--timeout", "1"]) {
            eprintln!("{why}");
        }
    }
}

fn shipped() -> Yaml {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose.yaml");
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(list: &Yaml) -> Vec<String> {
    let texts = list.as_sequence().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}
