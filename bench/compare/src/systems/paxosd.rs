//! paxosd: ten nodes by `paxosd dev`, with the configuration that is shipped, on other ports.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_yaml::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::{Cluster, Elector, granted, spread};
use crate::cell::{BULK_VALUES, Cell, Work};
use crate::programs::{Programs, root};
use crate::server::{Server, free_ports, local};
use crate::value::value;
use crate::wire::{Caller, http};

/// How long the processes may take to be there.
const SPAWN_PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks for them.
const LOOK: Duration = Duration::from_millis(20);

/// How long a node may take until it is healthy.
const HEALTH_PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks whether it is, where the time is taken.
const GLANCE: Duration = Duration::from_millis(2);

/// A node that runs.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) pid: u32,
    address: SocketAddr,
}

/// A node of a configuration.
#[derive(Debug, PartialEq, Eq)]
struct Planned {
    name: String,
    role: String,
    api_port: u16,
}

pub(super) async fn start(cluster: &mut Cluster, programs: &Programs) -> Result<()> {
    let shipped = root().join("config/cluster.yaml");
    let shipped = fs::read_to_string(&shipped)
        .with_context(|| format!("read the configuration {}", shipped.display()))?;
    let (config, nodes) = moved(&shipped, free_ports)?;
    let file = cluster.dir.join("cluster.yaml");
    fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
    let data = cluster.data();
    let arguments = ["dev".as_ref(), "--config".as_ref(), file.as_os_str()];
    let arguments = arguments.into_iter().chain(["--data".as_ref(), data.as_os_str()]);
    let log = cluster.log_file("paxosd-dev");
    let server = Server::start("paxosd dev", log, &programs.paxosd, arguments)?;
    cluster.servers.push(server);
    for Planned { name, role, api_port } in nodes {
        let pid = await_pid(cluster, &name).await?;
        let address = local(api_port);
        match role.as_str() {
            "proposer" => cluster.electors.push(Elector { pid, address }),
            "client" => cluster.doors.push(address),
            "learner" => cluster.learners.push(address),
            _ => {}
        }
        cluster.nodes.push(Node { name, role, pid, address });
    }
    Ok(())
}

/// The process of the node `name`, once it is there.
async fn await_pid(cluster: &mut Cluster, name: &str) -> Result<u32> {
    let pid_file = cluster.data().join("run").join(format!("{name}.pid"));
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(&pid_file).unwrap_or_default();
        // A file without its line end is not yet written.
        if let Some(pid) = text.strip_suffix('\n').and_then(|pid| pid.parse().ok()) {
            return Ok(pid);
        }
        cluster.check()?;
        if started.elapsed() > SPAWN_PATIENCE {
            bail!("paxosd dev wrote no {}; its logs:\n{}", pid_file.display(), cluster.logs());
        }
        sleep(LOOK).await;
    }
}

/// The configuration `shipped` with ports that are free, and its nodes.
fn moved(
    shipped: &str,
    free_ports: impl FnOnce(usize) -> Result<Vec<u16>>,
) -> Result<(String, Vec<Planned>)> {
    let mut config: Value = serde_yaml::from_str(shipped).context("parse the configuration")?;
    let nodes = config.get_mut("nodes").and_then(Value::as_sequence_mut);
    let nodes = nodes.context("the configuration lists no nodes")?;
    let mut ports = free_ports(2 * nodes.len())?.into_iter();
    let mut moved = Vec::with_capacity(nodes.len());
    for node in nodes {
        let text = |key| node.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").context("a node has no name")?;
        let role = text("role").with_context(|| format!("{name} has no role"))?;
        let (Some(api_port), Some(monitor_port)) = (ports.next(), ports.next()) else {
            bail!("there are too few ports");
        };
        for (key, port) in [("api_port", api_port), ("monitor_port", monitor_port)] {
            let place = node.get_mut(key).with_context(|| format!("{name} has no {key}"))?;
            *place = Value::from(port);
        }
        moved.push(Planned { name, role, api_port });
    }
    let config = serde_yaml::to_string(&config).context("write the configuration")?;
    Ok((config, moved))
}

pub(super) fn callers(cell: Cell, doors: &[SocketAddr]) -> Vec<Caller> {
    let work = Rc::new(work(cell.work));
    spread(cell.clients, doors, |doors| Caller::Http(http::Caller::new(doors, Rc::clone(&work))))
}

fn work(work: Work) -> http::Work {
    let read =
        |path| http::Work { method: "GET", path, body: Box::new(|_| Bytes::new()), check: is_read };
    let send = |body, check| http::Work { method: "POST", path: "/send", body, check };
    match work {
        Work::Write => send(Box::new(one), is_sent),
        Work::Bulk => send(Box::new(many), are_sent),
        Work::Read => read("/read?limit=1"),
        Work::Stale => read("/read?limit=1&consistency=stale"),
        Work::Learner => read("/get-values?limit=1&consistency=stale"),
    }
}

impl Cluster {
    /// Ends the node `name` in good order.
    pub(crate) async fn stop_node(&self, programs: &Programs, name: &str) -> Result<()> {
        self.order(programs, "stop", name).await
    }

    /// Starts the node `name` again, which was stopped; returns when it is healthy, or does not
    /// become so for a while. It is another process then: see [`Cluster::find_again`].
    pub(crate) async fn start_node(&self, programs: &Programs, name: &str) -> Result<()> {
        self.order(programs, "start", name).await
    }

    async fn order(&self, programs: &Programs, order: &str, name: &str) -> Result<()> {
        let mut command = Command::new(&programs.paxosd);
        command.args(["dev", order, name, "--data"]).arg(self.data());
        let output = command.output().await.with_context(|| format!("{order} {name}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("paxosd dev {order} {name}: {}; its logs:\n{}", said.trim(), self.logs());
        }
        Ok(())
    }

    /// Looks for the process that the node `name` is now.
    pub(crate) async fn find_again(&mut self, name: &str) -> Result<()> {
        let pid = await_pid(self, name).await?;
        for node in self.nodes.iter_mut().filter(|node| node.name == name) {
            node.pid = pid;
        }
        Ok(())
    }

    /// Waits until `node` says that it is healthy.
    pub(crate) async fn await_health(&self, node: &Node) -> Result<()> {
        let started = Instant::now();
        while http::ask(node.address, ("GET", "/health"), b"").await.is_err() {
            if started.elapsed() > HEALTH_PATIENCE {
                bail!("{} does not become healthy; its logs:\n{}", node.name, self.logs());
            }
            sleep(GLANCE).await;
        }
        Ok(())
    }

    /// Where `node` keeps what it keeps.
    pub(crate) fn dir_of(&self, node: &Node) -> PathBuf {
        self.data().join(&node.name)
    }
}

impl Node {
    /// How many values it has delivered, which is a learner; `None` when it does not say.
    pub(crate) async fn delivered(&self) -> Option<u64> {
        state(self.address).await.ok()?.delivered_index
    }
}

/// Whether the proposer at `address` leads.
pub(super) async fn leads(address: SocketAddr) -> bool {
    state(address).await.is_ok_and(|state| state.is_leader)
}

/// What a node tells of itself, as far as it is used.
#[derive(Debug, Deserialize)]
struct State {
    #[serde(default)]
    is_leader: bool,
    delivered_index: Option<u64>,
}

async fn state(address: SocketAddr) -> Result<State> {
    let body = http::ask(address, ("GET", "/view-logs?limit=1"), b"").await;
    let body = body.map_err(|setback| anyhow!("ask {address}: {}", setback.why()))?;
    serde_json::from_slice(&body).with_context(|| format!("understand {address}"))
}

fn one(number: u64) -> Bytes {
    format!("{{\"value\":\"{}\"}}", value(number)).into()
}

fn many(number: u64) -> Bytes {
    let first = number * BULK_VALUES;
    let values: Vec<String> = (first..first + BULK_VALUES).map(value).collect();
    format!("{{\"values\":[\"{}\"]}}", values.join("\",\"")).into()
}

#[derive(Deserialize)]
struct Sent<'a> {
    status: &'a str,
    index: Option<u64>,
    first_index: Option<u64>,
    last_index: Option<u64>,
}

const UNREADABLE: &str = "an answer that cannot be read";

/// What is wrong with the answer to a value that was sent.
fn is_sent(body: &[u8]) -> Result<(), &'static str> {
    let sent: Sent<'_> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    granted(sent.status == "value sent" && sent.index.is_some(), "not sent")
}

/// What is wrong with the answer to many values.
fn are_sent(body: &[u8]) -> Result<(), &'static str> {
    let sent: Sent<'_> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    let (Some(first), Some(last)) = (sent.first_index, sent.last_index) else {
        return Err("not sent");
    };
    granted(sent.status == "value sent" && last + 1 == first + BULK_VALUES, "not all sent")
}

/// What is wrong with the answer to a read.
fn is_read(body: &[u8]) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    struct Values {
        values: Vec<IgnoredAny>,
    }
    let read: Values = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    granted(read.values.len() == 1, "not one value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_gets_other_ports_and_nothing_else() {
        let shipped = include_str!("../../../../config/cluster.yaml");
        let ports = |count: usize| Ok((20_000..).take(count).collect());
        let (config, nodes) = moved(shipped, ports).unwrap();
        assert_eq!(nodes.len(), 10);
        let (name, role) = ("client1".into(), "client".into());
        let gateway = Planned { name, role, api_port: 20_016 };
        assert!(nodes.contains(&gateway), "{nodes:?}");
        let mut before: Value = serde_yaml::from_str(shipped).unwrap();
        let mut after: Value = serde_yaml::from_str(&config).unwrap();
        assert_eq!(after["nodes"][8]["monitor_port"], Value::from(20_017));
        for config in [&mut before, &mut after] {
            for node in config["nodes"].as_sequence_mut().unwrap() {
                node["api_port"] = Value::Null;
                node["monitor_port"] = Value::Null;
            }
        }
        assert_eq!(before, after);
    }

    #[test]
    fn an_answer_must_say_that_all_was_sent() {
        assert!(is_sent(br#"{"status":"value sent","proposer_id":1,"index":7}"#).is_ok());
        assert!(is_sent(br#"{"status":"value sent","request_id":"x"}"#).is_err());
        assert!(are_sent(br#"{"status":"value sent","first_index":3,"last_index":102}"#).is_ok());
        assert!(are_sent(br#"{"status":"value sent","first_index":3,"last_index":101}"#).is_err());
        assert!(is_read(br#"{"values":["a"],"delivered_index":9}"#).is_ok());
        assert!(is_read(br#"{"values":[]}"#).is_err() && is_read(b"x").is_err());
    }

    #[test]
    fn what_a_node_tells_of_itself_is_understood_whatever_its_role() {
        let state = |text| serde_json::from_str::<State>(text).unwrap();
        assert!(state(r#"{"id":1,"role":"proposer","is_leader":true}"#).is_leader);
        assert!(!state(r#"{"id":2,"role":"proposer","is_leader":false}"#).is_leader);
        let delivered = |text| state(text).delivered_index;
        assert_eq!(delivered(r#"{"id":3,"role":"learner","delivered_index":7}"#), Some(7));
        assert_eq!(delivered(r#"{"id":3,"role":"learner"}"#), None);
    }

    #[test]
    fn bodies_carry_as_many_values_as_they_should() {
        let many: serde_json::Value = serde_json::from_slice(&many(3)).unwrap();
        assert_eq!(many["values"].as_array().unwrap().len(), 100);
        let one: serde_json::Value = serde_json::from_slice(&one(3)).unwrap();
        assert_eq!(one["value"], value(3));
    }
}
