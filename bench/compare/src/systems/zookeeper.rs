//! ZooKeeper: three nodes with the settings of its own example, and a JVM as its script starts it.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::{Cluster, Elector, spread};
use crate::cell::{Cell, Work};
use crate::programs::Programs;
use crate::server::{Server, free_ports, local};
use crate::value::key;
use crate::wire::{Caller, zookeeper};

const NODES: usize = 3;

/// The heap that zkServer.sh gives a server where nobody says otherwise.
const HEAP: &str = "-Xmx1000m";

const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

pub(super) fn start(cluster: &mut Cluster, programs: &Programs) -> Result<()> {
    let ports = free_ports(3 * NODES)?;
    let mut members = String::new();
    for (id, ports) in (1..).zip(ports.chunks(3)) {
        if let [_, follow, elect] = ports {
            writeln!(members, "server.{id}=127.0.0.1:{follow}:{elect}").context("list nodes")?;
        }
    }
    for (id, ports) in (1..).zip(ports.chunks(3)) {
        let Some(client) = ports.first().copied() else { continue };
        let (name, client) = (format!("zookeeper{id}"), local(client));
        let data = cluster.data().join(&name);
        let file = cluster.dir.join(format!("{name}.cfg"));
        fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
        fs::write(data.join("myid"), format!("{id}\n")).context("write myid")?;
        let config = config(&data.display().to_string(), client, &members);
        fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
        let file = file.display().to_string();
        let arguments = [
            HEAP,
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dzookeeper.admin.enableServer=false",
            "-cp",
            &programs.zookeeper_classes,
            MAIN,
            &file,
        ];
        let log = cluster.log_file(&name);
        let server = Server::start(&name, log, &programs.java, arguments)?;
        cluster.electors.push(Elector { pid: server.pid(), address: client });
        cluster.servers.push(server);
        cluster.doors.push(client);
    }
    Ok(())
}

fn config(data: &str, client: SocketAddr, members: &str) -> String {
    let (host, port) = (client.ip(), client.port());
    format!(
        "tickTime=2000\n\
         initLimit=10\n\
         syncLimit=5\n\
         dataDir={data}\n\
         clientPortAddress={host}\n\
         clientPort={port}\n\
         maxClientCnxns=0\n\
         {members}"
    )
}

pub(super) fn callers(cell: Cell, doors: &[SocketAddr], known: u64) -> Vec<Caller> {
    let work = match cell.work {
        Work::Write => zookeeper::Work::Create,
        Work::Bulk => zookeeper::Work::CreateAll,
        Work::Read => zookeeper::Work::SyncAndRead(key(known)),
        Work::Stale | Work::Learner => zookeeper::Work::Read(key(known)),
    };
    spread(cell.clients, doors, |doors| {
        Caller::Zookeeper(zookeeper::Caller::new(doors, work.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_its_port_and_its_peers() {
        let config = config("/d", local(20_000), "server.1=127.0.0.1:1:2\n");
        assert!(config.contains("clientPort=20000\n") && config.contains("dataDir=/d\n"));
        assert!(config.ends_with("server.1=127.0.0.1:1:2\n") && !config.contains(' '), "{config}");
    }
}
