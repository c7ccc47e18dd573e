//! paxosd: ten nodes by `paxosd dev`, with the configuration that is shipped, on other ports.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_yaml::Value;
use tokio::time::{Instant, sleep};

use super::{Cluster, granted, spread};
use crate::cell::{BULK_VALUES, Cell, Work};
use crate::programs::{Programs, root};
use crate::server::{Server, free_ports, local};
use crate::value::value;
use crate::wire::{Caller, http};

/// How long the processes may take to be there.
const SPAWN_PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks for them.
const LOOK: Duration = Duration::from_millis(20);

/// A node of a configuration.
#[derive(Debug, PartialEq, Eq)]
struct Node {
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
    for node in &nodes {
        let pid_file = data.join("run").join(format!("{}.pid", node.name));
        let pid = await_pid(cluster, &pid_file).await?;
        cluster.children.push(pid);
    }
    let with_role = |role: &str| -> Vec<SocketAddr> {
        nodes.iter().filter(|node| node.role == role).map(|node| local(node.api_port)).collect()
    };
    (cluster.doors, cluster.learners) = (with_role("client"), with_role("learner"));
    Ok(())
}

/// The process that is named in the file `pid_file`, once it is there.
async fn await_pid(cluster: &mut Cluster, pid_file: &Path) -> Result<u32> {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(pid_file).unwrap_or_default();
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
) -> Result<(String, Vec<Node>)> {
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
        moved.push(Node { name, role, api_port });
    }
    let config = serde_yaml::to_string(&config).context("write the configuration")?;
    Ok((config, moved))
}

pub(super) fn callers(cell: Cell, doors: &[SocketAddr]) -> Vec<Caller> {
    let work = Rc::new(work(cell.work));
    spread(cell.clients, doors, |door| Caller::Http(http::Caller::new(door, Rc::clone(&work))))
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
        let gateway = Node { name: "client1".into(), role: "client".into(), api_port: 20_016 };
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
    fn bodies_carry_as_many_values_as_they_should() {
        let many: serde_json::Value = serde_json::from_slice(&many(3)).unwrap();
        assert_eq!(many["values"].as_array().unwrap().len(), 100);
        let one: serde_json::Value = serde_json::from_slice(&one(3)).unwrap();
        assert_eq!(one["value"], value(3));
    }
}
