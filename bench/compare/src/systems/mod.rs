//! The systems: how each is found, started with its nodes on this machine, asked, and stopped.

mod etcd;
mod paxosd;
mod zookeeper;

use std::cell::Cell as Counter;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::cell::{Cell, Work};
use crate::load::{self, Borne};
use crate::options::Product;
use crate::procfs;
use crate::programs::Programs;
use crate::server::Server;
use crate::wire::{self, Caller, Doors};

pub(crate) use paxosd::Node;

/// How long a system may take until each of its nodes takes a write.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries of a write meanwhile.
const RETRY: Duration = Duration::from_millis(100);

/// A way to talk to a program, each measured on nodes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    Paxosd,
    EtcdHttp,
    EtcdGrpc,
    Zookeeper,
}

/// All systems, in the order in which they take turns.
pub(crate) const SYSTEMS: [System; 4] =
    [System::Paxosd, System::EtcdHttp, System::EtcdGrpc, System::Zookeeper];

impl System {
    /// How files are named after it.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Paxosd => "paxosd",
            Self::EtcdHttp => "etcd-http",
            Self::EtcdGrpc => "etcd-grpc",
            Self::Zookeeper => "zookeeper",
        }
    }

    /// How the tables name it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Paxosd => "paxosd",
            Self::EtcdHttp => "etcd HTTP/JSON",
            Self::EtcdGrpc => "etcd gRPC",
            Self::Zookeeper => "ZooKeeper",
        }
    }

    pub(crate) const fn product(self) -> Product {
        match self {
            Self::Paxosd => Product::Paxosd,
            Self::EtcdHttp | Self::EtcdGrpc => Product::Etcd,
            Self::Zookeeper => Product::Zookeeper,
        }
    }

    /// Whether there is such work to ask it for.
    pub(crate) fn does(self, work: Work) -> bool {
        self == Self::Paxosd || work != Work::Learner
    }
}

/// A node that can lead, as it was started, and where to ask whether it does.
#[derive(Debug, Clone, Copy)]
struct Elector {
    pid: u32,
    address: SocketAddr,
}

/// A system that runs.
#[derive(Debug)]
pub(crate) struct Cluster {
    system: System,
    dir: PathBuf,
    servers: Vec<Server>,
    /// The nodes of paxosd, which are children of a server.
    pub(crate) nodes: Vec<Node>,
    /// Nodes that can lead.
    electors: Vec<Elector>,
    /// Who takes all work.
    doors: Vec<SocketAddr>,
    /// Who takes reads of stale values without a door between.
    learners: Vec<SocketAddr>,
    /// The number of the next request: no two requests write the same.
    next: Rc<Counter<u64>>,
    /// The number of a value that is there to be read.
    known: u64,
}

impl Cluster {
    /// Starts the nodes of `system` in `dir`, and waits until each takes writes.
    pub(crate) async fn start(system: System, programs: &Programs, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let dir = fs::canonicalize(dir).with_context(|| format!("find {}", dir.display()))?;
        let mut cluster = Self {
            system,
            dir: dir.clone(),
            servers: Vec::new(),
            nodes: Vec::new(),
            electors: Vec::new(),
            doors: Vec::new(),
            learners: Vec::new(),
            next: Rc::new(Counter::new(1)),
            known: 0,
        };
        match system.product() {
            Product::Paxosd => paxosd::start(&mut cluster, programs).await?,
            Product::Etcd => etcd::start(&mut cluster, programs)?,
            Product::Zookeeper => zookeeper::start(&mut cluster, programs)?,
        }
        cluster.await_writes().await?;
        Ok(cluster)
    }

    /// Waits until each node takes writes; the last of these is there to be read.
    async fn await_writes(&mut self) -> Result<()> {
        let started = Instant::now();
        for door in self.doors.clone() {
            let mut callers = self.callers(Cell { work: Work::Write, clients: 1 }, &[door]);
            let caller = callers.first_mut().context("one client is one caller")?;
            loop {
                self.check()?;
                let number = self.next.replace(self.next.get() + 1);
                let Err(setback) = caller.ask(number).await else {
                    self.known = number;
                    break;
                };
                if started.elapsed() > START_PATIENCE {
                    let (system, why) = (self.system.title(), setback.why());
                    bail!("{system} takes no writes at {door}: {why}; its logs:\n{}", self.logs());
                }
                caller.hang_up();
                sleep(RETRY).await;
            }
            caller.leave().await;
        }
        Ok(())
    }

    /// The clients of `cell`, spread over `doors`.
    fn callers(&self, cell: Cell, doors: &[SocketAddr]) -> Vec<Caller> {
        match self.system {
            System::Paxosd => paxosd::callers(cell, doors),
            System::EtcdHttp => etcd::http_callers(cell, doors, self.known),
            System::EtcdGrpc => etcd::grpc_callers(cell, doors, self.known),
            System::Zookeeper => zookeeper::callers(cell, doors, self.known),
        }
    }

    /// The process of the node that leads, once there is exactly one.
    pub(crate) async fn leader(&self) -> Result<u32> {
        let started = Instant::now();
        loop {
            let mut leading = Vec::new();
            for elector in &self.electors {
                if self.leads(elector.address).await {
                    leading.push(elector.pid);
                }
            }
            if let [leader] = leading[..] {
                return Ok(leader);
            }
            if started.elapsed() > START_PATIENCE {
                let (system, leaders) = (self.system.title(), leading.len());
                bail!("{system} has {leaders} leaders, not one; its logs:\n{}", self.logs());
            }
            sleep(RETRY).await;
        }
    }

    /// Whether the node at `address` says that it leads.
    async fn leads(&self, address: SocketAddr) -> bool {
        match self.system.product() {
            Product::Paxosd => paxosd::leads(address).await,
            Product::Etcd => etcd::leads(address).await,
            Product::Zookeeper => wire::zookeeper::leads(address).await.is_ok_and(|leads| leads),
        }
    }

    /// Puts the load of `cell` on it for `counted`.
    pub(crate) async fn bear(&self, cell: Cell, counted: Duration) -> Result<Borne> {
        let pids = self.pids();
        self.load(cell, counted, || procfs::cpu(&pids)).await
    }

    /// Likewise, while nodes may end; then their processor time is not known.
    pub(crate) async fn bear_losses(&self, cell: Cell, counted: Duration) -> Result<Borne> {
        self.load(cell, counted, || Ok(Duration::ZERO)).await
    }

    async fn load(
        &self,
        cell: Cell,
        counted: Duration,
        cpu: impl Fn() -> Result<Duration>,
    ) -> Result<Borne> {
        let doors = if cell.work == Work::Learner { &self.learners } else { &self.doors };
        load::run(self.callers(cell, doors), &self.next, counted, cpu)
            .await
            .with_context(|| format!("measure {}; its logs:\n{}", self.system.title(), self.logs()))
    }

    /// The most memory that one of its nodes had so far, in bytes.
    pub(crate) fn largest_peak(&self) -> Result<u64> {
        procfs::largest_peak(&self.pids())
    }

    /// # Errors
    /// When one of its servers has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.servers.iter_mut().try_for_each(Server::check)
    }

    /// Stops all nodes, and removes what they kept, except for their logs.
    pub(crate) async fn stop(self) -> Result<()> {
        let nodes: Vec<u32> = self.nodes.iter().map(|node| node.pid).collect();
        for server in self.servers {
            server.stop(&nodes).await?;
        }
        let data = self.dir.join(DATA);
        let (inner, kept) = (data.join("logs"), self.dir.join("logs"));
        if inner.is_dir() {
            fs::rename(&inner, &kept).with_context(|| format!("keep {}", inner.display()))?;
        }
        fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))
    }

    /// All processes that belong to it.
    fn pids(&self) -> Vec<u32> {
        let servers = self.servers.iter().map(Server::pid);
        servers.chain(self.nodes.iter().map(|node| node.pid)).collect()
    }

    pub(crate) fn logs(&self) -> String {
        let mut logs: Vec<String> = self.servers.iter().map(Server::hint).collect();
        let inner = self.dir.join(DATA).join("logs");
        if inner.is_dir() {
            logs.push(format!("nodes: {}", inner.display()));
        }
        logs.join("\n")
    }

    /// Where the nodes keep what they keep.
    fn data(&self) -> PathBuf {
        self.dir.join(DATA)
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }
}

/// Below the directory of a system.
const DATA: &str = "data";

/// So many callers, each of whom begins at the next of the `doors`.
fn spread(clients: u32, doors: &[SocketAddr], caller: impl Fn(Doors) -> Caller) -> Vec<Caller> {
    let clients = usize::try_from(clients).unwrap_or(usize::MAX);
    let firsts = (0..doors.len()).cycle().take(clients);
    firsts.filter_map(|first| Doors::of(doors, first)).map(caller).collect()
}

/// What to say of an answer.
fn granted(is_granted: bool, wrong: &'static str) -> Result<(), &'static str> {
    if is_granted { Ok(()) } else { Err(wrong) }
}
