//! Ten containers on a network of their own, for a test to start, hurt and ask.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use paxosd::config::{Config, Env};
use paxosd::types::Role;
use serde_json::Value;
use uuid::Uuid;

use super::docker::{Engine, LABEL, docker, run, try_docker};
use super::http::{Caller, Http};
use super::network::{Network, tear_down_wall, wall};
use super::turns::Turn;

pub(crate) const LEARNERS: [&str; 2] = ["learner1", "learner2"];

/// From its start, a cluster waits no longer than this for anything, unless its deadline is moved;
/// so a test ends whatever happens.
const LIFETIME: Duration = Duration::from_secs(150);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(25);

/// Lines of each log that a failed test prints.
const LAST_LINES: usize = 25;

/// Ten containers, their volumes and their network. All of it is removed when this is dropped, also
/// by a panic; a test that failed prints the last lines of their logs first.
pub(crate) struct Cluster {
    /// What the names of all its objects begin with.
    tag: String,
    pub(crate) config: Config,
    image: String,
    addresses: BTreeMap<String, Ipv4Addr>,
    http: Http,
    /// Until when anything is waited for.
    pub(crate) deadline: Instant,
    /// Before the network, which can go only when nobody is on it.
    _objects: Objects,
    network: Network,
    _turn: Turn,
}

/// The containers and volumes with one label; gone when this is dropped.
struct Objects(String);

impl Drop for Objects {
    fn drop(&mut self) {
        let filter = format!("label={LABEL}={}", self.0);
        for (list, remove) in [
            (&["ps", "--all"][..], &["rm", "--force", "--volumes"][..]),
            (&["volume", "ls"], &["volume", "rm"]),
        ] {
            let list = [list, &["--quiet", "--filter", &filter]].concat();
            let Ok(found) = try_docker(&list) else { continue };
            let remove: Vec<&str> = remove.iter().copied().chain(found.lines()).collect();
            if !found.is_empty()
                && let Err(why) = try_docker(&remove)
            {
                eprintln!("{why}");
            }
        }
    }
}

impl Cluster {
    /// Ten containers that serve.
    pub(crate) fn start(engine: &Engine) -> Self {
        let cluster = Self::prepare(engine);
        cluster.start_nodes(&cluster.names());
        cluster.wait_serving();
        cluster
    }

    /// Ten containers that are made and not started yet.
    pub(crate) fn prepare(engine: &Engine) -> Self {
        let turn = Turn::take();
        let tag = new_tag();
        let shipped = config_directory().join("cluster.yaml");
        let mut cluster = Self {
            config: Config::load(&shipped, &Env::new()).unwrap(),
            image: engine.image.clone(),
            addresses: BTreeMap::new(),
            http: Http::new(),
            deadline: Instant::now() + LIFETIME,
            network: Network::create(&tag),
            _objects: Objects(tag.clone()),
            _turn: turn,
            tag,
        };
        for name in cluster.names() {
            let address = cluster.network.next_address();
            cluster.addresses.insert(name, address);
        }
        for role in [Role::Acceptor, Role::Learner] {
            for name in cluster.names_of(role) {
                let label = cluster.label();
                docker(&["volume", "create", "--label", &label, &cluster.container(&name)]);
            }
        }
        at_once(&cluster.names(), |name| {
            cluster.create(name, &cluster.container(name), cluster.addresses[name]);
        });
        cluster
    }

    /// Makes a container of the node `name`, as compose.yaml would.
    fn create(&self, name: &str, container: &str, address: Ipv4Addr) {
        let address = address.to_string();
        let config = format!("{}:/etc/paxosd:ro", config_directory().display());
        let identity = format!("PAXOSD_NAME={name}");
        let label = self.label();
        let mut arguments = vec![
            "create",
            "--name",
            container,
            "--hostname",
            container,
            "--label",
            &label,
            "--network",
            &self.network.name,
            "--ip",
            &address,
            "--network-alias",
            name,
            "--env",
            &identity,
            "--volume",
            &config,
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges:true",
        ];
        let volume = format!("{}:/var/lib/paxosd", self.container(name));
        if self.keeps_data(name) {
            arguments.extend(["--volume", &volume]);
        }
        arguments.push(&self.image);
        docker(&arguments);
    }

    /// Makes and runs another container of the node `name` on its volume. Returns the container.
    pub(crate) fn run_twin(&mut self, name: &str) -> String {
        let container = format!("{}-twin", self.container(name));
        let address = self.network.next_address();
        self.create(name, &container, address);
        docker(&["start", &container]);
        container
    }

    fn keeps_data(&self, name: &str) -> bool {
        let role = self.config.named(name).unwrap().role;
        matches!(role, Role::Acceptor | Role::Learner)
    }

    fn label(&self) -> String {
        format!("{LABEL}={}", self.tag)
    }

    /// The container of the node `name`, whose volume is called so too.
    pub(crate) fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// The names of the ten, in the order of the file.
    pub(crate) fn names(&self) -> Vec<String> {
        self.config.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// The names of those of `role`.
    pub(crate) fn names_of(&self, role: Role) -> Vec<String> {
        self.config.with_role(role).map(|node| node.name.clone()).collect()
    }

    /// Starts containers that do not run, all at once.
    pub(crate) fn start_nodes(&self, names: &[String]) {
        at_once(names, |name| self.start_node(name));
    }

    /// Starts a container that does not run, with what it has on its volume.
    pub(crate) fn start_node(&self, name: &str) {
        docker(&["start", &self.container(name)]);
    }

    /// SIGKILL to all of these at once, and waits until they are gone.
    pub(crate) fn kill9(&self, names: &[String]) {
        let containers: Vec<String> = names.iter().map(|name| self.container(name)).collect();
        docker(&[&["kill".to_owned(), "--signal=KILL".to_owned()], &containers[..]].concat());
        docker(&[&["wait".to_owned()], &containers[..]].concat());
    }

    /// `docker stop`, and its exit code.
    pub(crate) fn stop(&self, name: &str) -> String {
        let container = self.container(name);
        docker(&["stop", "--time", "20", &container]);
        docker(&["inspect", "--format", "{{.State.ExitCode}}", &container])
    }

    /// All that `name` said on its outputs since its container was made.
    pub(crate) fn log(&self, name: &str) -> String {
        log(&self.container(name))
    }

    /// Makes the volumes and the containers on them anew; none may run.
    pub(crate) fn empty_volumes(&self) {
        for name in self.names().iter().filter(|name| self.keeps_data(name)) {
            let container = self.container(name);
            docker(&["rm", &container]);
            docker(&["volume", "rm", &container]);
            docker(&["volume", "create", "--label", &self.label(), &container]);
            self.create(name, &container, self.addresses[name]);
        }
    }

    /// Runs a program in the container of `name`, as kubectl exec would.
    pub(crate) fn exec(&self, name: &str, program: &[&str]) -> String {
        docker(&[&["exec", &self.container(name)], program].concat())
    }

    /// Takes `name` off the network.
    pub(crate) fn disconnect(&self, name: &str) {
        self.network.disconnect(&self.container(name));
    }

    /// Puts it on the network again, at an address that nobody had before.
    pub(crate) fn connect_elsewhere(&mut self, name: &str) {
        let address = self.network.next_address();
        self.network.connect(&self.container(name), name, address);
        self.addresses.insert(name.to_owned(), address);
    }

    /// Parts the nodes: none reaches one of another group, nor one that is in no group.
    pub(crate) fn part(&self, groups: &[Vec<String>]) {
        let walls: Vec<(&String, Vec<Ipv4Addr>)> = groups
            .iter()
            .flat_map(|group| group.iter().map(move |name| (name, group)))
            .map(|(name, group)| {
                let strangers = self.addresses.iter().filter(|(peer, _)| !group.contains(peer));
                (name, strangers.map(|(_, address)| *address).collect())
            })
            .collect();
        at_once(&walls, |(name, strangers)| wall(&self.container(name), strangers));
    }

    /// Ends what [`Cluster::part`] began.
    pub(crate) fn unite(&self) {
        at_once(&self.names(), |name| tear_down_wall(&self.container(name)));
    }

    /// Where every container is, as Docker tells.
    pub(crate) fn addresses_by_docker(&self) -> BTreeSet<String> {
        let format = format!("{{{{(index .NetworkSettings.Networks {:?}).IPAddress}}}}", self.tag);
        let address =
            |name: &String| docker(&["inspect", "--format", &format, &self.container(name)]);
        self.names().iter().map(address).collect()
    }

    /// The runtime of everything in the background.
    pub(crate) fn runtime(&self) -> tokio::runtime::Handle {
        self.http.runtime.handle().clone()
    }

    /// A caller of the API of `name`, at its container's address.
    pub(crate) fn node_caller(&self, name: &str) -> Caller {
        let port = self.config.named(name).unwrap().api_port;
        self.http.at(&self.addresses[name].to_string(), port)
    }

    /// A caller of client 1 or 2.
    pub(crate) fn client(&self, number: u8) -> Caller {
        self.node_caller(&format!("client{number}"))
    }

    fn monitor(&self, name: &str) -> Caller {
        let port = self.config.named(name).unwrap().monitor_port;
        self.http.at(&self.addresses[name].to_string(), port)
    }

    /// The state of a node with its newest events; `None` while nobody answers.
    pub(crate) fn view_logs(&self, name: &str) -> Option<Value> {
        let answer = self.monitor(name).get("/view-logs").ok()?;
        (answer.status == 200).then_some(answer.json)
    }

    /// The one proposer of `names` that leads; `None` while none does, or two think so.
    fn leader_of(&self, names: &[String]) -> Option<String> {
        let mut leading = names
            .iter()
            .filter(|name| self.view_logs(name).is_some_and(|state| state["is_leader"] == true));
        let leader = leading.next()?;
        leading.next().is_none().then(|| leader.clone())
    }

    /// The proposer that leads, once there is one; those that do not run are not asked.
    pub(crate) fn leader(&self) -> String {
        let running = docker(&["ps", "--format", "{{.Names}}"]);
        let mut proposers = self.names_of(Role::Proposer);
        proposers.retain(|name| running.lines().any(|it| it == self.container(name)));
        self.poll("one proposer leads", || self.leader_of(&proposers))
    }

    /// The one of `names` that leads, once there is one.
    pub(crate) fn leader_among(&self, names: &[String]) -> String {
        self.poll(&format!("one of {names:?} leads"), || self.leader_of(names))
    }

    /// Waits until all ten are healthy, a proposer leads, and both clients know which.
    pub(crate) fn wait_serving(&self) {
        for name in self.names() {
            self.wait_healthy(&name);
        }
        let leader = self.leader_among(&self.names_of(Role::Proposer));
        let leader = u64::from(self.config.named(&leader).unwrap().id.get());
        for client in self.names_of(Role::Client) {
            self.poll(&format!("{client} knows who leads"), || {
                (self.view_logs(&client)?["current_leader"] == leader).then_some(())
            });
        }
    }

    /// Waits until `name` is healthy.
    pub(crate) fn wait_healthy(&self, name: &str) {
        self.poll(&format!("{name} is healthy"), || {
            self.monitor(name).get("/health").ok().filter(|answer| answer.status == 200)
        });
    }

    /// Writes `value` through client 1 or 2, once that can be done.
    pub(crate) fn write(&self, client: u8, value: &str) -> Value {
        self.poll(&format!("`{value}` is written"), || {
            let answer = self.client(client).send_as(value, value).ok()?;
            (answer.status == 200).then_some(answer.json)
        })
    }

    /// All values as the node `name`, a client or a learner, serves them at `path`; linearizable,
    /// index 1 first, each page joined to the one before.
    fn values(&self, name: &str, path: &str) -> Vec<Value> {
        let caller = self.node_caller(name);
        let mut values = Vec::new();
        loop {
            let from = values.len() + 1;
            let page = self.poll(&format!("{name} answers a read"), || {
                let page = caller.get(&format!("{path}?from={from}&limit=10000")).ok()?;
                (page.status == 200).then_some(page.json)
            });
            let Value::Array(found) = &page["values"] else { panic!("{page}") };
            assert_eq!(page["first_index"], from, "{}", page["next_index"]);
            if found.is_empty() {
                return values;
            }
            values.extend(found.iter().cloned());
        }
    }

    /// The values that both learners and both clients agree on, with the learners' state hash.
    pub(crate) fn agreed_values(&self) -> Vec<Value> {
        let values = self.values("learner1", "/get-values");
        assert!(self.values("learner2", "/get-values") == values, "learner2 has another list");
        for client in self.names_of(Role::Client) {
            assert!(self.values(&client, "/read") == values, "{client} reads another list");
        }
        self.poll("the learners have one state hash", || {
            let states: Option<Vec<Value>> =
                LEARNERS.iter().map(|learner| self.view_logs(learner)).collect();
            let states = states?;
            let same = |key: &str| states.iter().all(|it| it[key] == states[0][key]);
            (states[0]["state_hash"].is_string() && same("state_hash") && same("delivered_index"))
                .then_some(())
        });
        values
    }

    /// Looks again and again until `look` finds what is waited for.
    pub(crate) fn poll<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < self.deadline, "in vain waited until {what}");
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for name in self.names() {
            let container = self.container(&name);
            let state =
                ["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", &container];
            let state = try_docker(&state).unwrap_or_else(|why| why);
            eprintln!("--- {name}: {state}");
            eprintln!("{}", last_lines(&log(&container)));
        }
    }
}

/// A beginning of names that nobody else uses.
pub(crate) fn new_tag() -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("{LABEL}-{}", &random[..8])
}

/// Both outputs of a container, as they came.
pub(crate) fn log(container: &str) -> String {
    // Into one pipe, or their order would be lost.
    let mut shell = Command::new("sh");
    let both = run(shell.args(["-c", "exec docker logs \"$0\" 2>&1", container]));
    both.unwrap_or_else(|why| why)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// The repository's config/, which every container mounts.
pub(crate) fn config_directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// Does `work` for each of `items`, all at once, and waits for the last.
pub(crate) fn at_once<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for item in items {
            scope.spawn(|| work(item));
        }
    });
}
