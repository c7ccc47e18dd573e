//! A cluster of ten real processes on the loopback, for a test to start, hurt and ask.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use paxosd::config::{Config, Env, NodeConfig};
use paxosd::types::Role;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use serde_yaml::Value as Yaml;
use tempfile::TempDir;

use super::http::{Caller, Http};
use super::ports::Ports;
use super::turns::Turn;

/// From its start, a cluster waits no longer than this for anything, unless its deadline is moved;
/// so a test ends within a minute whatever happens.
const LIFETIME: Duration = Duration::from_secs(55);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// Lines of each log that a failed test prints.
const LAST_LINES: usize = 25;

/// Variables that would tell a node who it is.
const IDENTITY: [&str; 4] = ["NODE_ID", "NODE_ROLE", "PORT", "SEED_NODES"];

/// Ten processes, their directories and ports. When it is dropped they are killed, and the
/// directory is removed, unless the test failed: then it stays and is named.
pub(crate) struct Cluster {
    dir: TempDir,
    pub(crate) config: Config,
    /// The files of those that read one of their own.
    pub(crate) own_files: BTreeMap<String, PathBuf>,
    /// Declared before the ports: they are free only after their callers have ended.
    http: Http,
    ports: Ports,
    pub(crate) running: BTreeMap<String, Child>,
    joined: BTreeMap<String, Joined>,
    /// Until when anything is waited for.
    pub(crate) deadline: Instant,
    _turn: Turn,
}

/// A node that no file lists.
struct Joined {
    node: NodeConfig,
    /// What its environment tells it.
    environment: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Ten processes of the shipped configuration, serving.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Likewise, with some settings changed first.
    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut cluster = Self::prepare(change);
        for name in cluster.names() {
            cluster.start_node(&name);
        }
        cluster.wait_serving();
        cluster
    }

    /// A cluster of which nothing runs yet.
    pub(crate) fn prepare(change: impl FnOnce(&mut Config)) -> Self {
        let turn = Turn::take();
        let dir = tempfile::Builder::new().prefix("paxosd-e2e-").tempdir().unwrap();
        let mut ports = Ports::reserve();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/cluster.yaml");
        let mut config = Config::load(&shipped, &Env::new()).unwrap();
        dir.path().clone_into(&mut config.data_dir);
        config.cluster.name = dir.path().file_name().unwrap().to_str().unwrap().to_lowercase();
        for node in &mut config.nodes {
            "127.0.0.1".clone_into(&mut node.host);
            node.api_port = ports.take();
            node.monitor_port = ports.take();
        }
        change(&mut config);
        fs::create_dir(dir.path().join("logs")).unwrap();
        let cluster = Self {
            dir,
            config,
            own_files: BTreeMap::new(),
            ports,
            running: BTreeMap::new(),
            joined: BTreeMap::new(),
            http: Http::new(),
            deadline: Instant::now() + LIFETIME,
            _turn: turn,
        };
        write_config(&cluster.config, &cluster.config_file());
        // What a node that joins knows: the acceptors, and one of each other role.
        let mut few = cluster.config.clone();
        few.nodes.retain(|node| node.name.ends_with('1') || node.role == Role::Acceptor);
        write_config(&few, &cluster.joining_config_file());
        cluster
    }

    /// The names of the ten, in the order of the file.
    pub(crate) fn names(&self) -> Vec<String> {
        self.config.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// The names of those of `role`.
    pub(crate) fn names_of(&self, role: Role) -> Vec<String> {
        self.config.with_role(role).map(|node| node.name.clone()).collect()
    }

    /// A port for a node that is listed later.
    pub(crate) fn free_port(&mut self) -> u16 {
        self.ports.take()
    }

    /// The runtime of everything in the background.
    pub(crate) fn runtime(&self) -> tokio::runtime::Handle {
        self.http.runtime.handle().clone()
    }

    /// The name that the nodes of this cluster carry.
    pub(crate) fn cluster_name(&self) -> &str {
        &self.config.cluster.name
    }

    /// Where this cluster keeps its data.
    pub(crate) fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a node that does not run, with what it has on disk.
    pub(crate) fn start_node(&mut self, name: &str) {
        assert!(!self.running.contains_key(name), "{name} runs already");
        let mut command = Command::new(env!("CARGO_BIN_EXE_paxosd"));
        for (variable, _) in std::env::vars_os() {
            let says_who = variable.to_str().is_some_and(|variable| {
                variable.starts_with("PAXOSD_") || IDENTITY.contains(&variable)
            });
            if says_who {
                command.env_remove(variable);
            }
        }
        let config = match (self.joined.get(name), self.own_files.get(name)) {
            (Some(joined), _) => {
                command.envs(joined.environment.iter().map(|(variable, value)| (variable, value)));
                self.joining_config_file()
            }
            (None, Some(own)) => own.clone(),
            (None, None) => self.config_file(),
        };
        let log = File::options().create(true).append(true).open(self.log_file(name)).unwrap();
        command
            .arg("run")
            .arg("--config")
            .arg(config)
            .args(["--name", name, "--parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.running.insert(name.to_owned(), command.spawn().unwrap());
    }

    /// Starts a node that no file lists. Its own file lists the acceptors and one node of each
    /// other role; `seed` is in its `SEED_NODES`.
    pub(crate) fn join(&mut self, id: u8, role: Role, seed: &str) -> String {
        let name = format!("{role}{id}");
        let (api_port, monitor_port) = (self.ports.take(), self.ports.take());
        let node = NodeConfig {
            name: name.clone(),
            id: paxosd::types::NodeId::new(u64::from(id)).unwrap(),
            role,
            host: "127.0.0.1".to_owned(),
            api_port,
            monitor_port,
        };
        let seed = self.node(seed);
        let seed = format!("{}:{}:{}:{}", seed.id, seed.role, seed.host, seed.api_port);
        let environment = vec![
            ("NODE_ID", id.to_string()),
            ("NODE_ROLE", role.to_string()),
            ("PORT", api_port.to_string()),
            ("PAXOSD_HOST", node.host.clone()),
            ("PAXOSD_MONITOR_PORT", monitor_port.to_string()),
            ("SEED_NODES", seed),
        ];
        self.joined.insert(name.clone(), Joined { node, environment });
        self.start_node(&name);
        name
    }

    /// kill -9, and waits until the process is gone.
    pub(crate) fn kill9(&mut self, name: &str) {
        let mut child = self.running.remove(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// kill -9 of all that run, before any is waited for.
    pub(crate) fn kill9_all(&mut self) {
        let mut children = std::mem::take(&mut self.running);
        for child in children.values_mut() {
            child.kill().unwrap();
        }
        for child in children.values_mut() {
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the end of the process.
    pub(crate) fn terminate(&mut self, name: &str) -> ExitStatus {
        self.signal(name, Signal::TERM);
        self.wait_ended(name)
    }

    /// Waits for the end of a process that ends by itself.
    pub(crate) fn wait_ended(&mut self, name: &str) -> ExitStatus {
        let mut child = self.running.remove(name).unwrap();
        self.poll(&format!("{name} has ended"), || child.try_wait().unwrap())
    }

    /// Stops a node in its tracks (SIGSTOP): its connections stay, and nobody answers.
    pub(crate) fn pause(&self, name: &str) {
        self.signal(name, Signal::STOP);
        // On a busy machine its threads go on for a while.
        let tasks = format!("/proc/{}/task", self.running[name].id());
        self.poll(&format!("{name} stands still"), || {
            let mut tasks = fs::read_dir(&tasks).unwrap();
            tasks.all(|task| state_of(&task.unwrap().path()) == Some('T')).then_some(())
        });
    }

    /// Lets a paused node go on.
    pub(crate) fn resume(&self, name: &str) {
        self.signal(name, Signal::CONT);
    }

    /// Deletes the directory of a node that does not run.
    pub(crate) fn wipe(&self, name: &str) {
        assert!(!self.running.contains_key(name), "{name} runs");
        fs::remove_dir_all(self.dir.path().join(name)).unwrap();
    }

    /// A caller of the API of `name`.
    pub(crate) fn node_caller(&self, name: &str) -> Caller {
        self.http.to(self.node(name).api_port)
    }

    /// A caller of client 1 or 2.
    pub(crate) fn client(&self, number: u8) -> Caller {
        self.node_caller(&format!("client{number}"))
    }

    /// The state of a node with its newest events, from its monitor port; `None` while nobody
    /// answers.
    pub(crate) fn view_logs(&self, name: &str) -> Option<Value> {
        let answer = self.http.to(self.node(name).monitor_port).get("/view-logs").ok()?;
        (answer.status == 200).then_some(answer.json)
    }

    /// A number in a node's state; `None` while nobody answers, or it has none.
    pub(crate) fn number(&self, name: &str, field: &str) -> Option<u64> {
        self.view_logs(name)?[field].as_u64()
    }

    /// The status and body of a node's `/health`, from its monitor port; `None` while nobody
    /// answers.
    pub(crate) fn health(&self, name: &str) -> Option<(u16, Value)> {
        let answer = self.http.to(self.node(name).monitor_port).get("/health").ok()?;
        Some((answer.status, answer.json))
    }

    /// All that a node said on its outputs.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_file(name)).unwrap()
    }

    /// The proposer that leads; `None` while none does, or two think so.
    pub(crate) fn leader_now(&self) -> Option<String> {
        let proposers = self.names_of(Role::Proposer);
        let mut leading = proposers.into_iter().filter(|name| {
            self.running.contains_key(name)
                && self.view_logs(name).is_some_and(|state| state["is_leader"] == true)
        });
        let leader = leading.next()?;
        leading.next().is_none().then_some(leader)
    }

    /// The proposer that leads, once there is one.
    pub(crate) fn leader(&self) -> String {
        self.poll("one proposer leads", || self.leader_now())
    }

    /// Waits until every node that runs is healthy and a proposer leads.
    pub(crate) fn wait_serving(&self) {
        for name in self.running.keys() {
            self.wait_healthy(name);
        }
        self.leader();
    }

    /// Waits until `name` is healthy.
    pub(crate) fn wait_healthy(&self, name: &str) {
        self.poll(&format!("{name} is healthy"), || {
            self.health(name).filter(|(status, _)| *status == 200)
        });
    }

    /// All values as `learner` delivers them, linearizable.
    pub(crate) fn values(&self, learner: &str) -> Vec<Value> {
        self.values_by(learner, "linearizable")
    }

    /// All values as `learner` delivers them. Index 1 comes first, and every page joins the one
    /// before.
    pub(crate) fn values_by(&self, learner: &str, consistency: &str) -> Vec<Value> {
        let caller = self.node_caller(learner);
        let mut values = Vec::new();
        loop {
            let from = values.len() + 1;
            let path = format!("/get-values?from={from}&limit=10000&consistency={consistency}");
            let page = caller.get(&path).unwrap();
            assert_eq!(page.status, 200, "{learner}: {}", page.json);
            let Value::Array(found) = &page.json["values"] else { panic!("{}", page.json) };
            assert_eq!(page.json["first_index"], from, "{}", page.json["next_index"]);
            if found.is_empty() {
                return values;
            }
            values.extend(found.iter().cloned());
            assert_eq!(page.json["next_index"], values.len() + 1);
        }
    }

    /// The values that all `learners` agree on, with the state hash that they agree on.
    pub(crate) fn agreed_values(&self, learners: &[&str]) -> Vec<Value> {
        let lists: Vec<Vec<Value>> = learners.iter().map(|learner| self.values(learner)).collect();
        for (learner, list) in learners.iter().zip(&lists) {
            let alike = list.iter().zip(&lists[0]).take_while(|(one, other)| one == other).count();
            assert!(
                *list == lists[0],
                "{learner} has {} values, {} has {}, and they are alike up to {alike}",
                list.len(),
                learners[0],
                lists[0].len(),
            );
        }
        self.poll("the learners have one state hash", || {
            let states: Vec<(Value, Value)> = learners
                .iter()
                .filter_map(|learner| self.view_logs(learner))
                .map(|state| (state["delivered_index"].clone(), state["state_hash"].clone()))
                .collect();
            let is_whole = states.len() == learners.len() && states[0].1.is_string();
            (is_whole && states.iter().all(|state| *state == states[0])).then_some(())
        });
        lists.into_iter().next().unwrap()
    }

    /// Waits until every acceptor holds what was written: those beyond a quorum are told later.
    pub(crate) fn wait_for_spares(&self) {
        self.poll("every acceptor has the newest slot on disk", || {
            let slot = |id| self.number(&format!("acceptor{id}"), "durable_slot");
            let slots = (1..=3).map(slot).collect::<Option<Vec<u64>>>()?;
            slots.iter().all(|it| *it > 0 && *it == slots[0]).then_some(())
        });
    }

    /// Looks again and again until `look` finds what is waited for.
    pub(crate) fn poll<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            self.check_running(what);
            assert!(Instant::now() < self.deadline, "in vain waited until {what}");
            std::thread::sleep(LOOK);
        }
    }

    /// That no node ended by itself, before `what` was.
    pub(crate) fn check_running(&self, what: &str) {
        for (name, child) in &self.running {
            let process = PathBuf::from(format!("/proc/{}", child.id()));
            assert_ne!(state_of(&process), Some('Z'), "{name} ended before {what}");
        }
    }

    /// Waits until a node that cannot go on has ended by itself.
    pub(crate) fn wait_end(&mut self, name: &str) -> ExitStatus {
        let mut child = self.running.remove(name).unwrap();
        self.poll(&format!("{name} ends"), || child.try_wait().unwrap())
    }

    /// Sends a signal to a node.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        kill_process(self.pid(name), signal).unwrap();
    }

    /// The process of a node that runs.
    pub(crate) fn pid(&self, name: &str) -> Pid {
        Pid::from_raw(i32::try_from(self.running[name].id()).unwrap()).unwrap()
    }

    pub(crate) fn node(&self, name: &str) -> &NodeConfig {
        self.joined.get(name).map(|it| &it.node).or_else(|| self.config.named(name)).unwrap()
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.path().join("cluster.yaml")
    }

    fn joining_config_file(&self) -> PathBuf {
        self.dir.path().join("joining.yaml")
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.dir.path().join("logs").join(format!("{name}.log"))
    }

    /// What somebody who looks into a failure needs.
    fn tell(&mut self) {
        for (name, child) in &mut self.running {
            if let Ok(Some(status)) = child.try_wait() {
                eprintln!("{name} had ended by itself: {status}");
            }
        }
        for entry in fs::read_dir(self.dir.path().join("logs")).into_iter().flatten().flatten() {
            let log = fs::read(entry.path()).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}", entry.path().display());
            for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
                eprintln!("{line}");
            }
        }
        eprintln!("data and whole logs: {}", self.dir.path().display());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let has_failed = std::thread::panicking();
        if has_failed {
            self.tell();
            self.dir.disable_cleanup(true);
        }
        for child in self.running.values_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The state letter of the process or thread whose directory in /proc this is; `None` when it is
/// gone.
fn state_of(process: &Path) -> Option<char> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Writes `config` as the file that a node reads.
pub(crate) fn write_config(config: &Config, path: &Path) {
    let mut document = serde_yaml::to_value(config).unwrap();
    if let Yaml::Mapping(keys) = &mut document {
        // A key without a value is a slip, and refused as one.
        keys.retain(|_, value| !value.is_null());
    }
    fs::write(path, serde_yaml::to_string(&document).unwrap()).unwrap();
}
